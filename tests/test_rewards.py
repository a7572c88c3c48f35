"""Reward models in this process: the library's own door, and the one for trainers."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

import rewardbench
from rewardbench.errors import InputError, PluginError


def test_load_reward_scores_clips(brightness, tiny_clips: list[Path]) -> None:
    model = rewardbench.load_reward("brightness", device="cpu")
    values = model.score([rewardbench.Clip("a", str(tiny_clips[0])), rewardbench.Clip("b", str(tiny_clips[3]))])
    assert values.dtype == np.float64
    assert values[:, 0] == pytest.approx([20 / 255, 110 / 255], abs=0.012)
    assert values.sum(axis=1) == pytest.approx([1, 1])
    model.close()


def test_in_memory_frames_are_scored_without_a_codec(brightness) -> None:
    frames = [np.full((5, 16, 16, 3), level, np.uint8) for level in (51, 204)]
    values = rewardbench.load_reward("brightness").score_frames(frames, [None, "a cat"])
    assert values[:, 0] == pytest.approx([0.2, 0.8], abs=1e-12)


def test_plugins_that_go_by_content_work_in_process(tiny_clips: list[Path]) -> None:
    model = rewardbench.load_reward("random")
    twice = model.score([rewardbench.Clip("a", str(tiny_clips[0])), rewardbench.Clip("b", str(tiny_clips[0]))])
    assert twice[0] == twice[1]
    frames = [np.zeros((2, 8, 8, 3), np.uint8), np.ones((2, 8, 8, 3), np.uint8)]
    assert len(set(model.score_frames(frames, ["a", "a"])[:, 0].tolist())) == 2


def test_a_reward_function_for_trainers(brightness, tiny_clips: list[Path]) -> None:
    reward = rewardbench.as_reward_fn("brightness", device="cpu")
    floats = np.zeros((2, 4, 3, 8, 8), np.float32)
    floats[1] = 1.0
    scores, extra = reward(floats, ["a", "b"])
    assert scores["brightness"].tolist() == [0.0, 1.0]
    assert scores["avg"].tolist() == [0.5, 0.5], "no overall: the mean of all dimensions"
    assert extra == {}
    by_path, _ = reward([str(tiny_clips[1])], ["a"])
    assert by_path["brightness"] == pytest.approx([50 / 255], abs=0.012)
    torch = pytest.importorskip("torch")
    same, _ = reward(torch.from_numpy(floats), ["a", "b"])
    assert same["brightness"].tolist() == [0.0, 1.0]


@pytest.mark.parametrize("shape", [(4, 8, 8, 3), (1, 4, 8, 8, 4)])
def test_frames_of_another_shape_are_refused(brightness, shape) -> None:
    with pytest.raises(InputError, match="not understood"):
        rewardbench.as_reward_fn("brightness")(np.zeros(shape, np.uint8), ["a"])


def test_errors_of_loading(brightness, tiny_clips: list[Path]) -> None:
    with pytest.raises(PluginError, match="the weights are broken"):
        rewardbench.load_reward("brightness", fault="load")
    with pytest.raises(PluginError, match="cannot be used here"):
        rewardbench.load_reward("brightness", device="cuda:99")
    broken = rewardbench.load_reward("brightness", fault="shape")
    with pytest.raises(PluginError, match="returned scores of shape"):
        broken.score([rewardbench.Clip("a", str(tiny_clips[0]))])


def test_public_names() -> None:
    for name in rewardbench.__all__:
        assert getattr(rewardbench, name) is not None
    importlib.import_module("rewardbench.runs")
    assert callable(rewardbench.run), "the module must not hide the function"
    with pytest.raises(AttributeError):
        _ = rewardbench.nothing
