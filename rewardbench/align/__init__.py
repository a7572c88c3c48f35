"""From a reward plugin to a better video generator: losses, pairs, families, training, guidance, monitors.

Its modules are imported when they are first named, so that nothing heavy comes with the package.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any


def __getattr__(name: str) -> Any:
    if any(module.name == name for module in pkgutil.iter_modules(__path__)):
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
