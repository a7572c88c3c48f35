"""Reporters by name: views of a result that packages register with ``rewardbench_reporters``."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rewardbench.errors import InputError, PluginError, RewardbenchError
from rewardbench.registry import load_registry, nearest
from rewardbench.results import Result
from rewardbench_plugin.hooks import Manifest


def registered_reporters() -> dict[str, Manifest]:
    """Reporters of other packages, by name.

    Raises:
        PluginError: where two packages register one name.
    """
    found: dict[str, Manifest] = {}
    for offered in load_registry().manager.hook.rewardbench_reporters():
        for manifest in offered:
            other = found.setdefault(manifest.name, manifest)
            if other.target != manifest.target:
                raise PluginError(
                    f"two packages register the reporter {manifest.name!r}: {other.target} and {manifest.target}; "
                    "uninstall one of them"
                )
    return found


def find_reporter(name: str) -> Callable[[Result, Path], Any]:
    """The function ``render(result, folder)`` of a reporter.

    Raises:
        InputError: there is none of this name (with the nearest).
        PluginError: its code cannot be imported.
    """
    known = registered_reporters()
    if name not in known:
        hint = nearest(name, known) if known else "; no installed package registers any"
        raise InputError(f"unknown reporter {name!r}{hint}")
    module, _, attribute = known[name].target.partition(":")
    try:
        render: Callable[[Result, Path], Any] = getattr(importlib.import_module(module), attribute)
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise PluginError(f"reporter {name!r} cannot be loaded from {known[name].target}: {reason}") from error
    return render


def render_with(name: str, result: Result, folder: Path) -> None:
    """Have a reporter write its view of a result into a run's folder.

    Raises:
        InputError, PluginError: it is unknown, or it fails.
    """
    render = find_reporter(name)
    try:
        render(result, folder)
    except RewardbenchError:
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise PluginError(f"reporter {name!r} failed ({reason}); the result itself is complete") from error
