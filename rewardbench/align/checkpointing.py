"""Checkpointing of activations: whole blocks, clip by clip, or blocks whose attention outputs are kept."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
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

    ``full`` sends one clip after the other through a block: the activations that its recomputation brings back are then
    those of one clip, however many there are in the batch. It does so without gradients too, so that a reference (a
    copy of a wrapped network is wrapped) rounds as the policy does. Nothing is kept or recomputed without gradients.
    """
    if mode == "none":
        return
    for block in family.blocks(family.transformer):
        if not hasattr(block, "_plain_forward"):
            _wrap(block, mode)


def _wrap(block: nn.Module, mode: str) -> None:
    """Bound methods, not closures: a deep copy of a wrapped block asks itself and not the block it was copied from."""
    block._plain_forward = block.forward  # type: ignore[assignment]
    block.forward = MethodType(_forward_by_clips if mode == "full" else _forward_keeping_attention, block)


@contextlib.contextmanager
def lifted(family: VideoFamily) -> Iterator[None]:
    """The network as if it had never been wrapped: to sample, before training as after it, in the same arithmetic."""
    wrapped = [block for block in family.blocks(family.transformer) if hasattr(block, "_plain_forward")]
    own = [vars(block)["forward"] for block in wrapped]
    for block in wrapped:
        block.forward = block._plain_forward  # type: ignore[assignment]
    try:
        yield
    finally:
        for block, forward in zip(wrapped, own, strict=True):
            block.forward = forward


def _forward_by_clips(block: Any, *arguments: Any, **named: Any) -> Any:
    clips = next(x for x in (*arguments, *named.values()) if isinstance(x, Tensor)).shape[0]
    found = [_forward(block, *_of_clip(arguments, n, clips), **_of_clip(named, n, clips)) for n in range(clips)]
    return _joined(found)


def _forward(block: Any, *arguments: Any, **named: Any) -> Any:
    if not torch.is_grad_enabled():
        return block._plain_forward(*arguments, **named)
    return checkpoint(block._plain_forward, *arguments, use_reentrant=False, **named)


def _of_clip(value: Any, n: int, clips: int) -> Any:
    """What a block is told of the ``n``-th clip: tensors with as many entries as there are clips have one for each,
    others (rotary angles, say) are everyone's."""
    if clips == 1:
        return value
    if isinstance(value, Tensor):
        return value[n : n + 1] if value.ndim and value.shape[0] == clips else value
    if isinstance(value, (tuple, list)):
        return type(value)(_of_clip(x, n, clips) for x in value)
    if isinstance(value, dict):
        return {name: _of_clip(x, n, clips) for name, x in value.items()}
    return value


def _joined(outputs: list[Any]) -> Any:
    """One block's output for all clips: a tensor, or a tuple of them."""
    first = outputs[0]
    if len(outputs) == 1 or first is None:
        return first
    if isinstance(first, Tensor):
        return torch.cat(outputs)
    return tuple(_joined(list(parts)) for parts in zip(*outputs, strict=True))


def _forward_keeping_attention(block: Any, *arguments: Any, **named: Any) -> Any:
    if not torch.is_grad_enabled():
        return block._plain_forward(*arguments, **named)
    return checkpoint(block._plain_forward, *arguments, use_reentrant=False, context_fn=_contexts, **named)


def _contexts() -> Any:
    return create_selective_checkpoint_contexts(_policy)
