"""The generator a run asks for: its device and dtype, and loading it anew."""

from __future__ import annotations

import torch

from rewardbench.align.families import VideoFamily, family_name, load_family
from rewardbench.align.settings import AlignSettings
from rewardbench.errors import InputError

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_generator(settings: AlignSettings) -> VideoFamily:
    """The generator that is asked for, as it was before it learned anything."""
    return load_family(
        settings.model,
        device=device_of(settings.device),
        dtype=dtype_of(settings),
        clip=settings.clip,
        options=settings.model_options,
    )


def device_of(name: str) -> str:
    """``auto`` is a GPU where there is one.

    Raises:
        InputError: there is no such device here.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        reason = str(error).splitlines()[0].rstrip(".")
        raise InputError(f"--device {name} cannot be used: {reason}; name cpu, or leave it out") from None
    return name


def dtype_of(settings: AlignSettings) -> torch.dtype:
    """Of the generator's frozen weights; ``auto`` is bfloat16 for real generators on a GPU.

    Raises:
        InputError: no such dtype.
    """
    name = settings.dtype
    if name == "auto":
        large = device_of(settings.device) == "cuda" and family_name(settings.model) != "toy"
        name = "bfloat16" if large else "float32"
    if name not in DTYPES:
        raise InputError(f"dtype {name!r} is not known; there are auto, {', '.join(DTYPES)}")
    return DTYPES[name]
