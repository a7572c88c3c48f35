"""Intervals by the cluster bootstrap: whole prompts are drawn, because pairs of one prompt share clips and difficulty.

In the simulation of ``docs/metrics.md`` (60 prompts with 8 pairs each) a nominal 95 % interval covers about 80 % when
pairs are drawn and 94 % when prompts are. A draw is a vector of counts, how often each cluster was taken; every
statistic here is computed from the counts alone, in blocks of draws, so memory does not grow with their number.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from rewardbench.metrics.inputs import FloatArray, IntArray, SignArray
from rewardbench.metrics.ties import SortedMargins

_BLOCK_CELLS = 800_000
"""Counts held at a time (clusters x draws): 6 MB as the 64-bit draw, 3 MB as the 32-bit count."""


def cluster_draws(n_clusters: int, n_draws: int, seed: int) -> Iterator[IntArray]:
    """Counts of ``n_draws`` draws of ``n_clusters`` clusters with replacement, in blocks (draws in block, n_clusters).

    Draw k takes ``numpy.random.default_rng(seed).integers(n_clusters, size=(n_draws, n_clusters))[k]``; equal seeds
    and equal numbers of clusters give equal draws, so that two models on the same clips see the same ones.
    """
    rng = np.random.default_rng(seed)
    block = max(1, _BLOCK_CELLS // max(1, n_clusters))
    for start in range(0, n_draws, block):
        rows = min(block, n_draws - start)
        taken = rng.integers(n_clusters, size=(rows, n_clusters))
        taken += (np.arange(rows) * n_clusters)[:, None]
        yield np.bincount(taken.ravel(), minlength=rows * n_clusters).reshape(rows, n_clusters)


def sums_by_cluster(values: NDArray[np.generic], cluster: IntArray, n_clusters: int) -> FloatArray:
    """Sum (n_clusters,) of ``values`` (n,) over the pairs of each cluster."""
    return np.bincount(cluster, weights=values.astype(np.float64), minlength=n_clusters).astype(np.float64)


def percentile_interval(draws: FloatArray) -> tuple[float, float]:
    """The 2.5 and 97.5 percentiles of the draws (B,); draws that are NaN (nothing to divide by) are left out."""
    defined = draws[~np.isnan(draws)]
    if not defined.size:
        return float("nan"), float("nan")
    low, high = np.percentile(defined, [2.5, 97.5])
    return float(low), float(high)


def refitted_gains(gain: SignArray, pairs: SortedMargins, cluster: IntArray, counts: IntArray) -> IntArray:
    """The gain over threshold 0 (B,) at the best threshold of each draw, refitted on the draw's own pairs.

    Args:
        gain: (n,) what calling each pair a tie changes (`rewardbench.metrics.ties.gain_of_tie`).
        pairs: the n margins, sorted.
        cluster: (n,) cluster of each pair.
        counts: (B, n_clusters) draws.

    The path over thresholds is walked once for all draws side by side: each pair adds its cluster's counts to, or
    takes them from, a running vector of B totals. A maximum can only lie where gains turn into losses, so the running
    maximum is taken at those group ends alone.
    """
    order = pairs.order[gain[pairs.order] != 0]
    steps, clusters = gain[order], cluster[order]
    group = np.empty(gain.size, dtype=np.int64)
    group[pairs.order] = np.repeat(np.arange(pairs.ends.size), np.diff(pairs.ends, prepend=-1))
    at_peak = _peaks(steps, group[order])
    # 32-bit totals are twice as fast and always enough unless a draw could sum past them.
    small = int(counts.max(initial=0)) * gain.size < 2**31
    taken = list(np.ascontiguousarray(counts.T, dtype=np.int32 if small else np.int64))
    total = np.zeros(counts.shape[0], dtype=np.int32 if small else np.int64)
    best = total.copy()
    add, subtract, maximum = np.add, np.subtract, np.maximum
    for step, index, peak in zip(steps.tolist(), clusters.tolist(), at_peak.tolist(), strict=True):
        if step > 0:
            add(total, taken[index], out=total)
        else:
            subtract(total, taken[index], out=total)
        if peak:
            maximum(best, total, out=best)
    return best.astype(np.int64)


def _peaks(steps: SignArray, group: IntArray) -> NDArray[np.bool_]:
    """Steps (k,) after which a new maximum is possible: the end of a group with gains before a group with losses."""
    peaks = np.zeros(steps.size, dtype=np.bool_)
    if not steps.size:
        return peaks
    starts = np.flatnonzero(np.append(True, group[1:] != group[:-1]))
    has_gain = np.maximum.reduceat(steps, starts) > 0
    has_loss = np.minimum.reduceat(steps, starts) < 0
    ends = np.append(starts[1:], steps.size) - 1
    peaks[ends] = has_gain & np.append(has_loss[1:], True)
    return peaks
