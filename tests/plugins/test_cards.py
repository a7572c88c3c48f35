"""Every reward model's card says what a reader of its numbers must know."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from safetensors import safe_open

from rewardbench.registry import find_reward, instantiate
from rewardbench_plugin.card import RewardCard

MODELS = (
    "aesthetic",
    "animereward",
    "clip",
    "drawn-rules",
    "judge",
    "lift",
    "vbench",
    "videoreward",
    "videoscore",
    "visionreward",
)
PRESETS = [(name, preset) for name in MODELS for preset in (find_reward(name).presets or {"": ""})]


def card(name: str, preset: str) -> RewardCard:
    manifest = find_reward(name)
    model = instantiate(name, manifest.presets[preset] if preset else manifest.target)
    with contextlib.suppress(ValueError):
        model.configure(preset=preset or None)
    return model.card


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_nothing_is_left_open(name: str, preset: str) -> None:
    found = card(name, preset)
    for text in (found.summary, found.citation, found.code_licence, found.weights_licence, found.training_data):
        assert text
        assert text != "unknown"
    assert found.evaluation_rules
    assert found.overall_rule
    assert all(d.low < d.high for d in found.dimensions)
    stated = found.parameters is not None and (found.memory is not None or found.parameters < 10_000_000)
    assert stated or "parameters" in found.notes.lower()


@pytest.mark.parametrize(("name", "preset"), PRESETS)
def test_presets_of_published_models_say_which_side_they_follow(name: str, preset: str) -> None:
    if name in ("aesthetic", "clip", "drawn-rules") or preset == "mini":
        assert card(name, preset).deviations == ()  # nothing published to deviate from
    else:
        assert card(name, preset).deviations


def test_mini_counts_its_own_weights() -> None:
    weights = instantiate("animereward", find_reward("animereward").presets["mini"]).weights["mini"]
    with safe_open(weights, "np") as file:
        count = sum(int(np.prod(file.get_slice(key).get_shape())) for key in file.keys())  # noqa: SIM118
    assert card("animereward", "mini").parameters == count
