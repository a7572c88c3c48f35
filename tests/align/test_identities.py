"""The shortcuts that make a step fast are exact: each against the long way, for the toy and real families.

A LoRA with random weights stands for one that has learnt, so that policy and reference differ.
"""

from __future__ import annotations

import copy
import runpy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from diffusers.models.attention import FeedForward
from torch import Tensor

from rewardbench.align import checkpointing
from rewardbench.align.adapters import POLICY, Reference, adapter_parameters, attach
from rewardbench.align.families import load_family
from rewardbench.align.families.base import ClipShape, Condition, VideoFamily
from rewardbench.align.objective import Batch, errors, make_batch, step_loss
from rewardbench.align.pairs import PreferencePair
from rewardbench.align.prompts import Prompt
from rewardbench.align.recipe import Recipe
from rewardbench.align.training import Trainer

TINY, TINY_LTX, TINY_HUNYUAN = (
    runpy.run_path(str(Path(__file__).parent / "families" / f"{name}.py"))
    for name in ("tiny", "tiny_ltx", "tiny_hunyuanvideo")
)
FAMILIES = ("toy", "cogvideox", "wan", "wan-i2v", "ltx-i2v", "hunyuanvideo", "hunyuanvideo-i2v")
CLIPS = {
    "wan": ClipShape(9, 32, 48, 16.0),
    "wan-i2v": ClipShape(9, 32, 48, 16.0),
    "ltx-i2v": ClipShape(9, 32, 32, 24.0),
    "hunyuanvideo": ClipShape(9, 32, 48, 24.0),
    "hunyuanvideo-i2v": ClipShape(9, 32, 48, 24.0),
}
CLOSE = 1e-6
RECIPE = Recipe(algorithm="dpo", batch_size=2, lora_rank=4, lora_alpha=8, beta=20.0, draws_per_pair=2)


class Cache:
    """Latents and conditions that follow from a clip's or prompt's name."""

    identity = "made up"

    def __init__(self, family: VideoFamily) -> None:
        self._family = family
        clip, texts = family.clip, ["a girl waves", "a red girl runs"]
        generator = torch.Generator().manual_seed(1)
        size = (2, clip.height, clip.width, 3)
        images = torch.rand(size, generator=generator) * 2 - 1 if family.needs_image else None
        with torch.no_grad():
            self._rows = family.encode_condition(texts, images, generator)

    def latents(self, clip_ids: Sequence[str]) -> Tensor:
        seeds = [sum(name.encode()) for name in clip_ids]
        return torch.stack(
            [torch.randn(self._family.latent_shape, generator=torch.Generator().manual_seed(s)) for s in seeds]
        )

    def condition(self, prompt_ids: Sequence[str], *, without_text: Sequence[bool] | None = None) -> Condition:
        index = torch.tensor([int(name[1:]) % 2 for name in prompt_ids])
        return {name: value[index] for name, value in self._rows.items()}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("identities")
    TINY["tiny_cogvideox"](root / "cogvideox")
    TINY["tiny_wan"](root / "wan")
    TINY["tiny_wan"](root / "wan-i2v", "i2v")
    TINY_LTX["save_tiny_ltx"](root / "ltx-i2v", image=True)
    TINY_HUNYUAN["save_tiny_hunyuanvideo"](root / "hunyuanvideo", layers=2)
    TINY_HUNYUAN["save_tiny_hunyuanvideo"](root / "hunyuanvideo-i2v", kind="token_replace", layers=2)
    return {path.name: path for path in root.iterdir()}


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest, folders, tiny_toy) -> VideoFamily:
    """Its network as loaded, no adapter yet."""
    name = request.param
    place = tiny_toy if name == "toy" else folders[name]
    torch.manual_seed(11)
    return load_family(f"{name.split('-', maxsplit=1)[0]}:{place}", clip=CLIPS.get(name))


def learnt(family: VideoFamily, recipe: Recipe = RECIPE) -> VideoFamily:
    """With a LoRA that says something, in float64: in float32 a processor's order of summing shows at 1e-6."""
    attach(family, recipe)
    family.transformer.double()
    with torch.no_grad():
        for parameter in adapter_parameters(family.transformer, POLICY).values():
            parameter.copy_(0.2 * torch.randn_like(parameter))
    return family


PAIRS = [PreferencePair(f"q{i}", Prompt(f"p{i}", "", None), f"win{i}", (f"lose{i}",), 1.0, (0.0,)) for i in range(4)]


def a_batch(family: VideoFamily, recipe: Recipe = RECIPE) -> Batch:
    return make_batch(family, recipe, Cache(family), [(p, 0) for p in PAIRS[:2]], {}, "cpu")


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=CLOSE, atol=CLOSE)


def gradients(family: VideoFamily) -> dict[str, Tensor]:
    """Taken off the network."""
    taken = {}
    for name, parameter in adapter_parameters(family.transformer, POLICY).items():
        assert parameter.grad is not None, name
        taken[name], parameter.grad = parameter.grad, None
    return taken


def close_gradients(found: dict[str, Tensor], expected: dict[str, Tensor], size: float) -> None:
    """The norm of the difference over all parameters is at most 1e-6 of ``size``."""
    assert found.keys() == expected.keys()
    assert norm(expected) > 1e-3 * size > 0
    assert norm({name: found[name] - g for name, g in expected.items()}) <= CLOSE * size


def norm(gradient: dict[str, Tensor]) -> float:
    return float(torch.cat([g.flatten() for g in gradient.values()]).norm())


def gradients_of_sides(family: VideoFamily, batch: Batch, reference: Tensor) -> list[dict[str, Tensor]]:
    """Of the loss through the winners' errors alone, and through the losers' alone.

    Their sum is the loss's gradient. It is much smaller than they are, as winner and loser share their noise, and
    rounding is of the size of what is summed.
    """
    policy = errors(family, family.transformer, batch, RECIPE).detach().requires_grad_()
    (slope,) = torch.autograd.grad(step_loss(policy, reference, batch, RECIPE).loss, policy)
    found = []
    for n in range(2):
        mine = errors(family, family.transformer, batch.side(n), RECIPE)
        (mine * slope[n * batch.size : (n + 1) * batch.size]).sum().backward()
        found.append(gradients(family))
    return found


def test_winner_and_loser_in_one_forward_equal_two(family) -> None:
    learnt(family)
    batch, network = a_batch(family), family.transformer
    reference = torch.zeros(4)
    together = errors(family, network, batch, RECIPE)
    step_loss(together, reference, batch, RECIPE).loss.backward()
    whole = gradients(family)
    apart = torch.cat([errors(family, network, batch.side(n), RECIPE) for n in range(2)])
    close(together, apart)
    win, lose = gradients_of_sides(family, batch, reference)
    close_gradients({name: g + lose[name] for name, g in win.items()}, whole, norm(win) + norm(lose))


def test_the_reference_with_adapters_off_equals_a_copy_made_before_there_were_any(family) -> None:
    before = copy.deepcopy(family.transformer).double()
    learnt(family)
    batch = a_batch(family)
    with torch.no_grad():
        expected = errors(family, before, batch, RECIPE)
        policy = errors(family, family.transformer, batch, RECIPE)
    with Reference(family, RECIPE).active(family.transformer) as other:
        found = errors(family, other, batch, RECIPE)
    close(found, expected)
    assert float((policy - expected).abs().max()) > 1e-3
    close(errors(family, family.transformer, batch, RECIPE).detach(), policy)  # and the adapters are on again


def test_cached_reference_errors_equal_live_ones(family, tmp_path) -> None:
    recipe = replace(RECIPE, cache_reference=True)
    attach(family, recipe)
    family.transformer.double()
    cached = Trainer(family, recipe, PAIRS, {}, Cache(family), tmp_path)
    cached.cache_reference(4)  # twice through the four pairs, in other batches than they were computed in
    with torch.no_grad():
        for parameter in adapter_parameters(family.transformer, POLICY).values():
            parameter.copy_(0.2 * torch.randn_like(parameter))
    for step in range(4):
        (batch,) = cached._micro_batches(step)
        found = cached._reference_of(batch)
        with cached.reference.active(cached.network) as other:
            close(found, errors(family, other, batch, recipe))


def test_sides_that_go_through_apart_give_the_gradient_of_the_whole(family, tmp_path) -> None:
    """What ``low_memory`` does, with the trainer's own code on both sides."""
    learnt(family)
    found = []
    for low_memory in (False, True):
        recipe = replace(RECIPE, low_memory=low_memory)
        trainer = Trainer(family, recipe, PAIRS, {}, Cache(family), tmp_path)
        (batch,) = trainer._micro_batches(0)
        trainer._backward(batch, 1.0)
        found.append(gradients(family))
    with trainer.reference.active(trainer.network) as other:
        reference = errors(family, other, batch, RECIPE)
    close_gradients(found[1], found[0], sum(map(norm, gradients_of_sides(family, batch, reference))))


@pytest.mark.parametrize("mode", ["full", "selective"])
def test_recomputed_blocks_give_the_gradient_of_kept_ones(family, mode, monkeypatch) -> None:
    """Kept as a whole they are recomputed number for number; ``full`` sends one clip after the other through them, and
    tokens through their feed-forwards in parts."""
    monkeypatch.setattr(checkpointing, "TOKENS", 2)
    learnt(family)
    batch, reference = a_batch(family), torch.zeros(4)
    size = sum(map(norm, gradients_of_sides(family, batch, reference)))
    found = []
    for wrapped in (False, True):
        if wrapped:
            checkpointing.apply(family, mode)
        policy = errors(family, family.transformer, batch, RECIPE)
        step_loss(policy, reference, batch, RECIPE).loss.backward()
        found.append(gradients(family))
    close_gradients(found[1], found[0], size if mode == "full" else norm(found[0]))


def test_full_checkpointing_computes_a_block_for_one_clip_at_a_time(folders) -> None:
    family = load_family(f"wan:{folders['wan']}", clip=CLIPS["wan"])
    learnt(family)
    checkpointing.apply(family, "full")
    block = family.blocks(family.transformer)[0]
    plain, seen = block._plain_forward, []

    def watched(*arguments, **named):
        seen.append(len(arguments[0]))
        return plain(*arguments, **named)

    block._plain_forward = watched
    batch = a_batch(family)
    errors(family, family.transformer, batch, RECIPE).sum().backward()
    assert seen == [1] * 2 * 4  # forward and recomputation of four clips


def test_full_checkpointing_sends_tokens_through_a_feed_forward_in_parts(folders, monkeypatch) -> None:
    monkeypatch.setattr(checkpointing, "TOKENS", 2)
    family = load_family(f"wan:{folders['wan']}", clip=CLIPS["wan"])
    learnt(family)
    block = family.blocks(family.transformer)[0]
    seen = []
    block.ffn.net[0].register_forward_pre_hook(lambda m, x: seen.append(x[0].shape[1]))
    for mode in ("none", "full", "selective"):
        checkpointing.apply(family, mode)
        with torch.no_grad():
            errors(family, family.transformer, a_batch(family), RECIPE)
    tokens = seen[0]
    assert tokens > 16
    assert max(seen[1:-1]) == -(-tokens // 8)
    assert sum(seen[1:-1]) == 4 * tokens  # clip by clip
    assert seen[-1] == tokens


def test_a_copys_feed_forwards_are_its_own(folders, monkeypatch) -> None:
    monkeypatch.setattr(checkpointing, "TOKENS", 2)
    family = load_family(f"wan:{folders['wan']}", clip=CLIPS["wan"])
    learnt(family)
    checkpointing.apply(family, "full")
    copied, batch = copy.deepcopy(family.transformer), a_batch(family)
    with torch.no_grad():
        before = errors(family, copied, batch, RECIPE)
        for block in family.blocks(family.transformer):
            block.ffn.net[2].weight.zero_()
        assert torch.equal(errors(family, copied, batch, RECIPE), before)
        assert not torch.equal(errors(family, family.transformer, batch, RECIPE), before)


@pytest.mark.parametrize(("tokens", "parts"), [(511, 1), (512, 2), (1000, 3), (2047, 7), (2048, 8), (9000, 8)])
def test_a_feed_forward_in_parts_is_the_whole_one(tokens, parts) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = FeedForward(8, activation_fn="gelu-approximate").double()
        given, weight = torch.randn(2, 2, tokens, 8, dtype=torch.float64)
    seen, found = [], []
    layer.net[0].register_forward_pre_hook(lambda m, x: seen.append(x[0].shape[1]))
    in_parts = SimpleNamespace(_plain_forward=layer)
    for forward in (layer, lambda x: checkpointing._forward_by_tokens(in_parts, x)):
        leaf = given.clone().requires_grad_()
        out = forward(leaf)
        (out * weight).sum().backward()
        found.append([out.detach(), leaf.grad, *(p.grad.clone() for p in layer.parameters())])
        layer.zero_grad()
    assert len(seen) == 1 + parts
    assert sum(seen[1:]) == tokens
    for whole, cut in zip(*found, strict=True):
        torch.testing.assert_close(cut, whole, rtol=1e-10, atol=1e-10)


def test_as_many_clips_as_tokens_are_told_apart(family) -> None:
    """Rotary angles of as many tokens as there are clips are not the clips'."""
    seen = []
    block = family.blocks(family.transformer)[0]
    handle = block.register_forward_pre_hook(
        lambda m, args, named: seen.append(next(x for x in (*args, *named.values()) if isinstance(x, Tensor)).shape[1]),
        with_kwargs=True,
    )
    errors(family, family.transformer, a_batch(family), RECIPE)
    handle.remove()
    (tokens,) = seen
    recipe = replace(RECIPE, algorithm="sft", batch_size=tokens)
    pairs = [replace(PAIRS[0], pair_id=f"q{i}", win=f"win{i}", prompt=Prompt(f"p{i}", "", None)) for i in range(tokens)]
    batch = make_batch(family, recipe, Cache(family), [(p, 0) for p in pairs], {}, "cpu")
    assert len(batch.latents) == tokens
    with torch.no_grad():
        expected = errors(family, family.transformer, batch, recipe)
        checkpointing.apply(family, "full")
        close(errors(family, family.transformer, batch, recipe), expected)


def test_sampling_is_not_touched_by_checkpointing(family) -> None:
    """Base may be sampled before the network is wrapped, and aligned after."""
    batch = a_batch(family)
    network = family.transformer.eval()
    with torch.no_grad():
        before = errors(family, network, batch, RECIPE)
        checkpointing.apply(family, "full")
        modules = [m for m in network.modules() if hasattr(m, "_plain_forward")]
        wrapped = [vars(module)["forward"] for module in modules]
        assert set(family.blocks(network)) <= set(modules)
        with checkpointing.lifted(family):
            inside = [module.forward for module in modules]
            assert torch.equal(errors(family, network, batch, RECIPE), before)
    assert inside == [module._plain_forward for module in modules]
    assert [vars(module)["forward"] for module in modules] == wrapped
