"""Reward models in this process: the library's own door, and the one for trainers."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

import rewardbench
from rewardbench.errors import InputError, PluginError
from rewardbench.rewards import as_uint8_frames, option_text


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


def test_every_form_of_frames_gives_the_same_scores(brightness) -> None:
    torch = pytest.importorskip("torch")
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (3, 4, 8, 8, 3), dtype=np.uint8)
    channels_first = np.ascontiguousarray(pixels.transpose(0, 1, 4, 2, 3))
    floats = channels_first.astype(np.float32) / 255
    forms = [
        pixels,
        torch.from_numpy(pixels),
        torch.from_numpy(channels_first),
        floats,
        floats.transpose(0, 1, 3, 4, 2),
        torch.from_numpy(floats).to(torch.float64),
        list(torch.from_numpy(floats)),
        [[image.fromarray(frame) for frame in clip] for clip in pixels],
    ]
    for form in forms:
        assert np.array_equal(np.stack(as_uint8_frames(form)), pixels)
    half = as_uint8_frames(torch.from_numpy(floats).to(torch.bfloat16))
    assert np.abs(np.stack(half).astype(int) - pixels).max() <= 1, "bfloat16 keeps 8 bits"


@pytest.mark.parametrize("low", [-1.0, float("nan")])
def test_floats_outside_the_unit_interval_are_refused_not_clipped(low: float) -> None:
    frames = np.ones((1, 2, 3, 8, 8), np.float32)
    frames[0, 0] = low
    with pytest.raises(InputError, match=r"must lie in \[0, 1\]"):
        as_uint8_frames(frames)


def test_at_most_batch_size_clips_reach_the_model_at_once(brightness, monkeypatch) -> None:
    model = rewardbench.load_reward("brightness", batch_size=2)
    sizes = []
    score = model.model.score
    monkeypatch.setattr(model.model, "score", lambda items: sizes.append(len(items)) or score(items))
    frames = [np.full((5, 16, 16, 3), 40 * i, np.uint8) for i in range(5)]
    values = model.score_frames(frames, [None] * 5)
    assert sizes == [2, 2, 1]
    assert values[:, 0] == pytest.approx([40 * i / 255 for i in range(5)], abs=1e-12)
    with pytest.raises(InputError, match="batch_size=0"):
        rewardbench.load_reward("brightness", batch_size=0)


PICKY = '''
import numpy as np
from rewardbench_plugin import Dimension, RewardCard, RewardManifest, RewardModel, Scores, hookimpl


class Picky(RewardModel):
    """Scores the length of the image's name."""

    card = RewardCard(name="picky", version="1.0", dimensions=(Dimension("x"),), needs_prompt=True, needs_image=True)

    def score(self, batch):
        return Scores(np.array([[float(len(item.clip.image))] for item in batch]))


@hookimpl
def rewardbench_rewards():
    return [RewardManifest(name="picky", version="1.0", target=f"{__name__}:Picky")]
'''


def test_first_frame_images_come_in_the_metadata(install_plugin) -> None:
    install_plugin("picky", PICKY)
    reward = rewardbench.as_reward_fn("picky", device="cpu")
    frames = np.zeros((2, 1, 8, 8, 3), np.uint8)
    scores, _ = reward(frames, ["a", "b"], [{"image": "ab.png"}, {"image": "abc.png"}], only_strict=False)
    assert scores["avg"].tolist() == [6.0, 7.0]
    with pytest.raises(InputError, match="has no first-frame image, which plugin 'picky' needs"):
        reward(frames, ["a", "b"])
    with pytest.raises(InputError, match="has no prompt"):
        reward(frames, ["", "b"])
    with pytest.raises(InputError, match="2 clips came with 1 prompts"):
        reward(frames, ["a"])
    with pytest.raises(InputError, match="2 clips came with 1 metadata"):
        reward(frames, ["a", "b"], [{}])


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


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("norm", False, "false"),
        ("norm", True, "true"),
        ("fps", 2.0, "2.0"),
        ("num_frames", 8, "8"),
        ("max_frames", None, None),
        ("round_digits", None, "none"),
        ("sampling", "anime", "anime"),
    ],
)
def test_options_may_be_python_values(name, value, text) -> None:
    assert option_text(name, value) == text
