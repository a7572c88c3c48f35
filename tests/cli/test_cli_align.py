"""`rewardbench align` and `rewardbench pairs` as they are typed: what they print and what they refuse."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rewardbench.align.adapters import attach, save_adapter
from rewardbench.align.recipe import Recipe
from rewardbench.cli.app import main
from rewardbench.video import write_video
from tests.align.conftest import load_toy, write_tiny_toy


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--set", "betta=3"], "--set betta=3: the recipe has no such setting; did you mean 'beta'?"),
        (["--set", "beta"], "--set beta: the recipe has no such setting; write --set NAME=VALUE"),
        (["--set", "beta=x"], "--set beta=x: beta is a number"),
        (["--set", "steps=1.5"], "steps is a whole number"),
        (["--set", "low_memory=maybe"], "low_memory is true or false"),
        (["--algorithm", "ppo"], "algorithm 'ppo' is not known; there are sft, dpo, gapo"),
        (["--preset", "gapo_papre"], "preset 'gapo_papre' is not known; did you mean 'gapo_paper'?"),
        (["--algorithm", "sft", "--preset", "gapo_paper"], "preset gapo_paper is for gapo, not sft"),
        (["--set", "error_space=epsilon", "--set", "beta_schedule=(1-t)^2"], "is the same factor twice"),
        (["--on-alarm", "panic"], "--on-alarm is warn or stop, not 'panic'"),
        (["--dimension", "motion=much"], "--dimension motion=much: the weight is not a number"),
        (["--dimension", "beauty"], "animereward has no dimension 'beauty'; there are smoothness, motion"),
        (["--model", "nowhere"], "nowhere is neither a generator family"),
        (["--held-out", "nosuch"], "unknown plugin 'nosuch'"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(arguments, sentence, tmp_path, capsys) -> None:
    assert main(["align", "--plugin", "animereward", "--out", str(tmp_path / "run"), *arguments]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run" / "round-1").exists()


def test_a_judge_without_an_overall_score_has_its_default_optimised_or_asks(monkeypatch) -> None:
    from types import SimpleNamespace

    from rewardbench.cli.align import _usual_dimension
    from rewardbench.errors import InputError

    def card(names, default=None):
        return SimpleNamespace(name="judge", dimension_names=names, default_score=default)

    assert _usual_dimension(card(("a", "overall"), "a")) == "overall"
    assert _usual_dimension(card(("a", "b"), "b")) == "b"
    assert _usual_dimension(card(("a",))) == "a"
    with pytest.raises(InputError, match="judge has no overall score; say with --dimension .*, there are a, b"):
        _usual_dimension(card(("a", "b"), "gone"))


@pytest.mark.parametrize(
    ("judge", "dimension", "watched"),
    [("animereward", "motion", "drawn-rules"), ("drawn-rules", "flicker", "animereward")],
)
def test_on_the_toy_a_judge_of_the_other_kind_is_watched(judge, dimension, watched, tmp_path, capsys) -> None:
    out = str(tmp_path / "run")
    assert main(["align", "--plugin", judge, "--dimension", dimension, "--dry-run", "--out", out]) == 0
    assert f"held out: {watched}\n" in capsys.readouterr().out


def test_clips_that_a_judge_failed_on_end_the_command_with_exit_code_3(tmp_path, capsys, monkeypatch) -> None:
    from rewardbench.align import alignment

    def done(settings, progress, stage):
        (settings.out / "evaluate").mkdir(parents=True)
        (settings.out / "evaluate" / "base-scores.csv").write_text("clip_id,overall,error\na,1,\nb,,broken\n")
        return {}

    monkeypatch.setattr(alignment, "align", done)
    assert main(["align", "--plugin", "random", "--out", str(tmp_path / "run")]) == 3
    assert "random failed on evaluate/base/b: broken" in capsys.readouterr().err


def test_a_comparison_that_the_judge_abstained_on_ends_the_command_with_exit_code_3(
    tmp_path, capsys, monkeypatch
) -> None:
    from rewardbench.align import alignment

    change = dict.fromkeys(("base", "aligned", "difference", "win_rate"), 0.5) | {"n": 1}
    change |= {key: [0.0, 1.0] for key in ("difference_ci95", "win_rate_ci95")}
    result = {"optimised": "random:overall", "changes": {"random:overall": None, "other:a": change}}
    monkeypatch.setattr(alignment, "align", lambda settings, progress, stage: result)
    line = ["align", "--plugin", "random", "--out", str(tmp_path / "run"), "--format", "json"]
    assert main(line) == 3
    assert "random:overall scored no prompt of the comparison on both sides" in capsys.readouterr().err
    result["changes"] = {"random:overall": change, "other:a": None}
    assert main(line) == 0


def test_the_recipe_is_printed_with_where_each_setting_comes_from(capsys) -> None:
    assert (
        main(["align", "--plugin", "animereward", "--preset", "flow_dpo_paper", "--set", "steps=7", "--settings"]) == 0
    )
    lines = {line.split()[0]: line.split(maxsplit=2)[1:] for line in capsys.readouterr().out.splitlines() if line}
    assert lines["beta"][0] == "500.0"
    assert lines["beta"][1].startswith("arXiv:2501.13918v2")
    assert lines["reduction"] == ["mean", "ours"]
    assert lines["steps"] == ["7", "you"]


def test_a_lora_to_start_from_brings_its_rank_and_alpha(capsys, tmp_path) -> None:
    family = load_toy(write_tiny_toy(tmp_path / "toy"))
    attach(family, replace(Recipe(), lora_rank=4, lora_alpha=6))
    save_adapter(family, tmp_path)
    start = ["align", "--plugin", "animereward", "--start", str(tmp_path), "--settings"]
    for more, alpha in (([], ["6", "the LoRA"]), (["--set", "lora_alpha=8"], ["8", "you"])):
        assert main([*start, *more]) == 0
        lines = {line.split()[0]: line.split(maxsplit=2)[1:] for line in capsys.readouterr().out.splitlines() if line}
        assert lines["lora_rank"] == ["4", "the LoRA"]
        assert lines["lora_alpha"] == alpha


@pytest.fixture
def scored(tmp_path: Path) -> Path:
    for name, level in (("a", 0), ("b", 80), ("c", 160)):
        write_video(tmp_path / f"{name}.mp4", np.full((2, 16, 16, 3), level, np.uint8), 8)
    (tmp_path / "scored.csv").write_text("video,prompt,good,vast\na.mp4,x,1,inf\nb.mp4,x,3,1\nc.mp4,x,2,2\n")
    return tmp_path / "scored.csv"


def test_pairs_build_writes_a_pairs_file(scored, tmp_path, capsys) -> None:
    out = tmp_path / "pairs.csv"
    assert main(["pairs", "build", str(scored), "--score", "good", "--out", str(out), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"pairs": 1, "clips": 3, "left_out": [], "file": str(out)}
    header, row = out.read_text().splitlines()
    found = dict(zip(header.split(","), row.split(","), strict=True))
    assert (found["video_a"], found["video_b"], found["label_reward"], found["gap"]) == ("b.mp4", "a.mp4", "A", "2.0")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--score", "nice"], "has no column 'nice' (columns: video, prompt, good, vast)"),
        (["--score", "good", "--min-gap", "5"], "no two scores were more than 5 apart"),
        (["--score", "good", "--losers", "0"], "--losers is at least 1"),
        (["--score", "prompt"], "'x' in column 'prompt' is not a number"),
        (["--score", "vast"], "'inf' in column 'vast' is infinite"),
    ],
)
def test_pairs_build_refuses_in_one_sentence(scored, tmp_path, capsys, arguments, sentence) -> None:
    assert main(["pairs", "build", str(scored), "--out", str(tmp_path / "p.csv"), *arguments]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "p.csv").exists()


def test_pairs_build_refuses_a_place_that_cannot_be_written(scored, capsys) -> None:
    assert main(["pairs", "build", str(scored), "--score", "good", "--out", "/proc/pairs.csv"]) == 2
    assert "--out /proc/pairs.csv cannot be written: " in capsys.readouterr().err
