"""Rank correlation between ratings and scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from rewardbench.errors import InputError
from rewardbench.metrics.inputs import FloatArray, finite_or_nan


@dataclass(frozen=True)
class Correlation:
    """A coefficient in [-1, 1] over ``n`` items; ``n_dropped`` items had NaN on either side and were left out.

    ``value`` is NaN where it is undefined: fewer than two items left, or one side constant.
    """

    value: float
    n: int
    n_dropped: int


def kendall_tau(x: ArrayLike, y: ArrayLike, variant: Literal["b", "c"] = "b") -> Correlation:
    """Kendall's tau-b (Kendall 1945) or tau-c (Stuart 1953).

    tau-b corrects for ties on both sides; tau-c for the number of distinct values, which suits ratings on few levels.

    Args:
        x, y: (n,) numbers in any unit. Items with NaN on either side are left out and counted.
        variant: "b" or "c".

    Raises:
        InputError: infinite values, unequal lengths, or another variant.
    """
    if variant not in ("b", "c"):
        raise InputError(f'variant "{variant}" is unknown; Kendall\'s tau comes as "b" or "c".')
    kept_x, kept_y, n_dropped = _paired(x, y)
    if _constant(kept_x) or _constant(kept_y):
        return Correlation(float("nan"), kept_x.size, n_dropped)
    from scipy.stats import kendalltau

    return Correlation(float(kendalltau(kept_x, kept_y, variant=variant).statistic), kept_x.size, n_dropped)


def spearman(x: ArrayLike, y: ArrayLike) -> Correlation:
    """Spearman's rho, ties given their mean rank. Arguments, NaN and errors as `kendall_tau`."""
    kept_x, kept_y, n_dropped = _paired(x, y)
    if _constant(kept_x) or _constant(kept_y):
        return Correlation(float("nan"), kept_x.size, n_dropped)
    from scipy.stats import spearmanr

    return Correlation(float(spearmanr(kept_x, kept_y).statistic), kept_x.size, n_dropped)


def _paired(x: ArrayLike, y: ArrayLike) -> tuple[FloatArray, FloatArray, int]:
    a, b = finite_or_nan(x, "x"), finite_or_nan(y, "y")
    if a.size != b.size:
        raise InputError(f"x has {a.size} entries but y has {b.size}; give one of each per item.")
    kept = ~(np.isnan(a) | np.isnan(b))
    return a[kept], b[kept], int(a.size - kept.sum())


def _constant(values: FloatArray) -> bool:
    return values.size < 2 or bool((values == values[0]).all())
