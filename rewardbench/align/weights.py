"""What a run has learnt, as files: written for diffusers, read back by a later stage, taken over by a later round."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from rewardbench.align import adapters
from rewardbench.align.disk import is_complete
from rewardbench.align.engines import is_shared_out, saved_as, whole_state
from rewardbench.align.families import VideoFamily
from rewardbench.align.processes import from_main, on_main
from rewardbench.align.recipe import Recipe
from rewardbench.align.run_states import state_name, states
from rewardbench.errors import InputError


def write_weights(family: VideoFamily, recipe: Recipe, target: Path, process: Any) -> None:
    """Write the folder, once: a LoRA or a whole network, by one process; all gather what an engine has shared out.

    Args:
        family: trained.
        target: nothing is done where it is a folder already.
        process: accelerate's ``PartialState``.
    """
    partial = target.with_name(f".{target.name}.partial")
    if from_main(process, target.is_dir()):  # they are written at the end of training only
        return
    lora, network = recipe.tuning == "lora", family.transformer
    if lora:
        adapters.activate(network, adapters.POLICY)
    state = None
    if is_shared_out(network):
        state = whole_state(network, lambda key: ".lora_" in key or not lora, keep=process.is_main_process)

    def write() -> None:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        with saved_as(network, state):
            if lora:
                adapters.save_adapter(family, partial)
            else:
                family.save_full(partial / "transformer")
        os.replace(partial, target)

    on_main(process, write)


def load_weights(family: VideoFamily, recipe: Recipe, folder: Path) -> None:
    """The trained network, where this process did not just train it.

    Raises:
        InputError: they do not fit the generator.
    """
    network = family.transformer
    if recipe.tuning == "lora":
        if not getattr(network, "peft_config", None):
            adapters.load_policy(family, folder)
        return
    if is_shared_out(network):  # trained in this process, and written from it
        return
    network.float()
    files = sorted((folder / "transformer").glob("*.safetensors"))
    state = {name: tensor for path in files for name, tensor in load_file(path).items()}
    network.load_state_dict(state)


def is_trained(train: Path, steps: int) -> bool:
    """A round has ended: the state of its last step is there, whole."""
    found = states(train)
    return bool(found) and found[-1].name == state_name(steps) and is_complete(found[-1])


def adopt(family: VideoFamily, recipe: Recipe, train: Path, steps: int) -> None:
    """Go on from a finished round's last state.

    Raises:
        InputError: it has none.
    """
    if not is_trained(train, steps):
        raise InputError(f"{train} has no state of its last step; the round before is not finished")
    found = states(train)
    if recipe.tuning == "lora":
        mine = adapters.adapter_parameters(family.transformer, adapters.POLICY)
        with torch.no_grad():
            for name, tensor in load_file(found[-1] / "policy.safetensors").items():
                mine[name].copy_(tensor)
    else:
        family.transformer.load_state_dict(load_file(found[-1] / "model.safetensors"))
