"""One of several processes that draw `anime-probe`: ``python -m rewardbench.synth.probe_worker FOLDER VARIANT I N``."""

from __future__ import annotations

import sys
from pathlib import Path

from rewardbench.synth.plan import plan_clusters
from rewardbench.synth.probe import write_clips


def main(folder: str, variant: str, part: str, parts: str) -> None:
    """Draw every ``parts``-th cluster, beginning with number ``part``; prints one line per clip."""
    clusters = plan_clusters("" if variant == "default" else variant)[int(part) :: int(parts)]
    for name in write_clips(Path(folder), clusters):
        print(name, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
