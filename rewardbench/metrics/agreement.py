"""How far raters agree: the majority label, what one rater scores against the others, Krippendorff's alpha.

A reward model cannot be told apart from a perfect one beyond the point where people differ among themselves; these
numbers stand beside every model's accuracy. Ratings are tables (n, n_raters) with NaN where a rater gave none; turning
a file's own mark for "missing" (0 in Video-Bench) into NaN is the reader's work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rewardbench.errors import InputError
from rewardbench.metrics.accuracy import pairwise_accuracy
from rewardbench.metrics.inputs import FloatArray

Combine = Literal["majority", "mean"]
Level = Literal["nominal", "ordinal", "interval"]


@dataclass(frozen=True)
class RaterAgreement:
    """One rater, judged as if a model, against the label the others give; shares in [0, 1], NaN for nothing to share.

    ``n`` pairs have a value of this rater and a label of the others; ``n_dropped`` lack one of them. ``tie_rate`` is
    the others' share of ties among the n pairs; the accuracies are those of `rewardbench.metrics.pairwise_accuracy`.
    """

    rater: int
    n: int
    n_dropped: int
    tie_rate: float
    with_ties: float
    without_ties: float
    without_ties_half_credit: float


@dataclass(frozen=True)
class LeaveOneOut:
    """The ceiling: means of the raters' own numbers, each rater counted once; NaN where no rater has the number."""

    with_ties: float
    without_ties: float
    without_ties_half_credit: float
    raters: tuple[RaterAgreement, ...]


def majority(ratings: ArrayLike, *, no_majority: float = float("nan")) -> FloatArray:
    """The value that more than half of an item's raters gave, shape (n,).

    Args:
        ratings: (n, n_raters) numbers; NaN = this rater gave none, and is not counted for the item.
        no_majority: what an item gets on which no value has more than half, and an item with raters but no such
            value. For labels of pairs (1 = A, -1 = B, 0 = tie) give 0: raters who cannot agree make a tie, as in
            FETV's "at least two of three raters, else same".

    Returns:
        (n,) float64; NaN for an item without any rating.

    Raises:
        InputError: not a table of numbers, or infinite.
    """
    table = _ratings(ratings)
    present = (~np.isnan(table)).sum(axis=1)
    result = np.full(table.shape[0], float(no_majority))
    for value in np.unique(table[~np.isnan(table)]):
        result[2 * (table == value).sum(axis=1) > present] = value
    result[present == 0] = np.nan
    return result


def leave_one_out(
    ratings: ArrayLike,
    *,
    combine: Combine = "majority",
    tie_rule: str | float = 0.0,
    groups: Sequence[object] | NDArray[np.generic] | None = None,
    seed: int = 0,
) -> LeaveOneOut:
    """Each rater's accuracy against the others, over pairs: what one more person would score on this benchmark.

    Args:
        ratings: (n_pairs, n_raters) each rater's view of each pair: a label (1 = A, -1 = B, 0 = tie), or, where clips
            were rated one by one, the difference rating(A) - rating(B). NaN = no view.
        combine: how the others make one label. "majority": the sign more than half of them give, a tie where there is
            none. "mean": the sign of the mean of their differences (a residue of 1e-9 is 0).
        tie_rule: when the rater left out is taken to say "tie", as for a model (`pairwise_accuracy`). The default, 0,
            takes raters at their word; "crossfit" treats differences of ratings as it treats a model's margins.
        groups: (n_pairs,) the prompt of each pair; required for "crossfit".
        seed: of "crossfit".

    Raises:
        InputError: not a table of numbers with two raters at least, an unknown ``combine``, or what
            `pairwise_accuracy` refuses.
    """
    table = _ratings(ratings)
    if table.shape[1] < 2:
        raise InputError(f"ratings has {table.shape[1]} rater; leaving one out needs two at least.")
    if combine not in ("majority", "mean"):
        raise InputError(f'combine "{combine}" is unknown; use "majority" or "mean".')
    clusters = None if groups is None else np.asarray(list(groups), dtype=object)
    raters = []
    for k in range(table.shape[1]):
        others = _others(np.delete(table, k, axis=1), combine)
        kept = ~(np.isnan(others) | np.isnan(table[:, k]))
        found = pairwise_accuracy(
            others[kept].astype(np.int64),
            table[kept, k],
            tie_rule=tie_rule,
            groups=None if clusters is None else clusters[kept].tolist(),
            seed=seed,
        )
        raters.append(
            RaterAgreement(
                k,
                found.n,
                int(kept.size - kept.sum()),
                found.human_tie_rate,
                found.with_ties,
                found.without_ties,
                found.without_ties_half_credit,
            )
        )
    return LeaveOneOut(
        _mean([one.with_ties for one in raters]),
        _mean([one.without_ties for one in raters]),
        _mean([one.without_ties_half_credit for one in raters]),
        tuple(raters),
    )


def krippendorff_alpha(ratings: ArrayLike, level: Level = "nominal") -> float:
    """Krippendorff's alpha: 1 for full agreement, 0 for what chance would give, negative for systematic disagreement.

    alpha = 1 - D_observed / D_expected from the coincidence matrix, for any number of raters and any pattern of
    missing ratings (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability"). Items with fewer than two ratings
    do not count.

    Args:
        ratings: (n_items, n_raters) numbers; NaN = missing.
        level: "nominal" (values are names), "ordinal" (values are ranks: the distance of two is made of how often the
            values between them occur) or "interval" (squared difference).

    Returns:
        alpha, at most 1. NaN where it is undefined: no item has two ratings, or all ratings that count are equal.

    Raises:
        InputError: not a table of numbers, infinite, or an unknown level.
    """
    if level not in ("nominal", "ordinal", "interval"):
        raise InputError(f'level "{level}" is unknown; use "nominal", "ordinal" or "interval".')
    table = _ratings(ratings)
    table = table[(~np.isnan(table)).sum(axis=1) >= 2]
    values = np.unique(table[~np.isnan(table)])
    if values.size < 2:
        return float("nan")
    counts = np.stack([(table == value).sum(axis=1) for value in values], axis=1).astype(np.float64)  # items x values
    weights = counts / (counts.sum(axis=1, keepdims=True) - 1.0)
    coincidences = weights.T @ counts - np.diag(weights.sum(axis=0))
    totals = counts.sum(axis=0)
    distance = _distance(values, totals, level)
    observed = float((coincidences * distance).sum())
    expected = float((np.outer(totals, totals) * distance).sum()) / (totals.sum() - 1.0)
    return float(1.0 - observed / expected)


def _distance(values: FloatArray, totals: FloatArray, level: Level) -> FloatArray:
    """Squared distance (K, K) of two values under a level of measurement."""
    if level == "nominal":
        return 1.0 - np.eye(values.size)
    if level == "interval":
        return np.square(values[:, None] - values[None, :])
    # Ranks: the distance of c and k is the mass from one to the other, the two ends counted by half.
    middle = np.cumsum(totals) - totals / 2.0
    return np.square(middle[:, None] - middle[None, :])


def _others(table: FloatArray, combine: Combine) -> FloatArray:
    """One label (n,) in {1, 0, -1} from several raters' views (n, k); NaN where none has one."""
    if combine == "majority":
        return majority(np.sign(table), no_majority=0.0)
    present = ~np.isnan(table)
    n = present.sum(axis=1)
    total = np.where(present, table, 0.0).sum(axis=1)
    mean = np.divide(total, n, out=np.full(table.shape[0], np.nan), where=n > 0)
    signs: FloatArray = np.where(np.abs(mean) <= 1e-9, 0.0, np.sign(mean))
    signs[n == 0] = np.nan
    return signs


def _ratings(ratings: ArrayLike) -> FloatArray:
    try:
        table = np.asarray(ratings, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError("ratings must hold numbers, one row per item and one column per rater.") from error
    if table.ndim != 2:
        raise InputError(f"ratings has shape {table.shape}; give one row per item and one column per rater.")
    if np.isinf(table).any():
        raise InputError(f"ratings is infinite in row {int(np.argwhere(np.isinf(table))[0, 0])}; use NaN for none.")
    return table


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else float("nan")
