"""The character dimension by the way a user takes: the command and ``load_reward``, with small random models."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rewardbench_animereward.character import CharacterScorer, character_inputs

from rewardbench import Clip, load_reward
from rewardbench.cli import main
from rewardbench.video import read_frames, write_video


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Clip:
    folder = tmp_path_factory.mktemp("clip")
    rng = np.random.default_rng(0)
    first = np.kron(rng.integers(0, 256, (6, 9, 3)), np.ones((12, 12, 1))).astype(np.uint8)
    write_video(folder / "a.mp4", np.stack([np.roll(first, 3 * t, axis=1) for t in range(9)]), 8.0)
    Image.fromarray(first).save(folder / "a.png")
    return Clip("a", str(folder / "a.mp4"), "a girl", str(folder / "a.png"))


def direct(models: Any, clip: Clip) -> tuple[float, str]:
    scorer = CharacterScorer()
    scorer.load(models.weights, "cpu", "float32")
    spec = character_inputs()
    return scorer.score(scorer.prepare(clip, read_frames(clip.video, [spec])[spec]))


def test_load_reward_gives_the_scorer_s_own_number(models: Any, clip: Clip) -> None:
    expected, note = direct(models, clip)
    assert (0 < expected <= 1, note) == (True, "")
    weights = {part: str(path) for part, path in models.weights.items()}
    reward = load_reward(
        "animereward", preset="released", weights=weights, dimensions=["character"], device="cpu", dtype="float32"
    )
    assert reward.score([clip])[0, 0] == pytest.approx(expected, abs=1e-6)


@pytest.mark.system
def test_the_command_gives_the_same_number(models: Any, clip: Clip, capfd: pytest.CaptureFixture[str]) -> None:
    expected, _ = direct(models, clip)
    arguments = ["score", clip.video, "--prompt", "a girl", "--image", str(clip.image)]
    arguments += ["--plugin", "animereward:released", "--dimension", "character", "--format", "json"]
    arguments += ["--device", "cpu", "--dtype", "float32", "--workers", "1"]
    for part, path in models.weights.items():
        arguments += ["--weights", f"{part}={path}"]
    assert main(arguments) == 0
    (row,) = json.loads(capfd.readouterr().out)
    assert row["error"] is None
    assert row["scores"]["character"] == pytest.approx(expected, abs=1e-6)
