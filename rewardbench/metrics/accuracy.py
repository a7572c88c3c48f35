"""Pairwise accuracy of a reward model's margins against human preferences, with and without ties."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rewardbench.errors import InputError
from rewardbench.metrics.folds import crossfit_thresholds, folds_of_pairs
from rewardbench.metrics.inputs import (
    FloatArray,
    IntArray,
    SignArray,
    finite_or_nan,
    human_signs,
    named_groups,
    same_length,
)
from rewardbench.metrics.ties import (
    SortedMargins,
    best_threshold,
    correct_without_new_ties,
    gain_of_tie,
    sort_margins,
    videoalign_with_ties,
)

TIE_RULES = ("threshold", "crossfit", "native", "videoalign")


@dataclass(frozen=True)
class PairwiseAccuracy:
    """Accuracy of margins against labels; shares in [0, 1], NaN where nothing is there to divide by.

    with_ties: share of the n pairs whose predicted label (A, B or tie) is the human one.
    without_ties: share of the pairs people decided whose margin has the right sign; a margin of 0 is wrong.
    without_ties_half_credit: the same, but a margin of 0 counts one half (a constant scorer gets .5).
    tie_threshold: the threshold on |margin|. "crossfit": the median of the five; "videoalign": where its search
        stopped.
    human_tie_rate: share of human ties among the n pairs.
    majority_floor: share of the commonest label (A, B or tie) among the n pairs; what a constant answer gets.
    n: pairs with a margin. All shares above are over these.
    n_abstained: pairs whose margin is NaN. They are in no share, so show ``coverage`` beside every accuracy.
    fold_thresholds: the five thresholds of "crossfit", else empty.
    """

    with_ties: float
    without_ties: float
    without_ties_half_credit: float
    tie_threshold: float
    human_tie_rate: float
    majority_floor: float
    n: int
    n_abstained: int
    fold_thresholds: tuple[float, ...] = ()

    @property
    def coverage(self) -> float:
        """Share of all pairs given that have a margin; NaN for none."""
        return share(self.n, self.n + self.n_abstained)


def share(part: float, whole: float) -> float:
    """``part / whole``, NaN for an empty whole."""
    return part / whole if whole else float("nan")


def label_shares(human: SignArray) -> tuple[float, float]:
    """Human tie rate and majority floor of the labels (n,); NaN, NaN for none."""
    ties, wins = int((human == 0).sum()), int((human == 1).sum())
    return share(ties, human.size), share(max(ties, wins, human.size - ties - wins), human.size)


def decided_accuracy(human: SignArray, pairs: SortedMargins) -> tuple[float, float]:
    """Accuracy on the pairs people decided: strict, and with one half for a margin of 0. NaN, NaN for none."""
    decided = human != 0
    n = int(decided.sum())
    right = int((decided & (pairs.sign == human)).sum())
    zero = int((decided & (pairs.sign == 0)).sum())
    return share(right, n), share(right + 0.5 * zero, n)


def accuracy_at(human: SignArray, pairs: SortedMargins, threshold: float) -> float:
    """Accuracy with ties at one threshold; NaN for no pairs."""
    return share(int((pairs.predict(threshold) == human).sum()), human.size)


def checked_threshold(value: float, name: str) -> float:
    """A usable tie threshold. Raises InputError unless it is finite and at least 0."""
    if not (isinstance(value, int | float | np.number) and np.isfinite(value) and value >= 0):
        raise InputError(f"{name} is {value}; a tie threshold is a finite number of at least 0.")
    return float(value)


def pairwise_accuracy(
    human: ArrayLike,
    margin: ArrayLike,
    *,
    tie_rule: str | float = "threshold",
    groups: Sequence[object] | NDArray[np.generic] | None = None,
    native_threshold: float | None = None,
    seed: int = 0,
    noise: float | None = None,
) -> PairwiseAccuracy:
    """Accuracy of margins against human labels, pooled over pairs.

    Args:
        human: (n,) labels 1 (A preferred), -1 (B preferred), 0 (tie).
        margin: (n,) score(A) - score(B) in any unit; NaN = the model abstains (left out and counted).
        tie_rule: how |margin| becomes a predicted tie (always |margin| <= threshold):
            "threshold": the threshold with the highest accuracy on these very pairs (Deutsch et al. 2023, arXiv
            2305.14324; exact over groups of equal |margin|; 0, "no new ties", is a candidate; the smallest of equals).
            "crossfit": each fifth of the groups is judged with the threshold of the other four (see
            `rewardbench.metrics.folds`).
            "native": the model's own threshold, ``native_threshold`` (see `rao_kupper_tie_threshold`).
            "videoalign": VideoAlign's published function with its faults, for comparison with published tables.
            A number: that threshold.
        groups: (n,) the original prompt of each pair; required for "crossfit".
        native_threshold: the model's own threshold on |margin|, at least 0; required for "native".
        seed: enters the fold hash of "crossfit".
        noise: which float noise is grouped (`rewardbench.metrics.ties.sort_margins`); "videoalign" groups none.

    Raises:
        InputError: labels other than -1, 0, 1; infinite margins; unequal lengths; an unknown rule; a rule without
            what it needs.
    """
    labels, margins = human_signs(human), finite_or_nan(margin, "margin")
    same_length(labels.size, margins.size, "margin")
    kept = ~np.isnan(margins)
    n_abstained = int(kept.size - kept.sum())
    fold = None
    if tie_rule == "crossfit":
        if groups is None:
            raise InputError('tie_rule "crossfit" needs groups (the prompt of each pair); pass groups=…')
        fold = folds_of_pairs(named_groups(groups, labels.size), seed)[kept]
    if n_abstained:
        labels, margins = labels[kept], margins[kept]
    pairs = sort_margins(margins, 0.0 if tie_rule == "videoalign" else noise)
    with_ties, threshold, fold_thresholds = _with_ties(
        labels, margins, pairs, tie_rule=tie_rule, fold=fold, native_threshold=native_threshold
    )
    strict, half_credit = decided_accuracy(labels, pairs)
    tie_rate, floor = label_shares(labels)
    return PairwiseAccuracy(
        with_ties, strict, half_credit, threshold, tie_rate, floor, labels.size, n_abstained, fold_thresholds
    )


def _with_ties(
    labels: SignArray,
    margins: FloatArray,
    pairs: SortedMargins,
    *,
    tie_rule: str | float,
    fold: IntArray | None,
    native_threshold: float | None,
) -> tuple[float, float, tuple[float, ...]]:
    """Accuracy with ties, its threshold, and the fold thresholds, by rule."""
    if tie_rule == "threshold":
        threshold, gain = best_threshold(gain_of_tie(labels, pairs), pairs)
        correct = int(correct_without_new_ties(labels, pairs).sum()) + gain
        return share(correct, labels.size), threshold if labels.size else float("nan"), ()
    if fold is not None:
        thresholds = crossfit_thresholds(labels, pairs, fold)
        correct = int((pairs.predict(thresholds[fold]) == labels).sum())
        return share(correct, labels.size), float(np.median(thresholds)), tuple(thresholds.tolist())
    if tie_rule == "videoalign":
        return *videoalign_with_ties(labels, margins), ()
    if tie_rule == "native":
        if native_threshold is None:
            raise InputError('tie_rule "native" needs native_threshold, the model\'s own tie threshold on |margin|.')
        threshold = checked_threshold(native_threshold, "native_threshold")
    elif isinstance(tie_rule, str):
        raise InputError(f'tie_rule "{tie_rule}" is unknown; use one of {", ".join(TIE_RULES)}, or a number.')
    else:
        threshold = checked_threshold(tie_rule, "tie_rule")
    return accuracy_at(labels, pairs, threshold), threshold, ()
