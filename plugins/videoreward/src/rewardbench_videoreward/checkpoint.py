"""Reading the weights of every layout on the disk into one: plain names, LoRA folded in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardbench_plugin.checkpoints import MOST_NAMED, read_tensors
from rewardbench_videoreward.folder import ADAPTER, FULL, REST, Checkpoint
from rewardbench_videoreward.settings import Lora

PEFT = "base_model.model."
HEAD = "rm_head.weight"
EMBEDDING = "model.embed_tokens.weight"
HALVES = ("visual", "model", "lm_head", "rm_head")
ORDER = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "qkv", "proj", "fc1", "fc2")


@dataclass
class Weights:
    """Tensors by published name (``visual.…``, ``model.…``, ``rm_head.weight``), and LoRA by module name.

    LoRA is kept beside the weights until a tensor is asked for, so that memory never holds the model twice.
    """

    plain: dict[str, Any]
    lora: dict[str, dict[str, Any]]
    scale: float
    source: Path

    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(tensor.shape) for name, tensor in self.plain.items()}

    def folded(self, dtype: Any) -> Iterator[tuple[str, Any]]:
        """Every tensor in ``dtype``: W + scale * B A, added in float32."""
        for name, tensor in self.plain.items():
            pair = self.lora.get(name.removesuffix(".weight")) if name.endswith(".weight") else None
            if pair is not None:
                delta = pair["B"].float() @ pair["A"].float()
                delta = delta.T if pair.get("embedding") else delta
                yield name, (tensor.float() + self.scale * delta).to(dtype)
            else:
                yield name, tensor.to(dtype)


def read_weights(checkpoint: Checkpoint, base: Path | None, lora: Lora | None, special_tokens: bool) -> Weights:
    """The weights of a checkpoint in any of the three layouts.

    Raises:
        ValueError: a file is missing or damaged, or its names are not those of a VideoReward checkpoint.
    """
    if checkpoint.full:
        source = checkpoint.path / FULL
        weights = _split(read_tensors(source), lora, source)
    else:
        weights = _adapter(checkpoint, base, lora, special_tokens)
    for name in [name for name in weights.plain if name.startswith("lm_head.")]:
        del weights.plain[name]  # language modelling; no reward depends on it
    for name in [name for name in weights.lora if name == "lm_head"]:
        del weights.lora[name]
    if lora is not None:
        _check_lora(weights, lora)
    return weights


def _adapter(checkpoint: Checkpoint, base: Path | None, lora: Lora | None, special_tokens: bool) -> Weights:
    """LoRA and what else was trained, over the base model's weights."""
    source = checkpoint.path
    if lora is None:
        raise ValueError(f"{source} holds an adapter, but model_config.json says lora_enable is false")
    if base is None:
        raise ValueError(f"{source} is an adapter: it needs the base model's weights; add --weights base=PATH")
    low = _split(read_tensors(source / ADAPTER), lora, source / ADAPTER)
    rest = _split(read_tensors(source / REST), lora, source / REST)
    if low.plain:
        raise ValueError(f"{source / ADAPTER} holds other weights than LoRA: {_listed(sorted(low.plain))}")
    if rest.lora:
        raise ValueError(f"{source / REST} holds LoRA weights: {_listed(sorted(rest.lora))}")
    under = {_published(name): tensor for name, tensor in read_tensors(base).items()}
    if special_tokens and EMBEDDING not in rest.plain:
        raise ValueError(f"{source / REST} lacks {EMBEDDING}, which has the rows of the reward tokens")
    unknown = [name for name in rest.plain if name not in under and name != HEAD]
    if unknown:
        raise ValueError(f"{source / REST} holds weights that the base model has not: {_listed(unknown)}")
    return Weights({**under, **rest.plain}, low.lora, lora.scale, source)


def _split(state: Mapping[str, Any], lora: Lora | None, source: Path) -> Weights:
    """Tell plain tensors from LoRA; the names of PEFT's wrappers go."""
    plain: dict[str, Any] = {}
    low: dict[str, dict[str, Any]] = {}
    for full_name, tensor in state.items():
        name = full_name.removeprefix(PEFT)
        module, found, kind = name.partition(".lora_")
        if found:
            _put_lora(low.setdefault(_published(module), {}), kind, tensor, full_name, source)
            continue
        if ".modules_to_save." in name:
            name = name.replace(".modules_to_save.default.", ".")
        elif ".original_module." in name:
            continue  # PEFT keeps the untrained original beside a module that was trained whole
        name = _published(name.replace(".base_layer.", "."))
        if name in plain:
            raise ValueError(f"{source} holds {name} twice")
        plain[name] = tensor
    if low and lora is None:
        raise ValueError(f"{source} holds LoRA weights ({_listed(sorted(low))}), but model_config.json has no LoRA")
    return Weights(plain, low, lora.scale if lora is not None else 0.0, source)


def _put_lora(pair: dict[str, Any], kind: str, tensor: Any, name: str, source: Path) -> None:
    """``kind`` is what follows ``.lora_``: ``A.default.weight``, ``A.weight`` (without the adapter's name), …"""
    parts = kind.removesuffix(".weight").split(".")
    letter = parts[0].removeprefix("embedding_")
    if letter not in ("A", "B") or parts[1:] not in ([], ["default"]) or letter in pair:
        raise ValueError(f"{source} holds {name}, which is no LoRA weight of the adapter 'default'")
    pair[letter] = tensor
    if parts[0].startswith("embedding_"):
        pair["embedding"] = True


def _published(name: str) -> str:
    """A tensor's name in the published layout; transformers 5 calls the two halves otherwise."""
    for ours, theirs in (("model.visual.", "visual."), ("model.language_model.", "model.")):
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    return name


def _check_lora(weights: Weights, lora: Lora) -> None:
    """Every layer that training gave a LoRA has one, of the stated rank, and no other has.

    Raises:
        ValueError: listing what is missing, unexpected or of another rank.
    """
    wanted = set(_targets(weights.shapes(), lora))
    problems = []
    for title, names in (
        ("without LoRA", sorted(wanted - set(weights.lora))),
        ("with LoRA where none belongs", sorted(set(weights.lora) - wanted)),
        ("with half a LoRA", sorted(name for name, pair in weights.lora.items() if not {"A", "B"} <= set(pair))),
    ):
        if names:
            problems.append(f"{len(names)} modules {title}: {_listed(names)}")
    if not problems:
        shapes = weights.shapes()
        other = [name for name, pair in weights.lora.items() if not _fits(pair, shapes[f"{name}.weight"], lora.rank)]
        if other:
            problems.append(f"{len(other)} modules with LoRA of another shape than rank {lora.rank}: {_listed(other)}")
    if problems:
        raise ValueError(
            f"{weights.source} does not hold the LoRA that model_config.json states: {'; '.join(problems)}"
        )


def _fits(pair: Mapping[str, Any], shape: Sequence[int], rank: int) -> bool:
    rows, columns = (shape[1], shape[0]) if pair.get("embedding") else (shape[0], shape[1])
    return tuple(pair["A"].shape) == (rank, columns) and tuple(pair["B"].shape) == (rows, rank)


def _targets(shapes: Mapping[str, tuple[int, ...]], lora: Lora) -> list[str]:
    """Linear layers and embeddings that VideoAlign's script gives a LoRA, in the order of its model."""
    matrices = [name.removesuffix(".weight") for name, shape in shapes.items() if len(shape) == 2]
    kept = [name for name in matrices if not any(fragment in name for fragment in lora.exclude)]
    kept.sort(key=_place)
    return kept[-lora.last :] if lora.last > 0 else kept


def _place(module: str) -> tuple[int, int, int, int]:
    """Where a module stands in the model: half, embedding or layers or merger, number of the layer, kind."""
    half, *inner = module.split(".")
    number = next((int(word) for word in inner if word.isdecimal()), 0)
    stage = 1 if inner and inner[0] in ("layers", "merger") else 0
    kind = ORDER.index(inner[-1]) if inner and inner[-1] in ORDER else 0
    return HALVES.index(half) if half in HALVES else len(HALVES), stage, number, kind


def _listed(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
