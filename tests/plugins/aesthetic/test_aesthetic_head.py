"""``aesthetic`` against its closed form: open_clip's own transform and encoder, and the head by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from rewardbench_aesthetic import model as aesthetic_module
from rewardbench_aesthetic.head import read_head
from rewardbench_aesthetic.model import LinearAesthetic
from safetensors.torch import save_file

from rewardbench import Clip, load_reward
from rewardbench.cli import main
from rewardbench.errors import InputError
from rewardbench.registry import choose_reward
from rewardbench.video import read_frames, write_video
from rewardbench.video.resize import resize_frames
from rewardbench_plugin import Frames, Item

MODEL: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An open_clip model folder with random weights."""
    folder = tmp_path_factory.mktemp("base")
    config = {"model_cfg": MODEL, "preprocess_cfg": {"mean": [0.4, 0.5, 0.6], "std": [0.3, 0.2, 0.25]}}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    state = open_clip.CLIP(**json.loads(json.dumps(MODEL))).state_dict()
    save_file({name: value.contiguous() for name, value in state.items()}, folder / "open_clip_model.safetensors")
    return folder


@pytest.fixture(scope="module")
def head(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("head") / "linear.pth"
    torch.manual_seed(1)
    torch.save(torch.nn.Linear(16, 1).state_dict(), path)
    return path


def picture(seed: int, count: int, height: int = 48, width: int = 80) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 6, 10, 3), dtype=np.uint8)
    return np.stack([np.asarray(Image.fromarray(f).resize((width, height), Image.Resampling.BICUBIC)) for f in coarse])


def loaded(head: Path, base: Path, **options: str) -> LinearAesthetic:
    model = LinearAesthetic()
    model.configure(weights={"": str(head), "base": str(base)}, options=options)
    model.load("cpu", "float32", model.weights, model.options)
    return model


def item(model: LinearAesthetic, rgb: np.ndarray) -> Item:
    (spec,) = model.card.frame_specs()
    indices = spec.sampling.indices(len(rgb), 24.0)
    frames = Frames(resize_frames(rgb[indices], spec), indices, indices / 24.0, 24.0, len(rgb), *rgb.shape[1:3])
    clip = Clip("a", "a.mp4")
    return Item(clip, model.prepare(clip, {spec: frames}))


def embeddings(base: Path, rgb: np.ndarray) -> np.ndarray:
    """(F, 16), one frame at a time, by open_clip's own loader and transform."""
    network, _, transform = open_clip.create_model_and_transforms(f"local-dir:{base}")
    network.eval()
    with torch.no_grad():
        return np.stack([network.encode_image(transform(Image.fromarray(f))[None])[0].numpy() for f in rgb])


def by_hand(head: Path, features: np.ndarray) -> float:
    state = torch.load(head, weights_only=True)
    weight, bias = state["weight"].numpy()[0], float(state["bias"])
    return float(np.mean([f @ weight / np.sqrt((f * f).sum()) + bias for f in features]))


@pytest.mark.parametrize("shape", [(48, 80), (80, 48), (33, 47)])
def test_score_is_the_mean_rating_written_out(head: Path, base: Path, shape: tuple[int, int]) -> None:
    rgb = picture(1, 4, *shape)
    scores = loaded(head, base, frames="4").score([item(loaded(head, base, frames="4"), rgb)])
    assert scores.values.shape == (1, 1)
    assert scores.values[0, 0] == pytest.approx(by_hand(head, embeddings(base, rgb)), abs=1e-5)


def test_embeddings_that_are_not_normalised_miss(head: Path, base: Path) -> None:
    rgb = picture(2, 4)
    model = loaded(head, base, frames="4")
    value = model.score([item(model, rgb)]).values[0, 0]
    state = torch.load(head, weights_only=True)
    weight, bias = state["weight"].numpy()[0], float(state["bias"])
    features = embeddings(base, rgb)
    mean = features.mean(axis=0)
    for wrong in (float((features @ weight).mean()) + bias, float(mean @ weight / np.linalg.norm(mean)) + bias):
        assert abs(value - wrong) > 1e-4


def test_clips_of_unequal_length_and_passes_do_not_mix(head: Path, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = loaded(head, base)
    items = [item(model, picture(i, n)) for i, n in enumerate((1, 3, 8, 30))]
    assert [len(one.data["frames0"]) for one in items] == [1, 3, 8, 8]
    alone = [model.score([one]).values[0, 0] for one in items]
    monkeypatch.setattr(aesthetic_module, "AT_ONCE", 5)
    np.testing.assert_allclose(model.score(items).values[:, 0], alone, atol=1e-6)
    assert len(set(np.round(alone, 4))) == 4


def test_safetensors_and_pth_heads_are_the_same(head: Path, tmp_path: Path) -> None:
    save_file(torch.load(head, weights_only=True), tmp_path / "head.safetensors")
    for one, other in zip(read_head(head), read_head(tmp_path / "head.safetensors"), strict=True):
        assert torch.equal(one, other)


def test_half_precision_stays_close(head: Path, base: Path) -> None:
    full, half = loaded(head, base), LinearAesthetic()
    half.configure(weights={"": str(head), "base": str(base)})
    half.load("cpu", "bfloat16", half.weights, half.options)
    rgb = picture(3, 8)
    value, expected = (model.score([item(model, rgb)]).values[0, 0] for model in (half, full))
    assert value == pytest.approx(expected, abs=0.03)
    assert value != expected


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ({"weight": torch.zeros(1, 16)}, r"not a linear aesthetic head .* it holds weight \(1, 16\)"),
        ({"weight": torch.zeros(2, 16), "bias": torch.zeros(2)}, r"it holds bias \(2,\), weight \(2, 16\)"),
        ({"layers.0.weight": torch.zeros(8, 16)}, r"it holds layers.0.weight \(8, 16\)"),
        ({"weight": torch.zeros(1, 16), "bias": torch.zeros(1), "x": torch.zeros(1)}, r"not a linear aesthetic head"),
    ],
)
def test_another_head_is_refused(state: dict[str, torch.Tensor], sentence: str, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "head.pth")
    with pytest.raises(ValueError, match=sentence):
        read_head(tmp_path / "head.pth")


def test_a_head_of_another_tower_is_refused(base: Path, tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(24, 1).state_dict(), tmp_path / "head.pth")
    with pytest.raises(ValueError, match=r"a head for embeddings of 24 numbers, local-dir:.* gives 16"):
        loaded(tmp_path / "head.pth", base)


def test_weights_of_another_architecture_are_refused(head: Path, base: Path) -> None:
    with pytest.raises(ValueError, match=r"--weights base=.* cannot be loaded as ViT-B-32"):
        loaded(head, base / "open_clip_model.safetensors", model="ViT-B-32")


@pytest.mark.parametrize(
    ("weights", "options", "sentence"),
    [
        ({"": "gone.pth"}, {}, r"--weights gone.pth is not a file"),
        ({"base": "gone"}, {}, r"--weights base=gone does not exist"),
        ({"base": "w.pt"}, {}, r"--weights base=w.pt needs its architecture"),
        ({}, {"frames": "0"}, r"frames=0 is not a whole number from 1 to 64"),
        ({"head": "w.pt"}, {}, r"head"),
        ({}, {"frame": "3"}, r"frames"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_clip_is_read(
    weights: dict[str, str], options: dict[str, str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("w.pt").write_bytes(b"x")
    with pytest.raises(InputError, match=sentence):
        choose_reward("aesthetic", weights=weights, options=options)


def test_without_weights_the_card_can_be_shown_but_nothing_scored(head: Path) -> None:
    for weights in ({}, {"": str(head)}):
        _, model = choose_reward("aesthetic", weights=weights)
        for attempt in (model.fingerprint, lambda model=model: model.load("cpu", None, model.weights, {})):
            with pytest.raises(ValueError, match="aesthetic needs weights: add --weights HEAD"):
                attempt()


def test_both_parts_stand_in_the_fingerprint(head: Path, base: Path, tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(16, 1).state_dict(), tmp_path / "other.pth")
    prints = {loaded(path, base).fingerprint() for path in (head, head, tmp_path / "other.pth")}
    assert len(prints) == 2


@pytest.mark.system
def test_the_command_and_load_reward_give_the_closed_form(
    head: Path, base: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, picture(4, 6, 64, 96), 8.0)
    reward = load_reward(
        "aesthetic", weights={"": str(head), "base": str(base)}, device="cpu", dtype="float32", frames="3"
    )
    (spec,) = reward.model.card.frame_specs()
    resized = read_frames(path, [spec])[spec].rgb
    expected = by_hand(head, embeddings(base, resized))  # the transform leaves frames of the input size as they are
    assert reward.score([Clip("a", str(path))])[0, 0] == pytest.approx(expected, abs=1e-5)
    words = ["score", str(path), "--plugin", "aesthetic", "--weights", str(head), "--weights", f"base={base}"]
    words += ["--device", "cpu", "--dtype", "float32", "--option", "frames=3", "--format", "json", "--workers", "1"]
    assert main(words) == 0
    (row,) = json.loads(capfd.readouterr().out)
    assert row["scores"]["aesthetic"] == pytest.approx(expected, abs=1e-5)
