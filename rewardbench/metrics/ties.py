"""Tie thresholds: when does a reward model's margin count as "no preference"?

A pair is predicted a tie where |margin| <= threshold, otherwise the sign of the margin is the prediction
(Deutsch, Foster and Freitag 2023, "Ties Matter", arXiv 2305.14324, section 4). Accuracy is then piecewise
constant in the threshold and changes only at the distinct |margin| values, so sorting once and one cumulative
sum visit every state that any threshold can reach.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import lcm

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rewardbench.errors import InputError
from rewardbench.metrics.inputs import (
    BoolArray,
    FloatArray,
    IntArray,
    finite_or_nan,
    human_signs,
    named_groups,
    same_length,
)

DEFAULT_NOISE = 1e-9
"""Margins closer than this share of the scores' scale are one value: 0.3 - 0.2 and 0.2 - 0.1 are different doubles."""

_NEGLIGIBLE = 1e-12


@dataclass(frozen=True, eq=False)
class SortedMargins:
    """Margins of n pairs, grouped by equal |margin|.

    ``sign`` (n,) is -1, 0 or 1, with 0 for margins within float noise of zero. ``order`` (n,) sorts the pairs by
    |margin|; ``ends`` (K,) is the last position of each group in that order and ``levels`` (K,) its largest |margin|
    (0 for the group of zeros). ``tolerance`` is the absolute width of float noise.
    """

    sign: IntArray
    order: IntArray
    ends: IntArray
    levels: FloatArray
    tolerance: float

    def magnitude(self) -> FloatArray:
        """|margin| (n,) with every member of a group given its group's level."""
        sizes = np.diff(self.ends, prepend=-1)
        magnitude = np.empty(self.order.size, dtype=np.float64)
        magnitude[self.order] = np.repeat(self.levels, sizes)
        return magnitude

    def predict(self, threshold: float | FloatArray) -> IntArray:
        """Predicted label (n,): 0 where |margin| <= threshold (up to float noise), else the margin's sign."""
        predicted: IntArray = np.where(self.magnitude() <= np.asarray(threshold) + self.tolerance, 0, self.sign)
        return predicted


@dataclass(frozen=True, eq=False)
class TieCurve:
    """Accuracy with ties at every threshold that makes a difference; both arrays (K,), thresholds ascending from 0."""

    thresholds: FloatArray
    accuracy: FloatArray


@dataclass(frozen=True)
class RowMeanAccuracy:
    """Accuracy with ties averaged over rows (prompts): at the best threshold, and at 0 (no new ties)."""

    value: float
    tie_threshold: float
    at_zero: float
    n_rows: int


def sort_margins(margin: FloatArray, noise: float = DEFAULT_NOISE) -> SortedMargins:
    """Sort finite margins (n,) by magnitude and group those that differ by float noise alone.

    Noise is measured against the scores' own scale, the median |margin| of all margins that are not negligible
    (above 1e-12 of the largest): the grouping then follows a change of units, one sentinel such as -999 does not
    swallow the rest, and residues of subtraction such as 5e-17 do not count as a scale. Neighbours in sorted order
    that are at most ``noise`` times that scale apart share a group; those within it of 0 are 0. ``noise=0`` groups
    equal doubles only.

    Raises:
        InputError: ``noise`` is negative or not finite.
    """
    if not (np.isfinite(noise) and noise >= 0):
        raise InputError(f"noise is {noise}; give a small share of the scores' scale, such as 1e-9, or 0.")
    magnitude = np.abs(margin)
    order = np.argsort(magnitude)
    ascending = magnitude[order]
    tolerance = 0.0
    if noise and ascending.size and ascending[-1] > 0:
        counted = ascending[int(np.searchsorted(ascending, _NEGLIGIBLE * ascending[-1], side="right")) :]
        tolerance = noise * float(counted[(counted.size - 1) // 2])
    ends = np.flatnonzero(np.append(ascending[1:] - ascending[:-1] > tolerance, True)[: ascending.size])
    levels = ascending[ends]
    sign = np.sign(margin).astype(np.int64)
    if ends.size and ascending[0] <= tolerance:
        levels[0] = 0.0
        sign[order[: ends[0] + 1]] = 0
    return SortedMargins(sign, order, ends, levels, tolerance)


def correct_without_new_ties(human: IntArray, pairs: SortedMargins) -> BoolArray:
    """Which pairs (n,) are right at threshold 0: the sign agrees, or both sides tie."""
    correct: BoolArray = pairs.sign == human
    return correct


def gain_of_tie(human: IntArray, pairs: SortedMargins) -> IntArray:
    """What calling a pair a tie changes (n,): +1 a human tie becomes right, -1 a right sign becomes wrong, else 0."""
    gain: IntArray = np.where(human == 0, 1, np.where(pairs.sign == human, -1, 0))
    gain[pairs.sign == 0] = 0
    return gain


def cumulative_gain(gain: NDArray[np.generic], pairs: SortedMargins) -> NDArray[np.generic]:
    """Summed gain (K + 1,) at threshold 0 and then at each of ``pairs.levels``; read at group ends only."""
    total = np.cumsum(gain[pairs.order])
    return np.concatenate([np.zeros(1, dtype=total.dtype), total[pairs.ends]])


def best_threshold(gain: NDArray[np.generic], pairs: SortedMargins) -> tuple[float, int]:
    """Threshold with the largest summed gain, and that gain. Between equals the smallest threshold wins; 0 is one."""
    path = cumulative_gain(gain, pairs)
    best = int(np.argmax(path))
    return (0.0 if best == 0 else float(pairs.levels[best - 1])), int(path[best])


def tie_curve(human: ArrayLike, margin: ArrayLike, *, noise: float = DEFAULT_NOISE) -> TieCurve:
    """Accuracy with ties over all thresholds (Deutsch et al. 2023), pooled over pairs.

    Args:
        human: (n,) labels 1 (A), -1 (B), 0 (tie).
        margin: (n,) score(A) - score(B), any unit; pairs with NaN are left out.
        noise: see `sort_margins`.

    Returns:
        The curve: 0 ("no new ties") and then every distinct |margin|. Accuracy is NaN where no pair is left.

    Raises:
        InputError: labels other than -1, 0, 1, infinite margins, or unequal lengths.
    """
    labels, margins = human_signs(human), finite_or_nan(margin, "margin")
    same_length(labels.size, margins.size, "margin")
    kept = ~np.isnan(margins)
    labels, pairs = labels[kept], sort_margins(margins[kept], noise)
    correct = int(correct_without_new_ties(labels, pairs).sum())
    counts = correct + cumulative_gain(gain_of_tie(labels, pairs), pairs).astype(np.float64)
    thresholds = np.concatenate([[0.0], pairs.levels])
    first = 1 if pairs.levels.size and pairs.levels[0] == 0 else 0  # the group of zeros is the state at 0 itself
    accuracy = counts[first:] / labels.size if labels.size else np.full(1, np.nan)
    return TieCurve(thresholds[first:], accuracy)


def videoalign_with_ties(human: IntArray, margin: FloatArray) -> tuple[float, float]:
    """Accuracy with ties exactly as VideoAlign's published function computes it, and the |margin| where it stopped.

    For comparison with published numbers only. Two faults are kept on purpose: pairs become ties one at a time and
    the accuracy is read after each, so inside a group of equal |margin| it reads states that no threshold gives (the
    result then depends on the order of rows), and "no ties at all" is never a candidate. No float noise is grouped.
    Empty input gives (NaN, NaN); the published function would return 0 there.
    """
    if human.size == 0:
        return float("nan"), float("nan")
    magnitude = np.abs(margin)
    order = np.argsort(magnitude, kind="stable")
    agrees = human * np.sign(margin) > 0
    steps = np.where(human == 0, 1, np.where(agrees, -1, 0))[order]
    correct = int(agrees.sum()) + np.cumsum(steps)
    best = int(np.argmax(correct))
    return float(correct[best] / human.size), float(magnitude[order[best]])


def row_mean_accuracy(
    human: ArrayLike,
    margin: ArrayLike,
    *,
    groups: Sequence[object] | NDArray[np.generic],
    noise: float = DEFAULT_NOISE,
) -> RowMeanAccuracy:
    """Accuracy with ties as the mean over rows of each row's accuracy, one threshold for all rows.

    This is the grouping of mt-metrics-eval; everything else here pools pairs. The two differ where rows have
    different numbers of pairs. The search is exact: row weights are whole numbers (least common multiple of the row
    sizes). tau_23 of the same paper is ``2 * value - 1``.

    Args:
        human: (n,) labels 1, -1, 0.
        margin: (n,) score(A) - score(B); pairs with NaN are left out, and rows without any pair with them.
        groups: (n,) the row of each pair.
        noise: see `sort_margins`.

    Raises:
        InputError: as `tie_curve`, or a pair without a group.
    """
    labels, margins = human_signs(human), finite_or_nan(margin, "margin")
    same_length(labels.size, margins.size, "margin")
    rows = named_groups(groups, labels.size).index
    kept = ~np.isnan(margins)
    if not kept.any():
        return RowMeanAccuracy(float("nan"), float("nan"), float("nan"), 0)
    labels, pairs = labels[kept], sort_margins(margins[kept], noise)
    _, row, sizes = np.unique(rows[kept], return_inverse=True, return_counts=True)
    common = lcm(*(int(size) for size in sizes))
    # Python integers where the common multiple of many row sizes leaves 64 bits.
    exact = np.int64 if common < 2**62 // labels.size else np.object_
    weight = np.array([common // int(size) for size in sizes], dtype=exact)[row]
    whole = common * sizes.size
    at_zero = int((correct_without_new_ties(labels, pairs).astype(exact) * weight).sum())
    threshold, gain = best_threshold(gain_of_tie(labels, pairs).astype(exact) * weight, pairs)
    return RowMeanAccuracy((at_zero + gain) / whole, threshold, at_zero / whole, int(sizes.size))
