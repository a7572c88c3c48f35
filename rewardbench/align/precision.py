"""What a network's matrix products are computed in, by accelerate's names; one meaning in training and in sampling."""

from __future__ import annotations

import contextlib
from typing import Any

import torch

PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""What autocast computes in; ``no`` is none."""


def autocast(device: str, precision: str) -> Any:
    """A context that computes as a recipe's ``precision`` says.

    Args:
        device: type, ``cpu`` or ``cuda``.
        precision: ``no``, ``bf16`` or ``fp16``.
    """
    return torch.autocast(device, dtype=PRECISIONS[precision]) if precision in PRECISIONS else contextlib.nullcontext()
