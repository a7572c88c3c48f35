"""Engines by name: the local one, and those that packages register with ``rewardbench_engines``."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Protocol, Self

from rewardbench.errors import InputError, PluginError
from rewardbench.registry import load_registry, nearest
from rewardbench.scoring.engine import Session
from rewardbench.scoring.plan import Work
from rewardbench_plugin.hooks import Manifest

LOCAL = "local"


class Engine(Protocol):
    """Runs work. Made as ``Engine(jobs, settings, progress, sink, interpreters)`` (see
    :class:`rewardbench.scoring.local.LocalEngine`) and used as a context manager: leaving it ends what it started.

    Attributes:
        decode_peak: largest resident memory of a decode process in bytes, 0 where unknown; set by :meth:`run`.
    """

    decode_peak: int

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def run(self, work: Iterable[Work]) -> list[Session]:
        """Do all of ``work``: each clip of each of its jobs ends once, in ``sink.scored`` or in ``sink.failed``.

        Answers are checked by :func:`rewardbench.scoring.batches.read_answer`. One session per job.
        """


def registered_engines() -> dict[str, Manifest]:
    """Engines of other packages, by name."""
    found: dict[str, Manifest] = {}
    for offered in load_registry().manager.hook.rewardbench_engines():
        for manifest in offered:
            other = found.setdefault(manifest.name, manifest)
            if manifest.name == LOCAL or other.target != manifest.target:
                raise PluginError(
                    f"the engine name {manifest.name!r} is taken: {manifest.target} needs another, or one of the two "
                    "packages has to go"
                )
    return found


def engine_class(name: str) -> Callable[..., Engine]:
    """What makes the engine of this name.

    Raises:
        InputError: there is none (with the nearest name).
        PluginError: its code cannot be imported.
    """
    if name == LOCAL:
        from rewardbench.scoring.local import LocalEngine

        return LocalEngine
    known = registered_engines()
    if name not in known:
        raise InputError(f"unknown engine {name!r}{nearest(name, [LOCAL, *known])}")
    module, _, attribute = known[name].target.partition(":")
    try:
        made: Callable[..., Engine] = getattr(importlib.import_module(module), attribute)
    except Exception as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise PluginError(f"engine {name!r} cannot be loaded from {known[name].target}: {reason}") from error
    return made
