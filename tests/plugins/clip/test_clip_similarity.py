"""``clip`` against a direct computation with open_clip's own transform, on tiny random weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from rewardbench_clip.architecture import NORMALIZATIONS, builtin_configs
from rewardbench_clip.model import ClipSimilarity
from safetensors.torch import save_file

from rewardbench.errors import InputError
from rewardbench.registry import choose_reward
from rewardbench.video.resize import resize_frames
from rewardbench_plugin import Clip, Frames, Item

SIZE = 32
MODEL_CONFIG: Mapping[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": SIZE, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}
PREPROCESS: Mapping[str, Any] = {"mean": [0.4, 0.5, 0.6], "std": [0.3, 0.2, 0.25], "interpolation": "bicubic"}


def write_folder(folder: Path, preprocess: Mapping[str, Any] = PREPROCESS, seed: int = 0) -> Path:
    """An open_clip model folder with random weights."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_cfg": MODEL_CONFIG, "preprocess_cfg": preprocess}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(seed)
    model = open_clip.CLIP(**json.loads(json.dumps(MODEL_CONFIG)))
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "open_clip_model.safetensors")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("weights") / "tiny")


def picture(seed: int, count: int, height: int = 48, width: int = 80) -> np.ndarray:
    """Smooth random frames, uint8 (count, height, width, 3)."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 6, 10, 3), dtype=np.uint8)
    frames = [Image.fromarray(frame).resize((width, height), Image.Resampling.BICUBIC) for frame in coarse]
    return np.stack([np.asarray(frame) for frame in frames])


def loaded(weights: Path, **options: str) -> ClipSimilarity:
    model = ClipSimilarity()
    model.configure(weights={"": str(weights)}, options=options)
    model.load("cpu", None, model.weights, model.options)
    return model


def item(model: ClipSimilarity, rgb: np.ndarray, prompt: str) -> Item:
    """What the host hands over: sampled and resized as the card asks."""
    (spec,) = model.card.frame_specs()
    indices = spec.sampling.indices(len(rgb), 24.0)
    frames = Frames(resize_frames(rgb[indices], spec), indices, indices / 24.0, 24.0, len(rgb), *rgb.shape[1:3])
    clip = Clip("a", "a.mp4", prompt)
    return Item(clip, model.prepare(clip, {spec: frames}))


def direct(folder: Path, rgb: np.ndarray, prompt: str) -> float:
    """open_clip's own loader, transform and tokenizer, one frame at a time."""
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    model.eval()
    tokens = open_clip.get_tokenizer(f"local-dir:{folder}")([prompt])
    cosines = []
    with torch.no_grad():
        text = model.encode_text(tokens)[0]
        for frame in rgb:
            image = model.encode_image(transform(Image.fromarray(frame))[None])[0]
            cosines.append(torch.nn.functional.cosine_similarity(image, text, dim=0).item())
    return float(np.mean(cosines))


@pytest.mark.parametrize("shape", [(48, 80), (80, 48), (33, 47), (32, 32), (20, 31)])
def test_score_is_the_mean_cosine_of_a_direct_computation(folder: Path, shape: tuple[int, int]) -> None:
    model = loaded(folder, frames="4")
    rgb = picture(1, 4, *shape)
    scores = model.score([item(model, rgb, "a fox runs")])
    assert scores.values.shape == (1, 1)
    assert scores.values[0, 0] == pytest.approx(direct(folder, rgb, "a fox runs"), abs=1e-5)


def test_squashed_bilinear_models_are_transformed_their_way(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "squash", {"resize_mode": "squash", "interpolation": "bilinear"})
    model = loaded(folder, frames="2")
    rgb = picture(2, 2)
    assert model.card.frame_specs()[0].filter == "pil-bilinear"
    value = model.score([item(model, rgb, "a fox")]).values[0, 0]
    assert value == pytest.approx(direct(folder, rgb, "a fox"), abs=1e-5)


def test_clips_of_unequal_length_and_batches_do_not_mix(folder: Path) -> None:
    model = loaded(folder)
    items = [item(model, picture(i, n), f"prompt {i}") for i, n in enumerate((1, 3, 8, 30))]
    assert [len(one.data["frames0"]) for one in items] == [1, 3, 8, 8]
    together = model.score(items).values[:, 0]
    alone = [model.score([one]).values[0, 0] for one in items]
    np.testing.assert_allclose(together, alone, atol=1e-6)
    assert len(set(np.round(together, 4))) == 4


def test_prompt_and_frames_both_count(folder: Path) -> None:
    model = loaded(folder)
    rgb = picture(5, 8)
    values = model.score(
        [item(model, rgb, "a fox"), item(model, rgb, "a house"), item(model, 255 - rgb, "a fox")]
    ).values[:, 0]
    assert len(set(np.round(values, 5))) == 3
    assert np.all(np.abs(values) <= 1)


def test_a_prompt_beyond_the_context_is_cut_and_noted(folder: Path) -> None:
    model = loaded(folder)
    rgb = picture(6, 8)
    ten_words = "a fox runs over a green hill at dawn slowly"
    fits, cut = model.score([item(model, rgb, ten_words), item(model, rgb, ten_words + " and then it stops")]).notes
    assert fits == ""
    assert cut == "prompt cut to 12 of 16 tokens"


def test_a_weights_file_of_a_built_in_architecture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_folder(tmp_path / "plain", {})
    config = tmp_path / "tiny-test.json"
    config.write_text(json.dumps(MODEL_CONFIG))
    open_clip.add_model_config(config)
    monkeypatch.setattr("rewardbench_clip.architecture.builtin_configs", lambda: {"tiny-test": config})
    model = loaded(folder / "open_clip_model.safetensors", model="tiny-test", frames="3")
    rgb = picture(7, 3)
    value = model.score([item(model, rgb, "a fox")]).values[0, 0]
    assert value == pytest.approx(direct(folder, rgb, "a fox"), abs=1e-5)


def test_a_named_normalization_replaces_the_folder_s_own(folder: Path, tmp_path: Path) -> None:
    mean, std = NORMALIZATIONS["inception"]
    same = write_folder(tmp_path / "inception", {"mean": mean, "std": std})
    named, own = loaded(folder, normalization="inception"), loaded(same)
    rgb = picture(8, 8)
    values = [model.score([item(model, rgb, "a fox")]).values[0, 0] for model in (named, own, loaded(folder))]
    assert values[0] == pytest.approx(values[1], abs=1e-7)
    assert abs(values[0] - values[2]) > 1e-5


def test_half_precision_stays_close(folder: Path) -> None:
    half = ClipSimilarity()
    half.configure(weights={"": str(folder)})
    half.load("cpu", "bfloat16", half.weights, half.options)
    full = loaded(folder)
    rgb = picture(9, 8)
    value, expected = (model.score([item(model, rgb, "a fox")]).values[0, 0] for model in (half, full))
    assert value == pytest.approx(expected, abs=0.03)
    assert value != expected


def test_the_built_in_architectures_are_those_of_open_clip() -> None:
    assert set(builtin_configs()) <= set(open_clip.list_models())
    assert {"ViT-B-32", "ViT-L-14"} <= set(builtin_configs())


@pytest.mark.parametrize(
    ("name", "size"), [("ViT-B-32", 224), ("ViT-L-14-336", 336), ("ViT-SO400M-14-SigLIP-384", 384)]
)
def test_the_input_size_is_the_architecture_s(name: str, size: int, tmp_path: Path) -> None:
    weights = tmp_path / "w.pt"
    weights.write_bytes(b"not read before loading")
    _, model = choose_reward("clip", weights={"": str(weights)}, options={"model": name, "frames": "16"})
    (spec,) = model.card.frame_specs()
    assert spec.size is not None
    assert spec.size.center_crop == (size, size)
    assert spec.sampling.count == 16


@pytest.mark.parametrize(
    ("weights", "options", "sentence"),
    [
        ("missing.pt", {"model": "ViT-B-32"}, r"missing.pt does not exist"),
        ("w.pt", {}, r"needs its architecture: add --option model=NAME"),
        ("w.pt", {"model": "ViT-B32"}, r"did you mean 'ViT-B-32'"),
        ("w.pt", {"model": "ViT-B-32", "normalization": "mine"}, r"normalization=mine is not one of"),
        ("w.pt", {"model": "ViT-B-32", "frames": "0"}, r"frames=0 is not a whole number from 1 to 64"),
        ("w.pt", {"model": "ViT-B-32", "frames": "many"}, r"frames=many"),
        ("empty", {}, r"has no open_clip_config.json"),
        ("configured", {}, r"holds no checkpoint"),
        ("configured", {"model": "ViT-B-32"}, r"both name an architecture"),
        ("broken", {}, r"is not an open_clip configuration"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_clip_is_read(
    weights: str, options: dict[str, str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("w.pt").write_bytes(b"x")
    Path("empty").mkdir()
    Path("configured").mkdir()
    Path("configured/open_clip_config.json").write_text(json.dumps({"model_cfg": MODEL_CONFIG}))
    Path("broken").mkdir()
    Path("broken/open_clip_config.json").write_text("{}")
    Path("broken/model.pth").write_bytes(b"x")
    with pytest.raises(InputError, match=sentence):
        choose_reward("clip", weights={"": weights}, options=options)


def test_without_weights_the_card_can_be_shown_but_nothing_scored() -> None:
    _, model = choose_reward("clip")
    assert model.card.needs_prompt
    with pytest.raises(ValueError, match="clip needs weights: add --weights"):
        model.fingerprint()
    with pytest.raises(ValueError, match="clip needs weights: add --weights"):
        model.load("cpu", None, {}, {})


def test_weights_of_another_architecture_are_refused(folder: Path) -> None:
    _, model = choose_reward(
        "clip", weights={"": str(folder / "open_clip_model.safetensors")}, options={"model": "ViT-B-32"}
    )
    with pytest.raises(ValueError, match="cannot be loaded as ViT-B-32"):
        model.load("cpu", None, model.weights, model.options)


def test_pickled_code_is_not_run(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "attacked",))

    torch.save({"state_dict": Attack()}, tmp_path / "w.pt")
    _, model = choose_reward("clip", weights={"": str(tmp_path / "w.pt")}, options={"model": "ViT-B-32"})
    with pytest.raises(ValueError, match="cannot be loaded"):
        model.load("cpu", None, model.weights, model.options)
    assert not (tmp_path / "attacked").exists()


def test_the_fingerprint_follows_the_content_of_the_weights(tmp_path: Path) -> None:
    prints = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        _, model = choose_reward("clip", weights={"": str(write_folder(tmp_path / name, seed=seed))})
        prints.append(model.fingerprint())
    assert prints[0] == prints[1] != prints[2]
