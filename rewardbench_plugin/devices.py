"""Precision and room on the device a model is loaded to."""

from __future__ import annotations

from typing import Any, Optional


def torch_dtype(dtype: Optional[str], device: str, preferred: str = "bfloat16") -> Any:
    """The torch dtype: as asked for, else ``preferred`` on a GPU and float32 on the CPU."""
    import torch

    return getattr(torch, dtype or ("float32" if device == "cpu" else preferred))


def require_memory(device: str, needed: int, what: str, advice: str) -> None:
    """Refuse before loading where a GPU has too little free memory; on the CPU nothing is checked.

    Args:
        needed: bytes, weights and activations.
        what: what is to be loaded.
        advice: what to do, e.g. which preset fits.

    Raises:
        ValueError: naming what is needed and what is free.
    """
    if not device.startswith("cuda"):
        return
    import torch

    free, _ = torch.cuda.mem_get_info(device)
    if free < needed:
        raise ValueError(
            f"{what} needs {needed / 2**30:.1f} GiB of GPU memory, {free / 2**30:.1f} GiB are free; {advice}"
        )
