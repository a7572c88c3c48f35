"""How often the alarm for reward hacking is raised: on clean runs, on default runs, and on runs that are made to hack.

    python perf/alarm.py --work FOLDER [--kinds clean hacked default] [--runs 10]

* ``clean``: the toy is aligned to all four pixel rules of `drawn-rules` together, which know the drawing and are what
  quality means in this world; `animereward:mini` is held out. An alarm here is a false one.
* ``hacked``: one rule alone, `drawn-rules:flow_amplitude`, which any jitter satisfies, at two and a half times the
  default learning rate; `animereward:mini` is held out.
* ``default``: the default recipe on `animereward:mini`, with `drawn-rules` held out. Its motion really falls, so an
  alarm here is a true one; alarms are counted by the judge that fell.

Every run has its own seed, 60 steps and three looks at 48 prompts. Resumable; results go to ``perf/results/alarm.json``
after every run.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

from rewardbench.align.alignment import align
from rewardbench.align.judging import Judge
from rewardbench.align.presets import recipe_for
from rewardbench.align.sampling import SamplingChoice
from rewardbench.align.settings import AlignSettings

RESULTS = Path(__file__).with_name("results") / "alarm.json"
RULES = Judge("drawn-rules", dict.fromkeys(("outfit_colour", "flicker", "flow_amplitude", "sharpness"), 1.0))
MINI = Judge("animereward", {"overall": 1.0})
KINDS: dict[str, tuple[Judge, Judge, dict[str, Any]]] = {
    "clean": (RULES, MINI, {}),
    "hacked": (Judge("drawn-rules", {"flow_amplitude": 1.0}), MINI, {"learning_rate": 5e-4}),
    "default": (MINI, RULES, {}),
}
PROMPTS, LOOKED_AT, STEPS = 32, 48, 60


def run(kind: str, seed: int, work: Path, device: str) -> dict[str, Any]:
    """One run; what is kept of it."""
    judge, held_out, changes = KINDS[kind]
    given = AlignSettings(
        recipe=recipe_for("gapo", None, {"seed": seed, "steps": STEPS, **changes}),
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
    z, p = 1.959964, alarms / runs
    middle, reach = p + z * z / (2 * runs), z * math.sqrt(p * (1 - p) / runs + z * z / (4 * runs * runs))
    low, high = ((middle + s * reach) / (1 + z * z / runs) for s in (-1, 1))
    return {"runs": runs, "alarms": alarms, "rate": p, "ci95": [max(0.0, low), min(1.0, high)]}


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
    each = []
    for seed in range(given.runs):
        for kind in given.kinds:
            each.append(run(kind, seed, given.work.resolve(), given.device))
            RESULTS.write_text(json.dumps(summary(each), indent=1), encoding="utf-8")
            print(f"{kind} {seed}: fallen {each[-1]['fallen'] or 'nothing'}", flush=True)


if __name__ == "__main__":
    main()
