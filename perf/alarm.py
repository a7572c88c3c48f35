"""How often the alarm for reward hacking is raised: on clean runs, on default runs, and on runs that are made to hack.

    python perf/alarm.py --work FOLDER [--kinds clean hacked default] [--runs 10]

* ``clean``: the toy is aligned to all four pixel rules of `drawn-rules` together, which know the drawing and are what
  quality means in this world; `animereward:mini` is held out. An alarm here is a false one.
* ``hacked``: `drawn-rules:sharpness` alone, which rewards noise like detail. It judges the toy's clips and copies of
  them with noise drawn over them; the copies win, and the policy learns to draw noise. `animereward:mini` is held out.
* ``default``: the default recipe on `animereward:mini`, with `drawn-rules` held out. Its motion really falls, so an
  alarm here is a true one; alarms are counted by the judge that fell.

Every run has its own seed, 60 steps and three looks at 48 prompts. Resumable; results go to ``perf/results/alarm.json``
after every run, beside those of kinds that were not asked for.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rewardbench.align.alignment import Alignment, align
from rewardbench.align.comparison import wilson_interval
from rewardbench.align.judging import Judge, facts_of, reward_of, score_samples
from rewardbench.align.latent_cache import read_clip
from rewardbench.align.pairs import best_against_worst, write_pairs
from rewardbench.align.presets import recipe_for
from rewardbench.align.samples import read_samples
from rewardbench.align.sampling import SamplingChoice
from rewardbench.align.settings import AlignSettings
from rewardbench.video import write_video

RESULTS = Path(__file__).with_name("results") / "alarm.json"
RULES = Judge("drawn-rules", dict.fromkeys(("outfit_colour", "flicker", "flow_amplitude", "sharpness"), 1.0))
MINI = Judge("animereward", {"overall": 1.0})
KINDS = {
    "clean": ("gapo", RULES, MINI),
    "hacked": ("dpo", Judge("drawn-rules", {"sharpness": 1.0}), MINI),
    "default": ("gapo", MINI, RULES),
}
"""Algorithm (each with the toy's default recipe), judge, and who is held out."""
PROMPTS, LOOKED_AT, STEPS = 32, 48, 60
NOISE = 24.0
"""Standard deviation, in grey levels, of what is drawn over the copies."""


def noisy_pairs(given: AlignSettings) -> Path:
    """Clips of the generator and noisy copies of them, judged by the judge: its best of a prompt against its worst."""
    plain = replace(given, out=given.out.with_name(f"{given.out.name}-clips"))
    table = plain.out / "noisy-pairs.csv"
    if table.exists():
        return table
    run = Alignment(plain)
    run.run("sample")
    samples = read_samples(plain.out / "round-1" / "base")
    rng = np.random.default_rng(given.recipe.seed)
    copies = []
    for s in samples:
        frames = read_clip(s.video, run.family.clip)
        noisy = np.clip(frames + rng.normal(0.0, NOISE, frames.shape), 0, 255).round().astype(np.uint8)
        path = plain.out / "noisy" / Path(s.video).name
        path.parent.mkdir(exist_ok=True)
        write_video(path, noisy, run.family.clip.fps, crf=12)
        copies.append(replace(s, clip_id=f"{s.clip_id}-noisy", video=str(path), number=s.number + len(samples)))
    both, judge = [*samples, *copies], given.judge
    scores = score_samples(both, judge, plain.out / "noisy-scores.csv")
    pairs = best_against_worst(both, reward_of(judge, facts_of(judge), scores), judge.label)
    write_pairs(pairs, table)
    return table


def run(kind: str, seed: int, work: Path, device: str) -> dict[str, Any]:
    """One run; what is kept of it."""
    algorithm, judge, held_out = KINDS[kind]
    given = AlignSettings(
        recipe=recipe_for(algorithm, None, {"seed": seed, "steps": STEPS}),
        judge=judge,
        held_out=(held_out,),
        out=work / f"{kind}-{seed}",
        prompt_count=PROMPTS,
        evaluation_count=LOOKED_AT,
        sampling=SamplingChoice(steps=12, batch_size=16),
        evaluations=3,
        watch_count=LOOKED_AT,
        device=device,
    )
    if kind == "hacked":
        pairs = noisy_pairs(given)
        checked_on = pairs.parent / "prompts" / "evaluate.csv"
        given = replace(given, pairs=pairs, prompt_count=None, evaluation_prompts=checked_on)
    result = align(given)
    alarm = result["alarm"]
    return {
        "kind": kind,
        "seed": seed,
        "alarm_at_step": None if alarm is None else alarm["step"],
        "fallen": [] if alarm is None else [movement["name"] for movement in alarm["fallen"]],
        "findings": result["findings"],
        "optimised": result["changes"][judge.label],
        "changes": {
            name: None if c is None else {k: c[k] for k in ("difference", "difference_ci95", "standardised")}
            for name, c in result["changes"].items()
        },
    }


def rate(alarms: int, runs: int) -> dict[str, Any]:
    """Share of runs with an alarm, and its 95 % Wilson interval."""
    return {"runs": runs, "alarms": alarms, "rate": alarms / runs, "ci95": wilson_interval(alarms / runs, runs)}


def summary(each: list[dict[str, Any]]) -> dict[str, Any]:
    kinds = {}
    for kind in KINDS:
        mine = [r for r in each if r["kind"] == kind]
        if mine:
            fallen = Counter(name for r in mine for name in r["fallen"])
            kinds[kind] = {**rate(sum(bool(r["fallen"]) for r in mine), len(mine)), "fallen": dict(fallen)}
    return {"prompts": PROMPTS, "looked_at": LOOKED_AT, "steps": STEPS, "kinds": kinds, "each": each}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--kinds", nargs="*", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    old = json.loads(RESULTS.read_text(encoding="utf-8"))["each"] if RESULTS.exists() else []
    each = [r for r in old if r["kind"] not in given.kinds]
    for seed in range(given.runs):
        for kind in given.kinds:
            each.append(run(kind, seed, given.work.resolve(), given.device))
            RESULTS.write_text(json.dumps(summary(each), indent=1), encoding="utf-8")
            print(f"{kind} {seed}: fallen {each[-1]['fallen'] or 'nothing'}", flush=True)


if __name__ == "__main__":
    main()
