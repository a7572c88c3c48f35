"""How long the command takes to answer: `rewardbench --help` and `rewardbench plugins list`, warm.

    python perf/startup.py

Each is started as a user starts it, the installed `rewardbench` of this environment in a process of its own, after
some unmeasured starts that fill the file cache. A bare interpreter and `import typer` are timed beside them in the
same rounds, so that the machine's own speed can be told from ours. The result goes to perf/results/startup.json.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from machine import machine, write_result  # the neighbouring script

ROUNDS = 21
UNMEASURED = 3
TARGET_S = 0.3


def main() -> None:
    installed = shutil.which("rewardbench", path=str(Path(sys.executable).parent))
    if installed is None:
        sys.exit("perf/startup.py: rewardbench is not installed beside this Python; run pip install . first")
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "import typer": [sys.executable, "-c", "import typer"],
        "rewardbench --help": [installed, "--help"],
        "rewardbench plugins list": [installed, "plugins", "list"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    with tempfile.TemporaryDirectory() as folder:  # an empty folder, so that nothing is imported from the checkout
        for number in range(UNMEASURED + ROUNDS):
            for name, command in commands.items():
                started = time.perf_counter()
                subprocess.run(command, cwd=folder, stdout=subprocess.DEVNULL, check=True)
                if number >= UNMEASURED:
                    seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(times) for name, times in seconds.items()}
    for name, median in medians.items():
        print(f"{name:<26}{median:>7.3f} s   best {min(seconds[name]):.3f} s")
    write_result(
        "startup",
        {
            "what": "wall time of one process, warm",
            "machine": machine(),
            "rounds": ROUNDS,
            "median_s": medians,
            "best_s": {name: min(times) for name, times in seconds.items()},
            "target_s": TARGET_S,
            "met": all(medians[name] <= TARGET_S for name in commands if name.startswith("rewardbench")),
        },
    )


if __name__ == "__main__":
    main()
