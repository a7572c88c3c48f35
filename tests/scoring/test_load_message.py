"""What a model says of its loading reaches the user, once."""

from __future__ import annotations

import json
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
