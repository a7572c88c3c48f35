"""Blocks before the first adapted one are the same in policy and reference: they are computed once for both."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn


class SharedPrefix:
    """What the last frozen block put out in the reference's pass, given to the policy's pass in its place.

    All blocks of the prefix answer with it: what an earlier one says is not used, as the last one answers the same
    whatever it is told. Exact, as none of them has an adapter; the gradient ends there in any case.

    Args:
        length: number of blocks before the first that LoRA adapts; 0 shares nothing.
    """

    def __init__(self, length: int) -> None:
        self.length = length
        self._outputs: dict[int, Any] = {}

    @contextlib.contextmanager
    def recording(self, blocks: Sequence[nn.Module], part: int = 0) -> Iterator[None]:
        """Remember what the last block of the prefix puts out. ``part`` tells passes of one step apart (its sides)."""
        if not self.length:
            yield
            return

        def keep(module: nn.Module, inputs: Any, output: Any) -> None:
            self._outputs[part] = output

        handle = blocks[self.length - 1].register_forward_hook(keep)
        try:
            yield
        finally:
            handle.remove()

    @contextlib.contextmanager
    def reusing(self, blocks: Sequence[nn.Module], part: int = 0) -> Iterator[None]:
        """Blocks of the prefix answer what was recorded; where nothing was, they compute as ever."""
        if part not in self._outputs:
            yield
            return
        prefix = blocks[: self.length]
        own = [vars(block).get("forward") for block in prefix]

        def answer(*arguments: Any, **named: Any) -> Any:
            return self._outputs[part]

        for block in prefix:
            block.forward = answer
        try:
            yield
        finally:
            for block, forward in zip(prefix, own, strict=True):
                if forward is None:
                    del block.forward
                else:
                    block.forward = forward

    def forget(self) -> None:
        """Free what was recorded; a step ends."""
        self._outputs.clear()
