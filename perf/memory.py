"""Resident memory of a run over 1,000 and over 10,000 clips: it must stay flat (within 10 %).

    python perf/memory.py [SMALL LARGE]

Tiny distinct clips (32 x 32, 4 frames) in pairs, scored with ``random``, which decodes a frame of each. The host's and
the workers' peaks are read from the operating system. The result goes to perf/results/memory.json.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from machine import machine, write_result  # the neighbouring script

from rewardbench.video import write_video

TARGET = 0.10
PROCESSES = ("host", "model", "decoder")
HOST = """
import json, sys
from rewardbench.cli import main
from rewardbench_plugin.worker import peak_memory
code = main(sys.argv[2:])
json.dump(peak_memory(), open(sys.argv[1], "w"))
sys.exit(code)
"""


def make_clips(folder: Path, n: int) -> Path:
    """``n`` distinct clips and the table of their n / 2 pairs (every pair has a prompt of its own)."""
    rng = np.random.default_rng(0)
    lines = ["pair_id,prompt,video_a,video_b,label_overall"]
    for number in range(n):
        frames = np.repeat(rng.integers(0, 256, (4, 4, 4, 3), dtype=np.uint8), 8, axis=1).repeat(8, axis=2)
        write_video(folder / f"{number:05d}.mp4", frames, 8.0)
        if number % 2:
            label = ("A", "B", "tie")[number // 2 % 3]
            lines.append(
                f"{number // 2},a tiny clip number {number // 2},{number - 1:05d}.mp4,{number:05d}.mp4,{label}"
            )
    table = folder / "pairs.csv"
    table.write_text("\n".join(lines) + "\n")
    return table


def measure(n: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        table = make_clips(Path(folder), n)
        peaks = Path(folder) / "peaks.json"
        words = ["run", "--plugin", "random", "--benchmark", str(table), "--out", str(Path(folder) / "out")]
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", HOST, str(peaks), *words], check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - started
        cost = json.loads((Path(folder) / "out" / "result.json").read_text())["cost"]
        workers = cost["plugins"]["random"]["peak_memory"]
        peak = {"host": json.loads(peaks.read_text())["resident"], "model": workers["resident"]}
        return {"n_clips": n, "seconds": seconds, **peak, "decoder": workers["decode_resident"]}


def main() -> None:
    sizes = [int(word) for word in sys.argv[1:]] or [1_000, 10_000]
    runs = [measure(n) for n in sizes]
    growth = {name: runs[-1][name] / runs[0][name] - 1 for name in PROCESSES}
    for run in runs:
        peaks = ", ".join(f"{name} {run[name] / 2**20:.0f} MiB" for name in PROCESSES)
        print(f"{run['n_clips']} clips: {peaks}, {run['seconds']:.0f} s")
    for name, value in growth.items():
        print(f"growth of {name}: {value:+.1%} (target at most {TARGET:.0%}: {'met' if value <= TARGET else 'MISSED'})")
    write_result("memory", {"machine": machine(), "runs": runs, "growth": growth, "target": TARGET})


if __name__ == "__main__":
    main()
