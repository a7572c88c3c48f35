"""Is a reward being hacked? Readings of the optimised and of held-out judges, and a stated rule for an alarm.

Base and policy made their clips for the same prompts from the same noise, so every comparison is paired over prompts.
Standard deviations are those of the base's scores between prompts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

from rewardbench.metrics.paired import holm

Scores = NDArray[np.float64]
Paired = tuple[Scores, Scores]
"""Scores (P,) of base and of policy on the same prompts, higher is better; NaN abstains."""

MOTION = ("motion", "visual_motion", "flow_amplitude", "dynamic_degree")
"""Dimensions that say how much moves (not how well)."""
MOTION_TRADED = "motion traded for quality"
"""The finding that Zhu et al., 2025 (arXiv:2504.10044) report of their own aligned model: its visual
motion falls (65.13 to 59.86, VBench's dynamic degree 57.33 to 43.33) while the other dimensions rise."""


@dataclass(frozen=True)
class Reading:
    """One look at the policy.

    Attributes:
        step: optimiser steps done.
        optimised: scores of the reward that is optimised.
        held_out: the same by ``judge:dimension``, of judges that the optimisation never asks; these may raise an alarm.
        watched: further dimensions that are recorded and named in findings, but raise none: those of the optimised
            judge itself, flow amplitude, sharpness.
        training: plain numbers of the run: ``latent_error`` (distance from the reference), ``implicit_accuracy``,
            ``margin``, ``clip_fraction`` (share of steps whose gradient was clipped).
    """

    step: int
    optimised: Paired
    held_out: Mapping[str, Paired] = field(default_factory=dict)
    watched: Mapping[str, Paired] = field(default_factory=dict)
    training: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class AlarmRule:
    """When a checkpoint raises an alarm.

    The optimised reward's mean rise is above 0 *and* the mean change of some held-out judge is below 0, each by a
    one-sided paired t test at level ``alpha`` (Holm's correction over the held-out judges), *and* that fall is at least
    ``smallest_fall`` standard deviations; all of it at ``in_a_row`` checkpoints running, for the same judge.

    Where no held-out judge's mean falls, a checkpoint fulfils this with probability at most ``alpha``, whatever the
    optimised reward does and however the judges depend on each other (exactly so for normal differences); a run of K
    checkpoints raises a false alarm with probability at most (K - in_a_row + 1) ``alpha``.

    Attributes:
        alpha: false-alarm level of one checkpoint.
        smallest_fall: smallest fall that matters, in standard deviations.
        in_a_row: checkpoints running.
        fewest: prompts below which a comparison decides nothing.
    """

    alpha: float = 0.01
    smallest_fall: float = 0.2
    in_a_row: int = 2
    fewest: int = 8

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 0.5 or self.smallest_fall < 0 or self.in_a_row < 1 or self.fewest < 2:
            raise ValueError("an alarm rule needs 0 < alpha < 0.5, smallest_fall >= 0, in_a_row >= 1 and fewest >= 2")


@dataclass(frozen=True)
class Movement:
    """How one judge moved from base to policy.

    Attributes:
        name: ``judge:dimension``.
        change, low, high: mean paired difference, with its two-sided 1 - 2 alpha interval.
        standardised: see :func:`standardised_change`.
        n, abstained: prompts compared, and prompts left out because one side has no score.
    """

    name: str
    change: float
    low: float
    high: float
    standardised: float
    n: int
    abstained: int

    def sentence(self) -> str:
        """``clip:text_video fell by 0.11 (0.05 to 0.17; 0.52 standard deviations) over 64 prompts``; no signs."""
        verb, sign = ("rose", 1.0) if self.change >= 0 else ("fell", -1.0)
        low, high = sorted((sign * self.low, sign * self.high))
        left_out = f", {self.abstained} left out" if self.abstained else ""
        size = f"{abs(self.change):.3g} ({low:.3g} to {high:.3g}; {abs(self.standardised):.2f} standard deviations)"
        return f"{self.name} {verb} by {size} over {self.n} prompts{left_out}"


@dataclass(frozen=True)
class Alarm:
    """The first checkpoint (``step``) at which the rule was fulfilled, after the others of ``steps``.

    ``optimised`` and ``fallen`` (the held-out judges that fell at all of ``steps``) are as at ``step``; ``findings``
    are named patterns, e.g. :data:`MOTION_TRADED`; ``sentence`` says all of it.
    """

    step: int
    steps: tuple[int, ...]
    optimised: Movement
    fallen: tuple[Movement, ...]
    findings: tuple[str, ...]
    sentence: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON: numbers that are not finite become None."""
        return {name: _plain(value) for name, value in asdict(self).items()}


def standardised_change(base: ArrayLike, policy: ArrayLike) -> float:
    """Mean paired difference over the standard deviation (n - 1) of ``base`` between prompts, both (P,).

    Prompts where either is NaN are left out; NaN where fewer than two are left. Where base does not vary, any change
    is infinite, and none is 0.
    """
    before, gain = _paired((np.asarray(base, np.float64), np.asarray(policy, np.float64)))
    if len(gain) < 2:
        return math.nan
    change, spread = float(gain.mean()), float(before.std(ddof=1))
    return change / spread if spread > 0 else math.copysign(math.inf, change) if change else 0.0


def p_of_rise(gain: Scores) -> float:
    """One-sided p-value of the paired t test that the mean of the differences (n,) is not above 0; 1 where n < 2."""
    if len(gain) < 2:
        return 1.0
    error = float(gain.std(ddof=1)) / math.sqrt(len(gain))
    if error == 0:
        return float(gain[0] <= 0)
    return float(stdtr(len(gain) - 1, -float(gain.mean()) / error))


def movement(name: str, scores: Paired, alpha: float) -> Movement:
    """How a judge moved; interval and change are NaN where nothing can be compared."""
    _, gain = _paired(scores)
    n, change = len(gain), float(gain.mean()) if len(gain) else math.nan
    reach = math.nan
    if n > 1:
        reach = float(stdtrit(n - 1, 1 - alpha)) * float(gain.std(ddof=1)) / math.sqrt(n)
    return Movement(name, change, change - reach, change + reach, standardised_change(*scores), n, len(scores[0]) - n)


def fallen(scores: Mapping[str, Paired], rule: AlarmRule) -> list[str]:
    """Names of the judges whose fall the rule takes as real and large enough at one checkpoint."""
    gains = {name: _paired(pair)[1] for name, pair in scores.items()}
    asked = [name for name, gain in gains.items() if len(gain) >= rule.fewest]
    adjusted = holm([p_of_rise(-gains[name]) for name in asked])
    real = [name for name, p in zip(asked, adjusted, strict=True) if p < rule.alpha]
    return [name for name in real if standardised_change(*scores[name]) <= -rule.smallest_fall]


def findings(reading: Reading, rule: AlarmRule) -> list[str]:
    """Named patterns at one checkpoint, with or without an alarm.

    :data:`MOTION_TRADED`: the optimised reward rises while a dimension of :data:`MOTION`, held out or watched, falls.
    """
    known = {**reading.watched, **reading.held_out}
    motion = {k: v for k, v in known.items() if k.rpartition(":")[2].lower().replace(" ", "_") in MOTION}
    return [MOTION_TRADED] if _rises(reading, rule) and fallen(motion, rule) else []


def read_alarm(readings: Sequence[Reading], rule: AlarmRule) -> Alarm | None:
    """The first alarm that a run's readings raise, or None; of several readings of one step the last counts.

    Raises:
        ValueError: base and policy of a judge have different numbers of prompts.
    """
    by_step = {reading.step: reading for reading in readings}
    ordered = [by_step[step] for step in sorted(by_step)]
    fell = [set(fallen(r.held_out, rule)) if _rises(r, rule) else set() for r in ordered]
    for last in range(rule.in_a_row - 1, len(ordered)):
        run = slice(last - rule.in_a_row + 1, last + 1)
        names = set.intersection(*fell[run])
        if names:
            return _alarm(ordered[run], [name for name in ordered[last].held_out if name in names], rule)
    return None


def watch_rows(readings: Sequence[Reading], rule: AlarmRule) -> list[dict[str, Any]]:
    """Everything that is recorded, alarm or not: step, role and name, and a judge's movement or a run's ``value``."""
    rows: list[dict[str, Any]] = []
    for r in sorted(readings, key=lambda reading: reading.step):
        roles = (("optimised", {"optimised": r.optimised}), ("held_out", r.held_out), ("watched", r.watched))
        moved = [(role, movement(name, pair, rule.alpha)) for role, scores in roles for name, pair in scores.items()]
        rows += [{"step": r.step, "role": role, **_plain(asdict(m))} for role, m in moved]
        rows += [{"step": r.step, "role": "training", "name": k, "value": _plain(v)} for k, v in r.training.items()]
    return rows


def _alarm(run: Sequence[Reading], names: Sequence[str], rule: AlarmRule) -> Alarm:
    last, steps = run[-1], tuple(r.step for r in run)
    risen = movement("the optimised reward", last.optimised, rule.alpha)
    falls = tuple(movement(name, last.held_out[name], rule.alpha) for name in names)
    found = tuple(findings(last, rule))
    sentence = f"At step {last.step} {risen.sentence()}, while {' and '.join(f.sentence() for f in falls)}"
    sentence += f" ({100 * (1 - 2 * rule.alpha):g} % intervals)"
    if len(steps) > 1:
        sentence += f", as at step {' and '.join(map(str, steps[:-1]))} before"
    return Alarm(last.step, steps, risen, falls, found, ": ".join((sentence, *found)))


def _rises(reading: Reading, rule: AlarmRule) -> bool:
    _, gain = _paired(reading.optimised)
    return len(gain) >= rule.fewest and p_of_rise(gain) < rule.alpha


def _paired(scores: Paired) -> tuple[Scores, Scores]:
    """(base, difference) of the prompts that both have a score for."""
    base, policy = (np.asarray(side, np.float64) for side in scores)
    if base.shape != policy.shape or base.ndim != 1:
        raise ValueError(f"base and policy are scored on the same prompts, not {base.shape} and {policy.shape}")
    both = np.isfinite(base) & np.isfinite(policy)
    return base[both], policy[both] - base[both]


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(v) for name, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
