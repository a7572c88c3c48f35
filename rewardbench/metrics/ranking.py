"""Where a model stands among several: a rank, and the ranks it takes when other prompts are drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rewardbench.errors import InputError
from rewardbench.metrics.bootstrap import cluster_draws, percentile_interval, sums_by_cluster
from rewardbench.metrics.inputs import FloatArray, IntArray, named_groups

SAME_MEAN = 1e-12
"""Means this close are one: the same wrong pairs summed in another order differ by 1e-16."""


class RankInterval(NamedTuple):
    """``rank`` (1 is best) as observed, and the 95 % interval from ``low`` (best) to ``high`` (worst)."""

    rank: int
    low: int
    high: int


def rank_intervals(
    correct: ArrayLike,
    groups: Sequence[object] | NDArray[np.generic],
    *,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> list[RankInterval]:
    """Rank of each model by its mean over the pairs it has a value for, with intervals by the cluster bootstrap.

    All models see the same draws of prompts. Equal means share a rank: the observed rank is one more than the number
    of strictly better models. In a draw such models take the best and the worst of the places they share, the
    best for ``low`` and the worst for ``high``: two models that are alike have the interval 1 to 2 both. ``low`` is
    the 2.5 percentile of the best places, rounded down to a rank that occurred, ``high`` the 97.5 percentile of the
    worst, rounded up; the observed rank is never outside. Where some model has values in fewer than two clusters, or
    nothing is drawn, nothing is known and the interval is 1 to the number of models.

    Args:
        correct: (n_models, n_pairs), say 1 where a model is right and 0 where it is wrong; larger is better. NaN: the
            pair does not count for this model (it abstained, or people tied and ties are left out).
        groups: (n_pairs,) the prompt (cluster) of each pair; those in which no pair counts are drawn like the others.
        n_bootstrap: draws; those in which some model has no pair are left out.
        seed: of the draws.

    Returns:
        One (rank, low, high) per model, in the order of the rows.

    Raises:
        InputError: another shape, infinite values, a model without any value, a pair without a group, or a negative
            ``n_bootstrap``.
    """
    return [one.rank for one in standings(correct, groups, n_bootstrap=n_bootstrap, seed=seed)]


class ModelStanding(NamedTuple):
    """A model's mean with its 95 % interval (NaN with values in fewer than two clusters, or no draws), and its rank."""

    mean: float
    ci95: tuple[float, float]
    rank: RankInterval


def standings(
    correct: ArrayLike,
    groups: Sequence[object] | NDArray[np.generic],
    *,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> list[ModelStanding]:
    """Means, their intervals and the ranks of several models, from the same draws; as `rank_intervals` otherwise."""
    table = model_table(correct, "correct")
    if n_bootstrap < 0:
        raise InputError(f"n_bootstrap is {n_bootstrap}; give the number of draws, or 0 for no intervals.")
    n_models, n_pairs = table.shape
    cluster = named_groups(groups, n_pairs)
    n_clusters = len(cluster.names)
    known = ~np.isnan(table)
    without = np.flatnonzero(~known.any(axis=1))
    if without.size:
        raise InputError(f"correct has no value in row {without[0]}; leave out a model that answers nothing.")
    part, whole = (
        np.stack([sums_by_cluster(row, cluster.index, n_clusters) for row in rows])
        for rows in (np.where(known, table, 0.0), known)
    )
    means = _means(np.ones((1, n_clusters), dtype=np.int64), part, whole)
    drawn = np.empty((0, n_models))
    if n_bootstrap and n_clusters >= 2:
        blocks = [_means(counts, part, whole) for counts in cluster_draws(n_clusters, n_bootstrap, seed)]
        drawn = np.concatenate(blocks)
        drawn[:, (whole > 0).sum(axis=1) < 2] = np.nan
    ranks = ranks_of(means[0], drawn, same=SAME_MEAN)
    return [ModelStanding(float(means[0, k]), percentile_interval(drawn[:, k]), rank) for k, rank in enumerate(ranks)]


def ranks_of(observed: FloatArray, drawn: FloatArray, *, same: float) -> list[RankInterval]:
    """Ranks by larger values (K,), with intervals over draws (B, K) of them, as `rank_intervals` says.

    Values closer than ``same`` (times their largest, if that is above 1) are one. Draws with a NaN are left out.
    """
    own = places(observed[None], same)[0][0]
    complete = drawn[~np.isnan(drawn).any(axis=1)]
    if complete.size:
        best, worst = places(complete, same)
        low = np.percentile(best, 2.5, axis=0, method="lower")
        high = np.percentile(worst, 97.5, axis=0, method="higher")
    else:
        low, high = np.ones(own.size), np.full(own.size, own.size)
    return [
        RankInterval(int(rank), min(int(rank), int(low[k])), max(int(rank), int(high[k]))) for k, rank in enumerate(own)
    ]


def model_table(values: ArrayLike, name: str) -> FloatArray:
    """Values of several models on the same pairs as float64 (n_models, n_pairs); NaN stays, infinities are refused.

    Raises:
        InputError: not two-dimensional, not numeric, no model, or infinite.
    """
    try:
        table = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} must hold numbers, one row per model and one column per pair.") from error
    if table.ndim != 2 or table.shape[0] == 0:
        raise InputError(f"{name} has shape {table.shape}; give one row per model and one column per pair.")
    if np.isinf(table).any():
        raise InputError(f"{name} is infinite in row {int(np.argwhere(np.isinf(table))[0, 0])}; give finite numbers.")
    return table


def _means(counts: IntArray, part: FloatArray, whole: FloatArray) -> FloatArray:
    """Mean of each model (B, n_models) in each of B draws; NaN where a draw holds none of a model's pairs."""
    weights = counts.astype(np.float64)
    parts, wholes = weights @ part.T, weights @ whole.T
    with np.errstate(invalid="ignore", divide="ignore"):
        means: FloatArray = np.where(wholes > 0, parts / wholes, np.nan)
    return means


def places(values: FloatArray, same: float) -> tuple[IntArray, IntArray]:
    """Best and worst place (B, K) of each value in its row (1 is the largest); they differ where values are one.

    Neighbours in order are one where they differ by at most ``same`` (times the row's largest, if that is above 1).
    """
    order = np.argsort(-values, axis=1, kind="stable")
    ordered = np.take_along_axis(values, order, axis=1)
    slack = same * np.maximum(1.0, np.abs(values).max(axis=1, keepdims=True, initial=0.0))
    starts = np.ones(values.shape, dtype=np.bool_)
    starts[:, 1:] = ordered[:, :-1] - ordered[:, 1:] > slack
    ends = np.ones(values.shape, dtype=np.bool_)
    ends[:, :-1] = starts[:, 1:]
    place = np.arange(1, values.shape[1] + 1)
    first = np.maximum.accumulate(np.where(starts, place, 0), axis=1)
    last = np.minimum.accumulate(np.where(ends, place, values.shape[1])[:, ::-1], axis=1)[:, ::-1]
    best, worst = np.empty((2, *values.shape), dtype=np.int64)
    np.put_along_axis(best, order, first, axis=1)
    np.put_along_axis(worst, order, last, axis=1)
    return best, worst
