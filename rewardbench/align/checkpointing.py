"""Checkpointing of activations: whole blocks, clip by clip and part by part, or blocks whose attention is kept."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from types import MethodType
from typing import Any

import torch
from diffusers.models.attention import FeedForward
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


PARTS, TOKENS = 8, 256
"""Into how many parts ``full`` cuts the tokens that go through a feed-forward at most, and how many tokens a part is to
have at least: products of fewer rows would take longer."""


def apply(family: VideoFamily, mode: str) -> None:
    """Wrap every block of the family's network as ``mode`` says, whatever it was wrapped in before; ``none`` unwraps.

    ``full`` sends one clip after the other through a block: the activations that its recomputation brings back are then
    those of one clip, however many there are in the batch. Within a block it sends tokens through diffusers'
    feed-forwards in parts, as each token goes by itself: gradients that are several times as wide as a token then are
    there for one part only. It does so without gradients too, so that a reference (a copy of a wrapped network is
    wrapped) rounds as the policy does. Nothing is kept or recomputed without gradients.
    """
    ways = {"full": _forward_by_clips, "selective": _forward_keeping_attention}
    for block in family.blocks(family.transformer):
        _wrap(block, ways.get(mode))
        for module in block.modules():
            if type(module) is FeedForward:  # a class made of it may not leave each token to itself
                _wrap(module, _forward_by_tokens if mode == "full" else None)


def _wrap(module: nn.Module, way: Any) -> None:
    """Bound methods, not closures: a deep copy of a wrapped module asks itself and not the one it was copied from."""
    if way is None:
        if hasattr(module, "_plain_forward"):
            module.forward = module._plain_forward  # type: ignore[assignment]
        return
    if not hasattr(module, "_plain_forward"):
        module._plain_forward = module.forward  # type: ignore[assignment]
    module.forward = MethodType(way, module)


@contextlib.contextmanager
def lifted(family: VideoFamily) -> Iterator[None]:
    """The network as if it had never been wrapped: to sample, before training as after it, in the same arithmetic."""
    wrapped = [module for module in family.transformer.modules() if hasattr(module, "_plain_forward")]
    own = [vars(module)["forward"] for module in wrapped]
    for module in wrapped:
        module.forward = module._plain_forward
    try:
        yield
    finally:
        for module, forward in zip(wrapped, own, strict=True):
            module.forward = forward


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


def _forward_by_tokens(feed_forward: Any, hidden_states: Tensor, *arguments: Any, **named: Any) -> Any:
    parts = hidden_states.chunk(max(1, min(PARTS, hidden_states.shape[-2] // TOKENS)), dim=-2)
    found = [feed_forward._plain_forward(part, *arguments, **named) for part in parts]
    return torch.cat(found, dim=-2) if len(found) > 1 else found[0]


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
