"""Make the weights of `mini` from nothing: draw, train the recognisers, draw clips with known faults, train the heads.

    python plugins/animereward/training/train_mini.py --work FOLDER [--out mini.safetensors]

Every stage keeps its results in the work folder and goes on where an interrupted run was. All draws are seeded. Only
the training side of the drawn world is used (``rewardbench.synth.splits``): its scene seeds, drawing styles,
degradations and encodings. A few CPU hours in all; the stages can be run by hand in several processes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
PLUGIN = HERE.parent / "src"
ROOT = HERE.parent.parent.parent
WEIGHTS = PLUGIN / "rewardbench_animereward" / "weights" / "mini.safetensors"


def stages(work: Path, out: Path, scale: float) -> list[list[str]]:
    """Command line of each stage, in order; ``scale`` shrinks the sets (1 made the shipped weights)."""

    def count(full: int) -> str:
        return str(max(1, round(full * scale)))

    attributes, recognisers, clips = work / "attributes", work / "recognisers", work / "clips"
    drawn = ["clips.py", "--out", str(clips), "--recognisers", str(recognisers)]
    heads = ["heads.py", "--clips", str(clips), "--recognisers", str(recognisers), "--out", str(out)]
    shards, scenes = count(24), str(250 if scale >= 0.1 else 10)
    return [
        ["attributes.py", "--out", str(attributes), "--shards", shards, "--scenes", scenes],
        ["recognisers.py", "--data", str(attributes), "--out", str(recognisers)],
        [*drawn, "--shards", count(28), "--scenes", "3"],
        [*drawn, "--shards", count(8), "--scenes", "3", "--first", "200"],
        [*drawn, "--shards", count(10), "--scenes", "10", "--first", "1000", "--treatments", "0"],
        [*drawn, "--shards", count(60), "--scenes", "5", "--treatments", "6", "--appeal-only"],
        [*heads, "--members", "4", "--steps", "1000"],
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of everything that is drawn and trained")
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="the weights file; the shipped one by default")
    parser.add_argument("--scale", type=float, default=1.0, help="size of the training sets, 1 for the shipped weights")
    options = parser.parse_args()
    env = dict(os.environ)
    env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), str(PLUGIN), str(HERE), env.get("PYTHONPATH", "")]))
    for command in stages(options.work, options.out, options.scale):
        print(" ".join(command), flush=True)
        subprocess.run([sys.executable, str(HERE / command[0]), *command[1:]], check=True, env=env)


if __name__ == "__main__":
    main()
