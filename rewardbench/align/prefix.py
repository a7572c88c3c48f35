"""Blocks before the first adapted one are the same in policy and reference: they are computed once for both.

With LoRA in late blocks only (``lora_from`` of the recipe), nothing before them learns: what enters the first adapted
block is the same number for number in the reference's pass, the policy's, and the second pass of ``low_memory``. The
first of them records it, the others take it over. No gradient is lost: none goes through blocks that do not learn.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn


class SharedPrefix:
    """What the last frozen block put out in the first pass of a batch, given to the later passes in its place.

    In these, all blocks of the prefix answer with it: what an earlier one says is not used, as the last one answers the
    same whatever it is told. Blocks that answer are called all the same: what an engine has hooked to them runs.

    Args:
        length: number of blocks before the first that LoRA adapts; 0 shares nothing.
    """

    def __init__(self, length: int) -> None:
        self.length = length
        self._outputs: dict[int, Any] = {}
        self._open = False

    @contextlib.contextmanager
    def batch(self) -> Iterator[None]:
        """Passes of one batch; what they recorded is forgotten at the end. Outside of it nothing is shared."""
        self._open = True
        try:
            yield
        finally:
            self._open = False
            self._outputs.clear()

    @contextlib.contextmanager
    def shared(self, blocks: Sequence[nn.Module], part: int = 0) -> Iterator[None]:
        """One pass through a network.

        Args:
            blocks: all of the network's, in order. Of each pass its own: a copied reference has others.
            part: tells what goes through apart (a batch's sides); only passes of the same part share.
        """
        if not self.length or not self._open:
            yield
        elif part in self._outputs:
            with _answering(blocks[: self.length], self._outputs[part]):
                yield
        else:
            handle = blocks[self.length - 1].register_forward_hook(
                lambda module, inputs, output: self._outputs.__setitem__(part, output)
            )
            try:
                yield
            finally:
                handle.remove()


@contextlib.contextmanager
def _answering(blocks: Sequence[nn.Module], output: Any) -> Iterator[None]:
    """Blocks say ``output`` without computing. One that is wrapped (for checkpointing) has a ``forward`` of its own,
    which comes back."""
    own = [vars(block).get("forward") for block in blocks]
    for block in blocks:
        block.forward = lambda *arguments, **named: output
    try:
        yield
    finally:
        for block, forward in zip(blocks, own, strict=True):
            if forward is None:
                del block.forward
            else:
                block.forward = forward
