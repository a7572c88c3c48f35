"""Two models on the same pairs: is the difference real, how large is it, and how many prompts would show it.

Prompts (clusters) are what is exchanged, drawn and counted; pairs of one prompt always go together, because they share
clips and difficulty. Fit tie thresholds first (cross-fitted), then test the outcomes as they stand.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, inf, isnan, log2, nan, sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rewardbench.errors import InputError
from rewardbench.metrics.bootstrap import cluster_draws, percentile_interval, sums_by_cluster
from rewardbench.metrics.inputs import FloatArray, finite_or_nan, named_groups

EXACT_CLUSTERS = 16
"""Up to so many clusters with a difference, all 2^k assignments of signs are visited (65,536)."""
MIN_PERMUTATIONS = 999
ALPHA, POWER = 0.05, 0.8
_BLOCK_CELLS = 2_000_000
_ROUNDING = 1e-12
"""A sum below this share of what was summed is 0: sixteen digits are left of it at most, and often none."""
_NORMAL_FROM = 10_000
"""Clusters from which Student's t is taken as normal in the sample size: the two differ by less than 1e-3 of it."""


@dataclass(frozen=True)
class PairedTest:
    """What `paired_test` found. NaN where nothing is there to say it.

    ``n`` pairs in ``n_clusters`` clusters have a value of both models, ``n_left_out`` lack one. ``value_a`` and
    ``value_b`` are means over the n pairs, ``difference`` is value_a - value_b with the 95 % interval ``ci95``.
    ``only_a`` and ``only_b`` count pairs on which one model has the larger value. ``p`` is two-sided; ``exact`` says
    whether all ``n_permutations`` assignments of signs were visited or so many drawn.

    ``effect_size`` is Cohen's d for paired differences with the cluster as unit (difference / standard deviation over
    clusters). ``clusters_needed`` is how many clusters like these would tell two such models apart with 80 % power at
    5 % (None where there is no difference to tell); ``smallest_detectable`` is the difference that the clusters here
    would tell with that power.
    """

    n: int
    n_left_out: int
    n_clusters: int
    value_a: float
    value_b: float
    difference: float
    ci95: tuple[float, float]
    only_a: int
    only_b: int
    p: float
    exact: bool
    n_permutations: int
    effect_size: float
    clusters_needed: int | None
    smallest_detectable: float


def paired_test(
    a: ArrayLike,
    b: ArrayLike,
    groups: Sequence[object] | NDArray[np.generic],
    *,
    n_permutations: int = 9999,
    n_bootstrap: int = 1000,
    seed: int = 0,
) -> PairedTest:
    """Paired sign-flip permutation test of two models' outcomes on the same pairs, flipped by cluster.

    Under the null hypothesis the two models are interchangeable, so the difference of a whole cluster may as well have
    the other sign. The statistic is the sum of differences over all pairs; p is the share of sign assignments with a
    sum at least as far from 0. With at most 16 clusters that differ at all, every assignment is visited; else R are
    drawn and p = (1 + count) / (1 + R), which is never 0 (Phipson and Smyth 2010). The interval is the percentile
    interval of a bootstrap over clusters in which both models see the same draws.

    Args:
        a, b: (n,) outcomes of each model per pair, say 1 for right and 0 for wrong; NaN = this model has none, and
            the pair is left out.
        groups: (n,) the prompt (cluster) of each pair.
        n_permutations: R, at least 999; 9,999 gives p to about .002 near .05.
        n_bootstrap: draws of the interval; 0 leaves it NaN.
        seed: of permutations and draws.

    Raises:
        InputError: unequal lengths, infinite values, a pair without a group, too few permutations, a negative
            ``n_bootstrap``.
    """
    checked_permutations(n_permutations)
    if n_bootstrap < 0:
        raise InputError(f"n_bootstrap is {n_bootstrap}; give the number of draws, or 0 for no interval.")
    first, second = finite_or_nan(a, "a"), finite_or_nan(b, "b")
    if first.size != second.size:
        raise InputError(f"a has {first.size} entries but b has {second.size}; give both models' outcomes per pair.")
    named = named_groups(groups, first.size)
    kept = ~(np.isnan(first) | np.isnan(second))
    first, second = first[kept], second[kept]
    n = int(first.size)
    if n == 0:
        nothing = (nan, nan)
        return PairedTest(0, int(kept.size), 0, nan, nan, nan, nothing, 0, 0, nan, True, 0, nan, None, nan)
    present, cluster = np.unique(named.index[kept], return_inverse=True)
    n_clusters = int(present.size)
    delta = first - second
    moved = sums_by_cluster(np.abs(delta), cluster, n_clusters)
    sums = _without_rounding(sums_by_cluster(delta, cluster, n_clusters), moved)
    sizes = sums_by_cluster(np.ones(n), cluster, n_clusters)
    total = float(sums.sum())
    difference = 0.0 if abs(total) <= _ROUNDING * float(moved.sum()) else total / n
    p, exact, visited = sign_flip_p(sums, n_permutations=n_permutations, seed=seed)
    error = clustered_error(sums, sizes)
    effect = _effect(difference, error * sqrt(n_clusters))
    return PairedTest(
        n=n,
        n_left_out=int(kept.size) - n,
        n_clusters=n_clusters,
        value_a=float(first.mean()),
        value_b=float(second.mean()),
        difference=difference,
        ci95=_interval(sums, sizes, n_bootstrap, seed),
        only_a=int((delta > 0).sum()),
        only_b=int((delta < 0).sum()),
        p=p,
        exact=exact,
        n_permutations=visited,
        effect_size=effect,
        clusters_needed=clusters_needed(effect),
        smallest_detectable=_detectable(error, n_clusters),
    )


def checked_permutations(n_permutations: int) -> int:
    """The number of permutations. Raises InputError below 999, where p could hardly be told from .05."""
    if n_permutations < MIN_PERMUTATIONS:
        raise InputError(f"n_permutations is {n_permutations}; draw at least {MIN_PERMUTATIONS}.")
    return n_permutations


def sign_flips(n_clusters: int, n_permutations: int, seed: int) -> Iterator[FloatArray]:
    """Signs ±1 in blocks (rows, n_clusters): all 2^n_clusters for up to 16 clusters, else ``n_permutations`` drawn."""
    if n_clusters <= EXACT_CLUSTERS:
        yield _all_signs(n_clusters)
        return
    rng = np.random.default_rng(seed)
    block = max(1, _BLOCK_CELLS // n_clusters)
    for start in range(0, n_permutations, block):
        rows = min(block, n_permutations - start)
        yield np.where(rng.integers(2, size=(rows, n_clusters), dtype=np.int8), -1.0, 1.0)


@lru_cache(maxsize=4)
def _all_signs(n_clusters: int) -> FloatArray:
    """Every assignment of signs (2^n_clusters, n_clusters), 8 MB at most; kept, because a family of tests shares it."""
    signs = np.where((np.arange(2**n_clusters)[:, None] >> np.arange(n_clusters)) & 1, -1.0, 1.0)
    signs.flags.writeable = False
    return signs


def sign_flip_p(
    sums: FloatArray, *, n_permutations: int, seed: int, one_sided: bool = False
) -> tuple[float, bool, int]:
    """p of the sum of ``sums`` (n_clusters,) under flips of their signs; exact?; assignments visited.

    A cluster whose sum is 0 is the same flipped or not, so it takes no part in the enumeration. Two-sided, or
    ``one_sided`` against a sum above 0 only.
    """
    moving = sums[sums != 0]
    observed = float(moving.sum()) if one_sided else abs(float(moving.sum()))
    limit = observed - 1e-9 * float(np.abs(moving).sum())  # sums in another order differ in the last digits
    count = visited = 0
    for signs in sign_flips(int(moving.size), n_permutations, seed):
        flipped = signs @ moving
        count += int(((flipped if one_sided else np.abs(flipped)) >= limit).sum())
        visited += signs.shape[0]
    exact = moving.size <= EXACT_CLUSTERS
    return (count / visited if exact else (1 + count) / (1 + visited)), exact, visited


def smallest_p(n_clusters: int, n_permutations: int) -> float:
    """The smallest two-sided p that `sign_flip_p` can give for so many clusters; 1 without any."""
    if n_clusters < 1:
        return 1.0
    exact = 2.0 ** (1 - n_clusters)
    return exact if n_clusters <= EXACT_CLUSTERS else max(exact, 1 / (n_permutations + 1))


def clustered_error(sums: FloatArray, sizes: FloatArray) -> float:
    """Standard error of sum(sums) / sum(sizes) with clusters as units (linearised ratio); NaN for one cluster.

    Residuals that are only what rounding left of the sums count as 0: clusters that all have the same mean have no
    error, and none of 1e-17 either.
    """
    n_clusters = sums.size
    if n_clusters < 2:
        return nan
    whole = float(sizes.sum())
    expected = float(sums.sum()) / whole * sizes
    residual = _without_rounding(sums - expected, np.abs(sums) + np.abs(expected))
    return sqrt(n_clusters / (n_clusters - 1) * float(np.square(residual).sum())) / whole


def clusters_needed(effect_size: float, *, power: float = POWER, alpha: float = ALPHA) -> int | None:
    """Clusters with which a two-sided paired test finds an effect of this size with the given power.

    The smallest number for which a paired t test has it (noncentral t); a permutation test of means is as powerful to
    first order. Never below the number at which a sign-flip test can reach ``alpha`` at all (6 for .05:
    p is at least 2 / 2^n). None for an effect of 0 or NaN. An observed effect is itself uncertain, and so is this.
    """
    from scipy.stats import nct, norm
    from scipy.stats import t as student

    size = abs(effect_size)
    if isnan(size) or size == 0:
        return None
    least = max(2, ceil(1 - log2(alpha)))
    if size == inf:
        return least
    normal = ((norm.ppf(1 - alpha / 2) + norm.ppf(power)) / size) ** 2
    if normal > _NORMAL_FROM:
        return ceil(float(normal))

    def enough(n: int) -> bool:
        limit, shift = student.ppf(1 - alpha / 2, n - 1), size * sqrt(n)
        # Where the shift is large, scipy's noncentral t gives NaN: the upper tail is 1 there and the lower one 0.
        upper, lower = float(nct.sf(limit, n - 1, shift)), float(nct.cdf(-limit, n - 1, shift))
        return (1.0 if isnan(upper) else upper) + (0.0 if isnan(lower) else lower) >= power

    start = max(least, int(normal))
    # Student's t asks for about z^2 / 2 more than the normal distribution, so the search ends long before its bound.
    return next((n for n in range(start, start + _NORMAL_FROM) if enough(n)), start + _NORMAL_FROM)


def holm(p: ArrayLike) -> FloatArray:
    """p values adjusted for their number (Holm 1979): rejecting those at most alpha keeps the family's error at alpha.

    Args:
        p: (m,) in [0, 1]; NaN (no test was possible) stays NaN and does not count.

    Raises:
        InputError: not one-dimensional, or a value outside [0, 1].
    """
    values = finite_or_nan(p, "p")
    known = np.flatnonzero(~np.isnan(values))
    if ((values[known] < 0) | (values[known] > 1)).any():
        raise InputError("p holds a value outside 0 to 1; give p values.")
    adjusted = np.full(values.size, np.nan)
    order = known[np.argsort(values[known], kind="stable")]
    factors = np.arange(order.size, 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(factors * values[order]))
    return adjusted


def _without_rounding(values: FloatArray, summed: FloatArray) -> FloatArray:
    """``values``, and 0 where they are no more than rounding leaves of what was ``summed`` (absolute values)."""
    cleaned: FloatArray = np.where(np.abs(values) <= _ROUNDING * summed, 0.0, values)
    return cleaned


def _effect(difference: float, deviation: float) -> float:
    if isnan(deviation):
        return nan
    if deviation == 0:
        return 0.0 if difference == 0 else float(np.copysign(inf, difference))
    return difference / deviation


def _detectable(error: float, n_clusters: int) -> float:
    """Bloom 1995, "Minimum detectable effects": (t for alpha / 2 + t for power) standard errors."""
    if isnan(error):
        return nan
    from scipy.stats import t as student

    return float((student.ppf(1 - ALPHA / 2, n_clusters - 1) + student.ppf(POWER, n_clusters - 1)) * error)


def _interval(sums: FloatArray, sizes: FloatArray, n_bootstrap: int, seed: int) -> tuple[float, float]:
    if n_bootstrap == 0 or sums.size < 2:
        return nan, nan
    draws = [(counts @ sums) / (counts @ sizes) for counts in cluster_draws(sums.size, n_bootstrap, seed)]
    return percentile_interval(np.concatenate(draws))
