"""What a model says of its loading reaches the user, once."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from rewardbench.cli import main

SOURCE = """
import numpy as np
from rewardbench_plugin import Dimension, FrameSpec, RewardCard, RewardManifest, RewardModel, Scores, hookimpl

class Talker(RewardModel):
    card = RewardCard("talker", "1", (Dimension("x"), Dimension("y")), inputs={"x": FrameSpec()})

    def load(self, device, dtype, weights, options):
        print("lost in the log")
        self.load_message = "loaded in two halves"

    def score(self, batch):
        return Scores(np.array([[1.0, np.nan]] * len(batch)), notes=["y abstains: nobody knows"] * len(batch))

@hookimpl
def rewardbench_rewards():
    return [RewardManifest(name="talker", version="1", target="third_party_talker:Talker")]
"""


def test_a_load_message_and_abstentions_are_said_on_standard_error(
    install_plugin, tiny_clips: list[Path], capfd: pytest.CaptureFixture[str]
) -> None:
    install_plugin("talker", SOURCE)
    words = ["score", "--plugin", "talker", "--format", "json", *map(str, tiny_clips[:2])]
    assert main(words) == 0
    printed = capfd.readouterr()
    assert printed.err.count("talker: loaded in two halves") == 1
    assert "lost in the log" not in printed.err
    for clip, row in zip(tiny_clips[:2], json.loads(printed.out), strict=True):
        assert row["scores"] == {"x": 1.0, "y": None}
        assert printed.err.count(f"{clip}: y abstains: nobody knows") == 1


NOTES = """
import numpy as np
from rewardbench_plugin import Dimension, FrameSpec, RewardCard, RewardManifest, RewardModel, Scores, hookimpl

class Noter(RewardModel):
    card = RewardCard("noter", "1", (Dimension("x"), Dimension("y")), inputs={"x": FrameSpec()}, needs_prompt=True)

    def score(self, batch):
        values = [[np.nan, np.nan] if item.clip.prompt == "none" else [1.0, 2.0] for item in batch]
        return Scores(np.array(values), notes=[f"saw {item.clip.prompt}" for item in batch])

@hookimpl
def rewardbench_rewards():
    return [RewardManifest(name="noter", version="1", target="third_party_noter:Noter")]
"""


def test_notes_on_scores_are_said_once_and_those_on_missing_ones_first(
    install_plugin, tiny_clips: list[Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    install_plugin("noter", NOTES)
    shutil.copy(tiny_clips[0], tmp_path / "clip.mp4")
    prompts = [*(f"prompt {n:02}" for n in range(12)), "none"]
    (tmp_path / "clips.csv").write_text("video,prompt\n" + "".join(f"clip.mp4,{prompt}\n" for prompt in prompts))
    assert main(["score", "--plugin", "noter", "--format", "json", "--clips", str(tmp_path / "clips.csv")]) == 0
    printed = capfd.readouterr()
    said = [line.partition(": saw ")[2] for line in printed.err.splitlines() if ": saw " in line]
    assert said == ["none", *prompts[:9]]
    assert "… and 3 more notes" in printed.err
    assert {tuple(row) for row in json.loads(printed.out)} == {("video", "prompt", "scores", "raw", "error")}
