"""The loop: exact resuming, equal results however a step is cut up, and what a diverging loss leaves."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from rewardbench.align import checkpointing
from rewardbench.align.adapters import POLICY, adapter_parameters, cast_once
from rewardbench.align.objective import errors, make_batch, step_loss
from rewardbench.align.training import Trainer, read_log, states
from rewardbench.errors import CheckFailed

LN2 = math.log(2.0)


def learnt(trainer: Trainer) -> dict[str, torch.Tensor]:
    network = trainer.family.transformer
    if trainer.recipe.tuning == "lora":
        return {k: p.detach().clone() for k, p in adapter_parameters(network, POLICY).items()}
    return {k: p.detach().clone() for k, p in network.named_parameters()}


def assert_equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for name, value in a.items():
        assert torch.equal(value, b[name]), name


def furthest(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    return max(float((a[k] - b[k]).abs().max()) for k in a)


def test_the_first_loss_of_every_preference_algorithm_is_ln_2(make_trainer) -> None:
    for changes in (
        {},
        {"tuning": "full", "reference": "frozen_copy"},
        {"reference": "ema"},
        {"reference": "frozen_adapter"},
        {"error_space": "x0"},
        {"losers": 2, "algorithm": "realdpo"},
        {"share_noise": False, "share_time": False},
    ):
        trainer = make_trainer(**changes)
        values = trainer.train_step()
        assert float(values["loss"]) == pytest.approx(LN2, abs=1e-6), changes
        assert float(values["accuracy"]) == 0.5, changes


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"reference": "frozen_copy"},
        {"tuning": "full", "reference": "frozen_copy"},
        {"tuning": "full", "reference": "ema"},
        {"cache_reference": True, "draws_per_pair": 2, "tuning": "full", "reference": "frozen_copy"},
        {"checkpointing": "full"},
        {"checkpointing": "full", "tuning": "full", "reference": "frozen_copy"},
        {"checkpointing": "full", "cache_reference": True, "draws_per_pair": 2, "low_memory": True},
    ],
    ids=lambda c: "-".join(map(str, c.values())) or "adapter_off",
)
def test_under_bf16_too_policy_and_reference_begin_equal(make_trainer, changes) -> None:
    """A copy of the network is asked in the policy's precision, not in its own."""
    trainer = make_trainer(precision="bf16", beta=5000.0, **changes)
    trainer.folder.mkdir()
    trainer.cache_reference(1)
    values = trainer.train_step()
    assert float(values["loss"]) == pytest.approx(LN2, abs=1e-6)
    assert float(values["margin"]) == 0.0


def test_autocast_alone_casts_what_lora_reads_and_no_number_changes(make_trainer) -> None:
    """As peft does it, an attention's output goes from bfloat16 to float32 and back before it reaches LoRA."""
    found, seen = {}, {}
    for name, precision in (("ours", "bf16"), ("peft's", "no")):
        trainer = make_trainer(name, precision="bf16")
        cast_once(trainer.family.transformer, precision)
        read = seen[name] = set()
        for key, module in trainer.family.transformer.named_modules():
            if key.endswith(f"out.lora_A.{POLICY}"):
                module.register_forward_pre_hook(lambda m, x, read=read: read.add(x[0].dtype))
        found[name] = [float(trainer.train_step()["gradient_norm"]) for _ in range(3)], learnt(trainer)
    assert seen == {"ours": {torch.bfloat16}, "peft's": {torch.float32}}
    assert found["ours"][0] == found["peft's"][0]
    assert_equal(found["ours"][1], found["peft's"][1])


def test_policy_and_copy_go_clip_by_clip_under_full_checkpointing(make_trainer) -> None:
    trainer = make_trainer(tuning="full", reference="frozen_copy", checkpointing="full")
    seen = {}
    for name, network in (("policy", trainer.family.transformer), ("copy", trainer.reference._copy)):
        counts = seen[name] = []
        network.blocks[0].attn.register_forward_hook(lambda m, x, y, counts=counts: counts.append(len(y)))
    trainer.train_step()
    assert seen == {"policy": [1] * 16, "copy": [1] * 8}  # recomputed; not
    checkpointing.apply(trainer.family, "none")
    with torch.no_grad():
        errors(trainer.family, trainer.family.transformer, next(trainer._micro_batches(0)), trainer.recipe)
    assert seen["policy"][16:] == [8]


@pytest.mark.parametrize("mode", ["full", "selective"])
def test_the_copy_of_a_checkpointed_network_does_not_move_with_it(make_trainer, mode) -> None:
    """The second round copies a network whose blocks are wrapped already."""
    first = make_trainer("one", tuning="full", reference="frozen_copy", checkpointing=mode)
    first.train_step()
    second = Trainer(first.family, first.recipe, first.pairs, {}, first.cache, first.folder / "two")
    batch = next(second._micro_batches(0))
    before = second._reference_of(batch)
    for _ in range(2):
        second.train_step()
    assert torch.equal(second._reference_of(batch), before)
    with torch.no_grad():
        assert not torch.equal(errors(second.family, second.network, batch, second.recipe), before)


@pytest.mark.parametrize("algorithm", ["sft", "flow-rwr"])
def test_losers_are_not_computed_where_nothing_is_compared(make_trainer, algorithm) -> None:
    batch = next(make_trainer(algorithm=algorithm)._micro_batches(0))
    assert (batch.sides, len(batch.latents)) == (1, 4)


def test_a_finite_loss_that_runs_away_stops_the_run(make_trainer) -> None:
    trainer = make_trainer(algorithm="sft", tuning="full", reference="frozen_copy", learning_rate=3.0)
    with pytest.raises(CheckFailed, match=r"more than 10 times what it was, at step \d+; there is no state yet"):
        trainer.train(6)


def test_weights_that_overflow_are_never_written_as_a_state(make_trainer) -> None:
    """The step that makes them has a good loss, which was the one of the weights before."""
    trainer = make_trainer(learning_rate=1e30, save_every=1)
    with pytest.raises(CheckFailed, match="not finite at step 1; there is no state yet"):
        trainer.train(6)
    assert states(trainer.folder) == []


@pytest.mark.parametrize(
    "changes",
    [{}, {"low_memory": True, "micro_batch_size": 2}, {"algorithm": "sft"}],
    ids=lambda c: "-".join(c) or "dpo",
)
def test_a_run_that_diverges_between_two_lines_of_its_log_keeps_its_good_states(make_trainer, changes) -> None:
    changes |= {"tuning": "full", "reference": "frozen_copy"}
    trainer = make_trainer(save_every=1, **changes)
    trainer.log_every = 20
    good = []

    def leap(step: int) -> None:
        """The fourth step goes too far, and its own loss does not know yet."""
        good.append(learnt(trainer))
        if trainer.step == 3:
            trainer.recipe = replace(trainer.recipe, learning_rate=3.0)

    with pytest.raises(CheckFailed, match=r"at step 4; the last good state is .*step-00000003; lower"):
        trainer.train(6, advance=leap)
    assert [p.name for p in states(trainer.folder)] == ["step-00000002", "step-00000003"]
    again = make_trainer(**changes)
    again.resume()
    assert_equal(good[2], learnt(again))


def test_what_is_asked_before_a_state_is_written_changes_nothing(make_trainer) -> None:
    rare, often = make_trainer("rare"), make_trainer("often", save_every=1)
    for trainer in (rare, often):
        trainer.train(4)
    assert_equal(learnt(rare), learnt(often))


def test_an_overflow_in_fp16_is_left_to_the_scaler_for_a_while(make_trainer, monkeypatch) -> None:
    trainer = make_trainer()
    assert not trainer._usable(False)  # in float32 a gradient that is not finite means the end
    trainer._overflows = 0
    monkeypatch.setattr(type(trainer.accelerator), "scaler", object(), raising=False)
    monkeypatch.setattr(trainer.accelerator, "scaler", object(), raising=False)
    assert all(trainer._usable(False) for _ in range(20))
    assert not trainer._usable(False)
    assert trainer._usable(True)
    assert trainer._usable(False)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"reference": "ema", "ema_every": 2, "ema_decay": 0.5},
        {"tuning": "full", "reference": "frozen_copy"},
        {"tuning": "full", "reference": "ema", "ema_decay": 0.9},
        {"cache_reference": True, "draws_per_pair": 2},
        {"algorithm": "flow-rwr"},
        {"algorithm": "sft", "condition_dropout": 0.5},
        {"algorithm": "gapo", "pair_weight": "gap", "gap_normalize": "batch"},
        {"schedule": "cosine", "warmup_steps": 3},
        {"precision": "bf16"},
        {"lora_from": 1, "reference": "ema", "ema_decay": 0.5, "low_memory": True, "checkpointing": "full"},
        {"algorithm": "realdpo", "losers": 2, "reference": "ema", "precision": "bf16"},
    ],
    ids=lambda c: "-".join(map(str, c.values())) or "dpo",
)
def test_stopping_and_going_on_equals_never_stopping_bit_for_bit(make_trainer, changes) -> None:
    whole = make_trainer("whole", **changes)
    whole.train(6)
    make_trainer("parts", **changes).train(4)
    rest = make_trainer("parts", **changes)
    rest.train(6)
    assert_equal(learnt(whole), learnt(rest))
    strip = [
        {k: v for k, v in line.items() if k not in ("seconds", "arithmetic_share")} for line in read_log(whole.folder)
    ]
    again = [
        {k: v for k, v in line.items() if k not in ("seconds", "arithmetic_share")} for line in read_log(rest.folder)
    ]
    assert strip == again
    assert len(strip) == 6


@pytest.mark.parametrize("algorithm", ["dpo", "sft"])
def test_a_run_killed_between_two_lines_of_the_log_writes_the_lines_of_one_that_was_not(
    make_trainer, algorithm
) -> None:
    whole = make_trainer("whole", algorithm=algorithm)
    killed, rest = (make_trainer("killed", algorithm=algorithm, save_every=2) for _ in range(2))
    for trainer in (whole, killed, rest):
        trainer.log_every = 3
    whole.train(6)

    def stop(step: int) -> None:
        if killed.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        killed.train(6, advance=stop)
    rest.train(6)
    first, second = (
        [{k: v for k, v in line.items() if k not in ("seconds", "arithmetic_share")} for line in read_log(t.folder)]
        for t in (whole, rest)
    )
    assert [line["step"] for line in first] == [3, 6]
    assert first == second


def test_a_state_of_two_processes_gives_one_process_the_mean_of_their_sums(make_trainer) -> None:
    trainer = make_trainer()
    trainer.folder.mkdir()
    trainer.log.load({"names": ["loss"], "sums": [[2.0], [4.0]], "count": 3, "seconds": {"data": 3.0}})
    trainer.log.write(0.1)
    (line,) = read_log(trainer.folder)
    assert (line["loss"], line["seconds"]) == (1.0, {"data": 1.0})


def test_a_killed_run_repeats_the_steps_that_were_not_saved(make_trainer) -> None:
    whole = make_trainer("whole")
    whole.train(6)
    killed = make_trainer("killed", save_every=2)
    killed.train(2)
    for _ in range(3):  # steps 3 to 5 happen and are lost
        killed.train_step()
    rest = make_trainer("killed")
    rest.train(6)
    assert_equal(learnt(whole), learnt(rest))


@pytest.mark.parametrize(
    "changes",
    [{"micro_batch_size": 1}, {"low_memory": True}, {"checkpointing": "full"}, {"checkpointing": "selective"}],
    ids=str,
)
@pytest.mark.parametrize("algorithm", ["dpo", "realdpo"])
def test_however_a_step_is_computed_it_moves_the_weights_alike(make_trainer, changes, algorithm) -> None:
    base = {"algorithm": algorithm, "losers": 2 if algorithm == "realdpo" else 1}
    plain, other = make_trainer("plain", **base), make_trainer("other", **base, **changes)
    before = learnt(plain)
    for trainer in (plain, other):
        # the gradient itself, not Adam's step, whose sign-like first move would hide or blow up a difference
        for batch in trainer._micro_batches(0):
            parts = trainer._share // (trainer.recipe.micro_batch_size or trainer._share)
            trainer._backward(batch, 1.0 / parts)
    grads = [{k: p.grad for k, p in adapter_parameters(t.family.transformer, POLICY).items()} for t in (plain, other)]
    scale = max(float(g.abs().max()) for g in grads[0].values())
    assert scale > 0
    assert furthest(*grads) <= 1e-6 * max(scale, 1.0)
    assert_equal(before, learnt(plain))


def test_cached_reference_errors_equal_live_ones(make_trainer) -> None:
    live = make_trainer("live", draws_per_pair=2)
    cached = make_trainer("cached", draws_per_pair=2, cache_reference=True)
    live.train(6)
    cached.train(6)
    assert furthest(learnt(live), learnt(cached)) <= 1e-6
    assert all("reference" not in line["seconds"] for line in read_log(cached.folder)[1:])


def test_winner_and_loser_in_one_forward_equal_two_forwards(make_trainer) -> None:
    trainer = make_trainer()
    batch = next(iter(trainer._micro_batches(0)))
    together = errors(trainer.family, trainer.network, batch, trainer.recipe)
    apart = torch.cat(
        [errors(trainer.family, trainer.network, batch.side(i), trainer.recipe) for i in range(batch.sides)]
    )
    torch.testing.assert_close(together, apart, rtol=1e-6, atol=1e-6)


def test_the_reference_with_adapters_off_is_the_network_before_training(make_trainer) -> None:
    trainer = make_trainer()
    fresh = make_trainer("fresh")
    trainer.train(4)
    batch = next(iter(trainer._micro_batches(0)))
    with trainer.reference.active(trainer.network) as other:
        after = errors(trainer.family, other, batch, trainer.recipe)
    before = errors(fresh.family, fresh.network, batch, fresh.recipe).detach()
    assert torch.equal(after, before)
    assert not torch.allclose(errors(trainer.family, trainer.network, batch, trainer.recipe).detach(), before)


def test_an_ema_reference_with_weight_one_is_the_policy(make_trainer) -> None:
    trainer = make_trainer(reference="ema", ema_decay=0.0)
    trainer.train(3)
    batch = next(iter(trainer._micro_batches(0)))
    with trainer.reference.active(trainer.network) as other:
        moved = errors(trainer.family, other, batch, trainer.recipe)
    assert torch.equal(moved, errors(trainer.family, trainer.network, batch, trainer.recipe).detach())


def test_learning_raises_the_margin_of_what_it_learns(make_trainer) -> None:
    trainer = make_trainer(batch_size=6, draws_per_pair=1, steps=30, beta=200.0)
    trainer.train(30)
    log = read_log(trainer.folder)
    assert log[0]["loss"] == pytest.approx(LN2, abs=1e-6)
    assert log[-1]["loss"] < 0.5 * LN2
    assert log[-1]["accuracy"] == 1.0


def test_sft_lowers_the_winners_error(make_trainer) -> None:
    trainer = make_trainer(algorithm="sft", batch_size=6, draws_per_pair=1, steps=30)
    trainer.train(30)
    log = read_log(trainer.folder)
    assert log[-1]["error_win"] < 0.8 * log[0]["error_win"]


def test_gapo_weighs_every_pair_by_itself(make_trainer, toy_pairs) -> None:
    """Against the loss written out pair by pair, one at a time."""
    trainer = make_trainer(algorithm="gapo", pair_weight="gap")
    trainer.train_step()  # away from ln 2
    examples = trainer.batch_at(1)
    batch = make_batch(trainer.family, trainer.recipe, trainer.cache, examples, trainer.weights, "cpu")
    with trainer.reference.active(trainer.network) as other:
        ref = errors(trainer.family, other, batch, trainer.recipe)
    policy = errors(trainer.family, trainer.network, batch, trainer.recipe).detach()
    found = float(step_loss(policy, ref, batch, trainer.recipe).loss)
    n, expected = len(examples), 0.0
    for i, (pair, _) in enumerate(examples):
        z = -0.5 * 50.0 * float((policy[i] - ref[i]) - (policy[n + i] - ref[n + i]))
        lose = pair.reward_lose[0] if len(pair.reward_lose) == 1 else sum(pair.reward_lose) / len(pair.reward_lose)
        expected += (2**pair.reward_win - 2**lose) * math.log(1 + math.exp(-z)) / n
    assert found == pytest.approx(expected, rel=1e-5)


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_good_state(make_trainer) -> None:
    trainer = make_trainer(save_every=2)
    trainer.train(2)
    good = learnt(trainer)
    with torch.no_grad():
        next(iter(adapter_parameters(trainer.family.transformer, POLICY).values())).fill_(float("nan"))
    with pytest.raises(CheckFailed, match=r"not finite at step 3; the last good state is .*step-00000002"):
        trainer.train_step()
    again = make_trainer()
    again.resume()
    assert_equal(good, learnt(again))
    assert [p.name for p in states(again.folder)] == ["step-00000002"]


def test_only_the_newest_states_are_kept(make_trainer) -> None:
    trainer = make_trainer(save_every=1)
    trainer.train(4)
    assert [p.name for p in states(trainer.folder)] == ["step-00000003", "step-00000004"]


def test_every_pair_is_visited_once_an_epoch(make_trainer, toy_pairs) -> None:
    trainer = make_trainer(batch_size=4)
    n = len(toy_pairs.pairs)
    visits = [p.pair_id for step in range(n) for p, _ in trainer.batch_at(step)]  # 4n visits: four epochs
    for epoch in range(4):
        assert sorted(visits[epoch * n : (epoch + 1) * n]) == sorted(p.pair_id for p in toy_pairs.pairs)


def test_phases_of_every_step_are_recorded_with_the_share_of_the_arithmetic(make_trainer) -> None:
    trainer = make_trainer()
    trainer.train(3)
    for line in read_log(trainer.folder):
        assert {"data", "reference", "forward", "backward", "optimiser"} <= line["seconds"].keys()
        assert 0 < line["arithmetic_share"] < 1.5
