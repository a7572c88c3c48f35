"""What a reward model reacts to and what it should ignore, measured on clips that nobody labelled."""

from __future__ import annotations

import importlib
from typing import Any

_HOME = {
    "ProbeOptions": "settings",
    "ProbeOutcome": "probes",
    "ProbeRecord": "record",
    "clips_of_folder": "sources",
    "probe": "probes",
    "read_probe": "record",
}
__all__ = [*_HOME]  # noqa: PLE0604 (names are made of the table above)


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"rewardbench.probing.{_HOME[name]}"), name)
    raise AttributeError(f"module 'rewardbench.probing' has no attribute {name!r}")
