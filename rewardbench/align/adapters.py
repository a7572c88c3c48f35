"""LoRA on a family's network, and who the policy is compared with."""

from __future__ import annotations

import contextlib
import copy
import hashlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rewardbench.align.engines import fill, prepare_copy, settle, whole
from rewardbench.align.families.base import VideoFamily
from rewardbench.align.lora_header import prediction_of, rank_and_alpha, settle_header
from rewardbench.align.precision import PRECISIONS
from rewardbench.align.recipe import Recipe
from rewardbench.errors import InputError

FILE = "pytorch_lora_weights.safetensors"
POLICY, REFERENCE = "default", "reference"
"""Names of the adapter that learns, and of the one that a ``frozen_adapter`` or ``ema`` reference is made of."""


def attach(family: VideoFamily, recipe: Recipe, start: Path | None = None) -> None:
    """Make the network trainable as the recipe says; parameters that learn are float32.

    Args:
        family: its ``transformer`` is changed in place.
        recipe: ``tuning``, ``lora_rank``, ``lora_alpha``, ``lora_from``, ``reference``, ``seed``.
        start: folder of a LoRA to start from, of the recipe's rank and alpha (:func:`strength_of`); a new one if None.
            A new LoRA changes nothing until it has learnt: its B is 0.

    Raises:
        InputError: the LoRA does not fit the network or the recipe, or ``lora_from`` lies behind its last block.
    """
    network = family.transformer
    if recipe.tuning == "full":
        if start is not None:
            raise InputError("a LoRA to start from needs tuning lora")
        network.requires_grad_(True)
        network.float()
        return
    from peft import LoraConfig

    network.requires_grad_(False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        if start is None:
            targets = adapted_layers(family, recipe.lora_from)
            config = LoraConfig(r=recipe.lora_rank, lora_alpha=recipe.lora_alpha, target_modules=targets)
            network.add_adapter(config, adapter_name=POLICY)
        else:
            load_adapter(family, start, POLICY)
            _check_strength(family, recipe, start)
            _check_prefix_is_free(family, recipe.lora_from, start)
        if recipe.reference in ("frozen_adapter", "ema") and recipe.compares:
            with warnings.catch_warnings():  # a second adapter is what is wanted
                warnings.filterwarnings("ignore", message="Already found a `peft_config` attribute in the model")
                network.add_adapter(copy.deepcopy(network.peft_config[POLICY]), adapter_name=REFERENCE)
            mine, theirs = adapter_parameters(network, POLICY), adapter_parameters(network, REFERENCE)
            with torch.no_grad():
                for name, parameter in theirs.items():
                    parameter.copy_(mine[name])
    activate(network, POLICY)
    for parameter in network.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def adapted_layers(family: VideoFamily, first: int) -> list[str]:
    """Names of the layers that a new LoRA adapts: the family's targets as they are, or from a block on each by its own
    name in the network.

    Raises:
        InputError: there is no such block.
    """
    if not first:
        return list(family.adapter_targets)
    late = _late_modules(family, first)
    return [
        name
        for name, module in family.transformer.named_modules()
        if id(module) in late and any(f".{name}".endswith(f".{target}") for target in family.adapter_targets)
    ]


def _late_modules(family: VideoFamily, first: int) -> set[int]:
    """Ids of what stands inside of blocks from ``first`` on."""
    blocks = family.blocks(family.transformer)
    if first >= len(blocks):
        raise InputError(
            f"lora_from {first} leaves no block for LoRA: this generator has {len(blocks)}, counted from 0"
        )
    return {id(module) for block in blocks[first:] for module in block.modules()}


def strength_of(start: Path) -> dict[str, int]:
    """``lora_rank`` and ``lora_alpha`` of a LoRA to start from, as a recipe has them.

    Raises:
        InputError: there is none, or its alpha is not a whole number, which a recipe cannot hold.
    """
    path = lora_file(start)
    rank, alpha = rank_and_alpha(path)
    if alpha != int(alpha):
        raise InputError(f"the LoRA {path} has alpha {alpha:g}; only whole numbers can be started from")
    return {"lora_rank": rank, "lora_alpha": int(alpha)}


def _check_strength(family: VideoFamily, recipe: Recipe, start: Path) -> None:
    """A record that said another rank or alpha than the adapter's would be wrong."""
    config = family.transformer.peft_config[POLICY]
    if (config.r, config.lora_alpha) != (recipe.lora_rank, recipe.lora_alpha):
        raise InputError(
            f"the LoRA {start} has rank {config.r} and alpha {config.lora_alpha:g}, and the recipe says lora_rank "
            f"{recipe.lora_rank} and lora_alpha {recipe.lora_alpha}; leave these two out of --set, or set the LoRA's"
        )


def _check_prefix_is_free(family: VideoFamily, first: int, start: Path) -> None:
    if not first:
        return
    late = _late_modules(family, first)
    for name, module in family.transformer.named_modules():
        if name.endswith(".lora_A") and id(module) not in late:
            place = name.removesuffix(".lora_A")
            raise InputError(f"the LoRA {start} adapts {place}, which comes before lora_from {first}; leave that out")


def load_adapter(family: VideoFamily, folder: Path, name: str) -> None:
    """Load a LoRA that diffusers' pipelines (or we) wrote, strictly.

    Raises:
        InputError: there is none, or its tensors do not fit this network.
    """
    from diffusers.utils import logging as diffusers_logging

    network = family.transformer
    path = lora_file(folder)
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt") as file:
            keys = list(file.keys())
    except Exception as error:
        raise InputError(f"{path} cannot be read as safetensors: {error}") from error
    mine, theirs = family.schedule.describe().get("prediction"), prediction_of(path)
    if theirs is not None and theirs != mine:
        raise InputError(
            f"the LoRA {path} does not fit this generator: it was trained on one that predicts {theirs}, and this one "
            f"predicts {mine}"
        )
    prefix = "transformer" if all(k.startswith("transformer.") for k in keys) else None
    level = diffusers_logging.get_verbosity()
    try:
        diffusers_logging.set_verbosity_error()
        network.load_lora_adapter(
            str(folder), prefix=prefix, adapter_name=name, weight_name=path.name, local_files_only=True
        )
    except (ValueError, RuntimeError, KeyError) as error:
        raise InputError(f"the LoRA {path} does not fit this generator: {str(error).splitlines()[0]}") from error
    finally:
        diffusers_logging.set_verbosity(level)
    loaded = len(adapter_parameters(network, name)) if name in getattr(network, "peft_config", {}) else 0
    wanted = sum(1 for k in keys if ".lora_" in k)
    if loaded != wanted:
        raise InputError(
            f"the LoRA {path} does not fit this generator: {wanted} tensors in the file, {loaded} places in the network"
        )


def save_adapter(family: VideoFamily, folder: Path) -> Path:
    """Write the active adapter as diffusers' pipelines load it; equal adapters give equal files.

    Returns:
        the file.
    """
    family.save_adapter(folder)
    path = lora_file(folder)
    settle_header(path, family.schedule.describe().get("prediction"))
    return path


def load_policy(family: VideoFamily, folder: Path) -> None:
    """Load a LoRA as the policy, in float32 as it is trained.

    Raises:
        InputError: see :func:`load_adapter`.
    """
    network = family.transformer
    load_adapter(family, folder, POLICY)
    activate(network, POLICY)
    for parameter in adapter_parameters(network, POLICY).values():
        parameter.data = parameter.data.float()


def lora_file(folder: Path) -> Path:
    """The file of a LoRA that diffusers' pipelines (or we) wrote.

    Raises:
        InputError: there is none.
    """
    path = folder / FILE
    if not path.is_file():
        raise InputError(f"{folder} has no {FILE} to start from")
    return path


def adapter_parameters(network: nn.Module, name: str) -> dict[str, nn.Parameter]:
    """Parameters of one adapter, by a name that is the same for every adapter."""
    mark = f".{name}."
    return {key.replace(mark, "."): p for key, p in network.named_parameters() if ".lora_" in key and mark in key}


def activate(network: nn.Module, name: str) -> None:
    """Compute with one adapter; only the policy's learns."""
    settle(network)
    network.set_adapter(name)  # type: ignore[operator]
    for key, parameter in network.named_parameters():
        if ".lora_" in key:
            parameter.requires_grad_(f".{POLICY}." in key)


def cast_once(network: nn.Module, precision: str) -> None:
    """Leave it to autocast to cast what LoRA reads.

    peft casts it to the float32 of LoRA's A first, and autocast casts that back: the same numbers, in another copy for
    each of an attention's projections, kept for the backward pass.

    Args:
        network: with LoRA attached, or none.
        precision: that it is computed in from now on, see :func:`rewardbench.align.precision.autocast`.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    for module in network.modules():
        if isinstance(module, BaseTunerLayer):
            module.cast_input_dtype_enabled = precision not in PRECISIONS


class Reference:
    """Who the policy is compared with; ``with reference.active(network) as other:`` gives it, without gradients."""

    def __init__(self, family: VideoFamily, recipe: Recipe) -> None:
        self.mode = recipe.reference
        self._decay, self._every = recipe.ema_decay, recipe.ema_every
        self._plain = family.transformer
        self._lora = recipe.tuning == "lora"
        self._copy: nn.Module | None = None
        if self.mode == "frozen_copy" or (self.mode == "ema" and not self._lora):
            self._copy = copy.deepcopy(family.transformer).eval().requires_grad_(False)

    def prepare(self, accelerator: Any, engine: str, recipe: Recipe) -> None:
        """What the engine does to the policy is done to a copy of it."""
        if self._copy is not None:
            prepare_copy(self._copy, accelerator, engine, recipe)

    def digest(self) -> str:
        """SHA-256 (hex) of the reference as it was made: of up to 1024 elements of each parameter, evenly spaced."""
        network = self._plain if self._copy is None else self._copy
        found = hashlib.sha256(self.mode.encode())
        for name, parameter in network.named_parameters():
            if ".lora_" in name and self._copy is None and not self._takes_part(name):
                continue
            flat = parameter.detach().flatten()
            some = flat[:: -(-len(flat) // 1024)].float().cpu()
            found.update(f"{name} {tuple(parameter.shape)}".encode() + some.numpy().tobytes())
        return found.hexdigest()

    def _takes_part(self, name: str) -> bool:
        return self.mode != "adapter_off" and f".{REFERENCE}." in name

    @contextlib.contextmanager
    def active(self, network: nn.Module) -> Iterator[nn.Module]:
        """The network to ask. ``network`` is the policy as it is asked (wrapped or not); it is as before afterwards."""
        with torch.no_grad():
            if self._copy is not None:
                yield self._copy
                return
            settle(self._plain)
            try:
                if self.mode == "adapter_off":
                    self._plain.disable_adapters()
                else:
                    self._plain.set_adapter(REFERENCE)
                yield self._plain
            finally:
                settle(self._plain)
                if self.mode == "adapter_off":
                    self._plain.enable_adapters()
                activate(self._plain, POLICY)

    def after_step(self, step: int) -> None:
        """The EMA reference moves: parameter by parameter, so under LoRA it is A and B that are averaged, not B·A."""
        if self.mode != "ema" or step % self._every:
            return
        with torch.no_grad():
            for mine, theirs in self._pairs():
                theirs.lerp_(mine.to(theirs.dtype), 1.0 - self._decay)

    def _pairs(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        settle(self._plain)
        if self._copy is not None:
            settle(self._copy)
            return list(zip(self._plain.parameters(), self._copy.parameters(), strict=True))
        theirs = adapter_parameters(self._plain, REFERENCE)
        return [(p, theirs[name]) for name, p in adapter_parameters(self._plain, POLICY).items()]

    def state(self, keep: bool = True) -> dict[str, torch.Tensor]:
        """What has moved since the start, whole: nothing but for ``ema``. Every process has to ask; one that does not
        ``keep`` gets nothing."""
        if self.mode != "ema":
            return {}
        found = {}
        for i, (_, theirs) in enumerate(self._pairs()):
            value = whole(theirs)
            if keep:
                found[str(i)] = value
        return found

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        if self.mode != "ema":
            return
        for i, (_, theirs) in enumerate(self._pairs()):
            fill(theirs, state[str(i)])
