"""What is known of a run while it learns: its judges' readings, and whether they say that the reward is hacked."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from safetensors import safe_open

from rewardbench.align.judging import Judge, JudgeFacts, facts_of, failures, read_scores, reward_of
from rewardbench.align.monitors import Alarm, AlarmRule, Paired, Reading, read_alarm
from rewardbench.align.samples import Sample, read_samples, table_of
from rewardbench.align.settings import AlignSettings
from rewardbench.align.training import read_log

ByPrompt = dict[str, float]


def look_steps(steps: int, looks: int) -> list[int]:
    """Steps of all rounds after which the policy is looked at: evenly spread, the last among them, and never more than
    there are steps."""
    count = min(looks, steps)
    return sorted({max(1, round(steps * (i + 1) / count)) for i in range(count)})


def judge_scores(
    samples: Sequence[Sample], judge: Judge, facts: JudgeFacts, scores: Mapping[str, Mapping[str, float]]
) -> dict[str, ByPrompt]:
    """The judge's reward and each of its dimensions (higher is better), as mean over a prompt's clips, by prompt."""
    found = {judge.label: reward_of(judge, facts, dict(scores))}  # type: ignore[arg-type]
    for dimension, sign in facts.dimensions.items():
        found[f"{judge.plugin}:{dimension}"] = {clip: sign * v for clip, v in scores[dimension].items()}
    return {name: _per_prompt(samples, values) for name, values in found.items()}


def _per_prompt(samples: Sequence[Sample], scores: Mapping[str, float]) -> ByPrompt:
    groups: dict[str, list[float]] = {}
    for s in samples:
        groups.setdefault(s.prompt.prompt_id, []).append(scores[s.clip_id])
    return {prompt: float(np.mean(values)) for prompt, values in groups.items()}


def readings(out: Path, settings: AlignSettings) -> list[Reading]:
    """One reading for every set of clips that the policy made, in the order of steps; each against base, by prompt."""
    folder = out / "evaluate"
    base = folder / "base"
    if not table_of(base).exists():
        return []
    looks = [(_step(p), p) for p in look_folders(out)]
    if table_of(folder / "aligned").exists():
        looks.append((settings.recipe.steps, folder / "aligned"))
    before = _scores(base, settings)
    held_out = {judge.plugin for judge in settings.held_out}
    found = []
    for step, look in sorted(looks):
        after = _scores(look, settings)
        prompts = list(after[settings.judge.label])
        paired: dict[str, Paired] = {
            name: (np.array([before[name][p] for p in prompts]), np.array([values[p] for p in prompts]))
            for name, values in after.items()
        }
        optimised = paired.pop(settings.judge.label)
        outside = {n: v for n, v in paired.items() if n.rpartition(":")[0] in held_out}
        inside = {n: v for n, v in paired.items() if n not in outside}
        found.append(Reading(step, optimised, outside, inside, {**_latest(out, step), **latent_error(base, look)}))
    return found


def look_folders(out: Path) -> list[Path]:
    """Clips of the looks while the policy learned, in the order of steps."""
    return sorted((p for p in (out / "evaluate").glob("step-*") if p.is_dir() and table_of(p).exists()), key=_step)


def round_folders(out: Path) -> list[Path]:
    """Of a run's rounds, in their order."""
    found = [(re.fullmatch(r"round-(\d+)", p.name), p) for p in out.glob("round-*") if p.is_dir()]
    return [p for _, p in sorted((int(name[1]), p) for name, p in found if name)]


def read_so_far(out: Path, settings: AlignSettings) -> Alarm | None:
    """The alarm that the readings so far raise, if any."""
    return read_alarm(readings(out, settings), AlarmRule())


def latent_error(base: Path, look: Path) -> dict[str, float]:
    """Distance of the policy from its reference: RMS difference of clips from the same noise, in latents."""
    before, after = ({s.clip_id: s for s in read_samples(folder)} for folder in (base, look))
    squares = []
    for clip_id, sample in after.items():
        other = before.get(clip_id)
        if other is None or other.latents is None or sample.latents is None:
            continue
        with safe_open(other.latents, framework="pt") as a, safe_open(sample.latents, framework="pt") as b:
            squares.append(float((a.get_tensor(clip_id) - b.get_tensor(clip_id)).square().mean()))
    return {"latent_error": float(np.sqrt(np.mean(squares)))} if squares else {}


def _latest(out: Path, step: int) -> dict[str, float]:
    """Numbers of the last line of the training log up to a step; steps of several rounds are counted on."""
    before, line = 0, {}
    for folder in round_folders(out):
        log = read_log(folder / "train")
        for entry in log:
            if before + entry["step"] <= step:
                line = entry
        before += log[-1]["step"] if log else 0
    names = {"accuracy": "implicit_accuracy", "margin": "margin", "clipped": "clip_fraction"}
    return {new: float(line[old]) for old, new in names.items() if line.get(old) is not None}


def _scores(folder: Path, settings: AlignSettings) -> dict[str, ByPrompt]:
    """Scores by ``judge:dimension`` and prompt."""
    samples = read_samples(folder)
    found: dict[str, ByPrompt] = {}
    for judge in (settings.judge, *settings.held_out):
        facts = facts_of(judge)
        scores = read_scores(samples, judge, scores_path(folder, judge, settings), dimensions=tuple(facts.dimensions))
        found.update(judge_scores(samples, judge, facts, scores))
    return found


def failed_clips(out: Path, settings: AlignSettings) -> list[dict[str, str]]:
    """Clips that a judge of the run failed on, in whatever stage: ``judge``, ``clips`` (the folder), ``clip_id`` and
    ``error``. They have no score, which is not the same as a judge that abstains."""
    asked = [(settings.judge, folder / "base", folder / "scores.csv") for folder in round_folders(out)]
    compared = [out / "evaluate" / "base", *look_folders(out), out / "evaluate" / "aligned"]
    for judge in (settings.judge, *settings.held_out):
        for folder in compared:
            asked.append((judge, folder, scores_path(folder, judge, settings)))
    return [
        {"judge": judge.plugin, "clips": folder.relative_to(out).as_posix(), "clip_id": clip_id, "error": error}
        for judge, folder, path in asked
        for clip_id, error in failures(path).items()
    ]


def failed_prompts(out: Path, settings: AlignSettings) -> dict[str, set[str]]:
    """Prompts of the comparison on which a judge failed on base's or the aligned clip, by the judge's plugin."""
    found: dict[str, set[str]] = {}
    for judge in (settings.judge, *settings.held_out):
        for side in ("base", "aligned"):
            folder = out / "evaluate" / side
            clips = failures(scores_path(folder, judge, settings))
            found.setdefault(judge.plugin, set()).update(
                s.prompt.prompt_id for s in (read_samples(folder) if clips else []) if s.clip_id in clips
            )
    return found


def scores_path(folder: Path, judge: Judge, settings: AlignSettings) -> Path:
    """Table of a judge's scores of a folder of clips; held-out judges can come and go between calls."""
    name = "scores" if judge is settings.judge else f"scores-{judge.key}"
    return folder.parent / f"{folder.name}-{name}.csv"


def _step(path: Path) -> int:
    found = re.fullmatch(r"step-(\d+)", path.name)
    return int(found[1]) if found else 0
