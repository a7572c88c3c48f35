"""AnimeReward mini: abstention, determinism, ranges, the order of known levels, its card and its weights."""

from __future__ import annotations

import shutil
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rewardbench_animereward import rewardbench_rewards
from rewardbench_animereward.mini import CONSECUTIVE, DIMENSIONS, SPREAD, WEIGHTS, MiniAnimeReward, first_frame, rate
from rewardbench_animereward.networks import log_softmax, recognise

from rewardbench.synth.caption import caption
from rewardbench.synth.recipes import Recipe, render
from rewardbench.synth.scene import Scene
from rewardbench.synth.splits import PROBE_SEEDS
from rewardbench_plugin import Clip, Frames, Item

FPS = 12.0


@lru_cache(maxsize=1)
def scene() -> Scene:
    return Scene(
        PROBE_SEEDS.start + 5, style="classic", action="wave", amplitude=0.9, background="seaside", hair_colour="pink",
        outfit="dress", outfit_colour="yellow", hair_style="twin tails", size=0.92,
    )  # fmt: skip


@lru_cache(maxsize=32)
def drawn(treatment: str = "none", severity: float = 0.0) -> np.ndarray:
    return render(Recipe(scene(), treatment, severity, seed=3), fps=FPS)


def frames_of(clip: np.ndarray, fps: float = FPS) -> dict:
    """Frames as the host would sample and resize them."""
    out = {}
    for spec in (CONSECUTIVE, SPREAD):
        indices = spec.sampling.indices(len(clip), fps)
        height, width = spec.size.target(*clip.shape[1:3])
        pictures = [Image.fromarray(clip[i]).resize((width, height), Image.Resampling.BOX) for i in indices]
        rgb = np.stack([np.asarray(p) for p in pictures])
        out[spec] = Frames(rgb, indices, indices / fps, fps, len(clip), *clip.shape[1:3])
    return out


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("image") / "first.png"
    Image.fromarray(drawn()[0]).save(path)
    return str(path)


def reward(*dimensions: str, weights: dict | None = None) -> MiniAnimeReward:
    made = MiniAnimeReward()
    made.configure(dimensions=dimensions or None, weights=weights)
    made.load("cpu", None, made.weights, {})
    return made


def ratings(clip: np.ndarray, prompt: str | None, image: str | None, *dimensions: str) -> tuple[dict, str]:
    model = reward(*dimensions)
    of = Clip("c", "c.mp4", prompt, image)
    scores = model.score([Item(of, model.prepare(of, frames_of(clip)))])
    return dict(zip(model.dimensions, scores.values[0].tolist(), strict=True)), scores.notes[0]


def test_all_seven_ratings_lie_in_the_unit_interval(image):
    found, note = ratings(drawn(), caption(scene()), image)
    assert tuple(found) == (*DIMENSIONS, "overall")
    assert all(0.0 <= value <= 1.0 for value in found.values())
    assert found["overall"] == pytest.approx(np.mean([found[d] for d in DIMENSIONS]))
    assert note == ""


@pytest.mark.parametrize(
    ("prompt", "with_image", "abstains", "word"),
    [
        (None, True, {"text_video", "overall"}, "no caption"),
        ("A horse gallops over a field.", True, {"text_video", "overall"}, "outside its grammar"),
        ("in-grammar", False, {"image_video", "overall"}, "no first-frame image"),
        (None, False, {"text_video", "image_video", "overall"}, "mean of all six"),
    ],
)
def test_it_abstains_where_it_cannot_know(image, prompt, with_image, abstains, word):
    prompt = caption(scene()) if prompt == "in-grammar" else prompt
    found, note = ratings(drawn(), prompt, image if with_image else None)
    assert {name for name, value in found.items() if np.isnan(value)} == abstains
    assert word in note


def test_scores_do_not_depend_on_the_batch_or_on_other_dimensions(image):
    model = reward()
    clips = [("none", 0.0), ("blur", 0.8), ("jitter", 0.6)]
    items = []
    for name, severity in clips:
        of = Clip(name, f"{name}.mp4", caption(scene()), image)
        items.append(Item(of, model.prepare(of, frames_of(drawn(name, severity)))))
    together = model.score(items).values
    apart = np.concatenate([model.score([item]).values for item in reversed(items)])[::-1]
    assert np.array_equal(together, apart)
    for k, dimension in enumerate(DIMENSIONS):
        alone = reward(dimension)
        clip = items[1].clip
        score = alone.score([Item(clip, alone.prepare(clip, frames_of(drawn("blur", 0.8))))]).values
        assert score.shape == (1, 1)
        assert score[0, 0] == together[1, k]


def test_prepared_arrays_are_plain_and_small(image):
    prepared = reward().prepare(Clip("c", "c.mp4", caption(scene()), image), frames_of(drawn()))
    assert all(isinstance(v, np.ndarray) and v.dtype == np.float32 for v in prepared.values())
    assert sum(v.nbytes for v in prepared.values()) < 10_000


@pytest.mark.parametrize(
    ("dimension", "treatment"),
    [
        ("smoothness", "flicker"),
        ("smoothness", "stutter"),
        ("smoothness", "jitter"),
        ("smoothness", "warp"),
        ("motion", "freeze"),
        ("motion", "amplitude"),
        ("appeal", "blur"),
        ("appeal", "noise"),
        ("image_video", "restyle"),
        ("image_video", "wrong_facts"),
        ("text_video", "wrong_facts"),
        ("character", "identity_change"),
    ],
)
def test_a_strong_fault_is_rated_below_the_clean_clip(image, dimension, treatment):
    severity = 0.75 if treatment == "wrong_facts" else 0.9
    clean, _ = ratings(drawn(), caption(scene()), image, dimension)
    faulty, _ = ratings(drawn(treatment, severity), caption(scene()), image, dimension)
    assert faulty[dimension] < clean[dimension]


@pytest.mark.parametrize(("shape", "total"), [((48, 80), 1), ((97, 61), 2), ((64, 64), 5), ((40, 400), 17)])
def test_awkward_clips_are_rated(image, shape, total):
    clip = np.random.default_rng(0).integers(0, 256, (total, *shape, 3), dtype=np.uint8)
    found, _ = ratings(clip, caption(scene()), image)
    assert all(0.0 <= value <= 1.0 for value in found.values())


@pytest.mark.parametrize("value", [0, 255])
def test_a_still_and_empty_clip_is_rated(image, value):
    found, _ = ratings(np.full((24, 64, 64, 3), value, np.uint8), caption(scene()), image)
    assert all(0.0 <= rating <= 1.0 for rating in found.values())


def test_the_fingerprint_follows_the_weights_by_content(tmp_path):
    copy = tmp_path / "copy.safetensors"
    shutil.copy(WEIGHTS, copy)
    plain = reward().fingerprint()
    assert reward(weights={"mini": str(copy)}).fingerprint() == plain
    assert reward(weights={"": str(copy)}).fingerprint() == plain
    content = bytearray(copy.read_bytes())
    content[-1] ^= 1
    copy.write_bytes(bytes(content))
    assert reward(weights={"mini": str(copy)}).fingerprint() != plain


def test_wrong_weights_are_one_sentence(tmp_path):
    with pytest.raises(ValueError, match="'mini' only"):
        MiniAnimeReward().configure(weights={"vision": "x"})
    other = tmp_path / "other.safetensors"
    other.write_bytes(b"not weights")
    with pytest.raises(ValueError, match=r"other\.safetensors"):
        reward(weights={"": str(other)})


def test_an_unreadable_first_frame_is_one_sentence(tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_text("no picture")
    model = reward("image_video")
    with pytest.raises(ValueError, match=r"broken\.png"):
        model.prepare(Clip("c", "c.mp4", None, str(broken)), frames_of(drawn()))


def test_a_first_frame_of_another_shape_gives_its_middle(tmp_path):
    wide = np.zeros((40, 120, 3), np.uint8)
    wide[:, 40:80] = 200
    path = tmp_path / "wide.png"
    Image.fromarray(wide).save(path)
    assert (first_frame(str(path), 64, 64) == 200).all()


def test_the_rate_is_that_of_the_sampled_frames():
    indices = np.arange(0, 24, 2)
    frames = Frames(np.zeros((12, 8, 8, 3), np.uint8), indices, indices / 24.0, 24.0, 24, 8, 8)
    assert rate(frames) == pytest.approx(12.0)


def test_the_card_says_what_it_is_and_is_not():
    card = MiniAnimeReward.card
    assert card.dimension_names == (*DIMENSIONS, "overall")
    assert all((d.low, d.high, d.higher_is_better) == (0.0, 1.0, True) and d.description for d in card.dimensions)
    assert set(card.inputs) == set(DIMENSIONS)
    assert not card.needs_prompt
    assert not card.needs_image
    assert "not the released" in card.notes
    assert "not trained on human ratings" in card.notes
    assert "no human ratings" in card.training_data
    assert card.overall_rule
    assert card.citation


def test_the_manifest_imports_nothing_heavy():
    import subprocess
    import sys

    (manifest,) = rewardbench_rewards()
    assert manifest.default_preset == "mini"
    assert manifest.presets["mini"] == "rewardbench_animereward.mini:MiniAnimeReward"
    code = (
        "import sys, rewardbench_animereward; rewardbench_animereward.rewardbench_rewards();"
        "sys.exit(any(m in sys.modules for m in ('torch', 'PIL', 'safetensors', 'scipy')))"
    )
    source = Path(WEIGHTS).parent.parent.parent
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": f"{source}:{root}"}, check=False)
    assert done.returncode == 0


def test_the_weights_are_small():
    assert WEIGHTS.stat().st_size <= 10 * 2**20


def test_the_numpy_recogniser_equals_torch():
    import torch

    rng = np.random.default_rng(0)
    layers = [torch.nn.Conv2d(3, 5, 3, 2, 1), torch.nn.Conv2d(5, 7, 3, 2, 1)]
    hidden, head = torch.nn.Linear(7 * 16, 6), torch.nn.Linear(6, 4)
    weights = {f"conv{i}.{k}": v.detach().numpy() for i, c in enumerate(layers) for k, v in c.named_parameters()}
    weights |= {f"hidden.{k}": v.detach().numpy() for k, v in hidden.named_parameters()}
    weights |= {f"head.colour.{k}": v.detach().numpy() for k, v in head.named_parameters()}
    pictures = rng.integers(0, 256, (3, 16, 16, 3), dtype=np.uint8)
    x = torch.from_numpy(pictures.transpose(0, 3, 1, 2).astype(np.float32)) / 127.5 - 1
    for layer in layers:
        x = torch.relu(layer(x))
    expected = head(torch.relu(hidden(x.flatten(1))))
    found = recognise(weights, pictures)["colour"]
    assert np.allclose(found, expected.detach().numpy(), atol=1e-5)
    assert np.allclose(log_softmax(found), torch.log_softmax(expected, 1).detach().numpy(), atol=1e-5)
