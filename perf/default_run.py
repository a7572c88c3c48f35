"""The default command from a cold cache, then again: ``rewardbench run --plugin animereward``.

    python perf/default_run.py

Cold means: no drawn benchmark in the cache and no stored score; installed packages and the system's file cache are as
they are. Both runs are whole processes timed from outside. The result goes to perf/results/default_run.json.
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

TARGETS = {"cold_s": 90.0, "second_s": 5.0}
WARM_RUNS = 5


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out"
        command = [sys.executable, "-m", "rewardbench.cli", "run", "--plugin", "animereward", "--out", str(out)]
        environment = {**os.environ, "REWARDBENCH_CACHE": str(Path(folder) / "cache")}
        times = []
        for _ in range(1 + WARM_RUNS):
            started = time.perf_counter()
            ended = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
            times.append(time.perf_counter() - started)
            if ended.returncode != 0:
                sys.exit(ended.stderr)
        result = json.loads((out / "result.json").read_text())
    second = sorted(times[1:])
    measured = {"cold_s": times[0], "second_s": second[len(second) // 2]}
    for name, limit in TARGETS.items():
        print(f"{name}: {measured[name]:.1f} s (target {limit:g} s: {'met' if measured[name] <= limit else 'MISSED'})")
    write_result(
        "default_run",
        {
            "what": "rewardbench run --plugin animereward, cold cache, then again (median of later runs)",
            "machine": machine(),
            "measured": measured,
            "second_runs_s": times[1:],
            "targets": TARGETS,
            "n_clips": result["benchmark"]["n_clips"],
            "n_pairs": result["benchmark"]["n_pairs"],
            "scoring": result["cost"],
        },
    )


if __name__ == "__main__":
    main()
