"""Checkpointing of activations: whole blocks, or blocks whose attention outputs are kept."""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

from rewardbench.align.families.base import VideoFamily

KEPT = (
    torch.ops.aten._scaled_dot_product_flash_attention.default,
    torch.ops.aten._scaled_dot_product_efficient_attention.default,
    torch.ops.aten._scaled_dot_product_cudnn_attention.default,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default,
    torch.ops.aten._scaled_dot_product_attention_math.default,
)
"""What ``selective`` keeps: attention's output and log-sum-exp, the dearest to compute and small to keep."""


def _policy(context: Any, operation: Any, *arguments: Any, **named: Any) -> CheckpointPolicy:
    return CheckpointPolicy.MUST_SAVE if operation in KEPT else CheckpointPolicy.PREFER_RECOMPUTE


def apply(family: VideoFamily, mode: str) -> None:
    """Wrap every block of the family's network; ``none`` changes nothing. Wrapped once, a block stays wrapped.

    It acts only where gradients are computed, whether the network is in train mode or not.
    """
    if mode == "none":
        return
    for block in family.blocks(family.transformer):
        if not hasattr(block, "_plain_forward"):
            _wrap(block, mode)


def _wrap(block: nn.Module, mode: str) -> None:
    """Bound methods, not closures: a deep copy of a wrapped block asks itself and not the block it was copied from."""
    block._plain_forward = block.forward  # type: ignore[assignment]
    block.forward = MethodType(_forward if mode == "full" else _forward_keeping_attention, block)


def _forward(block: Any, *arguments: Any, **named: Any) -> Any:
    if not torch.is_grad_enabled():
        return block._plain_forward(*arguments, **named)
    return checkpoint(block._plain_forward, *arguments, use_reentrant=False, **named)


def _forward_keeping_attention(block: Any, *arguments: Any, **named: Any) -> Any:
    if not torch.is_grad_enabled():
        return block._plain_forward(*arguments, **named)
    return checkpoint(block._plain_forward, *arguments, use_reentrant=False, context_fn=_contexts, **named)


def _contexts() -> Any:
    return create_selective_checkpoint_contexts(_policy)
