"""A training's states and log on the disk: written all or nothing through accelerate, and read again."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rewardbench.align.adapters import POLICY, adapter_parameters
from rewardbench.align.engines import fill, settle, whole
from rewardbench.align.processes import on_main
from rewardbench.errors import InputError

if TYPE_CHECKING:
    from rewardbench.align.training import Trainer

KEPT_STATES = 2
LOG_FILE = "log.jsonl"
_POLICY_FILE = "policy.safetensors"
_POSITION_FILE = "custom_checkpoint_0.pkl"
"""accelerate's name for what :class:`_Position` is."""


def state_name(step: int) -> str:
    """Of a state's folder."""
    return f"step-{step:08d}"


class States:
    """States of a trainer: weights, optimiser, moved reference, step, and what is not logged yet.

    Under LoRA only the adapter's weights are written; FSDP2's states hold the whole network all the same.
    """

    def __init__(self, trainer: Trainer) -> None:
        self._trainer, self._accelerator = trainer, trainer.accelerator
        self._network = trainer.family.transformer
        self._moved: dict[str, Tensor] = {}
        self._unlogged: dict[str, Any] | None = None
        self._accelerator.register_for_checkpointing(_Position(self))
        self._lora = trainer.recipe.tuning == "lora"
        if self._lora:
            self._accelerator.register_save_state_pre_hook(self._save_adapter)
            self._accelerator.register_load_state_pre_hook(self._load_adapter)

    def save(self) -> Path:
        """Write a state to go on from; all or nothing. Older ones are removed."""
        trainer = self._trainer
        target = trainer.folder / "states" / state_name(trainer.step)
        partial = target.with_name(f".{target.name}.partial")

        def begin() -> None:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)

        def end() -> None:
            shutil.rmtree(target, ignore_errors=True)
            os.replace(partial, target)
            for old in states(trainer.folder)[:-KEPT_STATES]:
                shutil.rmtree(old)

        on_main(self._accelerator, begin)
        settle(self._network)
        if trainer.reference is not None:
            self._moved = trainer.reference.state(keep=self._accelerator.is_main_process)
        self._unlogged = trainer.log.state()
        more = {"exclude_frozen_parameters": True} if trainer.engine == "deepspeed" and self._lora else {}
        self._accelerator.save_state(str(partial), safe_serialization=True, **more)
        self._moved = {}
        self._accelerator.wait_for_everyone()
        on_main(self._accelerator, end)
        return target

    def resume(self) -> None:
        """Load the newest state, if there is one, and cut the log back to it."""
        trainer = self._trainer
        found = states(trainer.folder)
        trainer.log.load(None)
        if found:
            settle(self._network)
            more = {"load_module_strict": False} if trainer.engine == "deepspeed" and self._lora else {}
            self._accelerator.load_state(str(found[-1]), **more)
        on_main(self._accelerator, lambda: _cut_log(trainer.folder / LOG_FILE, trainer.step))

    def position(self) -> dict[str, Any]:
        """Step, moved reference and sums for the log, as accelerate saves them (the first process alone)."""
        return {"step": self._trainer.step, "reference": self._moved, "log": self._unlogged}

    def go_to(self, state: dict[str, Any]) -> None:
        """The other way round."""
        self._trainer.step = state["step"]
        self._trainer.log.load(state["log"])
        if self._trainer.reference is not None:
            self._trainer.reference.load_state(state["reference"])

    def _save_adapter(self, models: list[nn.Module], weights: list[dict[str, Tensor]], folder: str) -> None:
        mine = {k: whole(p) for k, p in adapter_parameters(self._network, POLICY).items()}
        if self._accelerator.is_main_process:
            save_file({k: p.contiguous() for k, p in mine.items()}, Path(folder) / _POLICY_FILE)
        while weights:
            weights.pop()

    def _load_adapter(self, models: list[nn.Module], folder: str) -> None:
        found = load_file(Path(folder) / _POLICY_FILE)
        mine = adapter_parameters(self._network, POLICY)
        if found.keys() != mine.keys():
            raise InputError(f"{folder} is the state of another network or LoRA; choose another --out")
        if self._trainer.engine != "deepspeed":  # which has loaded its own, with the float32 originals
            for name, parameter in mine.items():
                fill(parameter, found[name])
        while models:
            models.pop()


class _Position:
    """What accelerate asks for a custom state."""

    def __init__(self, of: States) -> None:
        self._of = of

    def state_dict(self) -> dict[str, Any]:
        return self._of.position()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._of.go_to(state)


def states(folder: Path) -> list[Path]:
    """Complete states of a training folder, oldest first."""
    return sorted((folder / "states").glob("step-*"))


def moved_reference(state: Path) -> dict[str, Tensor]:
    """The moving reference at a state, as :meth:`rewardbench.align.adapters.Reference.load_state` takes it."""
    found: dict[str, Tensor] = torch.load(state / _POSITION_FILE, map_location="cpu", weights_only=True)["reference"]
    return found


def read_log(folder: Path) -> list[dict[str, Any]]:
    """Lines of a training log."""
    path = folder / LOG_FILE
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _cut_log(path: Path, step: int) -> None:
    """Remove lines of steps that were not saved; they will be made again."""
    lines = [json.dumps(line) for line in read_log(path.parent) if line["step"] <= step]
    if path.exists():
        path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
