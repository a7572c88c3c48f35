"""Base against aligned generator: paired over prompts that neither was trained on, from the same noise."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

DRAWS = 2000
_NORMAL_975 = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class Change:
    """How one judge's dimension changed.

    Attributes:
        base, aligned: means over prompts that both have a score for.
        difference, difference_ci95: mean of the paired differences, with its 95 % percentile bootstrap over prompts.
        standardised: difference over the standard deviation of base between prompts; None where that is 0 or unknown.
        win_rate, win_rate_ci95: share of prompts where the aligned clips score higher, with its 95 % Wilson score
            interval (a bootstrap of none or all won has no width); equal ones count one half, for which it is wide.
        n: prompts compared; ``abstained``: prompts left out because the judge gave one side no score.
        failed: prompts left out because the judge failed on one side; not among those abstained.
    """

    base: float
    aligned: float
    difference: float
    difference_ci95: tuple[float, float]
    standardised: float | None
    win_rate: float
    win_rate_ci95: tuple[float, float]
    n: int
    abstained: int
    failed: int = 0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def compare(
    base: Mapping[str, float], aligned: Mapping[str, float], *, seed: int = 0, failed: Collection[str] = ()
) -> Change | None:
    """The change from base to aligned, by prompt; None where no prompt has both.

    Args:
        base, aligned: prompt id to score; NaN abstains.
        seed: of the bootstrap.
        failed: prompts on which the judge failed.
    """
    both = [(base[p], aligned[p]) for p in base if p in aligned]
    pairs = np.array([pair for pair in both if not np.isnan(pair).any()], dtype=np.float64).reshape(-1, 2)
    if len(pairs) == 0:
        return None
    unscored = [p for p in base if p in aligned and np.isnan(base[p] + aligned[p])]
    broken = sum(p in failed for p in unscored)
    gain = pairs[:, 1] - pairs[:, 0]
    won = np.where(gain > 0, 1.0, np.where(gain == 0, 0.5, 0.0))
    rng = np.random.default_rng(seed)
    drawn = rng.integers(len(pairs), size=(DRAWS, len(pairs)))
    spread = float(pairs[:, 0].std(ddof=1)) if len(pairs) > 1 else 0.0
    return Change(
        base=float(pairs[:, 0].mean()),
        aligned=float(pairs[:, 1].mean()),
        difference=float(gain.mean()),
        difference_ci95=_interval(gain[drawn].mean(1)),
        standardised=float(gain.mean()) / spread if spread > 0 else None,
        win_rate=float(won.mean()),
        win_rate_ci95=wilson_interval(float(won.mean()), len(won)),
        n=len(pairs),
        abstained=len(unscored) - broken,
        failed=broken,
    )


def wilson_interval(rate: float, n: int) -> tuple[float, float]:
    """95 % score interval of a proportion (Wilson, 1927).

    Args:
        rate: in [0, 1].
        n: trials, at least one.
    """
    z = _NORMAL_975
    middle = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    return (middle - half if rate > 0 else 0.0), (middle + half if rate < 1 else 1.0)  # exact where rounding is not


def _interval(draws: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(draws, [2.5, 97.5])
    return float(low), float(high)
