"""The aesthetic head's file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rewardbench_plugin.checkpoints import read_tensors


def read_head(path: Path) -> tuple[Any, Any]:
    """Weight (E,) and bias (), float32, of a linear head: a file with exactly ``weight`` (1, E) and ``bias`` (1,).

    Raises:
        ValueError: where the file holds anything else.
    """
    state = read_tensors(path)
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    weight = shapes.get("weight", ())
    if set(shapes) != {"weight", "bias"} or shapes["bias"] != (1,) or len(weight) != 2 or weight[0] != 1:
        found = ", ".join(f"{name} {shape}" for name, shape in sorted(shapes.items())[:4])
        raise ValueError(f"{path} is not a linear aesthetic head with weight (1, E) and bias (1,): it holds {found}")
    return state["weight"][0].float(), state["bias"][0].float()
