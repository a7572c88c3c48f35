"""The order in which examples are visited: another one each epoch, the same in every process and after every stop."""

from __future__ import annotations

import torch

from rewardbench.align.sampling import seed_of


class VisitOrder:
    """Visits of ``count`` examples, epoch after epoch; each epoch is a permutation that follows from the seed alone.

    Args:
        count: of examples, at least one.
        seed: of the run.
        purpose: of the order; other purposes have other orders.
    """

    def __init__(self, count: int, seed: int, purpose: str) -> None:
        self._count, self._seed, self._purpose = count, seed, purpose
        self._of_epoch: tuple[int, list[int]] = (-1, [])

    def batch(self, step: int, size: int) -> list[tuple[int, int]]:
        """(epoch, place of the example) of a step's batch, in order; a batch may reach into the next epoch."""
        places = (divmod(position, self._count) for position in range(step * size, (step + 1) * size))
        return [(epoch, self._epoch(epoch)[place]) for epoch, place in places]

    def _epoch(self, epoch: int) -> list[int]:
        if self._of_epoch[0] != epoch:
            generator = torch.Generator().manual_seed(seed_of(self._seed, self._purpose, epoch))
            self._of_epoch = (epoch, torch.randperm(self._count, generator=generator).tolist())
        return self._of_epoch[1]
