"""Checkpointing of activations: whole blocks, clip by clip, or blocks whose attention outputs are kept."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
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
    """Wrap every block of the family's network as ``mode`` says, whatever it was wrapped in before; ``none`` unwraps.

    ``full`` sends one clip after the other through a block: the activations that its recomputation brings back are then
    those of one clip, however many there are in the batch. It does so without gradients too, so that a reference (a
    copy of a wrapped network is wrapped) rounds as the policy does. Nothing is kept or recomputed without gradients.
    """
    for block in family.blocks(family.transformer):
        if not hasattr(block, "_plain_forward"):
            if mode == "none":
                continue
            block._plain_forward = block.forward  # type: ignore[assignment]
        block.forward = _wrapped(block, mode)


def _wrapped(block: nn.Module, mode: str) -> Any:
    """Bound methods, not closures: a deep copy of a wrapped block asks itself and not the block it was copied from."""
    if mode == "none":
        return block._plain_forward
    return MethodType(_forward_by_clips if mode == "full" else _forward_keeping_attention, block)


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
    if clips == 1:
        return _forward(block, *arguments, **named)
    apart = [_by_clip(value, clips) for value in arguments]
    named_apart = {name: _by_clip(value, clips) for name, value in named.items()}
    found = [
        _forward(block, *(value[n] for value in apart), **{name: value[n] for name, value in named_apart.items()})
        for n in range(clips)
    ]
    return _joined(found)


def _forward(block: Any, *arguments: Any, **named: Any) -> Any:
    if not torch.is_grad_enabled():
        return block._plain_forward(*arguments, **named)
    return checkpoint(block._plain_forward, *arguments, use_reentrant=False, **named)


def _by_clip(value: Any, clips: int) -> list[Any]:
    """What a block is told of each clip; see :meth:`VideoFamily.blocks` for what its arguments may be."""
    if isinstance(value, Tensor) and value.ndim and value.shape[0] == clips:
        return list(value.split(1))
    if isinstance(value, (tuple, list)):
        parts = [_by_clip(x, clips) if not isinstance(x, Tensor) or x.ndim >= 3 else [x] * clips for x in value]
        return [type(value)(x) for x in zip(*parts, strict=True)] if parts else [value] * clips
    return [value] * clips


def _joined(outputs: Sequence[Any]) -> Any:
    """One block's output for all clips.

    Raises:
        TypeError: a block answers something else than tensors, or a tuple of them and None.
    """
    first = outputs[0]
    if first is None:
        return None
    if isinstance(first, Tensor):
        return torch.cat(list(outputs))
    if isinstance(first, tuple):
        return tuple(_joined(parts) for parts in zip(*outputs, strict=True))
    raise TypeError(f"checkpointing full cannot join what a block answers for each clip: {type(first).__name__}")


def _forward_keeping_attention(block: Any, *arguments: Any, **named: Any) -> Any:
    if not torch.is_grad_enabled():
        return block._plain_forward(*arguments, **named)
    return checkpoint(block._plain_forward, *arguments, use_reentrant=False, context_fn=_contexts, **named)


def _contexts() -> Any:
    return create_selective_checkpoint_contexts(_policy)
