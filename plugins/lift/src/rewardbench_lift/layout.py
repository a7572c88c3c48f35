"""The published layout: a VILA-1.5 folder, and a LoRA folder on top of it. Read and written without loss.

Base: ``config.json``; ``llm/``, ``vision_tower/`` and ``mm_projector/`` with ``config.json`` and safetensors each.
LoRA: ``adapter_config.json``, ``adapter_model.safetensors|.bin`` (``base_model.model.<module>.lora_A.weight`` and
``lora_B``) and ``non_lora_trainables.bin`` (``base_model.model.<name>``). Inside this module every tensor has its name
in the whole model: ``llm.…``, ``vision_tower.vision_tower.…``, ``mm_projector.…``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardbench_plugin.checkpoints import read_tensors

PARTS = {"llm": "llm.", "vision_tower": "vision_tower.vision_tower.", "mm_projector": "mm_projector."}
ADAPTER = "base_model.model."
NON_LORA = "non_lora_trainables.bin"
_DERIVED = (".rotary_emb.inv_freq", ".embeddings.position_ids")
"""Buffers that older versions wrote and that follow from the configuration."""
_UNSUPPORTED = ("use_dora", "fan_in_fan_out", "modules_to_save", "rank_pattern", "alpha_pattern", "layer_replication")


@dataclass(frozen=True)
class LoraSettings:
    """What ``adapter_config.json`` says: rank, scale of the product B·A, and which modules have one."""

    rank: int
    scale: float
    targets: tuple[str, ...]


def read_base(folder: Path) -> dict[str, Any]:
    """Every tensor of a VILA folder by its name in the whole model.

    Raises:
        ValueError: where a part is missing or incomplete.
    """
    state: dict[str, Any] = {}
    for part, prefix in PARTS.items():
        for name, tensor in read_tensors(folder / part).items():
            if not name.endswith(_DERIVED):
                state[prefix + name] = tensor
    return state


def read_settings(folder: Path) -> LoraSettings:
    """The adapter's settings.

    Raises:
        ValueError: where there are none, or they ask for something that is not plain LoRA.
    """
    config = read_json(folder / "adapter_config.json")
    if config.get("peft_type") != "LORA":
        raise ValueError(f"{folder / 'adapter_config.json'} is of type {config.get('peft_type')!r}, not 'LORA'")
    for name in _UNSUPPORTED:
        if config.get(name):
            raise ValueError(f"{folder / 'adapter_config.json'} sets {name}, which this plugin does not merge")
    if config.get("bias", "none") != "none":
        raise ValueError(f"{folder / 'adapter_config.json'} trains biases, which this plugin does not merge")
    targets = config.get("target_modules")
    if not isinstance(targets, list) or not targets:
        raise ValueError(f"{folder / 'adapter_config.json'} has no list of target_modules")
    rank, alpha = int(config["r"]), float(config["lora_alpha"])
    scale = alpha / (rank**0.5 if config.get("use_rslora") else rank)
    return LoraSettings(rank, scale, tuple(str(target) for target in targets))


def apply_adapter(folder: Path, state: dict[str, Any]) -> None:
    """Put a LoRA folder's tensors into ``state``: the trained ones replace theirs, the products B·A are added.

    Products are summed up in float32 and rounded once to the weight's own type.

    Raises:
        ValueError: listing tensors that fit nothing, products of which a half is missing, or targets without one.
    """
    settings = read_settings(folder)
    _replace(folder / NON_LORA, state)
    path = _adapter_file(folder)
    halves: dict[str, dict[str, Any]] = {}
    unexpected = []
    for name, tensor in read_tensors(path).items():
        module, _, half = name.removesuffix(".weight").rpartition(".")
        module = module.removeprefix(ADAPTER)
        if not name.startswith(ADAPTER) or half not in ("lora_A", "lora_B") or f"{module}.weight" not in state:
            unexpected.append(name)
        elif _targeted(module, settings.targets):
            halves.setdefault(module, {})[half] = tensor
        else:
            unexpected.append(name)
    missing = [
        f"{module}.{half}" for module, found in halves.items() for half in ("lora_A", "lora_B") if half not in found
    ]
    missing += [
        f"{name.removesuffix('.weight')}.lora_A"
        for name in state
        if name.endswith(".weight")
        and _targeted(name.removesuffix(".weight"), settings.targets)
        and name.removesuffix(".weight") not in halves
    ]
    _refuse(path, missing, unexpected)
    for module, found in halves.items():
        _merge(path, module, found["lora_A"], found["lora_B"], settings, state)


def _merge(path: Path, module: str, a: Any, b: Any, settings: LoraSettings, state: dict[str, Any]) -> None:
    import torch

    weight = state[f"{module}.weight"]
    if a.shape != (settings.rank, weight.shape[1]) or b.shape != (weight.shape[0], settings.rank):
        raise ValueError(
            f"{path}: {module} has halves of shape {tuple(a.shape)} and {tuple(b.shape)}, which do not make rank "
            f"{settings.rank} of {tuple(weight.shape)}"
        )
    product = b.to(torch.float32) @ a.to(torch.float32)
    state[f"{module}.weight"] = (weight.to(torch.float32) + settings.scale * product).to(weight.dtype)


def _replace(path: Path, state: dict[str, Any]) -> None:
    unexpected = []
    for published, tensor in read_tensors(path).items():
        name = published.removeprefix("base_model.").removeprefix("model.")
        if name not in state or state[name].shape != tensor.shape:
            unexpected.append(published)
        else:
            state[name] = tensor
    _refuse(path, [], unexpected)


def _targeted(module: str, targets: tuple[str, ...]) -> bool:
    return any(module == target or module.endswith(f".{target}") for target in targets)


def _adapter_file(folder: Path) -> Path:
    for name in ("adapter_model.safetensors", "adapter_model.bin"):
        if (folder / name).is_file():
            return folder / name
    raise ValueError(f"{folder} has neither adapter_model.safetensors nor adapter_model.bin; it may be half downloaded")


def _refuse(path: Path, missing: list[str], unexpected: list[str]) -> None:
    problems = []
    for title, names in (("missing", missing), ("unexpected", unexpected)):
        if names:
            problems.append(f"{len(names)} {title}: {', '.join(names[:6])}{' …' if len(names) > 6 else ''}")
    if problems:
        raise ValueError(f"{path} does not fit its base model: {'; '.join(problems)}")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ValueError: where it is missing or not one.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise ValueError(f"{path} is not there; the folder is no whole checkpoint") from None
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); it may be half downloaded") from None
    if not isinstance(data, dict):
        raise ValueError(f"{path} holds no JSON object")
    return data


# -- writing ---------------------------------------------------------------------------------------------------------


def write_base(folder: Path, state: Mapping[str, Any]) -> None:
    """Write the tensors of a whole model into the three parts of a VILA folder (configurations are not touched).

    Raises:
        ValueError: listing names that belong to no part.
    """
    from safetensors.torch import save_file

    _refuse(folder, [], [name for name in state if not name.startswith(tuple(PARTS.values()))])
    for part, prefix in PARTS.items():
        own = {name[len(prefix) :]: tensor.contiguous() for name, tensor in state.items() if name.startswith(prefix)}
        (folder / part).mkdir(parents=True, exist_ok=True)
        save_file(own, folder / part / "model.safetensors", {"format": "pt"})


def write_adapter(
    folder: Path,
    products: Mapping[str, tuple[Any, Any]],
    trained: Mapping[str, Any],
    *,
    alpha: float,
    base: str,
) -> None:
    """Write a LoRA folder: module name to (A (r, in), B (out, r)), and other trained tensors by name.

    Args:
        alpha: numerator of the products' scale.
        base: name of the base model.
    """
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for module, (a, b) in products.items():
        tensors[f"{ADAPTER}{module}.lora_A.weight"], tensors[f"{ADAPTER}{module}.lora_B.weight"] = a, b
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "adapter_model.safetensors")
    torch.save({f"{ADAPTER}{name}": tensor for name, tensor in trained.items()}, folder / NON_LORA)
    config = {
        "peft_type": "LORA",
        "base_model_name_or_path": base,
        "r": next(iter(products.values()))[0].shape[0],
        "lora_alpha": alpha,
        "bias": "none",
        "target_modules": sorted(products),
        "task_type": "CAUSAL_LM",
    }
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
