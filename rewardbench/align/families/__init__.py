"""Generators by name. A family is one file; a third party's is found through the hook ``rewardbench_generators``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from rewardbench.align.families.base import ClipShape, Condition, VideoFamily
from rewardbench.align.hooks import family_class, family_names, family_of_folder
from rewardbench.errors import InputError

__all__ = ["ClipShape", "Condition", "VideoFamily", "family_names", "load_family"]


def load_family(
    model: str,
    *,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    clip: ClipShape | None = None,
    options: Mapping[str, str] | None = None,
) -> VideoFamily:
    """A generator by name or place.

    Args:
        model: ``FAMILY`` or ``FAMILY:SOURCE`` (``toy``, ``toy:v``, ``wan:Wan-AI/Wan2.1-T2V-1.3B-Diffusers``), or the
            folder of a diffusers pipeline, whose family its ``model_index.json`` tells.
        device, dtype, clip, options: see :meth:`VideoFamily.load`.

    Raises:
        InputError: unknown family or place, or a checkpoint that cannot be used.
    """
    name, _, source = model.partition(":")
    if name not in family_names() or Path(model).is_dir():
        name, source = family_of_folder(model), model
    loader = family_class(name)
    if not issubclass(loader, VideoFamily):
        raise InputError(f"generator family {name!r} is not a VideoFamily")
    family: VideoFamily = loader.load(source, device=device, dtype=dtype, clip=clip, options=dict(options or {}))
    return family
