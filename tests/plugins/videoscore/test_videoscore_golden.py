"""VideoScore gives the numbers of the class it was published with, from clips and from saved tensors."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rewardbench_videoscore.card import ASPECTS
from rewardbench_videoscore.idefics2 import Idefics2Regressor
from rewardbench_videoscore.model import VideoScore

import rewardbench
from rewardbench.cli import main
from rewardbench_plugin import Clip

pytestmark = pytest.mark.shared

MODES = {
    "example_16": {"sampling": "example", "num_frames": "16"},
    "example_48": {"sampling": "example", "max_frames": "48"},
    "benchmark_16": {"sampling": "benchmark", "num_frames": "16"},
    "anime_24": {"sampling": "anime", "max_frames": "24"},
}
TOLERANCE = {1: 2e-4, 5: 2e-5}
"""By the number of outputs: the golden folder's, for float32."""


@pytest.fixture(scope="module")
def golden(shared: Path) -> Path:
    return shared / "golden" / "idefics2"


@pytest.fixture(scope="module")
def runs(golden: Path) -> list[dict[str, Any]]:
    return json.loads((golden / "expected.json").read_text())["runs"]


@pytest.fixture(scope="module")
def tensors(golden: Path):
    from safetensors.numpy import load_file

    return lambda run: load_file(golden / run["intermediate"])


@pytest.fixture(scope="module")
def host(golden: Path):
    loaded: dict[str, Idefics2Regressor] = {}

    def load(model: str) -> Idefics2Regressor:
        if model not in loaded:
            loaded[model] = Idefics2Regressor(golden / model)
            loaded[model].load("cpu", "float32")
        return loaded[model]

    return load


def template(shared: Path, model: str) -> str:
    folder = "animereward" if model.startswith("anime") else "videoscore"
    return (shared / "assets" / folder / "templates" / "regression.txt").read_bytes().decode()


@pytest.mark.system
def test_the_command_gives_the_expected_scores_and_says_what_is_wrong_with_other_clips(
    golden, runs, templates, tmp_path, capsys
) -> None:
    wanted = [run for run in runs if run["model"] == "videoscore" and run["mode"] == "example_16"]
    table = tmp_path / "clips.jsonl"
    lines = [{"video": run["video"], "prompt": run["text_prompt"]} for run in wanted]
    lines += [{**lines[0], "prompt": "a <image> fox"}, {**lines[0], "prompt": ""}]
    for run in wanted:
        shutil.copy(golden.parent / "videos" / run["video"], tmp_path)
    table.write_text("".join(json.dumps(line) + "\n" for line in lines))
    words = ["score", "--clips", str(table), "--plugin", "videoscore:v1.1", "--weights", str(golden / "videoscore")]
    words += ["--weights", f"templates={templates}", "--device", "cpu", "--dtype", "float32", "--format", "json"]
    words += ["--option", "num_frames=16", "--option", "round_digits=3"]
    assert main(words) == 3
    rows = json.loads(capsys.readouterr().out)
    assert [bool(row["error"]) for row in rows] == [False, False, False, True, True]
    assert "the prompt contains '<image>'" in rows[3]["error"]
    assert "has no prompt" in rows[4]["error"]
    for row, run in zip(rows[:3], wanted, strict=True):
        raw, scores = ([row[kind][name] for name in ASPECTS] for kind in ("raw", "scores"))
        np.testing.assert_allclose(raw, run["logits"], atol=TOLERANCE[5])
        assert scores == [round(value, 3) for value in raw]
        np.testing.assert_allclose(scores, run["rounded"], atol=1.001e-3)  # a flipped last digit
        assert row["scores"]["overall"] == pytest.approx(np.mean(scores), abs=1e-12)
        assert row["raw"]["overall"] == pytest.approx(np.mean(raw), abs=1e-12)


@pytest.mark.system
@pytest.mark.parametrize("mode", ["example_48", "benchmark_16"])
def test_the_command_gives_the_expected_scores_with_other_frames(
    golden, runs, templates, tmp_path, capsys, mode: str
) -> None:
    wanted = [run for run in runs if run["model"] == "videoscore" and run["mode"] == mode]
    assert wanted
    lines = [{"video": run["video"], "prompt": run["text_prompt"]} for run in wanted]
    for run in wanted:
        shutil.copy(golden.parent / "videos" / run["video"], tmp_path)
    (tmp_path / "clips.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    words = ["score", "--clips", str(tmp_path / "clips.jsonl"), "--plugin", "videoscore"]
    words += ["--weights", str(golden / "videoscore"), "--weights", f"templates={templates}", "--format", "json"]
    words += ["--device", "cpu", "--dtype", "float32"]
    for option in MODES[mode].items():
        words += ["--option", "=".join(option)]
    assert main(words) == 0
    for row, run in zip(json.loads(capsys.readouterr().out), wanted, strict=True):
        raw, scores = ([row[kind][name] for name in ASPECTS] for kind in ("raw", "scores"))
        np.testing.assert_allclose(raw, run["logits"], atol=TOLERANCE[5])
        np.testing.assert_allclose(scores, run["rounded"], atol=1.001e-3)  # a flipped last digit
        assert row["scores"]["overall"] == pytest.approx(np.mean(scores), abs=1e-12)


@pytest.mark.parametrize("mode", ["example_48", "benchmark_16"])
def test_a_loaded_reward_gives_the_expected_scores_of_clips(golden, runs, templates, mode: str) -> None:
    wanted = [run for run in runs if run["model"] == "videoscore" and run["mode"] == mode]
    weights = {"": str(golden / "videoscore"), "templates": templates}
    options = {**MODES[mode], "round_digits": "none"}
    reward = rewardbench.load_reward("videoscore", weights=weights, device="cpu", dtype="float32", **options)
    clips = [Clip(run["video"], str(golden.parent / "videos" / run["video"]), run["text_prompt"]) for run in wanted]
    values = reward.score(clips)
    assert values.shape == (3, 6)
    np.testing.assert_allclose(values[:, :5], [run["logits"] for run in wanted], atol=TOLERANCE[5])
    np.testing.assert_allclose(values[:, 5], values[:, :5].mean(axis=1), atol=1e-12)


def test_prepare_gives_the_saved_tensors_and_these_the_expected_scores(shared, golden, runs, tensors, host) -> None:
    """All four models, also those of AnimeReward: frames and token ids are equal, not close."""
    from rewardbench.video import read_frames
    from rewardbench_plugin import FrameSpec, Sampling

    every = FrameSpec(sampling=Sampling("all", None))
    saved_runs = [run for run in runs if run["intermediate"]]
    assert {run["model"] for run in saved_runs} >= {"videoscore", "videoscore_eps", "anime_smooth"}
    for run in saved_runs:
        frames = read_frames(str(golden.parent / "videos" / run["video"]), [every])[every].rgb[run["frame_indices"]]
        text = template(shared, run["model"]).replace("{text_prompt}", run["text_prompt"])
        prepared = host(run["model"]).prepare(frames, text)
        saved = tensors(run)
        assert np.array_equal(prepared["input_ids"], saved["input_ids"][0])
        assert np.array_equal(prepared["frames"], saved["pixel_values_uint8"][0].transpose(0, 2, 3, 1))
        logits = host(run["model"]).logits(prepared)
        np.testing.assert_allclose(logits, run["logits"], atol=TOLERANCE[len(logits)])


def test_what_the_text_model_sees_of_frames_is_the_reference_s(golden, runs, tensors, host) -> None:
    for model in ("videoscore", "videoscore_eps"):
        saved = tensors(next(run for run in runs if run["model"] == model and run["intermediate"]))
        frames = np.ascontiguousarray(saved["pixel_values_uint8"][0].transpose(0, 2, 3, 1))
        table = host(model).inputs.images.table()
        pixels = np.stack([table[c][frames[:2, :, :, c]] for c in range(3)], axis=1)
        assert np.array_equal(pixels, saved["pixel_values_first2"][0])
        latents = host(model).latents(frames).numpy()
        np.testing.assert_allclose(latents, saved["image_hidden_states"].reshape(latents.shape), atol=2e-5)


def test_every_sampler_chooses_the_reference_s_frames_at_every_length(golden) -> None:
    table = json.loads((golden / "sampling.json").read_text())["table"]
    for mode, options in MODES.items():
        model = VideoScore()
        model.configure(options=options)
        (spec,) = model.card.frame_specs()
        for row in table:
            assert spec.sampling.indices(row["total_frames"], 8.0).tolist() == row[mode], (mode, row["total_frames"])


def test_the_prompt_and_every_frame_count(golden, runs, tensors, host) -> None:
    run = next(run for run in runs if run["intermediate"])
    saved = tensors(run)
    ids, frames = saved["input_ids"][0], saved["pixel_values_uint8"][0].transpose(0, 2, 3, 1)
    for frame in (0, len(frames) - 1):
        other = frames.copy()
        other[frame] = 255 - other[frame]
        changed = host("videoscore").logits({"input_ids": ids, "frames": other})
        assert np.abs(changed - run["logits"]).max() > 1e-3
