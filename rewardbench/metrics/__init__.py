"""Labels and margins in, numbers out: accuracy with and without ties, intervals, correlation, judges' verdicts.

Depends on numpy (and scipy, lazily, for correlation) and knows nothing of videos or models. ``docs/metrics.md``
explains every number.
"""

from rewardbench.metrics.accuracy import TIE_RULES, PairwiseAccuracy, pairwise_accuracy
from rewardbench.metrics.bradley_terry import bradley_terry_with_ties, rao_kupper_tie_threshold
from rewardbench.metrics.correlation import Correlation, kendall_tau, spearman
from rewardbench.metrics.evaluation import (
    BootstrapSettings,
    CalibratedAccuracy,
    CrossfitAccuracy,
    GivenThresholdAccuracy,
    PairEvaluation,
    SliceCrossfit,
    SliceEvaluation,
    SliceWithoutTies,
    VideoAlignAccuracy,
    WithoutTies,
    WithTies,
    evaluate_pairs,
)
from rewardbench.metrics.folds import N_FOLDS, fold_of_group
from rewardbench.metrics.ties import RowMeanAccuracy, TieCurve, row_mean_accuracy, tie_curve
from rewardbench.metrics.verdicts import (
    PositionConsistency,
    VerdictAccuracy,
    human_votes,
    likeliest_verdict,
    parse_verdict,
    position_consistency,
    verdict_accuracy,
    verdict_margins,
)

__all__ = [
    "N_FOLDS",
    "TIE_RULES",
    "BootstrapSettings",
    "CalibratedAccuracy",
    "Correlation",
    "CrossfitAccuracy",
    "GivenThresholdAccuracy",
    "PairEvaluation",
    "PairwiseAccuracy",
    "PositionConsistency",
    "RowMeanAccuracy",
    "SliceCrossfit",
    "SliceEvaluation",
    "SliceWithoutTies",
    "TieCurve",
    "VerdictAccuracy",
    "VideoAlignAccuracy",
    "WithTies",
    "WithoutTies",
    "bradley_terry_with_ties",
    "evaluate_pairs",
    "fold_of_group",
    "human_votes",
    "kendall_tau",
    "likeliest_verdict",
    "pairwise_accuracy",
    "parse_verdict",
    "position_consistency",
    "rao_kupper_tie_threshold",
    "row_mean_accuracy",
    "spearman",
    "tie_curve",
    "verdict_accuracy",
    "verdict_margins",
]
