"""From scores to answers: changes in units of the spread between clips, their intervals, tests and verdicts.

The clip is the unit everywhere: intervals draw clips with replacement, tests flip the signs of clips' changes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rewardbench.metrics import correlation, paired
from rewardbench.metrics.bootstrap import cluster_draws, percentile_interval
from rewardbench.probing.expectations import Expectation

Floats = NDArray[np.float64]
Verdict = Literal["as expected", "likely", "blind", "doubtful", "wrong way", "moves", "open"]

ALPHA = 0.05
MARGIN = 0.2
"""Standard deviations between clips that count as a change (Cohen 1988 calls this a small effect)."""
JUDGE_MARGIN = 0.1
"""The same for judges, in units of probability: a judge has no scores whose spread could be the unit."""
FEWEST_CLIPS = 5
"""With fewer clips an interval says nothing, so nothing is decided but by exact equality."""
LEAST_SHARE = 0.01
DRAWS = 2000
FLIPS = 20_000
"""Flips drawn with more clips than are enumerated (`rewardbench.metrics.paired.EXACT_CLUSTERS`)."""

RULE = (
    "A change is a clip’s score after the treatment minus that of its working copy, turned so that up is better, "
    "in {unit}. “Should fall” is as expected where the mean change is at most −{margin:g} and its sign-flip test "
    "is significant; blind where the whole 95 % interval of the mean lies within ±{margin:g} or no score changed "
    "at all; the wrong way where a rise is significant. “Should not move” is about the typical change, the mean "
    "of its size whichever way it goes, because changes up and down would hide each other: as expected where the "
    "whole interval of the typical change is at most {margin:g}, moves where it is significantly larger than "
    "{margin:g}. “Should move” is the same turned round: as expected where it is significantly larger, blind "
    "where the whole interval is not. Significant is p ≤ {alpha:g} after Holm’s correction over all cells that "
    "expect something and in which any score changed. Where the corrected test cannot tell, a cell is likely if "
    "its own 95 % interval lies wholly beyond the margin on the side that is expected, doubtful if it does so "
    "against what is expected, and open otherwise. With fewer than {fewest} clips only exact equality decides."
)


@dataclass(frozen=True)
class Change:
    """How scores of one dimension changed under one treatment and level.

    Attributes:
        n: clips compared; ``abstained``: clips left out because one of the two has no score.
        mean: oriented change, in the model's own units.
        effect, effect_ci95: the same in standard deviations between clips (of probability, for judges); NaN unknown.
        typical, typical_ci95: mean absolute change, likewise.
        largest: largest absolute change of a clip, own units.
        equal: clips whose score did not change at all.
        p_mean: two-sided, that changes are as likely up as down; 1 where no clip changed, NaN where n = 0.
        p_moved: one-sided, that the typical change is not above the margin.
    """

    n: int
    abstained: int
    mean: float
    effect: float
    effect_ci95: tuple[float, float]
    typical: float
    typical_ci95: tuple[float, float]
    largest: float
    equal: int
    p_mean: float
    p_moved: float

    def p_for(self, expectation: Expectation | None) -> float:
        """The p-value that answers what is expected."""
        return self.p_moved if expectation in ("still", "move") else self.p_mean


@dataclass(frozen=True)
class Response:
    """How one dimension answers to the dose of a degradation.

    Attributes:
        n: clips with a score at every dose.
        effects, effects_ci95: mean change at each dose (the first is 0), in standard deviations between clips.
        rho, rho_ci95: mean over clips of Spearman's correlation between dose and oriented score; a clip whose score
            is the same at every dose counts as 0. -1: every clip falls with every dose.
        falling: share of clips whose score never rises from one dose to the next, and ends lower than it began.
        flat: share of clips whose score is the same at every dose.
    """

    n: int
    effects: tuple[float, ...]
    effects_ci95: tuple[tuple[float, float], ...]
    rho: float
    rho_ci95: tuple[float, float]
    falling: float
    flat: float


def spread_between(scores: Floats) -> float:
    """Standard deviation (n - 1) of the clips' scores; 0 where fewer than two are known."""
    known = scores[~np.isnan(scores)]
    return float(known.std(ddof=1)) if len(known) > 1 else 0.0


def unit_of(spread: float, low: float, high: float, n: int) -> float:
    """What an effect is measured in: the spread between clips, but at least 1 % of the range the model declares.

    Clips that all score alike would otherwise make every tremor a large effect: on twelve clean drawn clips the spread
    of a score on [0, 1] can be 0.003. 0: unknown, because there is a single clip, or neither spread nor range.
    """
    if n < 2:
        return 0.0
    return max(spread, LEAST_SHARE * (high - low) if math.isfinite(high - low) else 0.0)


def change(before: Floats, after: Floats, *, sign: float, unit: float, margin: float, seed: int) -> Change:
    """Compare scores (n,) of the same clips; NaN abstains.

    Args:
        before, after: of the working copies, and of what a treatment made of them.
        sign: 1 where higher is better, else -1.
        unit: what an effect is measured in; 0: unknown, and effects are NaN unless nothing changed.
        margin: in units; what counts as a change.
        seed: of the bootstrap and, with many clips, of the tests.
    """
    both = ~(np.isnan(before) | np.isnan(after))
    gain = sign * (after - before)[both]
    n, nothing = len(gain), (math.nan, math.nan)
    if n == 0:
        return Change(0, len(before), math.nan, math.nan, nothing, math.nan, nothing, math.nan, 0, math.nan, math.nan)
    size, equal = np.abs(gain), int((gain == 0).sum())
    if equal == n:
        effect, bounds, typical, around = 0.0, (0.0, 0.0), 0.0, (0.0, 0.0)
    elif unit > 0:
        effect, bounds = float(gain.mean()) / unit, mean_interval(gain / unit, seed)
        typical, around = float(size.mean()) / unit, mean_interval(size / unit, seed)
    else:
        effect, bounds, typical, around = math.nan, nothing, math.nan, nothing
    return Change(
        n=n,
        abstained=len(before) - n,
        mean=float(gain.mean()),
        effect=effect,
        effect_ci95=bounds,
        typical=typical,
        typical_ci95=around,
        largest=float(size.max()),
        equal=equal,
        p_mean=sign_flip_p(gain, seed),
        p_moved=sign_flip_p(size - margin * unit, seed, one_sided=True) if equal < n else 1.0,
    )


def response(scores: Floats, doses: Sequence[float], *, sign: float, unit: float, seed: int) -> Response:
    """How scores (n, doses) answer to ascending doses, of which the first is 0; clips with a NaN are left out."""
    known = sign * scores[~np.isnan(scores).any(1)]
    n = len(known)
    if n == 0:
        nothing = (math.nan, math.nan)
        return Response(0, (math.nan,) * len(doses), (nothing,) * len(doses), math.nan, nothing, math.nan, math.nan)
    moved = known - known[:, :1]
    scale = unit if unit > 0 else math.nan
    effects = [float(column.mean()) / scale if column.any() else 0.0 for column in moved.T]
    bounds = [
        (0.0, 0.0) if not column.any() else tuple(b / scale for b in mean_interval(column, seed)) for column in moved.T
    ]
    rho = np.array([spearman(doses, row) for row in known])
    steps = np.diff(known, axis=1)
    falling = (steps <= 0).all(1) & (known[:, -1] < known[:, 0])
    flat = (steps == 0).all(1)
    return Response(
        n,
        tuple(effects),
        tuple((low, high) for low, high in bounds),
        float(rho.mean()),
        mean_interval(rho, seed),
        float(falling.mean()),
        float(flat.mean()),
    )


def spearman(doses: Sequence[float], scores: Floats) -> float:
    """Spearman's rank correlation, ties at their mean rank; 0 where all scores are equal."""
    rho = correlation.spearman(doses, scores).value
    return 0.0 if math.isnan(rho) else rho


def mean_interval(values: Floats, seed: int) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the mean of clips' values (n,); NaN with a single clip."""
    if len(values) < 2:
        return math.nan, math.nan
    if (values == values[0]).all():
        return float(values[0]), float(values[0])
    means = [counts @ values / len(values) for counts in cluster_draws(len(values), DRAWS, seed)]
    return percentile_interval(np.concatenate(means))


def sign_flip_p(gain: Floats, seed: int, *, one_sided: bool = False) -> float:
    """p-value that values (n,) are as likely up as down: `rewardbench.metrics.paired.sign_flip_p`, each clip a cluster.

    Args:
        gain: one value a clip.
        seed: of the flips drawn.
        one_sided: only against a mean above 0.
    """
    return paired.sign_flip_p(gain, n_permutations=FLIPS, seed=seed, one_sided=one_sided)[0]


def smallest_p(n: int) -> float:
    """The smallest p-value that :func:`sign_flip_p` can give for n clips."""
    return paired.smallest_p(n, FLIPS)


def verdict(expectation: Expectation | None, found: Change, p_holm: float, *, margin: float) -> Verdict | None:
    """The word that :data:`RULE` gives; None where nothing is expected or nothing could be compared.

    Args:
        expectation: what the dimension should do.
        found: what it did.
        p_holm: ``found.p_for(expectation)`` after Holm's correction.
        margin: in units of the effects.
    """
    if expectation is None or found.n == 0:
        return None
    if found.equal == found.n:
        return "as expected" if expectation == "still" else "blind"
    if found.n < FEWEST_CLIPS:
        return "open"
    significant = not math.isnan(p_holm) and p_holm <= ALPHA
    return (
        _on_fall(found, significant, margin)
        if expectation == "fall"
        else _on_size(expectation, found, significant, margin)
    )


def _on_fall(found: Change, significant: bool, margin: float) -> Verdict:
    if significant and found.mean > 0:
        return "wrong way"
    # Where all clips score alike there is no unit, and no change is too small to count.
    if significant and (math.isnan(found.effect) or found.effect <= -margin):
        return "as expected"
    low, high = found.effect_ci95
    if -margin <= low and high <= margin:
        return "blind"
    return "likely" if high < -margin else "doubtful" if low > margin else "open"


def _on_size(expectation: Expectation, found: Change, significant: bool, margin: float) -> Verdict:
    if significant:
        return "moves" if expectation == "still" else "as expected"
    low, high = found.typical_ci95
    if high <= margin:
        return "as expected" if expectation == "still" else "blind"
    if low > margin:
        return "doubtful" if expectation == "still" else "likely"
    return "open"
