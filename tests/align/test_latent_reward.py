"""The latent reward: it learns an order that noise does not hide, and its gradient is the derivative."""

from __future__ import annotations

import pytest
import torch

from rewardbench.align.latent_cache import LatentCache
from rewardbench.align.latent_reward import (
    LatentRewardModel,
    latent_pairs,
    reward_gradient,
    train_latent_reward,
)
from rewardbench.align.recipe import make_recipe
from rewardbench.align.samples import conditions
from rewardbench.errors import InputError
from tests.align.conftest import load_toy, write_tiny_toy


@pytest.fixture
def model(tiny_toy):
    torch.manual_seed(0)
    family = load_toy(tiny_toy)
    found = LatentRewardModel(family, ["a", "b"], depth=1, width=16)
    with torch.no_grad():
        found.read.weight.normal_()
    return found


def asked(model, toy_prompts, n=2):
    (family,) = model.family
    condition, _ = conditions(family, toy_prompts[:n], 0)
    x = torch.randn(n, *family.latent_shape, generator=torch.Generator().manual_seed(1))
    return x, family.schedule.at(torch.tensor([0.3, 0.7])[:n]), condition


def test_the_gradient_is_the_derivative_of_the_weighted_sum(model, toy_prompts) -> None:
    x, time, condition = asked(model, toy_prompts)
    weights = {"a": 0.3, "b": 2.0}
    found = reward_gradient(model, x, time, condition, weights)
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(2))
    step = 1e-2

    def total(at):
        with torch.no_grad():
            return float((model.rewards(at, time, condition).double() @ torch.tensor([0.3, 2.0]).double()).sum())

    slope = (total(x + step * direction) - total(x - step * direction)) / (2 * step)
    assert float((found * direction).sum()) == pytest.approx(slope, rel=1e-2, abs=1e-4)


def test_only_the_early_blocks_are_run(model, toy_prompts) -> None:
    (family,) = model.family
    ran = []
    for i, block in enumerate(family.transformer.blocks):
        block.register_forward_hook(lambda *_, i=i: ran.append(i))
    model.rewards(*asked(model, toy_prompts))
    assert ran == [0]


def test_it_learns_which_latent_is_brighter_under_the_same_noise(tmp_path, tiny_toy, toy_samples) -> None:
    family = load_toy(tiny_toy)
    cache = LatentCache(tmp_path / "cache", family, list(toy_samples), seed=0)
    cache.fill()
    cache.open()
    level = {s.clip_id: float(cache.latents([s.clip_id])[0, 0].mean()) for s in toy_samples}
    pairs = latent_pairs(toy_samples, {"a": level})
    recipe = make_recipe({}, {"algorithm": "flow-nrg", "steps": 120, "batch_size": 16, "learning_rate": 3e-3})
    torch.manual_seed(0)
    model = LatentRewardModel(family, ["a"], depth=1, width=32)
    lines = train_latent_reward(model, pairs, cache, recipe)
    assert lines[0]["step"] == 10
    assert lines[-1]["accuracy"] > 0.85
    assert lines[-1]["loss"] < lines[0]["loss"]


def test_pairs_are_all_within_a_prompt_and_decided_by_the_sign(toy_samples) -> None:
    rewards = {s.clip_id: float(s.number) for s in toy_samples}
    rewards[toy_samples[0].clip_id] = float("nan")
    pairs = latent_pairs(toy_samples, {"a": rewards}, min_gap=1.5)
    # three clips (0, 1, 2) a prompt: only (0, 2) is more than 1.5 apart; the first prompt's 0 is unknown
    assert len(pairs) == len({s.prompt.prompt_id for s in toy_samples}) - 1
    assert all(p.labels == {"a": -1} and p.first.endswith("-0") and p.second.endswith("-2") for p in pairs)


def test_a_saved_head_reads_back_for_its_generator_only(tmp_path, model, toy_prompts) -> None:
    model.save(tmp_path / "head.safetensors")
    (family,) = model.family
    again = LatentRewardModel.load(tmp_path / "head.safetensors", family)
    given = asked(model, toy_prompts)
    assert torch.equal(again.rewards(*given), model.rewards(*given))
    torch.manual_seed(123)
    other = load_toy(write_tiny_toy(tmp_path / "other"))
    other._codec.scale = other._codec.scale * 2
    other.fingerprint = lambda: "another"
    with pytest.raises(InputError, match="latent reward of another generator"):
        LatentRewardModel.load(tmp_path / "head.safetensors", other)


def test_unknown_dimensions_and_too_many_blocks_are_refused(model, toy_prompts) -> None:
    with pytest.raises(InputError, match="no dimension 'c'; there are a, b"):
        reward_gradient(model, *asked(model, toy_prompts), {"c": 1.0})
    with pytest.raises(InputError, match="has 2 blocks"):
        LatentRewardModel(model.family[0], ["a"], depth=3)
