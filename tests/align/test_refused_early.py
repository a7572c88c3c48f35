"""What can be known at the start is refused there: nothing is sampled, and the folder is left to the mended command."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rewardbench.align import alignment, run_clips
from rewardbench.align.alignment import align
from rewardbench.align.dryrun import describe_run
from rewardbench.align.judging import Judge, JudgeFacts
from rewardbench.align.presets import recipe_for
from rewardbench.align.prompts import write_table
from rewardbench.errors import InputError

CASES = {
    "range": ("gapo", {"pair_weight": "gap", "gap_range": "plugin"}, {}, "declares no finite range .* gap_range data"),
    "winners": ("realdpo", {"losers": 2}, {"winners": "real.csv"}, "none of its clips has a prompt of the run"),
    "not drawn": ("realdpo", {"losers": 2}, {}, "not of the drawn world; name real clips with --winners"),
    "block": ("dpo", {"lora_from": 99}, {}, "lora_from 99"),
    "start": ("dpo", {"reference": "frozen_adapter"}, {"start": "."}, "to start from"),
    "nrg pairs": ("flow-nrg", {"latent_depth": 1}, {"winners": "real.csv"}, "leave --pairs and --winners out"),
    "nrg rounds": ("flow-nrg", {"latent_depth": 1, "rounds": 2}, {}, "this run samples none; choose rounds 1"),
    "sft rounds": ("sft", {"rounds": 2}, {"winners": "real.csv"}, "this run samples none; choose rounds 1"),
}


@pytest.fixture
def sampled(monkeypatch) -> list[object]:
    found: list[object] = []
    monkeypatch.setattr(run_clips, "sample_clips", lambda *a, **k: found.append(a))
    return found


@pytest.mark.parametrize("name", CASES)
def test_it_is_refused_before_the_folder_is_claimed(settings, judge, tmp_path, sampled, monkeypatch, name) -> None:
    algorithm, changes, given, sentence = CASES[name]
    write_table(tmp_path / "real.csv", [{"video": "a.mp4", "prompt": "nobody asked for this"}])
    (tmp_path / "a.mp4").write_bytes(b"")
    if name == "range":
        unbounded = JudgeFacts({"overall": 1.0}, None)
        for module in ("alignment", "dryrun"):
            monkeypatch.setattr(f"rewardbench.align.{module}.facts_of", lambda judge: unbounded)
    asked = settings("run", algorithm, changes, **{k: tmp_path / v for k, v in given.items()})
    for attempt in (lambda: list(describe_run(asked)), lambda: align(asked)):
        with pytest.raises(InputError, match=sentence):
            attempt()
    assert not asked.out.exists()
    assert sampled == []


def test_too_little_memory_leaves_the_folder_to_the_recipe_that_fits(settings, judge, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(alignment, "available_to", lambda network: 1000)
        with pytest.raises(InputError, match="1000 B are free"):
            align(settings("run", "dpo"))
    assert align(settings("run", "dpo", {"checkpointing": "full"}))["changes"]


def test_a_batch_that_cannot_be_shared_is_refused_early(settings, judge, monkeypatch, sampled) -> None:
    given = settings("run", "dpo")
    plain = alignment.make_accelerator

    def of_three(family, recipe):
        accelerator = plain(family, recipe)
        monkeypatch.setattr(type(accelerator), "num_processes", 3)
        return accelerator

    monkeypatch.setattr(alignment, "make_accelerator", of_three)
    with pytest.raises(InputError, match="batch_size 4 cannot be shared by 3 processes"):
        align(given)
    assert not given.out.exists()
    assert sampled == []


def test_gap_weights_of_real_generators_need_no_range_of_the_judge() -> None:
    assert recipe_for("gapo", None, {}, toy=False).gap_range == "data"


def test_pairs_of_a_file_are_learned_from_in_one_round(settings, judge) -> None:
    first = settings("first", "dpo")
    align(first, stage="pair")
    again = settings("second", "dpo", {"rounds": 2}, pairs=first.out / "round-1-pairs.csv", prompts=None)
    again = replace(again, judge=Judge("random", {"overall": 1.0}))
    with pytest.raises(InputError, match="this run samples none; choose rounds 1"):
        align(again)
