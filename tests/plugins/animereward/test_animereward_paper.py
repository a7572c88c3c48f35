"""Preset ``paper``: Eq. 6, 7, 10 and 11 of the paper against direct computations."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from rewardbench_animereward.aesthetic import KeyFrameAppeal, read_head
from rewardbench_animereward.frames import SAMPLING
from rewardbench_animereward.keyframes import key_frames
from rewardbench_animereward.paper import PaperAnimeReward
from safetensors.torch import load_file, save_file
from transformers import SiglipConfig, SiglipModel, SiglipVisionConfig, SiglipVisionModel

from rewardbench import load_reward
from rewardbench.errors import PluginError
from rewardbench_plugin import Clip

SIDE, WIDTH = 32, 24
VISION = {
    "hidden_size": WIDTH,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": SIDE,
    "patch_size": 8,
}
TEXT = {
    "hidden_size": WIDTH,
    "intermediate_size": 40,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 50,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def siglip_folder(folder: Path, whole: bool = False) -> Path:
    """A random SigLIP folder: its vision tower, or the whole model with the same tower."""
    torch.manual_seed(0)
    tower = SiglipVisionModel(SiglipVisionConfig(**VISION))
    if whole:
        model = SiglipModel(SiglipConfig(vision_config=VISION, text_config=TEXT))
        inner = model.vision_model
        inner.load_state_dict({name.removeprefix("vision_model."): v for name, v in tower.state_dict().items()})
        model.save_pretrained(folder)
    else:
        tower.save_pretrained(folder)
    preprocessing = {
        "size": {"height": SIDE, "width": SIDE},
        "resample": 3,
        "image_mean": [0.5] * 3,
        "image_std": [0.5] * 3,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessing))
    return folder


@pytest.fixture(scope="module")
def siglip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return siglip_folder(tmp_path_factory.mktemp("siglip"))


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(1)
    file = tmp_path_factory.mktemp("head") / "head.safetensors"
    weight = torch.from_numpy(rng.normal(size=(1, WIDTH)).astype(np.float32))
    save_file({"weight": weight, "bias": torch.tensor([5.0])}, file)
    return file


def clip_frames(*levels: int) -> np.ndarray:
    return np.stack([np.full((SIDE, SIDE, 3), level, np.uint8) for level in levels])


def test_key_frames_are_the_middles_between_the_largest_changes() -> None:
    levels = [10] * 5 + [90] * 7 + [200] * 3
    assert key_frames(clip_frames(*levels), 3).tolist() == [2, 8, 13]
    assert key_frames(clip_frames(*levels), 1).tolist() == [7]
    assert key_frames(clip_frames(*levels), 2).tolist() == [5, 13]
    assert key_frames(clip_frames(*levels[:6]), 8).tolist() == list(range(6))
    assert key_frames(clip_frames(*[50] * 6), 3).tolist() == [0, 1, 3]  # equal changes: the earlier counts
    noise = np.random.default_rng(0).integers(0, 256, (24, 40, 56, 3), dtype=np.uint8)
    chosen = key_frames(noise, 8)
    assert len(set(chosen.tolist())) == 8
    assert (np.diff(chosen) > 0).all()


def test_changes_are_measured_on_cell_means() -> None:
    """Brute force on a size that no grid divides."""
    rng = np.random.default_rng(2)
    frames = rng.integers(0, 256, (9, 37, 50, 3), dtype=np.uint8)
    frames[4:] //= 3
    rows, columns = (np.linspace(0, n, 17).astype(int) for n in (37, 50))
    cells = np.stack(
        [
            [
                [f[rows[i] : rows[i + 1], columns[j] : columns[j + 1]].reshape(-1, 3).mean(0) for j in range(16)]
                for i in range(16)
            ]
            for f in frames.astype(float)
        ]
    )
    changes = np.abs(np.diff(cells, axis=0)).mean(axis=(1, 2, 3))
    cuts = sorted(np.argsort(-changes, kind="stable")[:2] + 1)
    assert 4 in cuts
    edges = [0, *cuts, 9]
    assert key_frames(frames, 3).tolist() == [(a + b - 1) // 2 for a, b in pairwise(edges)]


@pytest.mark.parametrize("whole", [False, True])
def test_appeal_is_the_mean_of_the_head_on_unit_siglip_features(siglip, head, tmp_path: Path, whole: bool) -> None:
    folder = siglip_folder(tmp_path / "whole", whole=True) if whole else siglip
    scorer = KeyFrameAppeal(folder, head, 2, 10.0)
    scorer.load("cpu", "float32")
    rgb = np.random.default_rng(3).integers(0, 256, (5, SIDE, SIDE, 3), dtype=np.uint8)
    data = {"key_frames": rgb[key_frames(rgb, 2)]}
    rating = scorer.score(Clip("c", "c.mp4"), data)
    tower = SiglipVisionModel.from_pretrained(siglip).eval()
    weights = load_file(head)
    pixels = (torch.from_numpy(data["key_frames"]).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
    with torch.no_grad():
        features = tower(pixel_values=pixels).pooler_output
    unit = torch.nn.functional.normalize(features, dim=-1)
    expected = float((unit @ weights["weight"].T + weights["bias"]).mean())
    assert rating.raw == pytest.approx(expected, abs=1e-5)
    assert rating.value == pytest.approx(expected / 10, abs=1e-6)
    assert scorer.frames.sampling == SAMPLING
    assert (scorer.frames.size.height, scorer.frames.filter) == (SIDE, "pil-bicubic")


def test_heads_are_chains_of_linear_layers_in_numerical_order(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    shapes = {"layers.0": (6, WIDTH), "layers.2": (4, 6), "layers.10": (1, 4)}
    state = {f"{n}.weight": torch.from_numpy(rng.normal(size=s).astype(np.float32)) for n, s in shapes.items()}
    state |= {f"{n}.bias": torch.from_numpy(rng.normal(size=s[0]).astype(np.float32)) for n, s in shapes.items()}
    torch.save(state, tmp_path / "head.pth")
    x = torch.from_numpy(rng.normal(size=(3, WIDTH)).astype(np.float32))
    expected = x
    for name in shapes:
        expected = expected @ state[f"{name}.weight"].T + state[f"{name}.bias"]
    assert torch.allclose(read_head(tmp_path / "head.pth")(x), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ({"weight": (2, WIDTH)}, r"ends in one number: shapes \[\(2, 24\)\]"),
        ({"a.0.weight": (5, WIDTH), "a.1.weight": (1, 4)}, "is not a chain of linear layers"),
        ({"bias": (1,)}, "is not a chain of linear layers"),
        ({"norm.scale": (1, WIDTH)}, r"is not a chain of linear layers: norm\.scale"),
        ({"weight": (1, WIDTH + 1)}, "a head for features of 25 numbers, the SigLIP in .* gives 24"),
    ],
)
def test_other_heads_are_refused(siglip, tmp_path: Path, state: dict[str, tuple[int, ...]], sentence: str) -> None:
    save_file({name: torch.zeros(shape) for name, shape in state.items()}, tmp_path / "head.safetensors")
    with pytest.raises(ValueError, match=sentence):
        KeyFrameAppeal(siglip, tmp_path / "head.safetensors", 8, 10.0).load("cpu", None)


def test_a_damaged_or_foreign_siglip_is_refused(siglip, head, tmp_path: Path) -> None:
    folder = siglip_folder(tmp_path / "damaged")
    state = load_file(folder / "model.safetensors")
    dropped = next(name for name in state if name.endswith("head.probe"))
    del state[dropped]
    save_file(state, folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"1 missing: .*head\.probe"):
        KeyFrameAppeal(folder, head, 8, 10.0).load("cpu", None)
    (folder / "config.json").write_text(json.dumps({"model_type": "clip"}))
    with pytest.raises(ValueError, match="holds a model of type 'clip'; name a SigLIP folder"):
        KeyFrameAppeal(folder, head, 8, 10.0)


def test_options_are_checked() -> None:
    model = PaperAnimeReward()
    for options, sentence in (({"key_frames": "0"}, "key_frames=0"), ({"appeal_scale": "0"}, "appeal_scale=0")):
        with pytest.raises(ValueError, match=sentence):
            model.configure(preset="paper", options=options)


def test_the_card_says_what_is_a_cosine_and_what_was_chosen() -> None:
    card = PaperAnimeReward.card
    assert [card.dimension(name).low for name in ("motion", "character", "text_video")] == [-1.0, -1.0, 0.0]
    for equation in (5, 6, 7, 10, 11):
        assert any(f"(Eq. {equation})" in sentence for sentence in card.deviations)


@pytest.mark.shared
def test_the_paper_s_motion_and_appeal_by_the_public_way(siglip, head, shared: Path) -> None:
    golden, video = shared / "golden", "cartoon_films_tui_la_13.mp4"
    run = next(
        run
        for run in json.loads((golden / "actionclip" / "expected.json").read_text())["runs"]
        if run["video"] == video
    )
    weights = {
        "motion": str(golden / "actionclip" / "motion_model.pth"),
        "templates": str(shared / "assets" / "animereward"),
        "siglip": str(siglip),
        "aesthetic": str(head),
    }
    clip = Clip("c", str(golden / "videos" / video))
    found = {}
    for scale in (10, 1):
        reward = load_reward(
            "animereward:paper",
            weights=weights,
            device="cpu",
            dtype="float32",
            dimensions=["motion", "appeal"],
            key_frames=4,
            appeal_scale=scale,
        )
        found[scale] = reward.score([clip])[0]
    assert found[10][0] == pytest.approx(run["similarity_x100"][0] / 100, abs=1e-6)
    assert found[1][1] == pytest.approx(10 * found[10][1], rel=1e-9)
    del weights["aesthetic"]
    with pytest.raises(PluginError, match="needs an aesthetic head for that SigLIP"):
        load_reward("animereward:paper", weights=weights, device="cpu", dimensions=["appeal"])
