"""Errors of a reference that does not move, computed once: one file that knows what it was computed from."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from rewardbench.align.adapters import Reference
from rewardbench.align.disk import is_whole, partial_of, writing
from rewardbench.align.latent_cache import LatentCache
from rewardbench.align.pairs import PreferencePair
from rewardbench.align.processes import from_main, on_main
from rewardbench.align.recipe import Recipe

Visit = tuple[str, int]
"""(pair id, draw)."""

OF_ERRORS = (
    *("seed", "losers", "share_noise", "share_time", "condition_dropout", "reduction", "error_space", "loss_mask"),
    *("time_law", "time_low", "time_high", "time_mean", "time_std", "time_shift", "precision", "checkpointing"),
)
"""Settings that a reference's error depends on."""
FORWARDS = 16
"""Forwards of a process between two writes of the file: what a killed process loses at most."""


def identity_of(reference: Reference, recipe: Recipe, pairs: Sequence[PreferencePair], cache: LatentCache) -> str:
    """SHA-256 (hex) of what the errors depend on: the reference as it is now, settings, pairs and the cache's clips."""
    parts = {
        "reference": reference.digest(),
        "recipe": {name: getattr(recipe, name) for name in OF_ERRORS},
        "pairs": [[p.pair_id, p.win, list(p.lose), p.prompt.prompt_id] for p in pairs],
        "data": cache.identity,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def filled(
    path: Path,
    identity: str,
    visits: Sequence[Visit],
    ask: Callable[[Sequence[Visit]], list[Tensor]],
    *,
    size: int,
    process: Any,
) -> dict[Visit, Tensor]:
    """The errors of ``visits``: what the file lacks is asked for, shared out over the processes, and written.

    Every process makes as many forwards as every other, because a sharded network waits for all of them: one that has
    nothing to do asks again for what another asks for.

    Args:
        path: of the file; one of another identity, or that was cut short, is made anew.
        identity: see :func:`identity_of`.
        visits: different ones.
        ask: gives the errors of up to ``size`` visits, each (sides,), on the CPU.
        size: visits in a forward.
        process: accelerate's ``Accelerator``.
    """
    known = from_main(process, _read(path, identity) if process.is_main_process else {})
    missing = [v for v in visits if _key(v) not in known]
    rank, world = process.process_index, process.num_processes
    for start in range(0, len(missing), size * world * FORWARDS):
        ours = missing[start : start + size * world * FORWARDS]
        found: dict[str, Tensor] = {}
        for first in range(0, len(ours), size * world):
            part = ours[first + rank * size : first + (rank + 1) * size] or ours[:size]
            found |= dict(zip(map(_key, part), ask(part), strict=True))
        known |= _merged(found, world)
        on_main(process, lambda known=known: _write(path, identity, known))  # type: ignore[misc]
    return {v: known[_key(v)] for v in visits}


def _key(visit: Visit) -> str:
    return f"{visit[0]}#{visit[1]}"


def _merged(found: dict[str, Tensor], world: int) -> dict[str, Tensor]:
    """What all processes found; where two asked for the same, the first one's, in every process."""
    if world == 1:
        return found
    from accelerate.utils import gather_object

    every: dict[str, Tensor] = {}
    for part in reversed(gather_object([found])):
        every |= part
    return every


def _read(path: Path, identity: str) -> dict[str, Tensor]:
    if not is_whole(path):
        return {}
    with safe_open(path, framework="pt") as file:
        if (file.metadata() or {}).get("identity") != identity:
            return {}
        return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (it is no mapping)


def _write(path: Path, identity: str, known: dict[str, Tensor]) -> None:
    partial = partial_of(path)
    with writing(path):
        save_file(known, partial, metadata={"identity": identity})
        os.replace(partial, path)
