"""What each of several processes holds: closed forms of parameter counts, against the estimate of one process."""

from __future__ import annotations

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest

from rewardbench.align import memory
from rewardbench.align.adapters import attach
from rewardbench.align.families.base import VideoFamily
from rewardbench.align.recipe import Recipe
from rewardbench.align.sharing import BUCKET, GRADIENTS, LIVE, MOMENTS, WEIGHTS, Sharing, sharing_of
from rewardbench.errors import InputError
from tests.align.conftest import load_toy

N = 4
FULL = Recipe(algorithm="dpo", tuning="full", reference="frozen_copy", batch_size=N, beta=10.0)
LORA = Recipe(algorithm="dpo", batch_size=N, lora_rank=4, beta=10.0)
FSDP2 = Sharing(N, "fsdp2", WEIGHTS)


@pytest.fixture
def toy(tiny_toy) -> VideoFamily:
    return load_toy(tiny_toy)


@pytest.fixture
def condition(toy):
    return memory._encoded(toy)


def counts(family: VideoFamily) -> tuple[int, int, list[int]]:
    """(elements of all parameters, of buffers, of parameters by block)."""
    network = family.transformer
    blocks = [sum(p.numel() for p in block.parameters()) for block in family.blocks(network)]
    return sum(p.numel() for p in network.parameters()), sum(b.numel() for b in network.buffers()), blocks


def alone(recipe: Recipe, family: VideoFamily, condition) -> memory.MemoryEstimate:
    return memory.estimate(family, replace(recipe, batch_size=recipe.batch_size // N), condition=condition)


def test_one_process_alone_shares_nothing(toy, condition) -> None:
    recipe = replace(FULL, batch_size=2)
    expected = memory.estimate(toy, recipe, condition=condition)
    assert memory.estimate(toy, recipe, condition=condition, sharing=Sharing()) == expected
    assert memory.estimate(toy, recipe, condition=condition, processes=1) == expected


def test_under_ddp_every_process_holds_all_and_buckets_of_gradients(toy, condition) -> None:
    one = alone(FULL, toy, condition)
    assert memory.estimate(toy, FULL, condition=condition, sharing=Sharing(N)) == replace(one, copies=one.trainable)
    assert memory.estimate(toy, FULL, condition=condition, processes=N) == replace(one, copies=one.trainable)


def test_fsdp2_divides_everything_and_gathers_two_blocks_and_what_is_outside_of_blocks(toy, condition) -> None:
    elements, buffers, blocks = counts(toy)
    found = memory.estimate(toy, FULL, condition=condition, sharing=FSDP2)
    part = math.ceil(4 * elements / N)
    assert (found.trainable, found.optimiser) == (part, 2 * part)
    assert found.weights == 4 * buffers  # no parameter stands still, and buffers are not divided
    assert found.reference == math.ceil(4 * (elements + buffers) / N)
    rest = elements - sum(blocks)
    assert found.copies == 4 * (2 * max(blocks) + rest) + (4 + 4) * max(*blocks, rest)
    one = alone(FULL, toy, condition)
    assert found.gradients <= one.trainable // N
    stays = memory.estimate(toy, FULL, condition=condition, sharing=replace(FSDP2, regather=False))
    assert stays.copies == 4 * elements + (4 + 4) * max(*blocks, rest)


def test_fsdp2_under_lora_divides_what_stands_still_too(toy, condition) -> None:
    elements, buffers, _ = counts(toy)
    found = memory.estimate(toy, LORA, condition=condition, sharing=FSDP2)
    attach(toy, LORA)
    learning = sum(p.numel() for p in toy.transformer.parameters() if p.requires_grad)
    assert found.weights == math.ceil(4 * elements / N) + 4 * buffers
    assert found.trainable == math.ceil(4 * learning / N)
    assert found.reference == 0


def test_in_bfloat16_fsdp2_gathers_half_as_much_and_sums_gradients_in_float32(toy, condition) -> None:
    elements, _, blocks = counts(toy)
    found = memory.estimate(toy, replace(FULL, precision="bf16"), condition=condition, sharing=FSDP2)
    rest = elements - sum(blocks)
    assert found.copies == 2 * (2 * max(blocks) + rest) + (2 + 4) * max(*blocks, rest)
    assert found.trainable == math.ceil(4 * elements / N)  # its parts are float32


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_zero_divides_as_much_as_its_stage_says_and_keeps_float32_originals(toy, condition, stage) -> None:
    elements, buffers, _ = counts(toy)
    one = alone(FULL, toy, condition)
    found = memory.estimate(toy, FULL, condition=condition, sharing=Sharing(N, "deepspeed", stage))
    assert found.optimiser == math.ceil(12 * elements / N)
    assert found.trainable == math.ceil(4 * elements / (N if stage == 3 else 1))
    assert found.reference == 4 * (elements + buffers) == one.reference  # a copy stays whole
    assert found.gradients <= one.trainable // (N if stage >= 2 else 1)
    assert found.copies == 4 * elements * (2 if stage == 3 else 1)  # smaller than a bucket, and than what may be live


def test_zero_in_bfloat16_casts_the_network_and_its_copy(toy, condition) -> None:
    elements, buffers, _ = counts(toy)
    recipe = replace(FULL, precision="bf16")
    found = memory.estimate(toy, recipe, condition=condition, sharing=Sharing(N, "deepspeed", 2))
    assert (found.trainable, found.weights, found.reference) == (2 * elements, 2 * buffers, 2 * (elements + buffers))
    assert found.optimiser == math.ceil(12 * elements / N)
    assert found.gradients <= 2 * elements // N


def test_buckets_and_live_weights_of_deepspeed_have_their_limits(toy, condition) -> None:
    sharing = Sharing(N, "deepspeed", 3, bucket=100, live=1000)
    assert memory.estimate(toy, FULL, condition=condition, sharing=sharing).copies == 4 * (100 + 1000)


def test_what_lives_in_host_memory_is_not_counted(toy, condition) -> None:
    moments = Sharing(N, "deepspeed", 3, frozenset({MOMENTS}))
    found = memory.estimate(toy, FULL, condition=condition, sharing=moments)
    assert (found.optimiser, found.gradients) == (0, 0)
    assert found.trainable > 0
    away = memory.estimate(
        toy, FULL, condition=condition, sharing=replace(FSDP2, offload=frozenset({WEIGHTS, MOMENTS}))
    )
    assert (away.optimiser, away.trainable, away.gradients, away.reference) == (0, 0, 0, 0)


def test_a_run_that_fits_only_when_it_is_shared_out_is_let_through(toy, condition) -> None:
    one, shared = alone(FULL, toy, condition), memory.estimate(toy, FULL, condition=condition, sharing=FSDP2)
    many = memory.estimate(
        toy, replace(FULL, batch_size=64), condition=condition, sharing=Sharing(64, "deepspeed", 2, bucket=1)
    )
    assert many.total < one.total
    memory.check_fits(many, one.total - 1)
    with pytest.raises(InputError, match="a step needs"):
        memory.check_fits(one, one.total - 1)
    assert shared.trainable + shared.optimiser < one.trainable + one.optimiser
    with pytest.raises(InputError, match="batch_size 4 cannot be shared by 3 processes"):
        memory.estimate(toy, FULL, condition=condition, sharing=replace(FSDP2, processes=3))


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_parts_of_all_processes_make_the_whole(stage) -> None:
    sharing = Sharing(3, "deepspeed", stage)
    for what in (MOMENTS, GRADIENTS, WEIGHTS):
        held = sharing.held(1000, what)
        assert held == (334 if stage >= what else 1000)
        assert (3 if stage >= what else 1) * held >= 1000


def an_accelerator(**state) -> SimpleNamespace:
    return SimpleNamespace(num_processes=8, state=SimpleNamespace(**state))


def test_sharing_is_read_from_what_accelerate_was_told() -> None:
    assert sharing_of(an_accelerator(), "plain") == Sharing(8)
    plugin = SimpleNamespace(cpu_offload=None, reshard_after_forward=True)
    assert sharing_of(an_accelerator(fsdp_plugin=plugin), "fsdp2") == Sharing(8, "fsdp2", 3)
    plugin = SimpleNamespace(cpu_offload=object(), reshard_after_forward=False)
    found = sharing_of(an_accelerator(fsdp_plugin=plugin), "fsdp2")
    assert (found.offload, found.regather) == (frozenset({WEIGHTS, MOMENTS}), False)
    told = {"stage": 2, "offload_optimizer": {"device": "none", "nvme_path": None}, "reduce_bucket_size": "auto"}
    plugin = SimpleNamespace(deepspeed_config={"zero_optimization": told})
    found = sharing_of(an_accelerator(deepspeed_plugin=plugin), "deepspeed")
    assert found == Sharing(8, "deepspeed", 2, frozenset(), bucket=BUCKET, live=LIVE)
    told |= {"stage": 3, "offload_optimizer": {"device": "cpu"}, "reduce_bucket_size": 1e6}
    found = sharing_of(an_accelerator(deepspeed_plugin=plugin), "deepspeed")
    assert found == Sharing(8, "deepspeed", 3, frozenset({MOMENTS}), bucket=1_000_000)
