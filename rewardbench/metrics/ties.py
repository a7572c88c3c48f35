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
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rewardbench.errors import InputError
from rewardbench.metrics.inputs import (
    BoolArray,
    FloatArray,
    IntArray,
    SignArray,
    finite_or_nan,
    human_signs,
    named_groups,
    same_length,
)

_NEGLIGIBLE = 1e-12


@dataclass(frozen=True, eq=False)
class SortedMargins:
    """Margins of n pairs, grouped by equal |margin|.

    ``sign`` (n,) is -1, 0 or 1. ``order`` (n,) sorts the pairs by |margin|; ``ends`` (K,) is the last position of each
    group in that order, ``lowest`` and ``levels`` (K,) its smallest and largest |margin|. Two |margin| are one value
    where they differ by at most ``tolerance``, or, with ``tolerance`` None, where they print alike with 15 digits.
    """

    sign: SignArray
    order: IntArray
    ends: IntArray
    lowest: FloatArray
    levels: FloatArray
    tolerance: float | None

    def magnitude(self) -> FloatArray:
        """|margin| (n,) with every member of a group given its group's level."""
        magnitude = np.empty(self.order.size, dtype=np.float64)
        magnitude[self.order] = np.repeat(self.levels, np.diff(self.ends, prepend=-1))
        return magnitude

    def predict(self, threshold: float | FloatArray) -> SignArray:
        """Predicted label (n,): 0 where |margin| <= threshold, else the margin's sign.

        ``threshold`` is one number of any origin, or an array (n,) of fitted ones (0 or members of ``levels``).
        """
        limit = threshold if isinstance(threshold, np.ndarray) else self._at_group_end(threshold)
        predicted: SignArray = self.sign * (self.magnitude() > limit)
        return predicted

    def _at_group_end(self, threshold: float) -> float:
        """The threshold, moved to the end of the group it falls into: 0.1 takes 0.4 - 0.3 with it."""
        above = int(np.searchsorted(self.levels, threshold, side="right"))
        if above == self.levels.size:
            return threshold
        level = float(self.levels[above])
        if self.tolerance is None:
            return level if _prints_alike(threshold, level) else threshold
        return level if self.lowest[above] - threshold <= self.tolerance else threshold


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


def sort_margins(margin: FloatArray, noise: float | None = None) -> SortedMargins:
    """Sort finite margins (n,) by magnitude and group equal ones, float noise aside.

    0.3 - 0.2, 0.2 - 0.1 and 0.4 - 0.3 are three doubles but one score difference; told apart, they are thresholds that
    the scores do not have.

    Args:
        margin: (n,) finite.
        noise: None (default): |margin| values that print alike with 15 significant digits, all that a double is
            sure to keep, are one. Differences of much larger scores lose more digits than that (2.3 - 2.2 is
            0.0999999999999996), and residues such as 5e-17 are not 0; for such scores give
            a share of the scores' scale, say 1e-9: neighbours in sorted order at most that share apart are one, and
            those that close to 0 are 0. The scale is the median |margin| among those above 1e-12 of the largest, so
            neither one sentinel (-999) nor residues set it. 0: equal doubles only.

    Raises:
        InputError: ``noise`` is negative or not finite.
    """
    if noise is not None and not (np.isfinite(noise) and noise >= 0):
        raise InputError(f"noise is {noise}; give a small share of the scores' scale, such as 1e-9, or 0.")
    magnitude = np.abs(margin)
    order = np.argsort(magnitude)
    ascending = magnitude[order]
    sign = (margin > 0).astype(np.int8) - (margin < 0)
    tolerance = None if noise is None else noise * _scale(ascending)
    below, above = ascending[:-1], ascending[1:]
    if tolerance is None:
        apart = above > below
        # Bins of 15 digits are at most 1e-14 wide, so only the few neighbours that close have to be printed.
        close = np.flatnonzero((above * (1 - 1.1e-14) <= below) & apart)
        if close.size:
            apart[close] = [not _prints_alike(ascending[k], ascending[k + 1]) for k in close.tolist()]
    else:
        apart = above - below > tolerance
    first, last = np.ones((2, ascending.size), dtype=np.bool_)
    first[1:], last[:-1] = apart, apart
    ends = np.flatnonzero(last)
    levels, lowest = (ascending, ascending) if ends.size == ascending.size else (ascending[last], ascending[first])
    if tolerance and ascending[0] <= tolerance:
        levels = np.append(0.0, levels[1:])
        sign[order[: ends[0] + 1]] = 0
    return SortedMargins(sign, order, ends, lowest, levels, tolerance)


def _prints_alike(x: float, y: float) -> bool:
    return f"{x:.15g}" == f"{y:.15g}"


def _scale(ascending: FloatArray) -> float:
    """Median of the magnitudes above 1e-12 of the largest; 0 if all are 0."""
    if not ascending.size or ascending[-1] == 0:
        return 0.0
    counted = ascending[int(np.searchsorted(ascending, _NEGLIGIBLE * ascending[-1], side="right")) :]
    return float(counted[(counted.size - 1) // 2])


def correct_without_new_ties(human: SignArray, pairs: SortedMargins) -> BoolArray:
    """Which pairs (n,) are right at threshold 0: the sign agrees, or both sides tie."""
    correct: BoolArray = pairs.sign == human
    return correct


def gain_of_tie(human: SignArray, pairs: SortedMargins) -> SignArray:
    """What calling a pair a tie changes (n,): +1 a human tie becomes right, -1 a right sign becomes wrong, else 0."""
    tied = human == 0
    gain: SignArray = (tied.astype(np.int8) - ((pairs.sign == human) & ~tied)) * (pairs.sign != 0)
    return gain


def cumulative_gain(gain: NDArray[Any], pairs: SortedMargins) -> NDArray[Any]:
    """Summed gain (K + 1,) at threshold 0 and then at each of ``pairs.levels``; read at group ends only."""
    total = np.cumsum(gain[pairs.order])
    if pairs.ends.size < total.size:
        total = total[pairs.ends]
    return np.concatenate([np.zeros(1, dtype=total.dtype), total])


def best_threshold(gain: NDArray[Any], pairs: SortedMargins) -> tuple[float, int]:
    """Threshold with the largest summed gain, and that gain. Between equals the smallest threshold wins; 0 is one."""
    path = cumulative_gain(gain, pairs)
    best = int(np.argmax(path))
    return (0.0 if best == 0 else float(pairs.levels[best - 1])), int(path[best])


def tie_curve(human: ArrayLike, margin: ArrayLike, *, noise: float | None = None) -> TieCurve:
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


def videoalign_with_ties(human: SignArray, margin: FloatArray) -> tuple[float, float]:
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
    correct = int(agrees.sum()) + np.cumsum(((human == 0).astype(np.int8) - agrees)[order])
    best = int(np.argmax(correct))
    return float(correct[best] / human.size), float(magnitude[order[best]])


def row_mean_accuracy(
    human: ArrayLike,
    margin: ArrayLike,
    *,
    groups: Sequence[object] | NDArray[np.generic],
    noise: float | None = None,
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
    exact: type = np.int64 if common < 2**62 // labels.size else object
    weight: NDArray[Any] = np.array([common // int(size) for size in sizes], dtype=exact)[row]
    whole = common * sizes.size
    at_zero = int((correct_without_new_ties(labels, pairs).astype(exact) * weight).sum())
    threshold, gain = best_threshold(gain_of_tie(labels, pairs).astype(exact) * weight, pairs)
    return RowMeanAccuracy((at_zero + gain) / whole, threshold, at_zero / whole, int(sizes.size))
