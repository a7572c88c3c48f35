"""The default alignment from a cold cache: ``rewardbench align --algorithm gapo --plugin animereward``.

    python perf/default_align.py

Cold means: an empty cache; installed packages and the system's file cache are as they are. The run is a whole process
timed from outside. The result goes to perf/results/default_align.json.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import machine, write_result  # the neighbouring script

TARGET_S = 600.0


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        arguments = ["align", "--algorithm", "gapo", "--plugin", "animereward"]
        command = [sys.executable, "-m", "rewardbench.cli", *arguments, "--out", str(out)]
        environment = {**os.environ, "REWARDBENCH_CACHE": str(Path(folder) / "cache")}
        started = time.perf_counter()
        ended = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - started
        if ended.returncode != 0:
            sys.exit(ended.stderr)
        result = json.loads((out / "result.json").read_text(encoding="utf-8"))
    change = result["changes"][result["optimised"]]
    won = [round(v, 3) for v in (change["win_rate"], *change["win_rate_ci95"])]
    print(f"{seconds:.0f} s (target {TARGET_S:g} s: {'met' if seconds <= TARGET_S else 'MISSED'})")
    print(f"{result['optimised']}: {change['base']:.4f} -> {change['aligned']:.4f}, win rate {won[0]} {won[1:]}")
    write_result(
        "default_align",
        {
            "what": "rewardbench align --algorithm gapo --plugin animereward, cold cache",
            "machine": machine(),
            "seconds": round(seconds, 1),
            "target_s": TARGET_S,
            "steps": result["recipe"]["steps"],
            "prompts": result["prompts"],
            "changes": result["changes"],
            "phases": [line for line in ended.stderr.splitlines() if " in " in line and line.endswith("/s)")],
        },
    )


if __name__ == "__main__":
    main()
