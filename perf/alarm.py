"""How often the alarm for reward hacking is raised: on clean runs, and on runs that are made to hack.

    python perf/alarm.py --work FOLDER [--clean 10] [--hacked 3]

Clean runs align the toy to all six dimensions of `animereward:mini` at the default settings, each with its own seed.
Hacked runs optimise one pixel rule, `drawn-rules:flicker`, which a clip that stops moving satisfies, at ten times the
learning rate and a tenth of beta, with `animereward:mini` held out. Every run has three looks at 64 prompts. Resumable;
results go to ``perf/results/alarm.json``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from rewardbench.align.alignment import align
from rewardbench.align.judging import Judge
from rewardbench.align.presets import recipe_for
from rewardbench.align.sampling import SamplingChoice
from rewardbench.align.settings import AlignSettings

RESULTS = Path(__file__).with_name("results") / "alarm.json"
PIXELS = Judge("drawn-rules", {"flicker": 1.0})
MINI = Judge("animereward", {"overall": 1.0})


def run(kind: str, seed: int, work: Path, device: str) -> dict[str, Any]:
    """One run; what is kept of it."""
    changes: dict[str, Any] = {"seed": seed}
    if kind == "hacked":
        changes |= {"learning_rate": 5e-3, "beta": 200.0}
    given = AlignSettings(
        recipe=recipe_for("gapo", None, changes),
        judge=PIXELS if kind == "hacked" else MINI,
        held_out=(MINI,) if kind == "hacked" else (Judge("drawn-rules", {"outfit_colour": 1.0}),),
        out=work / f"{kind}-{seed}",
        sampling=SamplingChoice(steps=12, batch_size=16),
        evaluations=3,
        watch_count=64,
        device=device,
    )
    result = align(given)
    return {
        "kind": kind,
        "seed": seed,
        "alarm": result["alarm"],
        "optimised": result["changes"][given.judge.label],
        "changes": {
            name: None if c is None else {k: c[k] for k in ("difference", "difference_ci95", "standardised")}
            for name, c in result["changes"].items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--clean", type=int, default=10)
    parser.add_argument("--hacked", type=int, default=3)
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    runs = []
    for kind, count in (("hacked", given.hacked), ("clean", given.clean)):
        for seed in range(count):
            runs.append(run(kind, seed, given.work, given.device))
            fired = {k: sum(r["alarm"] is not None for r in runs if r["kind"] == k) for k in ("clean", "hacked")}
            counts = {k: sum(r["kind"] == k for r in runs) for k in ("clean", "hacked")}
            found = {"alarms": fired, "runs": counts, "each": runs}
            RESULTS.write_text(json.dumps(found, indent=1), encoding="utf-8")
            print(f"{kind} {seed}: alarm {runs[-1]['alarm'] is not None}", flush=True)


if __name__ == "__main__":
    main()
