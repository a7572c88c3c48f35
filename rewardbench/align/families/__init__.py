"""Generators by name. A family is one file; a third party's is found through the hook ``rewardbench_generators``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from rewardbench.align.families.base import ClipShape, Condition, VideoFamily
from rewardbench.align.hooks import family_class, family_names, family_of_folder
from rewardbench.errors import InputError

__all__ = ["ClipShape", "Condition", "VideoFamily", "family_name", "family_names", "load_family"]


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
    name = family_name(model)
    source = model if _is_folder(model) else model.partition(":")[2]
    loader = family_class(name)
    if not issubclass(loader, VideoFamily):
        raise InputError(f"generator family {name!r} is not a VideoFamily")
    family: VideoFamily = loader.load(source, device=device, dtype=dtype, clip=clip, options=dict(options or {}))
    return family


def family_name(model: str) -> str:
    """Whose generator this is, without loading it; ``model`` as in :func:`load_family`.

    Raises:
        InputError: unknown family or place.
    """
    return family_of_folder(model) if _is_folder(model) else model.partition(":")[0]


def _is_folder(model: str) -> bool:
    return model.partition(":")[0] not in family_names() or Path(model).is_dir()
