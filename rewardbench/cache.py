"""Where drawn benchmarks and unfinished work are kept between commands."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """``$REWARDBENCH_CACHE``, or ``~/.cache/rewardbench``."""
    named = os.environ.get("REWARDBENCH_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "rewardbench"
