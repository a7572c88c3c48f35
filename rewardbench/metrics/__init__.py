"""Labels and margins in, numbers out: accuracy with and without ties, intervals, correlation, judges' verdicts.

Depends on numpy (and scipy, lazily, for correlation) and knows nothing of videos or models. ``docs/metrics.md``
explains every number.
"""

from rewardbench.metrics.accuracy import TIE_RULES, PairwiseAccuracy, pairwise_accuracy
from rewardbench.metrics.agreement import LeaveOneOut, krippendorff_alpha, leave_one_out, majority
from rewardbench.metrics.bradley_terry import bradley_terry_with_ties, rao_kupper_tie_threshold
from rewardbench.metrics.calibration import Calibration, calibrate, fit_rao_kupper
from rewardbench.metrics.correlation import Correlation, kendall_tau, spearman
from rewardbench.metrics.davidson import davidson_strengths
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
from rewardbench.metrics.generators import GeneratorAgreement, compare_generators
from rewardbench.metrics.paired import PairedTest, clusters_needed, holm, paired_test
from rewardbench.metrics.ranking import RankInterval, rank_intervals
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
    "Calibration",
    "Correlation",
    "CrossfitAccuracy",
    "GeneratorAgreement",
    "GivenThresholdAccuracy",
    "LeaveOneOut",
    "PairEvaluation",
    "PairedTest",
    "PairwiseAccuracy",
    "PositionConsistency",
    "RankInterval",
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
    "calibrate",
    "clusters_needed",
    "compare_generators",
    "davidson_strengths",
    "evaluate_pairs",
    "fit_rao_kupper",
    "fold_of_group",
    "holm",
    "human_votes",
    "kendall_tau",
    "krippendorff_alpha",
    "leave_one_out",
    "likeliest_verdict",
    "majority",
    "paired_test",
    "pairwise_accuracy",
    "parse_verdict",
    "position_consistency",
    "rank_intervals",
    "rao_kupper_tie_threshold",
    "row_mean_accuracy",
    "spearman",
    "tie_curve",
    "verdict_accuracy",
    "verdict_margins",
]
