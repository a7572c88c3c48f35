"""What the report of an alignment shows, from the files of its folder: changes in order, clips by a stated rule."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rewardbench.align.comparison import Change
from rewardbench.align.monitors import MOTION, MOTION_TRADED, AlarmRule
from rewardbench.align.record import SCHEMA
from rewardbench.errors import InputError
from rewardbench.schemas import schema_fault
from rewardbench.tables import read_table

N_FIRST, N_GAINS, N_LOSSES = 8, 8, 8
RULE = AlarmRule()
"""What runs go by; a change over fewer prompts than its ``fewest`` is not called a rise or a fall here either."""
_RANKS = ("", "2nd ", "3rd ", "4th ", "5th ", "6th ", "7th ", "8th ")


@dataclass(frozen=True)
class Row:
    """One ``judge:dimension`` of the table of changes.

    Attributes:
        name: ``judge:dimension``.
        role: ``optimised``, ``part`` (in the optimised reward), ``same`` (same model, not optimised by itself) or
            ``held-out``.
        note: the role in words.
        change: base against aligned; None where no prompt has both scores.
        decimals: that scores and differences of this row are rounded to.
    """

    name: str
    role: str
    note: str
    change: Change | None
    decimals: int

    def score(self, value: float | None) -> str:
        """A mean: ``0.5123``; ``–`` where undefined."""
        return fixed(value, self.decimals)

    def difference(self, value: float | None) -> str:
        """With its sign: ``+0.0511``."""
        return fixed(value, self.decimals, signed=True)

    @property
    def moved(self) -> str:
        """``up`` or ``down`` where the whole interval of the difference lies there, else (or if few) ``level``."""
        return "level" if self.change is None else _moved(*self.change.difference_ci95, self.change.n)

    @property
    def few(self) -> bool:
        """The change rests on fewer prompts than decide anything."""
        return self.change is not None and self.change.n < RULE.fewest


@dataclass(frozen=True)
class Look:
    """How one judge had moved at one look at the policy: a judge's row of :func:`monitors.watch_rows`.

    Attributes:
        step: optimiser steps done, counted through all rounds.
        role: ``optimised``, ``held_out`` or ``watched``.
        name: ``judge:dimension``.
        change, low, high: mean difference from base with its 1 - 2 alpha interval over prompts; NaN where undefined.
        standardised: the change in standard deviations of base between prompts; NaN where undefined or infinite.
        n, abstained: prompts compared, and prompts left out because one side has no score.
        decimals: that the change is rounded to.
    """

    step: int
    role: str
    name: str
    change: float
    low: float
    high: float
    standardised: float
    n: int
    abstained: int
    decimals: int

    def difference(self, value: float | None) -> str:
        """With its sign: ``+0.0511``."""
        return fixed(value, self.decimals, signed=True)

    @property
    def moved(self) -> str:
        """As :attr:`Row.moved`, by this look's interval."""
        return _moved(self.low, self.high, self.n)

    @property
    def few(self) -> bool:
        """The look has fewer prompts than decide anything."""
        return self.n < RULE.fewest

    @property
    def tells_motion(self) -> bool:
        """The dimension says how much moves, not how well."""
        return self.name.rpartition(":")[2].lower().replace(" ", "_") in MOTION


@dataclass(frozen=True)
class Take:
    """One evaluation prompt whose clips are shown.

    Attributes:
        prompt_id, prompt: what was asked for.
        image, base, aligned: files, None where there is none in the folder.
        base_reward, aligned_reward: the optimised reward of the two clips, None where unknown.
        tags: why it is shown beyond its place: ``largest gain``, ``2nd largest loss``, ….
    """

    prompt_id: str
    prompt: str
    image: Path | None
    base: Path | None
    aligned: Path | None
    base_reward: float | None
    aligned_reward: float | None
    tags: tuple[str, ...]

    @property
    def gain(self) -> float | None:
        if self.base_reward is None or self.aligned_reward is None:
            return None
        return self.aligned_reward - self.base_reward


def _moved(low: float, high: float, n: int) -> str:
    """Where an interval over so many prompts lies: ``up``, ``down``, or ``level``, which too few are as well."""
    if n < RULE.fewest:
        return "level"
    return "up" if low > 0 else "down" if high < 0 else "level"


def fixed(value: float | None, decimals: int, *, signed: bool = False) -> str:
    """A number with so many decimals and a true minus; ``–`` where undefined."""
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{value:+.{decimals}f}" if signed else f"{value:.{decimals}f}"
    if not any(digit in text for digit in "123456789"):
        text = text.lstrip("+-")  # what rounds to nothing has no sign
    return text.replace("-", "−")


def win_rate(value: float | None) -> str:
    """Three decimals: ``0.625``."""
    return fixed(value, 3)


def decimals_of(*values: float | None) -> int:
    """Four, or as many as give the largest of these numbers four significant digits where it is below 0.1."""
    known = [abs(v) for v in values if v is not None and math.isfinite(v) and v != 0]
    return max(4, 3 - math.floor(math.log10(max(known)))) if known else 4


def read_result(out: Path) -> dict[str, Any]:
    """``result.json`` of an alignment.

    Raises:
        InputError: it is missing, cannot be read, or is another tool's or version's.
    """
    path = out / "result.json"
    if not path.is_file():
        raise InputError(f"{out} holds no result.json; run the stage evaluate of rewardbench align first")
    try:
        result = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}; run the stage evaluate again") from None
    found = result.get("schema") if isinstance(result, dict) else None
    fault = schema_fault(found, SCHEMA, path, remedy="run the stage evaluate again")
    if fault is not None:
        raise InputError(f"{fault}; name the folder of a run of rewardbench align")
    known: dict[str, Any] = result
    return known


def read_mix(out: Path, optimised: str) -> dict[str, float]:
    """Weights of the optimised reward's dimensions, from ``align.json``; its one dimension where that is missing."""
    path = out / "align.json"
    try:
        mix = json.loads(path.read_text(encoding="utf-8"))["judge"]["mix"]
        return {str(d): float(w) for d, w in mix.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {optimised.rpartition(":")[2]: 1.0}


def change_rows(result: Mapping[str, Any], mix: Mapping[str, float]) -> list[Row]:
    """All changes: the optimised reward, the other dimensions of its judge, then the held-out judges."""
    changes, optimised = result["changes"], result["optimised"]
    plugin = optimised.rpartition(":")[0]
    own = [n for n in changes if n != optimised and n.rpartition(":")[0] == plugin]
    others = [n for n in changes if n != optimised and n not in own]
    total = sum(mix.values())
    rows = []
    for name in (optimised, *own, *others):
        dimension = name.rpartition(":")[2]
        if name == optimised:
            role, note = "optimised", "optimised"
        elif name in own and dimension in mix:
            role, note = "part", f"in the reward, weight {mix[dimension]:g} of {total:g}"
        elif name in own and plugin not in result["held_out"]:
            role, note = "same", "same model, not optimised by itself"
        else:
            role, note = "held-out", "held out"
        found = changes.get(name)
        change = None if found is None else Change(**found)
        rows.append(Row(name, role, note, change, decimals_of(change.base, change.aligned) if change else 4))
    return rows


# ---------------------------------------------------------------------- reward hacking


def looks_of(result: Mapping[str, Any]) -> list[Look]:
    """What the judges said at every look, by step; empty where the result does not say (files of older versions).

    Of several rows of one judge and step the last counts, as it does for the alarm.
    """
    rows = {(r["step"], r["name"]): r for r in result.get("watched") or () if r["role"] != "training"}
    decimals: dict[str, int] = {}
    for name in {name for _, name in rows}:
        whole = result["changes"].get(name if name != "optimised" else result["optimised"])
        known = [whole["base"], whole["aligned"]] if whole else [r["change"] for (_, n), r in rows.items() if n == name]
        decimals[name] = decimals_of(*known)
    return [
        Look(
            step=step,
            role=row["role"],
            name=result["optimised"] if row["role"] == "optimised" else name,
            **{key: _number(row[key]) for key in ("change", "low", "high", "standardised")},
            n=row["n"],
            abstained=row["abstained"],
            decimals=decimals[name],
        )
        for (step, name), row in sorted(rows.items(), key=lambda item: item[0][0])
    ]


def distances_of(result: Mapping[str, Any]) -> list[tuple[float, float]]:
    """(step, distance of the policy from its reference) at every look that has one; base's 0 is not among them."""
    found = {r["step"]: _number(r["value"]) for r in result.get("watched") or () if r["name"] == "latent_error"}
    return [(float(step), found[step]) for step in sorted(found)]


def findings_of(result: Mapping[str, Any], looks: Sequence[Look]) -> tuple[str, ...]:
    """The run's findings as sentences, alarm or not; with the numbers of the last look that shows them."""
    return tuple(_told(str(finding), looks) for finding in result.get("findings") or ())


def _told(finding: str, looks: Sequence[Look]) -> str:
    said = f"{finding[:1].upper()}{finding[1:]}".rstrip(".")
    risen = {k.step: k for k in looks if k.role == "optimised" and k.moved == "up"} if finding == MOTION_TRADED else {}
    # an infinite change is not in the file, so what is not known to be small is not left out
    falls = [
        k
        for k in looks
        if k.step in risen and k.tells_motion and k.moved == "down" and not k.standardised > -RULE.smallest_fall
    ]
    if not falls:
        return f"{said}."
    last = falls[-1].step
    fallen = " and ".join(f"{k.name} fell{_by(k)}" for k in falls if k.step == last)
    return f"{said}: at step {last} the optimised reward rose{_by(risen[last])}, while {fallen}."


def _by(look: Look) -> str:
    size = abs(look.standardised)
    return f" by {size:.2f} standard deviations" if math.isfinite(size) else ""


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


@dataclass(frozen=True)
class Watch:
    """What is known of reward hacking.

    Attributes:
        state: ``alarm``, ``calm`` (watched, no alarm), or ``blind`` (nothing could have raised one).
        sentence: which, and why.
        rule: when an alarm is raised, in words.
        findings: named patterns that the run shows, each as a sentence, whether or not there was an alarm.
    """

    state: str
    sentence: str
    rule: str
    findings: tuple[str, ...] = ()


def watch_of(out: Path, result: Mapping[str, Any]) -> Watch:
    """The alarm; or that there was none, by whom; or that the run was not able to raise one."""
    rule, findings = RULE, findings_of(result, looks_of(result))
    said = (
        f"An alarm is raised where, at {rule.in_a_row} looks at the policy running, the optimised reward rises and the "
        f"same held-out judge falls by at least {rule.smallest_fall:g} standard deviations of base, both by one-sided "
        f"paired t tests at level {rule.alpha:g} (falls with Holm's correction over held-out judges) over at least "
        f"{rule.fewest} prompts."
    )
    held_out = result["held_out"]
    if result["alarm"]:
        sentence = str(result["alarm"].get("sentence") or "An alarm was raised; result.json says which.")
        return Watch("alarm", sentence, said, findings)
    if not held_out:
        sentence = (
            "Reward hacking was not watched: no judge was held out, so a rise of the optimised reward alone does not "
            "tell better clips from clips that only please this judge."
        )
        return Watch("blind", sentence, "", findings)
    looks = [p for p in (out / "evaluate").glob("*.csv") if p.stem == "aligned" or re.fullmatch(r"step-\d+", p.stem)]
    changes = {name: c["n"] for name, c in result["changes"].items() if c is not None}
    most = {name: max((n for k, n in changes.items() if k.rpartition(":")[0] == name), default=0) for name in held_out}
    silent = [name for name, n in most.items() if n < rule.fewest]
    few = changes.get(result["optimised"], 0) < rule.fewest
    sentence = f"No alarm was raised. Held-out judges: {', '.join(held_out)}."
    if silent:
        sentence += f" Fewer than {rule.fewest} prompts have both scores of {', '.join(silent)}: too few to raise one."
    if few:
        sentence += f" Fewer than {rule.fewest} prompts have both optimised rewards: too few to raise one."
    if len(looks) < rule.in_a_row:
        number = "1 look" if len(looks) == 1 else f"{len(looks)} looks"
        sentence += f" The run has {number} at the policy, and an alarm takes {rule.in_a_row} running."
    blind = few or len(silent) == len(held_out) or len(looks) < rule.in_a_row
    return Watch("blind" if blind else "calm", sentence, said, findings)


# ---------------------------------------------------------------------- clips


def clip_rewards(out: Path, result: Mapping[str, Any], mix: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    """Optimised reward of base and aligned by clip id, for clips that both sides have; empty where it is not known.

    The tables hold raw scores and say not which way is better. That follows from the means in ``result.json``, which
    are of the same clips with their sign; rewards whose means are not those in ``result.json`` are not used at all.
    """
    tables = [out / "evaluate" / f"{side}-scores.csv" for side in ("base", "aligned")]
    if not all(path.is_file() for path in tables):
        return {}
    base, aligned = ({row["clip_id"]: row for row in read_table(path)[1]} for path in tables)
    plugin = result["optimised"].rpartition(":")[0]
    clips = [c for c in base if c in aligned]
    total = np.zeros((len(clips), 2))
    for dimension, weight in mix.items():
        found = result["changes"].get(f"{plugin}:{dimension}")
        if found is None or not clips or dimension not in base[clips[0]] or dimension not in aligned[clips[0]]:
            return {}
        scores = np.array([[float(side[c][dimension] or "nan") for side in (base, aligned)] for c in clips])
        total += weight * _direction(scores, (found["base"], found["aligned"])) * scores
    rewards = total / sum(mix.values())
    whole = rewards[~np.isnan(rewards).any(1)]
    change = result["changes"].get(result["optimised"])
    if change is None or len(whole) == 0:
        return {}
    if not np.allclose(whole.mean(0), (change["base"], change["aligned"]), rtol=1e-6, atol=1e-9):
        return {}
    return {c: (float(r[0]), float(r[1])) for c, r in zip(clips, rewards, strict=True) if not np.isnan(r).any()}


def _direction(scores: np.ndarray, means: tuple[float, float]) -> float:
    """+1 where the means of raw scores (n, 2) are ``means``, -1 where they are their negatives."""
    both = scores[~np.isnan(scores).any(1)]
    if len(both) == 0:
        return 1.0
    raw, said = both.mean(0), np.array(means)
    return 1.0 if np.abs(raw - said).sum() <= np.abs(raw + said).sum() else -1.0


def choose_takes(out: Path, result: Mapping[str, Any], rewards: Mapping[str, tuple[float, float]]) -> list[Take]:
    """The first 8 prompts in order, then the 8 largest gains and the 8 largest losses that are not among them.

    Largest are so of all prompts: one that is among the first 8 as well stands there, and says so.
    """
    clips = result["clips"]
    pairs = [rewards.get(Path(clip["base"]).stem) for clip in clips]
    gains = [math.nan if p is None else p[1] - p[0] for p in pairs]
    rising = sorted((i for i, g in enumerate(gains) if g > 0), key=lambda i: (-gains[i], i))[:N_GAINS]
    falling = sorted((i for i, g in enumerate(gains) if g < 0), key=lambda i: (gains[i], i))[:N_LOSSES]
    tags: dict[int, list[str]] = {}
    for what, chosen in (("gain", rising), ("loss", falling)):
        for rank, i in enumerate(chosen):
            tags.setdefault(i, []).append(f"{_RANKS[rank]}largest {what}")
    takes = []
    for i in dict.fromkeys([*range(min(N_FIRST, len(clips))), *rising, *falling]):
        clip, pair = clips[i], pairs[i]
        takes.append(
            Take(
                prompt_id=clip["prompt_id"],
                prompt=clip["prompt"],
                image=inside(out, clip["image"]),
                base=inside(out, clip["base"]),
                aligned=inside(out, clip["aligned"]),
                base_reward=None if pair is None else pair[0],
                aligned_reward=None if pair is None else pair[1],
                tags=tuple(tags.get(i, ())),
            )
        )
    return takes


def inside(out: Path, name: str | None) -> Path | None:
    """A file of the run's folder; None where it is not there, or not in there: a page must not carry foreign files."""
    if not name:
        return None
    path = (out / name).resolve()
    return path if path.is_relative_to(out.resolve()) and path.is_file() else None


# ---------------------------------------------------------------------- training


def points_of(training: Sequence[Sequence[Mapping[str, Any]]], steps: int, name: str) -> list[tuple[float, float]]:
    """(step, value) of one entry of the logs of all rounds, each of ``steps`` steps, counted through."""
    found = []
    for number, lines in enumerate(training):
        for line in lines:
            value = line.get("seconds", {}).get(name[8:]) if name.startswith("seconds/") else line.get(name)
            if isinstance(value, (int, float)):
                found.append((float(number * steps + line["step"]), float(value)))
    return found
