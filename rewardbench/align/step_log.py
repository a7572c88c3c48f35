"""The training's log: one line a few steps, each the mean over the steps since the line before."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from rewardbench.align.run_states import LOG_FILE

if TYPE_CHECKING:
    from rewardbench.align.training import Trainer


class StepLog:
    """Sums over the steps since the last line; a state keeps them, so that a run that was stopped between two lines
    writes the lines of one that was not."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer, self._accelerator = trainer, trainer.accelerator
        self._sums: dict[str, float] = {}
        self._count = 0

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Scalars of one more step."""
        for name, value in values.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(value)
        self._count += 1

    def write(self, rate: float) -> None:
        """Append a line and begin anew.

        Args:
            rate: learning rate of the last step.
        """
        trainer, count = self._trainer, self._count
        reduced = {name: _finite(self._mean_of_processes(value / count)) for name, value in sorted(self._sums.items())}
        seconds = {name: round(value / count, 4) for name, value in trainer.phases.take().items()}
        self._sums, self._count = {}, 0
        total = sum(seconds.values())
        line: dict[str, Any] = {"step": trainer.step, **reduced, "seconds": seconds}
        if trainer.bound and total > 0:
            line["arithmetic_share"] = round(trainer.bound["seconds_per_step"] / total, 4)
        line["learning_rate"] = rate
        if self._accelerator.is_main_process:
            with open(trainer.folder / LOG_FILE, "a", encoding="utf-8") as stream:
                stream.write(json.dumps(line) + "\n")
        self._accelerator.wait_for_everyone()

    def state(self) -> dict[str, Any]:
        """What a state keeps: sums of every process in turn, alike in all; every process has to ask."""
        names = sorted(self._sums)
        mine = [self._sums[name] for name in names]
        ranks = [mine]
        if self._accelerator.num_processes > 1 and mine:
            device = self._accelerator.device
            ranks = self._accelerator.gather(torch.tensor([mine], dtype=torch.float64, device=device)).tolist()
        return {"names": names, "sums": ranks, "count": self._count, "seconds": self._trainer.phases.so_far()}

    def load(self, state: Mapping[str, Any] | None) -> None:
        """The other way round; None begins anew."""
        self._sums, self._count = {}, 0
        if state is None:
            return
        ranks, count = state["sums"], self._accelerator.num_processes
        if len(ranks) == count:
            mine = ranks[self._accelerator.process_index]
        else:  # another number of processes goes on: each with the mean, which is what is logged
            mine = [sum(values) / len(ranks) for values in zip(*ranks, strict=True)]
        self._sums, self._count = dict(zip(state["names"], mine, strict=True)), state["count"]
        self._trainer.phases.go_on(state["seconds"])

    def _mean_of_processes(self, value: float) -> float:
        return float(self._accelerator.reduce(torch.tensor(value, device=self._accelerator.device), "mean"))


def _finite(value: float) -> float | None:
    """JSON has no infinity: a mean over steps with an overflow is unknown."""
    return value if math.isfinite(value) else None
