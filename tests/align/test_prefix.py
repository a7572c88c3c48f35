"""A frozen prefix that policy and reference share: nothing changes but how often blocks compute, in every family."""

from __future__ import annotations

import contextlib
import copy
import runpy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from rewardbench.align import memory
from rewardbench.align.adapters import POLICY, Reference, activate, adapter_parameters, attach, load_adapter
from rewardbench.align.families import load_family
from rewardbench.align.families.base import ClipShape, VideoFamily
from rewardbench.align.objective import errors
from rewardbench.align.prefix import SharedPrefix
from rewardbench.align.training import Trainer
from rewardbench.errors import InputError
from tests.align.test_identities import (
    PAIRS,
    RECIPE,
    Cache,
    a_batch,
    close,
    close_gradients,
    gradients,
    learnt,
    norm,
)

TINY, TINY_LTX, TINY_HUNYUAN = (
    runpy.run_path(str(Path(__file__).parent / "families" / f"{name}.py"))
    for name in ("tiny", "tiny_ltx", "tiny_hunyuanvideo")
)
CLIPS = {
    "wan-i2v": ClipShape(9, 32, 48, 16.0),
    "ltx": ClipShape(9, 32, 32, 24.0),
    "hunyuanvideo": ClipShape(9, 32, 48, 24.0),
}
FAMILIES = ("toy", "cogvideox", *CLIPS)
PLACES = [(name, 1) for name in FAMILIES] + [("hunyuanvideo", 3)]
"""Family and first block with LoRA: of two, or of HunyuanVideo's two double-stream and two single-stream blocks."""
WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "apart": {"low_memory": True},
    "full": {"checkpointing": "full"},
    "selective apart": {"checkpointing": "selective", "low_memory": True},
    "cached apart": {"cache_reference": True, "low_memory": True},
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, tiny_toy: Path) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("prefix")
    TINY["tiny_cogvideox"](root / "cogvideox")
    TINY["tiny_wan"](root / "wan-i2v", "i2v")
    TINY_LTX["save_tiny_ltx"](root / "ltx")
    TINY_HUNYUAN["save_tiny_hunyuanvideo"](root / "hunyuanvideo", layers=2)
    return {path.name: path for path in root.iterdir()} | {"toy": tiny_toy}


def load(folders: dict[str, Path], name: str) -> VideoFamily:
    torch.manual_seed(11)
    return load_family(f"{name.split('-', maxsplit=1)[0]}:{folders[name]}", clip=CLIPS.get(name))


@contextlib.contextmanager
def counted(blocks: list[nn.Module]) -> Iterator[list[int]]:
    """For how many clips each block computes: what goes through the first layer in it."""
    counts = [0] * len(blocks)

    def count(index: int) -> Any:
        def hook(layer: nn.Module, inputs: object, output: Tensor) -> None:
            counts[index] += len(output)

        return hook

    layers = [next(m for m in block.modules() if isinstance(m, nn.Linear)) for block in blocks]
    handles = [layer.register_forward_hook(count(i)) for i, layer in enumerate(layers)]
    try:
        yield counts
    finally:
        for handle in handles:
            handle.remove()


def a_step(trainer: Trainer) -> tuple[Tensor, dict[str, Tensor], list[int]]:
    """Loss, gradients, and for how many clips each block computed."""
    (batch,) = trainer._micro_batches(0)
    with counted(list(trainer.family.blocks(trainer.family.transformer))) as counts:
        values = trainer._backward(batch, 1.0)
    return values["loss"], gradients(trainer.family), counts


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("name", "first"), PLACES)
def test_sharing_changes_neither_loss_nor_gradient_and_computes_the_prefix_once(
    folders, tmp_path, name, first, way
) -> None:
    family = load(folders, name)
    recipe = replace(RECIPE, lora_from=first, **WAYS[way])
    learnt(family, recipe)
    trainer = Trainer(family, recipe, PAIRS, {}, Cache(family), tmp_path)
    tmp_path.mkdir(exist_ok=True)
    trainer.cache_reference(2)  # fills with batches of its own: nothing of them may be taken over
    assert trainer.prefix.length == first
    loss, gradient, counts = a_step(trainer)
    trainer.prefix = SharedPrefix(0)
    expected_loss, expected, all_counts = a_step(trainer)
    close(loss, expected_loss)
    close_gradients(gradient, expected, norm(expected))
    clips = 2 * len(PAIRS[: recipe.batch_size])
    passes = (0 if recipe.cache_reference else 1) + (2 if recipe.low_memory else 1)
    recomputed = 0 if recipe.checkpointing == "none" else 1
    blocks = len(counts)
    assert all_counts == [passes * clips] * first + [(passes + recomputed) * clips] * (blocks - first)
    assert counts == [clips] * first + all_counts[first:]
    assert not trainer.prefix._outputs


@pytest.mark.parametrize("reference", ["frozen_copy", "frozen_adapter", "ema"])
def test_every_reference_under_lora_shares_the_prefix(folders, tmp_path, reference) -> None:
    family = load(folders, "toy")
    recipe = replace(RECIPE, lora_from=1, reference=reference)
    attach(family, recipe)
    trainer = Trainer(family, recipe, PAIRS, {}, Cache(family), tmp_path)
    with torch.no_grad():
        for parameter in adapter_parameters(family.transformer, POLICY).values():
            parameter.copy_(0.2 * torch.randn_like(parameter))
    trainer.reference.after_step(1)
    loss, gradient, _ = a_step(trainer)
    trainer.prefix = SharedPrefix(0)
    expected_loss, expected, _ = a_step(trainer)
    close(loss, expected_loss)
    close_gradients(gradient, expected, norm(expected))
    assert abs(float(loss) - float(torch.tensor(2.0).log())) > 1e-4  # they differ: something was compared


def test_outside_of_a_batch_and_between_parts_nothing_is_shared(folders) -> None:
    family = load(folders, "toy")
    recipe = replace(RECIPE, lora_from=1)
    learnt(family, recipe)
    batch, network = a_batch(family, recipe), family.transformer
    one, two = batch.side(0), batch.side(1)
    expected = [errors(family, network, side, recipe) for side in (one, two)]
    prefix, blocks = SharedPrefix(1), family.blocks(network)
    with prefix.shared(blocks):
        errors(family, network, one, recipe)
    with prefix.shared(blocks), torch.no_grad():
        close(errors(family, network, two, recipe), expected[1])
    with prefix.batch():
        for _ in range(2):
            for part, side in enumerate((one, two)):
                with prefix.shared(blocks, part):
                    close(errors(family, network, side, recipe), expected[part])
    with prefix.batch(), prefix.shared(blocks):
        close(errors(family, network, two, recipe), expected[1])
    assert all("forward" not in vars(block) for block in blocks)


def test_a_pass_that_fails_leaves_the_blocks_as_they_were(folders) -> None:
    family = load(folders, "toy")
    blocks = family.blocks(family.transformer)
    blocks[0].forward = own = lambda *a, **n: torch.ones(1)
    prefix = SharedPrefix(1)
    with prefix.batch():
        with prefix.shared(blocks):
            blocks[0](None)
        with pytest.raises(TypeError), prefix.shared(blocks):
            blocks[1](None)  # the first one's answer is there by now, and the second cannot do without more
    assert blocks[0].forward is own
    assert not blocks[0]._forward_hooks


def adapted(network: nn.Module) -> set[str]:
    return {name for name, module in network.named_modules() if hasattr(module, "lora_A") and len(module.lora_A)}


@pytest.mark.parametrize(("name", "first"), PLACES)
def test_lora_stands_in_late_blocks_alone_and_loads_into_the_plain_pipeline(folders, tmp_path, name, first) -> None:
    family = load(folders, name)
    before = copy.deepcopy(family.transformer)
    everywhere = load(folders, name)
    attach(everywhere, RECIPE)
    recipe = replace(RECIPE, lora_from=first)
    network = learnt(family, recipe).transformer.float()
    names = {id(module): n for n, module in network.named_modules()}
    late = tuple(f"{names[id(block)]}." for block in family.blocks(network)[first:])
    wanted = {n for n in adapted(everywhere.transformer) if n.startswith(late)}
    assert adapted(network) == wanted
    assert wanted
    assert len({n.startswith(late[0]) for n in wanted}) == min(len(late), 2)
    family.save_adapter(tmp_path)
    batch = a_batch(family)
    for each in (network, before):
        each.double()
    with torch.no_grad():
        expected = errors(family, network, batch, RECIPE)
    if name == "toy":
        plain = load(folders, name)
        load_adapter(plain, tmp_path, POLICY)
        activate(plain.transformer, POLICY)
        found = plain.transformer
    else:
        from diffusers import DiffusionPipeline

        pipeline = DiffusionPipeline.from_pretrained(folders[name])
        pipeline.load_lora_weights(tmp_path)
        found = pipeline.transformer
    with torch.no_grad():
        close(errors(family, found.double(), batch, RECIPE), expected)
        assert float((errors(family, before, batch, RECIPE) - expected).abs().max()) > 1e-4
    again = load(folders, name)
    attach(again, recipe, tmp_path)  # and is a start for the same recipe
    for key, value in adapter_parameters(again.transformer, POLICY).items():
        assert torch.equal(value.double(), adapter_parameters(network, POLICY)[key])


@pytest.mark.parametrize("first", [2, 7])
def test_a_block_that_the_generator_does_not_have_is_refused(folders, first) -> None:
    with pytest.raises(InputError, match=f"lora_from {first} leaves no block for LoRA: this generator has 2, counted"):
        attach(load(folders, "toy"), replace(RECIPE, lora_from=first))


@pytest.mark.parametrize("name", ["toy", "hunyuanvideo"])
def test_a_lora_to_start_from_that_reaches_into_the_prefix_is_refused(folders, tmp_path, name) -> None:
    family = load(folders, name)
    attach(family, RECIPE)
    family.save_adapter(tmp_path)
    with pytest.raises(InputError, match="which comes before lora_from 1; leave that out"):
        attach(load(folders, name), replace(RECIPE, lora_from=1), tmp_path)


def test_less_memory_is_needed_the_later_lora_begins(folders) -> None:
    family = load(folders, "hunyuanvideo")
    condition = Cache(family)._rows
    found = [memory.estimate(family, replace(RECIPE, lora_from=n), condition=condition) for n in range(4)]
    assert [e.total for e in found] == sorted((e.total for e in found), reverse=True)
    assert len({e.activations for e in found}) == 4


def test_the_reference_asks_its_own_blocks(folders) -> None:
    """A copy's hooks are on the copy."""
    family = load(folders, "toy")
    recipe = replace(RECIPE, lora_from=1, reference="frozen_copy")
    learnt(family, recipe)
    reference = Reference(family, recipe)
    with reference.active(family.transformer) as other:
        assert other is not family.transformer
        assert not set(map(id, family.blocks(other))) & set(map(id, family.blocks(family.transformer)))
