"""Preset ``released`` by the way a user takes: a folder in the published layout, the command, and ``load_reward``."""

from __future__ import annotations

import csv
import gc
import json
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rewardbench_animereward import identity
from rewardbench_animereward.character import CharacterScorer
from rewardbench_animereward.published import PLACES
from rewardbench_animereward.released import ReleasedAnimeReward
from rewardbench_animereward.vlm import VlmScorer
from safetensors.torch import load_file

from rewardbench import load_reward
from rewardbench.cli import main
from rewardbench.errors import PluginError
from rewardbench_plugin import Clip, Item

FROM_MP4 = {"smoothness": 2e-4, "motion": 1e-4, "appeal": 2e-4, "text_video": 2e-4, "image_video": 2e-4}
"""Largest difference allowed; the regressors' 2e-2 is on logits, which are hundredfold scores."""
FIVE = tuple(FROM_MP4)
GOLDEN = {
    "smoothness": "idefics2/anime_smooth",
    "motion": "actionclip/motion_model.pth",
    "appeal": "idefics2/anime_quality",
    "text_video": "blip/text_video/checkpoint_05.pth",
    "image_video": "blip/img_video/checkpoint_06.pth",
    "bert": "blip/weights/bert-base-uncased",
    "character": "character_blip",
    "gallery": "character_blip",
}
Expected = Mapping[str, float]


@pytest.fixture(scope="module")
def golden(shared: Path) -> Path:
    return shared / "golden"


@pytest.fixture(scope="module")
def folder(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights folder in the published layout, of the golden models."""
    root = tmp_path_factory.mktemp("anisora")
    for part, where in GOLDEN.items():
        place = root / "reward" / PLACES[part][0]
        place.parent.mkdir(parents=True, exist_ok=True)
        source = shared / "golden" / where
        if source.is_dir():
            shutil.copytree(source, place)
        else:
            shutil.copyfile(source, place)
        if part == "text_video":
            shutil.copyfile(shared / "golden" / "blip" / "arch.json", place.parent / "arch.json")
    shutil.copytree(shared / "assets" / "animereward" / "templates", root / "templates")
    return root


@pytest.fixture(scope="module")
def wanted(golden: Path) -> list[tuple[Clip, Expected]]:
    """Golden clips and what each must give."""
    videos, found = golden / "videos", []
    motion = {run["video"]: run["motion_score"] for run in read(golden, "actionclip")}
    idefics = read(golden, "idefics2")
    for video, score in motion.items():
        runs = {run["model"]: run for run in idefics if run["video"] == video}
        expected = {"motion": score, "smoothness": runs["anime_smooth"]["score"]}
        expected["appeal"] = runs["anime_quality"]["score"]
        prompt = runs["anime_smooth"]["text_prompt"]
        found.append((Clip(f"vlm-{video}", str(videos / video), prompt), expected))
    for run in read(golden, "blip"):
        expected = {"text_video": run["text_video"], "image_video": run["img_video"], "motion": motion[run["video"]]}
        image = str(golden / "blip" / run["key_image"])
        found.append((Clip(f"blip-{run['video']}", str(videos / run["video"]), run["prompt"], image), expected))
    return found


def read(golden: Path, name: str) -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = json.loads((golden / name / "expected.json").read_text())["runs"]
    return runs


def compare(scores: Mapping[str, float | None], expected: Expected, clip: Clip) -> None:
    for dimension, value in expected.items():
        assert scores[dimension] == pytest.approx(value, abs=FROM_MP4[dimension]), (clip.clip_id, dimension)
    if clip.image is None:
        assert scores["image_video"] is None or np.isnan(scores["image_video"])


@pytest.mark.system
@pytest.mark.shared
def test_the_command_gives_the_reference_s_scores(folder: Path, wanted, tmp_path: Path, capfd) -> None:
    with open(tmp_path / "clips.csv", "w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(["clip_id", "video", "prompt", "image"])
        for clip, _ in wanted:
            files = [Path(clip.video), *([Path(clip.image)] if clip.image else [])]
            for file in files:  # a table's clips lie beside it
                shutil.copyfile(file, tmp_path / file.name)
            names = [file.name for file in files]
            table.writerow([clip.clip_id, names[0], clip.prompt, names[1] if clip.image else ""])
    words = ["score", "--clips", str(tmp_path / "clips.csv"), "--plugin", "animereward:released"]
    words += ["--weights", str(folder), "--device", "cpu", "--dtype", "float32", "--format", "json"]
    words += ["--option", "round_digits=3", "--workers", "1"]
    assert main([*words, *(word for d in FIVE for word in ("--dimension", d))]) == 0
    printed = capfd.readouterr()
    rows = json.loads(printed.out)
    assert len(rows) == len(wanted)
    assert printed.err.count("image_video abstains: the clip has no first-frame image") == 3
    for row, (clip, expected) in zip(rows, wanted, strict=True):
        assert row["error"] is None
        compare(row["scores"], expected, clip)


@pytest.mark.system
@pytest.mark.shared
@pytest.mark.parametrize("residency", ["together", "one_by_one"])
def test_load_reward_gives_them_too_however_the_models_are_held(
    folder: Path, wanted, residency: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gc, "collect", lambda: 0)  # half a second for each of the 13 loads
    reward = load_reward(
        "animereward:released", weights=folder, device="cpu", dtype="float32", dimensions=FIVE, residency=residency
    )
    two = [wanted[1], wanted[-1]]
    values = reward.score([clip for clip, _ in two])
    for row, (clip, expected) in zip(values, two, strict=True):
        compare(dict(zip(FIVE, row, strict=True)), expected, clip)
    loaded = reward.model._residence._loaded
    assert len(loaded) == (5 if residency == "together" else 1)
    if residency == "one_by_one":
        backwards = reward.score([clip for clip, _ in reversed(two)])[::-1]
        assert np.array_equal(values, backwards, equal_nan=True)


@pytest.mark.shared
@pytest.mark.parametrize(("dimension", "model"), [("smoothness", "anime_smooth"), ("appeal", "anime_quality")])
def test_saved_tensors_give_the_saved_logits(golden: Path, shared: Path, dimension: str, model: str) -> None:
    scorer = VlmScorer(dimension, golden / "idefics2" / model, shared / "assets" / "animereward", 3)
    scorer.load("cpu", "float32")
    for run in read(golden, "idefics2"):
        if run["model"] != model or not (run["intermediate"] or model == "anime_quality"):
            continue
        file = run["intermediate"] or f"intermediate_anime_smooth_{Path(run['video']).stem}.safetensors"
        saved = load_file(golden / "idefics2" / file)  # both models tokenise and resize alike
        data = {
            f"{dimension}/input_ids": saved["input_ids"][0].numpy(),
            scorer._frames_name(): saved["pixel_values_uint8"][0].permute(0, 2, 3, 1).contiguous().numpy(),
        }
        rating = scorer.score(Clip("c", "c.mp4", run["text_prompt"]), data)
        assert rating.raw == pytest.approx(run["logits"][0], abs=2e-4)
        assert rating.value == pytest.approx(run["score"], abs=1.01e-5)


@pytest.mark.shared
def test_rounding_is_an_option_and_raw_is_not_rounded(folder: Path, wanted) -> None:
    clip, expected = wanted[0]
    found = {}
    for digits in ("3", "0", "none"):
        model = ReleasedAnimeReward()
        model.configure(
            preset="released",
            weights={"": str(folder)},
            options={"round_digits": digits},
            dimensions=["smoothness"],
        )
        model.load("cpu", "float32", model.weights, model.options)
        if digits == "3":
            from rewardbench.video import read_frames

            specs = model.card.frame_specs(model.dimensions)
            data = model.prepare(clip, read_frames(clip.video, specs))
        scores = model.score([Item(clip, data)])
        found[digits] = float(scores.values[0, 0])
        logit = float(scores.raw[0, 0])
    assert found == {"3": round(logit, 3) / 100, "0": round(logit, 0) / 100, "none": logit / 100}
    assert found["3"] == pytest.approx(expected["smoothness"], abs=2e-4)
    assert len(set(found.values())) == 3


@pytest.mark.shared
def test_only_the_first_output_counts_and_nothing_is_clamped(folder: Path, shared: Path, tmp_path: Path) -> None:
    source = shared / "golden" / "idefics2" / "anime_quality"
    shutil.copytree(source, tmp_path / "wide")
    state = load_file(source / "model.safetensors")
    from safetensors.torch import save_file

    state["score.weight"] = torch.cat([state["score.weight"], torch.zeros(2, 64)])
    state["score.bias"] = torch.cat([state["score.bias"] + 200.0, torch.tensor([-5.0, 999.0])])
    save_file(state, tmp_path / "wide" / "model.safetensors")
    frames = np.random.default_rng(0).integers(0, 256, (2, 50, 80, 3), dtype=np.uint8)
    ratings = []
    for path in (source, tmp_path / "wide"):
        scorer = VlmScorer("appeal", path, shared / "assets" / "animereward", 3)
        scorer.load("cpu", "float32")
        clip = Clip("c", "c.mp4", "a girl runs")
        made = scorer.regressor.prepare(frames, scorer.query.replace("{text_prompt}", "a girl runs"))
        data = {"appeal/input_ids": made["input_ids"], scorer._frames_name(): made["frames"]}
        ratings.append(scorer.score(clip, data))
    assert ratings[1].raw == pytest.approx(ratings[0].raw + 200.0, abs=1e-3)
    assert ratings[1].value > 2.0


class WholePicture:
    """One box around everything, and an ellipse in its middle that stays."""

    def boxes(self, image: np.ndarray) -> np.ndarray:
        return np.array([[0, 0, image.shape[1], image.shape[0]]], np.float32)

    def masks(self, frames: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        height, width = frames.shape[1:3]
        y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        return np.repeat((x**2 + y**2 < 0.4).astype(np.uint8)[None], len(frames), axis=0)


@pytest.mark.shared
def test_overall_is_the_plain_mean_of_all_six(folder: Path, wanted, monkeypatch: pytest.MonkeyPatch) -> None:
    eyes = WholePicture()
    monkeypatch.setattr(identity, "CharacterScorer", partial(CharacterScorer, detector=eyes, tracker=eyes))
    reward = load_reward("animereward:released", weights=folder, device="cpu", dtype="float32")
    clip = next(clip for clip, _ in wanted if clip.image)
    without = Clip("bare", clip.video, clip.prompt)
    values = reward.score([clip, without])
    assert reward.dimensions[-1] == "overall"
    assert np.isfinite(values[0]).all()
    assert values[0, 6] == pytest.approx(np.mean(values[0, :6]), abs=1e-12)
    assert np.isnan(values[1]).tolist() == [False, False, False, False, True, True, True]
    assert np.array_equal(values[1, :4], values[0, :4])
    alone = load_reward("animereward:released", weights=folder, device="cpu", dtype="float32", dimensions=["overall"])
    assert alone.score([clip])[0, 0] == values[0, 6]


@pytest.mark.shared
def test_a_missing_prompt_or_image_is_said_in_the_note(folder: Path, wanted) -> None:
    model = ReleasedAnimeReward()
    model.configure(preset="released", weights={"": str(folder)}, dimensions=FIVE)
    model.load("cpu", "float32", model.weights, model.options)
    frames = {
        spec: _grey(spec.size.height if spec.size else 60, spec.size.width if spec.size else 90)
        for spec in model.card.frame_specs(model.dimensions)
    }
    bare = Clip("bare", "bare.mp4", "  ")
    scores = model.score([Item(bare, model.prepare(bare, frames))])
    assert np.isnan(scores.values[0]).tolist() == [True, False, True, True, True]
    assert scores.notes[0] == (
        "smoothness abstains: its query contains the prompt, and the clip has none; "
        "appeal abstains: its query contains the prompt, and the clip has none; "
        "text_video abstains: the clip has no prompt; image_video abstains: the clip has no first-frame image"
    )
    assert not any(scores.errors)


def _grey(height: int, width: int) -> Any:
    from rewardbench_plugin import Frames

    one = np.arange(1)
    return Frames(np.full((1, height, width, 3), 90, np.uint8), one, one / 8.0, 8.0, 1, height, width)


@pytest.mark.system
@pytest.mark.shared
def test_the_command_takes_the_sampling_by_name(folder: Path, golden: Path, capfd) -> None:
    runs = [run for run in read(golden, "idefics2") if run["model"] == "anime_smooth" and run["mode"] == "anime_24"]
    run = max(runs, key=lambda run: run["total_frames"])
    words = ["score", str(golden / "videos" / run["video"]), "--prompt", run["text_prompt"], "--format", "json"]
    words += ["--plugin", "animereward:released", "--weights", str(folder), "--dimension", "smoothness"]
    words += ["--device", "cpu", "--dtype", "float32"]
    found = []
    for options in (["sampling=anime", "max_frames=24"], ["sampling=anime"], ["sampling=benchmark", "max_frames=5"]):
        assert main([*words, *(word for option in options for word in ("--option", option))]) == 0
        (row,) = json.loads(capfd.readouterr().out)
        found.append(row["raw"]["smoothness"])
    assert found[0] == pytest.approx(run["logits"][0], abs=2e-2)  # of 0..100, from mp4
    assert found[1] == found[0]
    assert abs(found[2] - found[0]) > 2e-2


@pytest.mark.shared
@pytest.mark.parametrize(
    ("prompt", "sentence"),
    [
        ("a girl <image> runs", "the prompt contains '<image>', a special token"),
        ("word " * 40_000, "the prompt is too long: with 1 frames it makes "),
    ],
)
def test_a_prompt_the_regressors_cannot_read_is_refused(folder: Path, prompt: str, sentence: str) -> None:
    model = ReleasedAnimeReward()
    model.configure(preset="released", weights={"": str(folder)}, dimensions=["appeal"])
    clip = Clip("c", "c.mp4", prompt)
    with pytest.raises(ValueError, match=sentence):
        model.prepare(clip, {spec: _grey(60, 90) for spec in model.card.frame_specs(model.dimensions)})


@pytest.mark.shared
def test_a_clip_that_only_the_image_could_score_is_refused_without_one(folder: Path, wanted, capfd) -> None:
    clip = wanted[0][0]
    words = ["score", clip.video, "--plugin", "animereward:released", "--weights", str(folder)]
    assert main([*words, "--dimension", "image_video"]) == 2
    assert "needs first-frame images" in capfd.readouterr().err


@pytest.mark.shared
def test_another_model_in_a_part_s_place_is_refused_before_any_clip(folder: Path, golden: Path) -> None:
    for weights, sentence in (
        ({"": str(folder), "smoothness": str(golden / "blip" / "weights" / "bert-base-uncased")}, "bert-base-uncased"),
        ({"": str(folder), "smoothness": str(golden / "actionclip")}, "has no config.json"),
        ({"": str(folder), "motion": str(golden / "blip" / "img_video")}, "has no clip.text_projection"),
    ):
        dimension = "motion" if "motion" in weights else "smoothness"
        with pytest.raises(PluginError, match=sentence):
            load_reward("animereward:released", weights=weights, device="cpu", dimensions=[dimension])
