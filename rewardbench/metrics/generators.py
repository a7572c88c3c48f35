"""One level up: does a reward model rank video generators as people do?

Pairs name the generator of either clip. People's labels and a model's margins on the same pairs each give an order of
the generators, which are held against each other: by Bradley-Terry strengths, and by soft pairwise accuracy, which asks
whether the model is as sure of an order as people are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rewardbench.errors import InputError
from rewardbench.metrics.bootstrap import cluster_draws, percentile_interval
from rewardbench.metrics.correlation import kendall_tau
from rewardbench.metrics.davidson import davidson_parameters
from rewardbench.metrics.inputs import (
    BoolArray,
    FloatArray,
    IntArray,
    finite_or_nan,
    human_signs,
    missing,
    named_groups,
    same_length,
)
from rewardbench.metrics.paired import checked_permutations, sign_flips
from rewardbench.metrics.ranking import RankInterval, places, ranks_of
from rewardbench.metrics.ties import sort_margins

Interval = tuple[float, float]
_NO_INTERVAL: Interval = (float("nan"), float("nan"))
_SAME_STRENGTH = 1e-9
"""Strengths this close are one: the fit stops at steps of 1e-10."""


@dataclass(frozen=True)
class Strength:
    """A generator's place among ``n_pairs`` pairs it takes part in.

    ``strength`` is ln of its Davidson worth (the mean over generators is 0; a difference of 1 makes a win 2.7 times as
    likely as a loss), ``points`` its mean outcome (win 1, tie one half). The strength is NaN, and the rank None, where
    no maximum of the likelihood exists. Equal strengths share their places, as in `rank_intervals`.
    """

    name: str
    n_pairs: int
    points: float
    strength: float
    ci95: Interval
    rank: RankInterval | None


@dataclass(frozen=True, eq=False)
class GeneratorAgreement:
    """What `compare_generators` found.

    ``human`` and ``model`` hold the same generators in ascending order of names. ``pair_agreement`` is the share of
    generator pairs that both put in the same order of strength, ``kendall_tau_b`` the correlation of the strengths.
    ``soft_pairwise_accuracy`` averages over ``n_generator_pairs`` (those compared directly); ``p_human`` and
    ``p_model`` (G, G) are one-sided p values of "row is better than column", NaN where never compared.
    """

    human: tuple[Strength, ...]
    model: tuple[Strength, ...]
    n: int
    n_abstained: int
    n_generator_pairs: int
    pair_agreement: float
    kendall_tau_b: float
    soft_pairwise_accuracy: float
    soft_pairwise_accuracy_ci95: Interval
    p_human: FloatArray = field(repr=False)
    p_model: FloatArray = field(repr=False)


def compare_generators(
    model_a: Sequence[str],
    model_b: Sequence[str],
    human: ArrayLike,
    margin: ArrayLike,
    *,
    groups: Sequence[object] | NDArray[np.generic],
    n_permutations: int = 9999,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> GeneratorAgreement:
    """Generators as people rank them against generators as a reward model's margins rank them, on the same pairs.

    A margin counts as the outcome its sign says (0 is a tie; no threshold, so no label enters the model's own ranking).
    Intervals draw prompts; strengths are fitted anew in each draw, and draws without a maximum are left out.

    Soft pairwise accuracy (Thompson et al. 2024, arXiv 2409.09598): 1 - mean |p_human - p_model| over
    generator pairs. p is that of a one-sided paired permutation test, signs flipped by prompt, on the sum of labels (or
    margins) of the pairs that hold both generators. Unlike the original it is a mid-p (assignments equal to the
    observation count by half), so that it does not matter which generator is named first. Within the draws of its
    interval p is taken from the normal approximation of the sign-flip distribution.

    Args:
        model_a, model_b: (n,) generator of either clip.
        human: (n,) labels 1 (A preferred), -1 (B preferred), 0 (tie).
        margin: (n,) score(A) - score(B); NaN = abstains, the pair is left out for both.
        groups: (n,) the prompt of each pair.
        n_permutations: drawn where more than 16 prompts take part; at least 999.
        n_bootstrap: draws of prompts; 0 leaves all intervals NaN.
        seed: of permutations and draws.

    Raises:
        InputError: unequal lengths, a missing name, a pair of a generator with itself, fewer than two generators, or as
            `rewardbench.metrics.evaluate_pairs`.
    """
    checked_permutations(n_permutations)
    labels, margins = human_signs(human), finite_or_nan(margin, "margin")
    n_all = int(labels.size)
    same_length(n_all, margins.size, "margin")
    named = named_groups(groups, n_all)
    kept = ~np.isnan(margins)
    names, first, second = _generators(model_a, model_b, kept)
    labels, margins = labels[kept], margins[kept]
    _, cluster = np.unique(named.index[kept], return_inverse=True)
    n_clusters = int(cluster.max(initial=-1)) + 1
    pairs = _Design(len(names), first, second, cluster, n_clusters)
    outcomes = [labels.astype(np.float64), sort_margins(margins).sign.astype(np.float64)]
    counts = [pairs.outcome_counts(outcome) for outcome in outcomes]
    draws: list[IntArray] = []
    if n_bootstrap and n_clusters >= 2:
        draws = list(cluster_draws(n_clusters, n_bootstrap, seed))
    rankings = [pairs.strengths(names, outcome, count, draws) for outcome, count in zip(outcomes, counts, strict=True)]
    sums = [pairs.signed_sums(labels.astype(np.float64)), pairs.signed_sums(margins)]
    p_values = [_mid_p(one, n_permutations, seed) for one in sums]
    compared = pairs.compared
    spa = _soft_accuracy(p_values[0][compared], p_values[1][compared])
    drawn = [
        _soft_accuracies(*(_normal_p(one[:, compared], block) for one in sums)) for block in draws if compared.any()
    ]
    agreement, tau = _order_agreement(*(np.array([one.strength for one in ranking]) for ranking in rankings))
    return GeneratorAgreement(
        human=rankings[0],
        model=rankings[1],
        n=int(labels.size),
        n_abstained=n_all - int(labels.size),
        n_generator_pairs=int(compared.sum()),
        pair_agreement=agreement,
        kendall_tau_b=tau,
        soft_pairwise_accuracy=spa,
        soft_pairwise_accuracy_ci95=percentile_interval(np.concatenate(drawn)) if drawn else _NO_INTERVAL,
        p_human=pairs.square(p_values[0]),
        p_model=pairs.square(p_values[1]),
    )


class _Design:
    """Who meets whom, and in which prompt: K generators, P = K (K - 1) / 2 pairs of them, lower index first."""

    def __init__(
        self, n_generators: int, first: IntArray, second: IntArray, cluster: IntArray, n_clusters: int
    ) -> None:
        self.k, self._first, self._second = n_generators, first, second
        self._cluster, self._n_clusters = cluster, n_clusters
        self._low, self._high = np.triu_indices(n_generators, 1)
        place = np.zeros((n_generators, n_generators), dtype=np.int64)
        place[self._low, self._high] = place[self._high, self._low] = np.arange(self._low.size)
        self._pair = place[first, second]
        self._direction = np.where(first < second, 1.0, -1.0)
        self.compared: BoolArray = np.bincount(self._pair, minlength=self._low.size) > 0

    def signed_sums(self, values: FloatArray) -> FloatArray:
        """Sums (clusters, P) of values (n,) signed towards the lower-indexed generator."""
        return self._sums(values * self._direction)

    def outcome_counts(self, outcome: FloatArray) -> FloatArray:
        """Counts (clusters, 3 P): the lower-indexed generator won, the pair tied, the other won."""
        towards = outcome * self._direction
        return np.concatenate([self._sums((towards == side).astype(np.float64)) for side in (1, 0, -1)], axis=1)

    def strengths(
        self, names: Sequence[str], outcome: FloatArray, counts: FloatArray, draws: Sequence[IntArray]
    ) -> tuple[Strength, ...]:
        """Strengths of all generators with intervals from the draws (blocks of counts (B, clusters))."""
        observed = self._fit(counts.sum(axis=0)[None])[0]
        drawn = [self._fit(block.astype(np.float64) @ counts) for block in draws]
        table = np.concatenate(drawn) if drawn else np.empty((0, self.k))
        ranks = [None] * self.k if np.isnan(observed).any() else ranks_of(observed, table, same=_SAME_STRENGTH)
        points = [np.append(outcome[self._first == i], -outcome[self._second == i]) for i in range(self.k)]
        return tuple(
            Strength(
                name,
                int(points[i].size),
                float(points[i].mean() + 1) / 2 if points[i].size else float("nan"),
                float(observed[i]),
                percentile_interval(table[:, i]) if drawn else _NO_INTERVAL,
                ranks[i],
            )
            for i, name in enumerate(names)
        )

    def square(self, values: FloatArray) -> FloatArray:
        """p of the lower-indexed generator (P,) as a table (K, K); NaN on the diagonal and where never compared."""
        table = np.full((self.k, self.k), np.nan)
        shown = np.where(self.compared, values, np.nan)
        table[self._low, self._high] = shown
        table[self._high, self._low] = 1.0 - shown
        return table

    def _sums(self, values: FloatArray) -> FloatArray:
        size = self._low.size
        flat = np.bincount(self._cluster * size + self._pair, weights=values, minlength=self._n_clusters * size)
        return flat.reshape(self._n_clusters, size).astype(np.float64)

    def _fit(self, counts: FloatArray) -> FloatArray:
        """Strengths (B, K) from summed counts (B, 3 P)."""
        wins, ties = np.zeros((2, counts.shape[0], self.k, self.k))
        low, high, size = self._low, self._high, self._low.size
        wins[:, low, high], wins[:, high, low] = counts[:, :size], counts[:, 2 * size :]
        ties[:, low, high] = ties[:, high, low] = counts[:, size : 2 * size]
        return davidson_parameters(wins, ties)[:, :-1]


def _mid_p(sums: FloatArray, n_permutations: int, seed: int) -> FloatArray:
    """P(flipped sum > observed) + P(equal) / 2 for each column (P,) of ``sums`` (clusters, P), flips shared."""
    observed = sums.sum(axis=0)
    slack = 1e-9 * np.abs(sums).sum(axis=0)
    above, equal, visited = np.zeros(sums.shape[1]), np.zeros(sums.shape[1]), 0
    for signs in sign_flips(sums.shape[0], n_permutations, seed):
        excess = signs @ sums - observed
        above += (excess > slack).sum(axis=0)
        equal += (np.abs(excess) <= slack).sum(axis=0)
        visited += signs.shape[0]
    result: FloatArray = (above + equal / 2) / visited
    return result


def _normal_p(sums: FloatArray, counts: IntArray) -> FloatArray:
    """The same (B, P) in each of B draws, from the normal distribution with the variance of the flipped sum."""
    from scipy.special import ndtr

    weights = counts.astype(np.float64)
    total, deviation = weights @ sums, np.sqrt(weights @ np.square(sums))
    with np.errstate(invalid="ignore", divide="ignore"):
        z = np.where(deviation > 0, total / deviation, 0.0)
    result: FloatArray = ndtr(-z)
    return result


def _soft_accuracy(human: FloatArray, model: FloatArray) -> float:
    return float(1.0 - np.abs(human - model).mean()) if human.size else float("nan")


def _soft_accuracies(human: FloatArray, model: FloatArray) -> FloatArray:
    accuracies: FloatArray = 1.0 - np.abs(human - model).mean(axis=1)
    return accuracies


def _order_agreement(human: FloatArray, model: FloatArray) -> tuple[float, float]:
    """Share of generator pairs in the same order, and tau-b; a pair that one side holds equal agrees only if both do.

    Both go by places, so that what the fit leaves in the last digits of equal strengths orders nothing.
    """
    if np.isnan(human).any() or np.isnan(model).any():
        return float("nan"), float("nan")
    low, high = np.triu_indices(human.size, 1)
    ranks = [places(values[None], _SAME_STRENGTH)[0][0] for values in (human, model)]
    order = [np.sign(rank[low] - rank[high]) for rank in ranks]
    return float((order[0] == order[1]).mean()), kendall_tau(ranks[0], ranks[1]).value


def _generators(
    model_a: Sequence[Any], model_b: Sequence[Any], kept: BoolArray
) -> tuple[tuple[str, ...], IntArray, IntArray]:
    """Names in ascending order, and the index of either side, of the pairs that are kept (n,)."""
    sides = [list(model_a), list(model_b)]
    for values, name in zip(sides, ("model_a", "model_b"), strict=True):
        same_length(kept.size, len(values), name)
        for row, value in enumerate(values):
            if missing(value) or str(value) == "":
                raise InputError(f"{name} is empty at row {row}; name the generator of both clips of every pair.")
    first, second = ([str(value) for value in side] for side in sides)
    for row, (one, other) in enumerate(zip(first, second, strict=True)):
        if one == other:
            raise InputError(f"row {row} pairs {one!r} with itself; each clip needs a generator of its own.")
    first, second = ([text for text, keep in zip(side, kept, strict=True) if keep] for side in (first, second))
    names = tuple(sorted({*first, *second}))
    if len(names) < 2:
        raise InputError("no pair with a margin names two generators; comparing generators needs one at least.")
    position = {name: i for i, name in enumerate(names)}
    index = [np.array([position[text] for text in side], dtype=np.int64) for side in (first, second)]
    return names, index[0], index[1]
