"""Options, presets, sampling, sizes and prompts."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rewardbench_videoreward.card import CARD, DIMENSIONS, THETA, tie_rule
from rewardbench_videoreward.model import VideoReward, token_groups
from rewardbench_videoreward.prompts import NAMES, PromptTemplate, read_prompt_template
from rewardbench_videoreward.settings import frame_spec

from rewardbench import metrics
from rewardbench.errors import InputError
from rewardbench.registry import choose_reward

DATA: dict[str, Any] = {"max_frame_pixels": 200_704, "fps": 2.0, "num_frames": None, "sample_type": "uniform"}


def spec(preset: str | None = None, data: dict[str, Any] = DATA, **options: str):
    return frame_spec(data, options, preset, "model_config.json")


def test_without_weights_the_card_can_be_shown_and_says_what_is_needed() -> None:
    _, model = choose_reward("videoreward")
    assert model.preset == "released"
    assert model.card.dimension_names == ("VQ", "MQ", "TA", "overall")
    assert model.card.frame_specs()[0] == spec()
    assert model.card.needs_prompt
    with pytest.raises(ValueError, match="videoreward needs weights: add --weights DIR"):
        model.fingerprint()
    with pytest.raises(ValueError, match="videoreward needs weights"):
        model.load("cpu", None, {}, {})


def test_the_released_frames_are_two_a_second_of_448_by_448_pixels() -> None:
    released = spec()
    assert (released.sampling.fps, released.size.max_pixels, released.size.min_pixels) == (2.0, 448**2, 128 * 28**2)
    assert released.size.target(480, 720) == (364, 532)
    assert released.filter == "bicubic-antialias"


def test_genai_bench_rates_text_alignment_of_small_frames_that_are_not_enlarged() -> None:
    _, model = choose_reward("videoreward:genai-bench")
    assert model.card.dimension_names == ("TA",)
    assert model.card.default_score == "TA"
    small = model.card.frame_specs()[0]
    assert (small.sampling.fps, small.size.max_pixels, small.size.min_pixels) == (2.0, 256**2, 0)
    assert small.size.target(256, 256) == (252, 252)
    assert spec("genai-bench", min_pixels="100352").size.target(256, 256) == (336, 336), "the published code's rule"
    with pytest.raises(InputError, match="no dimension 'VQ'"):
        choose_reward("videoreward:genai-bench", dimensions=["VQ"])


@pytest.mark.shared
def test_sampling_and_sizes_are_videoaligns_in_every_case(golden) -> None:
    table = json.loads((golden.folder / "sampling_and_resize.json").read_text())
    for row in table["smart_nframes_uniform"]:
        asked = {"fps": str(row["fps"])} if "fps" in row else {"num_frames": str(row["nframes"])}
        found = spec(**asked).sampling.indices(row["total_frames"], row["video_fps"])
        assert len(found) == row["n"], row
        assert row["indices"] in (None, found.tolist()), row
    for row in table["smart_resize_factor28_min100352"]:
        assert spec(max_pixels=str(row["max_pixels"])).size.target(row["h"], row["w"]) == tuple(row["out"]), row


def test_stored_settings_hold_until_an_option_replaces_them() -> None:
    stored = {**DATA, "num_frames": 7, "max_frame_pixels": 50_000, "min_frame_pixels": 1_000}
    assert spec(data=stored).sampling.count == 8, "half to even in pairs, as VideoAlign rounds"
    assert spec(data={**stored, "num_frames": 5}).sampling.count == 4
    assert spec(data=stored, num_frames="16").sampling.count == 16
    assert (spec(data=stored).size.max_pixels, spec(data=stored).size.min_pixels) == (50_000, 1_000)
    assert spec(data=stored, max_pixels="784", min_pixels="0").size.target(100, 100) == (28, 28)
    points = spec(data={**stored, "sample_type": "multi_pts"})
    assert len(points.sampling.indices(126, 24.0)) == 24
    assert spec(data={**stored, "sample_type": "multi_pts"}, sample_type="uniform").sampling.count == 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fps": "2", "num_frames": "8"}, "--option fps=2 and --option num_frames exclude each other"),
        ({"fps": "0"}, "--option fps=0 is not a number of at least 0.001"),
        ({"fps": "two"}, "--option fps=two"),
        ({"num_frames": "1"}, "--option num_frames=1 is not a whole number from 2 up"),
        ({"num_frames": "2.5"}, "--option num_frames=2.5"),
        ({"max_pixels": "100"}, "--option max_pixels=100 is not a whole number from 784 up"),
        ({"min_pixels": "-1"}, "--option min_pixels=-1"),
        ({"sample_type": "random"}, "--option sample_type=random is not one of uniform, multi_pts"),
        ({"sample_type": "multi_pts", "fps": "8"}, "sample_type=multi_pts takes its own 24 frames"),
    ],
)
def test_options_that_cannot_be_used(options, message) -> None:
    with pytest.raises(InputError, match=message):
        choose_reward("videoreward", options=options)


def test_a_stored_number_of_frames_is_not_silently_left_for_fps() -> None:
    with pytest.raises(ValueError, match="num_frames 8 in model_config.json exclude each other"):
        spec(data={**DATA, "num_frames": 8}, fps="1")


@pytest.mark.shared
def test_norm_must_be_true_or_false_and_steps_whole(golden) -> None:
    for options, message in (
        ({"norm": "maybe"}, "--option norm=maybe is neither true nor false"),
        ({"checkpoint_step": "newest"}, "--option checkpoint_step=newest is not a whole number"),
        ({"checkpoint_step": "11"}, "has no checkpoint of this step, only of 9, 10"),
    ):
        with pytest.raises(InputError, match=message):
            choose_reward("videoreward", weights=golden.parts("full_lora"), options=options)


@pytest.mark.shared
def test_every_part_that_is_read_stands_in_the_fingerprint(golden, copied, edited) -> None:
    root = copied("adapter")
    _, model = choose_reward("videoreward", weights=golden.parts(root))
    assert model.weights["base"] == str(root.parent / "base_model")
    assert model.weights["templates"] == str(golden.templates)
    before = model.fingerprint()
    edited(root.parent / "base_model" / "config.json", None, rms_norm_eps=1e-5)
    assert choose_reward("videoreward", weights=golden.parts(root))[1].fingerprint() != before


@pytest.mark.shared
@pytest.mark.parametrize("template", ["none", "video_score", "detailed_special", "detailed"])
@pytest.mark.parametrize("dimensions", [("VQ",), ("VQ", "MQ", "TA")])
def test_filled_prompts_are_videoaligns_byte_for_byte(golden, tmp_path: Path, template, dimensions) -> None:
    """VideoReward's words for visual quality are those of VideoScore's template, where this test takes them from."""
    for file in golden.templates.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    other = (golden.templates.parents[1] / "videoscore" / "templates" / "regression.txt").read_text()
    aspect = next(line for line in other.splitlines() if line.startswith("(1) visual quality: "))
    (tmp_path / "aspect_VQ.txt").write_text(aspect.removeprefix("(1) visual quality: "))
    filled = read_prompt_template(template, dimensions, tmp_path).fill(golden.expected["prompts"]["example_1_A"])
    rows = json.loads((golden.folder / "prompt_hashes.json").read_text())
    stated = dimensions[0] if len(dimensions) == 1 else list(dimensions)
    (row,) = [row for row in rows if row["template"] == template and row["dims"] == stated]
    assert hashlib.sha256(filled.encode()).hexdigest() == row["sha256"]
    assert len(filled) == row["n_chars"]


@pytest.mark.shared
@pytest.mark.parametrize("dimensions", [("VQ",), ("VQ", "MQ", "TA")])
def test_the_simple_template_where_it_is_at_hand(golden, dimensions) -> None:
    if not (golden.templates / "simple.txt").is_file():
        pytest.skip("simple.txt is not among the templates here")
    filled = read_prompt_template("simple", dimensions, golden.templates).fill(
        golden.expected["prompts"]["example_1_A"]
    )
    rows = json.loads((golden.folder / "prompt_hashes.json").read_text())
    stated = dimensions[0] if len(dimensions) == 1 else list(dimensions)
    (row,) = [row for row in rows if row["template"] == "simple" and row["dims"] == stated]
    assert hashlib.sha256(filled.encode()).hexdigest() == row["sha256"]


def test_braces_in_a_prompt_are_text() -> None:
    template = PromptTemplate("{text_prompt}! {dimension_name}", NAMES["VQ"])
    assert template.fill("a {fox} in {} and {text_prompt}") == "a {fox} in {} and {text_prompt}! visual quality"
    own = PromptTemplate("{text_prompt} rate {this}", literal=True)
    assert own.fill("a {fox}") == "a {fox} rate {this}"


def test_a_tie_is_likeliest_within_the_native_threshold() -> None:
    """Against the closed form of Bradley-Terry with ties, on both sides of the edge."""
    rule = tie_rule("btt", dict.fromkeys(DIMENSIONS, 1.0))
    assert rule is not None
    edge = rule.thresholds["VQ"]
    assert edge == pytest.approx(math.log(23 / 5))
    for difference, tie in ((edge - 1e-6, True), (edge + 1e-6, False)):
        p_a, p_tie, _ = metrics.bradley_terry_with_ties(difference, 0.0, theta=THETA)
        assert bool(p_tie > p_a) is tie
    assert tie_rule("bt", dict.fromkeys(DIMENSIONS, 1.0)) is None


@pytest.mark.shared
def test_the_native_threshold_is_in_units_of_the_reported_score(golden) -> None:
    config = json.loads((golden.folder / "full_lora" / "model_config.json").read_text())
    for norm in ("true", "false"):
        _, model = choose_reward("videoreward", weights=golden.parts("full_lora"), options={"norm": norm})
        for d in DIMENSIONS:
            std = config["inference_config"][f"{d}_std"] if norm == "true" else 1.0
            assert model.card.native_tie_rule.thresholds[d] == pytest.approx(math.log(23 / 5) / std)


@pytest.mark.shared
def test_only_what_is_asked_for_comes_back_in_card_order(golden) -> None:
    model = golden.load("full_lora", dimensions=["overall", "TA"])
    assert model.dimensions == ("TA", "overall")
    items = [golden.saved_item(model.model, "example_1_A")]
    np.testing.assert_allclose(
        model.model.score(items).values, golden.values("full_lora", "single_raw")[:1, 2:], rtol=0, atol=5e-5
    )


@pytest.mark.shared
def test_quality_is_scored_without_a_prompt_and_text_alignment_is_not(golden) -> None:
    clip = replace(golden.clip("example_3_B"), prompt=None)
    found = golden.load("full_lora", dimensions=["VQ", "MQ"]).score([clip])
    np.testing.assert_allclose(found, golden.values("full_lora", "single_raw")[3:, :2], rtol=0, atol=golden.from_mp4)
    with pytest.raises(InputError, match="has no prompt, which plugin 'videoreward' needs"):
        golden.load("full_lora", dimensions=["TA"]).score([clip])
    with pytest.raises(InputError, match="has no prompt"):
        golden.load("last_token", dimensions=["VQ"]).score([clip])


@pytest.mark.parametrize("most", [1, 10, 25, 1000])
def test_groups_hold_every_clip_once_and_keep_to_the_limit(most: int) -> None:
    lengths = [5, 9, 3, 12, 12, 1, 7]
    groups = list(token_groups(lengths, most))
    assert sorted(i for group in groups for i in group) == list(range(len(lengths)))
    for group in groups:
        assert len(group) == 1 or len(group) * max(lengths[i] for i in group) <= most
    assert list(token_groups([], most)) == []


@pytest.mark.shared
def test_a_checkpoint_may_bring_its_own_dimensions_and_template(golden, copied, edited) -> None:
    """What training writes: the template's hash in the configuration, one token for each dimension."""
    root = copied("full_plain")
    text = "Judge.\nVQ: <|VQ_reward|>\nMQ: <|MQ_reward|>\nmade for {text_prompt}\nTA: <|TA_reward|>"
    (root / "templates").mkdir()
    (root / "templates" / "short_special.txt").write_text(text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    edited(
        root / "model_config.json",
        "data_config",
        prompt_template_type="short_special",
        prompt_template_sha256=digest,
        eval_dim=["TA", "VQ", "MQ"],
        min_frame_pixels=1000,
    )
    weights = {"": str(root)}
    _, model = choose_reward("videoreward", weights=weights)
    assert model.card.dimension_names == ("TA", "VQ", "MQ", "overall")
    assert model.card.frame_specs()[0].size.min_pixels == 1000
    (root / "templates" / "short_special.txt").write_text(text + " ")
    with pytest.raises(InputError, match="is not the template that the checkpoint was trained with"):
        choose_reward("videoreward", weights=weights)


def test_the_card_is_complete() -> None:
    assert CARD.citation
    assert CARD.training_data != "unknown"
    assert CARD.parameters == 2_208_566_272
    assert set(CARD.evaluation_rules) == {"videogen-rewardbench", "genai-bench"}
    assert all(len(template.sha256) == 64 and template.literal for template in CARD.templates)
    assert VideoReward.option_names == (
        *("fps", "num_frames", "max_pixels", "min_pixels", "sample_type", "norm", "checkpoint_step"),
    )
