"""Base and aligned generator are compared in one arithmetic: where nothing was learned, nothing differs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from rewardbench.align import alignment, looks, run_clips
from rewardbench.align.adapters import save_adapter
from rewardbench.align.alignment import align
from rewardbench.align.judging import Judge
from rewardbench.align.training import read_log, states
from rewardbench.align.watching import readings, round_folders
from tests.align.conftest import SMALL, load_toy

NOTHING = {"learning_rate": 1e-30, "precision": "bf16"}
WAYS = {
    "lora": {},
    "full": {"tuning": "full", "reference": "frozen_copy"},
    "started": {"reference": "frozen_adapter"},
    "full, clip by clip": {"tuning": "full", "reference": "frozen_copy", "checkpointing": "full"},
}


def differences(result: dict) -> list[float]:
    """Of the optimised reward, and between the clips' latents at every look."""
    distances = [row["value"] for row in result["watched"] if row["name"] == "latent_error"]
    assert distances
    return [result["changes"]["random:overall"]["difference"], *distances]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("apart", [False, True], ids=["in one call", "stage by stage"])
@pytest.mark.parametrize("way", WAYS)
def test_a_run_that_learns_nothing_changes_nothing(settings, judge, tiny_toy, tmp_path, way, apart, dtype) -> None:
    start = None
    if way == "started":
        start = tmp_path / "lora"
        first = align(settings("first", "dpo", {"learning_rate": 1e-2}))
        assert first["changes"]["random:overall"]["difference"] != 0
        (tmp_path / "first" / "weights").rename(start)
    given = settings("run", "dpo", NOTHING | WAYS[way], evaluations=1 + (not apart), start=start, dtype=dtype)
    if apart:
        align(given, stage="train")
        result = align(given, stage="evaluate")
    else:
        result = align(given)
    assert set(differences(result)) == {0.0}


def test_sampling_goes_through_blocks_that_are_not_wrapped(settings, judge, monkeypatch) -> None:
    """Base is sampled before checkpointing wraps the network, aligned after it; and training goes on wrapped."""
    runs, seen, plain = [], [], run_clips.sample_clips

    def spied(family, *arguments, **named):
        runs.append(family)
        seen.append(forwards(family))
        return plain(family, *arguments, **named)

    def forwards(family):
        return {vars(b).get("forward", b.forward).__func__.__name__ for b in family.blocks(family.transformer)}

    monkeypatch.setattr(run_clips, "sample_clips", spied)
    align(settings("run", "dpo", {"checkpointing": "full"}, evaluations=2))
    assert len(seen) >= 4  # to learn from; base and policy in the midst; aligned
    assert set.union(*seen) == {"forward"}
    assert forwards(runs[-1]) == {"_forward_by_clips"}


def test_base_is_looked_at_before_training_so_that_no_second_generator_is_loaded(settings, judge, monkeypatch) -> None:
    loaded, plain = [], alignment.load_generator

    def load(given):
        loaded.append(given)
        return plain(given)

    monkeypatch.setattr(alignment, "load_generator", load)
    monkeypatch.setattr(looks, "load_generator", load)
    given = settings("run", "dpo", WAYS["full"])
    align(given)
    assert len(loaded) == 1
    before = (given.out / "evaluate" / "base" / "latents-00000.safetensors").read_bytes()
    for path in (given.out / "evaluate").rglob("base*"):
        path.rename(path.with_name("old-" + path.name))
    align(given, stage="evaluate")
    assert len(loaded) == 3  # of the run, and to look at base, which has learned by now
    assert (given.out / "evaluate" / "base" / "latents-00000.safetensors").read_bytes() == before


def test_a_later_round_is_sampled_from_the_end_of_the_one_before(settings, judge, interrupted_after) -> None:
    whole = settings("whole", "dpo", {"rounds": 2}, save_every=1)
    align(whole)
    parts = settings("parts", "dpo", {"rounds": 2}, save_every=1)
    with interrupted_after(1):
        align(parts)
    assert [s.name for s in states(parts.out / "round-1" / "train")] == ["step-00000001"]
    align(parts, stage="score")
    assert not (parts.out / "round-2" / "base.csv").exists()
    align(parts)
    for name in ("round-2/base/latents-00000.safetensors", "weights/pytorch_lora_weights.safetensors"):
        assert (whole.out / name).read_bytes() == (parts.out / name).read_bytes(), name


@pytest.mark.parametrize("way", [{}, {"tuning": "full"}], ids=["lora", "full"])
def test_a_moving_reference_goes_on_from_round_to_round_wherever_it_is_stopped(
    settings, judge, interrupted_after, way
) -> None:
    changes = {"rounds": 2, "reference": "ema", "ema_decay": 0.5, "learning_rate": 1e-2, **way}
    whole, parts = (settings(name, "dpo", changes, save_every=100, evaluations=1) for name in ("whole", "parts"))
    align(whole)
    with interrupted_after(SMALL["steps"] // 2):
        align(parts)
    assert states(parts.out / "round-1" / "train")
    assert not states(parts.out / "round-2" / "train")
    align(parts)
    logs = [[read_log(run.out / f"round-{n}" / "train") for n in (1, 2)] for run in (whole, parts)]
    first, second = ([[line["error_win_reference"] for line in log] for log in logs_of] for logs_of in logs)
    assert first == second
    (mine,), (theirs,) = (list((run.out / "weights").rglob("*.safetensors")) for run in (whole, parts))
    assert mine.read_bytes() == theirs.read_bytes()


def test_a_judge_that_is_held_out_later_scores_every_look_once_on_the_runs_device(settings, judge) -> None:
    given = settings(algorithm="dpo")
    align(given)
    judge.calls.clear()
    judge.devices.clear()
    later = dataclasses.replace(given, held_out=(Judge("drawn-rules", {"flicker": 1.0}),))
    result = align(later, stage="evaluate")
    assert len(judge.calls) == 3  # base, aligned, and the look between
    assert set(judge.devices) == {"cpu"}
    looked = {row["step"] for row in result["watched"] if row["name"] == "drawn-rules:flicker"}
    assert looked == {SMALL["steps"] // 2, SMALL["steps"]}
    judge.calls.clear()
    align(later, stage="evaluate")
    assert judge.calls == []


def test_rounds_are_taken_in_the_order_of_their_numbers(settings, judge, tmp_path: Path) -> None:
    given = settings(algorithm="dpo", changes={"rounds": 11, "steps": 11}, evaluations=11)
    align(given)
    assert [p.name for p in round_folders(given.out)] == [f"round-{n}" for n in range(1, 12)]
    logged = alignment.json.loads((given.out / "result.json").read_text())["training"]
    found = {reading.step: reading.training["margin"] for reading in readings(given.out, given)}
    assert found == {n + 1: pytest.approx(logged[n][-1]["margin"]) for n in range(11)}


def test_a_lora_is_as_precise_where_it_is_loaded_as_where_it_was_trained(tiny_toy, tmp_path) -> None:
    from rewardbench.align.adapters import POLICY, adapter_parameters, attach, load_policy
    from rewardbench.align.families import load_family
    from rewardbench.align.recipe import Recipe

    family = load_toy(tiny_toy)
    attach(family, Recipe())
    save_adapter(family, tmp_path)
    other = load_family(str(tiny_toy), dtype=torch.bfloat16)
    load_policy(other, tmp_path)
    assert {p.dtype for p in adapter_parameters(other.transformer, POLICY).values()} == {torch.float32}
