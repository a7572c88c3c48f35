"""Motion against the reference's saved numbers, and what would have to be wrong for them to come out otherwise."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from open_clip.transformer import QuickGELU
from rewardbench_animereward.frames import SQUASHED
from rewardbench_animereward.motion import MotionScorer, segment_positions
from safetensors.torch import load_file

from rewardbench.video import read_frames, resize_frames
from rewardbench_plugin import Clip, FrameSpec, Sampling, Size

TOLERANCE, FROM_MP4 = 1e-5, 1e-4
CLIP = Clip("c", "c.mp4")


@pytest.fixture(scope="module")
def golden(shared: Path) -> Path:
    return shared / "golden" / "actionclip"


@pytest.fixture(scope="module")
def templates(shared: Path) -> Path:
    return shared / "assets" / "animereward"


@pytest.fixture(scope="module")
def runs(golden: Path) -> dict[str, dict[str, Any]]:
    return {run["video"]: run for run in json.loads((golden / "expected.json").read_text())["runs"]}


@pytest.fixture(scope="module")
def saved(golden: Path) -> dict[str, torch.Tensor]:
    return load_file(golden / "intermediate.safetensors")


@pytest.fixture(scope="module")
def scorer(golden: Path, templates: Path) -> MotionScorer:
    return loaded(golden / "motion_model.pth", templates)


def loaded(checkpoint: Path, templates: Path, **choices: bool) -> MotionScorer:
    made = MotionScorer(checkpoint, templates, **choices)
    made.load("cpu", "float32")
    return made


def saved_frames(saved: dict[str, torch.Tensor]) -> tuple[str, np.ndarray]:
    """(video, its eight frames uint8 (8, 224, 224, 3)) of the one video whose frames were kept."""
    name = next(key for key in saved if key.endswith("frames8_resized_uint8"))
    return name.split("/")[0], saved[name].permute(0, 2, 3, 1).numpy()


def sampled(shared: Path, video: str, spec: FrameSpec = SQUASHED) -> np.ndarray:
    return read_frames(shared / "golden" / "videos" / video, [spec])[spec].rgb


@pytest.mark.shared
def test_saved_frames_give_the_saved_score_and_features(scorer, runs, saved) -> None:
    video, frames = saved_frames(saved)
    run = runs[video]
    assert scorer.score(CLIP, {"frames": frames}).value == pytest.approx(run["motion_score"], abs=TOLERANCE)
    np.testing.assert_allclose(100 * scorer.cosines(frames), run["similarity_x100"], atol=1e-4)
    np.testing.assert_allclose(scorer._text.numpy(), saved["text_features_normed"].numpy(), atol=2e-5)


@pytest.mark.shared
def test_every_clip_gives_the_saved_score(scorer, runs, shared: Path) -> None:
    for video, run in runs.items():
        indices = SQUASHED.sampling.indices(run["total_frames"], 24.0)
        assert indices.tolist() == run["frame_indices_24"]
        assert segment_positions(24).tolist() == run["segment_positions_8"]
        frames = sampled(shared, video)
        assert scorer.score(CLIP, {"frames": frames}).value == pytest.approx(run["motion_score"], abs=FROM_MP4)


@pytest.mark.shared
def test_the_learnt_temperature_plays_no_part(golden, templates, runs, saved, tmp_path: Path) -> None:
    file = torch.load(golden / "motion_model.pth", weights_only=True)
    file["state_dict"]["clip.logit_scale"] = torch.tensor(math.log(7.0))
    torch.save(file, tmp_path / "motion.pth")
    video, frames = saved_frames(saved)
    value = loaded(tmp_path / "motion.pth", templates).score(CLIP, {"frames": frames}).value
    assert value == pytest.approx(runs[video]["motion_score"], abs=TOLERANCE)
    assert abs(1 / (1 + math.exp(-0.07 * np.subtract(*runs[video]["similarity_x100"]))) - value) > TOLERANCE


@pytest.mark.shared
def test_frames_are_squashed_and_not_cropped(scorer, runs, shared: Path) -> None:
    cropped = FrameSpec("pyav", SQUASHED.sampling, Size(short_side=256, center_crop=(224, 224)), "pil-bicubic")
    video = "cartoon_films_shuo_hua_26.mp4"
    wrong = scorer.score(CLIP, {"frames": sampled(shared, video, cropped)}).value
    assert abs(wrong - runs[video]["motion_score"]) > 10 * FROM_MP4


@pytest.mark.shared
def test_the_order_of_frames_counts(scorer, runs, saved) -> None:
    video, frames = saved_frames(saved)
    backwards = scorer.score(CLIP, {"frames": frames[::-1]}).value
    assert abs(backwards - runs[video]["motion_score"]) > 3 * TOLERANCE


@pytest.mark.shared
@pytest.mark.parametrize("trap", ["gelu", "adapter heads", "batch first", "unit frames", "no residual"])
def test_the_saved_numbers_tell_wrong_hosts_apart(trap: str, golden, templates, runs, saved) -> None:
    wrong = loaded(golden / "motion_model.pth", templates)
    adapter = wrong._model.adapter
    if trap == "gelu":
        for block in [*wrong._model.clip.visual.transformer.resblocks, *adapter.transformer.resblocks]:
            assert isinstance(block.mlp.gelu, QuickGELU)
            block.mlp.gelu = torch.nn.GELU()
    elif trap == "adapter heads":
        for block in adapter.transformer.resblocks:
            assert block.attn.num_heads == 2
            block.attn.num_heads, block.attn.head_dim = 1, block.attn.embed_dim
    elif trap == "batch first":
        inner = adapter.transformer.forward
        adapter.transformer.forward = lambda x: inner(x.transpose(0, 1)).transpose(0, 1)
    elif trap == "unit frames":
        encode = wrong._model.clip.encode_image
        wrong._model.clip.encode_image = lambda pixels: encode(pixels, normalize=True)
    else:
        inner = adapter.transformer.forward
        placed = adapter.frame_position_embeddings.weight
        adapter.transformer.forward = lambda x: inner(x) - (x - placed)
    video, frames = saved_frames(saved)
    value = wrong.score(CLIP, {"frames": frames}).value
    assert abs(value - runs[video]["motion_score"]) > 2 * TOLERANCE


@pytest.mark.shared
def test_the_paper_s_score_is_the_cosine_with_large_movement(golden, templates, runs, saved) -> None:
    video, frames = saved_frames(saved)
    value = loaded(golden / "motion_model.pth", templates, cosine=True).score(CLIP, {"frames": frames}).value
    assert value == pytest.approx(runs[video]["similarity_x100"][0] / 100, abs=1e-6)


@pytest.mark.parametrize("count", [1, 2, 7, 8, 9, 15, 23, 24])
def test_eight_of_the_sampled_frames_as_torch_cuts_them(count: int) -> None:
    assert segment_positions(count).tolist() == torch.linspace(0, count - 1, steps=8).long().tolist()


def tiny_checkpoint(path: Path, **changes: torch.Tensor | None) -> Path:
    """A random checkpoint of another shape: text 64 wide in one head, patch 56, two adapter layers of four heads."""
    torch.manual_seed(3)
    clip = open_clip.CLIP(
        24,
        {"image_size": 224, "patch_size": 56, "width": 128, "layers": 1, "head_width": 64},
        {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 1},
        quick_gelu=True,
    )
    adapter = open_clip.transformer.Transformer(24, 2, 1, act_layer=QuickGELU)
    state = {f"clip.{name}": value for name, value in clip.state_dict().items()}
    state |= {f"adapter.transformer.{name}": value for name, value in adapter.state_dict().items()}
    state["adapter.frame_position_embeddings.weight"] = torch.randn(8, 24)
    for name, value in changes.items():
        if value is None:
            del state[name]
        else:
            state[name] = value
    torch.save({"state_dict": state, "meta": {}}, path)
    return path


@pytest.mark.shared
def test_other_sizes_are_read_from_the_shapes(templates: Path, tmp_path: Path) -> None:
    made = loaded(tiny_checkpoint(tmp_path / "m.pth"), templates)
    frames = np.random.default_rng(0).integers(0, 256, (3, 224, 224, 3), dtype=np.uint8)
    assert 0.0 < made.score(CLIP, {"frames": frames}).value < 1.0
    # by hand: frame features, position, adapter, residual, mean, cosine
    clip, adapter = made._model.clip, made._model.adapter
    pixels = torch.from_numpy(frames[[0, 0, 0, 0, 1, 1, 1, 2]]).permute(0, 3, 1, 2).float() / 255
    mean, std = torch.tensor([0.48145466, 0.4578275, 0.40821073]), torch.tensor([0.26862954, 0.26130258, 0.27577711])
    with torch.no_grad():
        features = clip.encode_image((pixels - mean[:, None, None]) / std[:, None, None])
        video = (adapter.transformer((features + adapter.frame_position_embeddings.weight)[None])[0] + features).mean(0)
        expected = torch.cosine_similarity(video[None], made._text)
    np.testing.assert_allclose(made.cosines(frames), expected.numpy(), atol=1e-6)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"adapter.frame_position_embeddings.weight": None}, "has no adapter.frame_position_embeddings.weight"),
        ({"clip.visual.ln_post.bias": None}, "1 missing: clip.visual.ln_post.bias"),
        ({"adapter.head.weight": torch.zeros(2)}, "1 unexpected: adapter.head.weight"),
        ({"clip.ln_final.weight": torch.zeros(2)}, r"clip.ln_final.weight \(2,\) instead of \(64,\)"),
        ({"clip.visual.positional_embedding": torch.zeros(10, 128)}, "reads images of 168 pixels"),
    ],
)
def test_another_model_s_checkpoint_is_refused(templates, tmp_path: Path, changes, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        loaded(tiny_checkpoint(tmp_path / "m.pth", **changes), templates)


@pytest.mark.shared
def test_a_changed_sentence_is_refused(golden, templates, tmp_path: Path) -> None:
    for file in (templates / "templates").iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "motion_still.txt").write_text("The protagonist remains stationary in the video.")
    with pytest.raises(ValueError, match=r"motion_still.txt is not the published template"):
        loaded(golden / "motion_model.pth", tmp_path)


def test_a_clip_of_another_shape_is_squashed_by_the_host() -> None:
    rgb = np.zeros((30, 50, 80, 3), np.uint8)
    assert resize_frames(rgb[SQUASHED.sampling.indices(30, 8.0)], SQUASHED).shape == (24, 224, 224, 3)
    assert SQUASHED.sampling == Sampling(rule="stride", count=24, max_frames=144)
