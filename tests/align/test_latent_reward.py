"""The latent reward: it learns an order that noise does not hide, its gradient is the derivative, and its training goes
on exactly where it stopped."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from rewardbench.align import latent_reward
from rewardbench.align.latent_cache import LatentCache
from rewardbench.align.latent_reward import (
    LatentRewardModel,
    decided_pairs,
    latent_pairs,
    reward_gradient,
)
from rewardbench.align.latent_training import LatentRewardTrainer
from rewardbench.align.recipe import make_recipe
from rewardbench.align.samples import conditions
from rewardbench.align.training import read_log, states
from rewardbench.errors import CheckFailed, InputError
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


@pytest.fixture
def make_trainer(tmp_path: Path, tiny_toy: Path, toy_samples) -> Callable[..., LatentRewardTrainer]:
    """A trainer on a fresh head: ``make_trainer(folder="a", steps=6, …)``. ``a`` is how bright a latent is; ``b`` never
    decides; ``c`` knows the clips of the first two prompts only."""

    def make(
        folder: str = "run", *, save_every: int = 100, log_every: int = 1, dimensions=("a", "b", "c"), **changes
    ) -> LatentRewardTrainer:
        plain = {"algorithm": "flow-nrg", "steps": 6, "batch_size": 4, "learning_rate": 1e-2, "latent_width": 16}
        recipe = make_recipe({}, plain | changes)
        family = load_toy(tiny_toy)
        family.transformer.requires_grad_(False).eval()
        cache = LatentCache(tmp_path / "cache", family, list(toy_samples), seed=0)
        cache.fill()
        cache.open()
        level = {s.clip_id: float(cache.latents([s.clip_id])[0, 0].mean()) for s in toy_samples}
        rewards = {
            "a": level,
            "b": dict.fromkeys(level, 0.5),
            "c": {c: -v if c.startswith(("p0-", "p1-")) else math.nan for c, v in level.items()},
        }
        torch.manual_seed(recipe.seed)
        model = LatentRewardModel(
            family, dimensions, depth=1, width=recipe.latent_width, sees_time=not recipe.latent_clean
        )
        pairs = latent_pairs(toy_samples, {d: rewards[d] for d in dimensions})
        return LatentRewardTrainer(
            model, pairs, cache, recipe, tmp_path / folder, save_every=save_every, log_every=log_every
        )

    return make


def learnt(trainer: LatentRewardTrainer) -> dict[str, torch.Tensor]:
    """Weights and AdamW's moments."""
    found = {k: v.clone() for k, v in trainer.model.state_dict().items()}
    for n, moments in trainer.optimizer.state_dict()["state"].items():
        found |= {f"{n}/{name}": torch.as_tensor(value).clone() for name, value in moments.items()}
    return found


def assert_equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert torch.equal(value, b[name]), name


def without_seconds(trainer: LatentRewardTrainer) -> list[dict]:
    return [{k: v for k, v in line.items() if k != "seconds"} for line in read_log(trainer.folder)]


def test_it_learns_which_latent_is_brighter_under_the_same_noise(make_trainer) -> None:
    trainer = make_trainer(
        dimensions=("a",), steps=120, batch_size=16, learning_rate=3e-3, latent_width=32, log_every=10
    )
    trainer.train(120)
    lines = read_log(trainer.folder)
    assert [line["step"] for line in lines] == list(range(10, 121, 10))
    assert lines[-1]["pairwise_accuracy"] > 0.85
    assert lines[-1]["loss"] < lines[0]["loss"]


def test_both_clips_of_a_pair_get_the_same_noise_at_the_same_time(make_trainer) -> None:
    trainer = make_trainer()
    chosen = trainer.batch_at(0)
    (first, second), time, _ = trainer._sides(chosen)
    clean = [trainer.cache.latents(ids) for ids in ([p.first for p in chosen], [p.second for p in chosen])]
    alpha = time.alpha.reshape(-1, *[1] * (first.dim() - 1))
    torch.testing.assert_close(first - second, alpha * (clean[0] - clean[1]), rtol=1e-5, atol=1e-5)
    assert len(set(time.t.tolist())) == len(chosen)


def test_every_pair_is_visited_once_an_epoch(make_trainer) -> None:
    trainer = make_trainer()
    n = len(trainer.pairs)
    visits = [(p.first, p.second) for step in range(n) for p in trainer.batch_at(step)]  # 4n visits: four epochs
    for epoch in range(4):
        assert sorted(visits[epoch * n : (epoch + 1) * n]) == sorted((p.first, p.second) for p in trainer.pairs)
    assert visits[:n] != visits[n : 2 * n]


def test_the_first_step_is_the_gradient_of_bradley_terry_over_the_decided_labels(make_trainer) -> None:
    """Written out label by label; the head starts at 0, so the first loss is ln 2 and every factor is σ(0) = 1/2."""
    trainer = make_trainer(max_grad_norm=0.0, adam_epsilon=1e6)  # so large that AdamW's step is the gradient's
    model = trainer.model
    chosen = trainer.batch_at(0)
    sides, time, condition = trainer._sides(chosen)
    caught: list[torch.Tensor] = []
    handle = model.read.register_forward_pre_hook(lambda module, given: caught.append(given[0].detach()))
    for x_t in sides:
        model.rewards(x_t, time, condition)
    handle.remove()
    labels = [(row, d, p.labels[d]) for row, p in enumerate(chosen) for d in model.dimensions if p.labels[d]]
    slope = torch.zeros_like(model.read.weight)
    for row, d, label in labels:
        slope[model.dimensions.index(d)] -= 0.5 * label * (caught[0][row] - caught[1][row]) / len(labels)
    values = trainer.train_step()
    assert values["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert float(slope.abs().max()) > 0
    moved = model.read.weight.detach() * 1e6 / 1e-2
    torch.testing.assert_close(moved, -slope, rtol=1e-3, atol=1e-7)
    assert values["gradient_norm"] == pytest.approx(float(slope.norm()), rel=1e-4)


def test_a_dimension_that_no_pair_decides_stays_untouched(make_trainer) -> None:
    trainer = make_trainer()
    trainer.train(6)
    assert not trainer.model.read.weight[1].any()
    assert trainer.model.read.weight[0].any()
    assert all(line["pairwise_accuracy:b"] is None for line in read_log(trainer.folder))


@pytest.mark.parametrize(
    "changes", [{}, {"latent_clean": True}, {"schedule": "cosine", "warmup_steps": 3, "weight_decay": 0.1}], ids=str
)
def test_stopping_and_going_on_equals_never_stopping_bit_for_bit(make_trainer, changes) -> None:
    whole = make_trainer("whole", **changes)
    whole.train(6)
    make_trainer("parts", **changes).train(4)
    torch.rand(7)  # the generator of everybody is somewhere else by now
    rest = make_trainer("parts", **changes)
    rest.train(6)
    assert_equal(learnt(whole), learnt(rest))
    assert without_seconds(whole) == without_seconds(rest)
    assert [line["step"] for line in read_log(rest.folder)] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("log_every", [1, 3])
def test_a_killed_run_repeats_the_steps_that_were_not_saved(make_trainer, monkeypatch, log_every) -> None:
    whole = make_trainer("whole", log_every=log_every)
    whole.train(6)
    killed = make_trainer("killed", save_every=2, log_every=log_every)
    plain, left = killed.train_step, [5]

    def stopping():
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return plain()

    monkeypatch.setattr(killed, "train_step", stopping)
    with pytest.raises(KeyboardInterrupt):
        killed.train(6)
    logged = [step for step in range(1, 6) if step % log_every == 0]
    assert [line["step"] for line in read_log(killed.folder)] == logged  # the fifth step was not saved
    rest = make_trainer("killed", save_every=2, log_every=log_every)
    rest.train(6)
    assert_equal(learnt(whole), learnt(rest))
    assert without_seconds(whole) == without_seconds(rest)


def test_a_state_that_was_not_finished_is_not_one(make_trainer, monkeypatch) -> None:
    trainer = make_trainer(save_every=1)
    trainer.train(2)
    good = learnt(trainer)

    def full(*_):
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(latent_reward.torch, "save", full)
        trainer.train_step()
        with pytest.raises(InputError, match=r"states cannot be written \(no space left\); make room there"):
            trainer.save()
    again = make_trainer()
    again.resume()
    assert again.step == 2
    assert_equal(good, learnt(again))


def test_only_the_newest_two_states_are_kept(make_trainer) -> None:
    trainer = make_trainer(save_every=1)
    trainer.train(4)
    found = sorted(p.name for p in (trainer.folder / "states").iterdir())
    assert found == ["step-00000003", "step-00000004"]


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_what_is_not_finite_stops_and_keeps_the_last_good_state(make_trainer, what) -> None:
    trainer = make_trainer(save_every=2)
    trainer.train(2)
    good = learnt(trainer)
    if what == "loss":
        with torch.no_grad():
            trainer.model.mix.bias[0] = math.nan
    else:
        trainer.model.norm.weight.register_hook(lambda g: g * math.inf)
    before = learnt(trainer)
    with pytest.raises(CheckFailed, match=r"not finite at step 3; the last good state is .*step-00000002; lower"):
        trainer.train_step()
    assert trainer.step == 2
    if what == "gradient":
        assert_equal(before, learnt(trainer))
    assert [p.name for p in states(trainer.folder)] == ["step-00000002"]
    again = make_trainer()
    again.resume()
    assert_equal(good, learnt(again))


def test_weights_that_diverged_in_the_step_before_are_not_written(make_trainer) -> None:
    make_trainer(save_every=1).train(2)
    wild = make_trainer(save_every=1, learning_rate=1e30)
    with pytest.raises(CheckFailed, match=r"not finite at step 4; the last good state is .*step-00000002; lower"):
        wild.train(6)
    assert [p.name for p in states(wild.folder)] == ["step-00000001", "step-00000002"]


def test_a_loss_that_diverges_before_any_state_says_so(make_trainer) -> None:
    trainer = make_trainer()
    with torch.no_grad():
        trainer.model.mix.bias[0] = math.nan
    with pytest.raises(CheckFailed, match="not finite at step 1; there is no state yet"):
        trainer.train(6)
    assert states(trainer.folder) == []


def test_states_of_another_head_are_refused(make_trainer) -> None:
    make_trainer().train(2)
    with pytest.raises(InputError, match="head with other dimensions; choose another --out"):
        make_trainer(dimensions=("a", "c")).train(4)
    with pytest.raises(InputError, match="state of another head; choose another --out"):
        make_trainer(latent_width=8).train(4)


def test_a_line_of_the_log_is_a_mean_over_its_steps_with_their_phases(make_trainer) -> None:
    single, double = make_trainer("single"), make_trainer("double", log_every=2)
    single.train(6)
    double.train(6)
    ones, twos = read_log(single.folder), read_log(double.folder)
    assert [line["step"] for line in twos] == [2, 4, 6]
    for n, line in enumerate(twos):
        both = ones[2 * n : 2 * n + 2]
        for name in ("loss", "pairwise_accuracy", "gradient_norm", "clipped"):
            assert line[name] == pytest.approx((both[0][name] + both[1][name]) / 2, abs=1e-12), name
        known = [o["pairwise_accuracy:c"] for o in both if o["pairwise_accuracy:c"] is not None]
        assert line["pairwise_accuracy:c"] == (pytest.approx(sum(known) / len(known)) if known else None)
        assert line["seconds"].keys() == {"data", "forward", "backward", "optimiser"}
        assert all(v >= 0 for v in line["seconds"].values())
        assert line["learning_rate"] == 1e-2


def test_the_gradient_is_clipped_as_the_recipe_says(make_trainer) -> None:
    trainer = make_trainer(max_grad_norm=1e-3)
    given: list[float] = []
    step = trainer.optimizer.step

    def noting():
        norms = [float(p.grad.norm()) for p in trainer.model.parameters() if p.grad is not None]
        given.append(math.hypot(*norms))
        step()

    trainer.optimizer.step = noting
    values = trainer.train_step()
    assert values["gradient_norm"] > 1e-3
    assert values["clipped"] == 1.0
    assert given == [pytest.approx(1e-3, rel=1e-3)]


def test_pairs_are_counted_by_dimension_and_stand_in_the_head(make_trainer, tmp_path) -> None:
    trainer = make_trainer()
    # 6 prompts of 3 clips: 3 pairs each; b decides none, c knows two prompts
    assert decided_pairs(trainer.pairs) == {"a": 18, "b": 0, "c": 6}
    trainer.model.save(tmp_path / "head.safetensors")
    again = LatentRewardModel.load(tmp_path / "head.safetensors", trainer.model.family[0])
    assert again.pairs == {"a": 18, "b": 0, "c": 6}


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
    with pytest.raises(InputError, match="the latent reward has no dimension 'c'; there are a, b"):
        reward_gradient(model, *asked(model, toy_prompts), {"c": 1.0})
    with pytest.raises(InputError, match="has 2 blocks"):
        LatentRewardModel(model.family[0], ["a"], depth=3)
