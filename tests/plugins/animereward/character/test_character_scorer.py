"""The character dimension as a whole: what it says of a clip, where it abstains, and what it refuses."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rewardbench_animereward.character import CharacterScorer, character_inputs
from rewardbench_animereward.character import recogniser as recogniser_module
from rewardbench_animereward.character.gallery import read_gallery
from rewardbench_animereward.character.recogniser import Recogniser, identity_cosine, identity_probabilities

from rewardbench.synth.scene import Scene
from rewardbench_plugin import Clip, Frames


class KnownBoxes:
    """A detector that answers with given boxes and remembers the picture."""

    def __init__(self, boxes: Any) -> None:
        self.answer = np.array(boxes, np.float32).reshape(-1, 4)
        self.seen: list[np.ndarray] = []

    def boxes(self, image: np.ndarray) -> np.ndarray:
        self.seen.append(image)
        return self.answer


class KnownMasks:
    """A tracker that answers with given masks and remembers the boxes."""

    def __init__(self, masks: np.ndarray) -> None:
        self.answer = masks
        self.seen: list[np.ndarray] = []

    def masks(self, frames: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        self.seen.append(boxes)
        return self.answer


def decoded(rgb: np.ndarray) -> Frames:
    indices = np.arange(len(rgb))
    return Frames(rgb, indices, indices / 8.0, 8.0, len(rgb), *rgb.shape[1:3])


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "first.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(path)
    return path


def prepared_clip(rgb: np.ndarray, picture: Path | None) -> dict[str, np.ndarray]:
    clip = Clip("a", "a.mp4", "a girl", None if picture is None else str(picture))
    return CharacterScorer().prepare(clip, decoded(rgb))


def test_all_frames_at_the_decoded_size_are_asked_for() -> None:
    spec = character_inputs()
    assert spec.size is None
    assert spec.sampling.indices(333, 24.0).tolist() == list(range(333))


def test_a_clip_is_scored_from_its_first_frame_image_to_a_probability(models: Any, picture: Path) -> None:
    """Every network in its place, with random weights: a number in its range, or an abstention with its reason."""
    scorer = CharacterScorer()
    scorer.load(models.weights, "cpu", "float32")
    rgb = np.random.default_rng(1).integers(0, 256, (9, 48, 64, 3), dtype=np.uint8)
    score, note = scorer.score(prepared_clip(rgb, picture))
    assert (0 < score <= 1 and note == "") or (math.isnan(score) and "abstains" in note)
    scorer.close()
    with pytest.raises(RuntimeError, match="before load"):
        scorer.score(prepared_clip(rgb, picture))


def test_drawn_characters_reach_the_recogniser_alone_and_whole(
    models: Any, drawn: Callable[..., Any], overlap: Callable[[np.ndarray, np.ndarray], float], tmp_path: Path
) -> None:
    clip = drawn(Scene(5, action="wave", size=0.8), height=180, width=240, frames=16)
    image = tmp_path / "first.png"
    Image.fromarray(np.repeat(np.repeat(clip.frames[0], 2, axis=0), 2, axis=1)).save(image)
    detector, tracker = KnownBoxes([[10, 10, 90, 90]]), KnownMasks(clip.person.astype(np.uint8))
    scorer = CharacterScorer(detector=detector, tracker=tracker)
    scorer.load(models.weights, "cpu")
    prepared = prepared_clip(clip.frames, image)
    score, note = scorer.score(prepared)
    assert 1 / 3 <= score <= 1
    assert note == ""
    assert np.abs(detector.seen[0].astype(int) - clip.frames[0]).mean() < 4  # brought to the frames' size
    assert np.array_equal(tracker.seen[0], detector.answer)
    pictures, _ = scorer._pictures(prepared)
    assert pictures.shape == (1, 8, 224, 224, 3)
    for number, shown in enumerate(pictures[0]):
        person = clip.person[2 * number]
        rows, columns = np.flatnonzero(person.any(axis=1)), np.flatnonzero(person.any(axis=0))
        side = max(np.ptp(rows), np.ptp(columns)) + 1
        top, left = (side - np.ptp(rows) - 1) // 2, (side - np.ptp(columns) - 1) // 2
        expected = np.zeros((side, side), np.uint8)
        inside = person[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        expected[top : top + inside.shape[0], left : left + inside.shape[1]] = inside
        expected = np.asarray(Image.fromarray(expected * 255).resize((224, 224), Image.Resampling.BILINEAR)) > 127
        # dark hair and lines are near black: the picture is black wherever the mask is not, not the other way round
        assert overlap(shown.max(axis=-1) > 24, expected) > 0.85


def test_only_the_five_largest_are_followed(models: Any, picture: Path) -> None:
    boxes = [[0, 0, k, k] for k in (3, 9, 5, 7, 4, 8, 6)]
    tracker = KnownMasks(np.ones((9, 20, 30), np.uint8))
    scorer = CharacterScorer(detector=KnownBoxes(boxes), tracker=tracker)
    scorer.load(models.weights, "cpu")
    scorer.score(prepared_clip(np.full((9, 20, 30, 3), 99, np.uint8), picture))
    assert tracker.seen[0][:, 2].tolist() == [9, 8, 7, 6, 5]


@pytest.mark.parametrize(
    ("boxes", "masks", "reason"),
    [
        ([], None, "no character found in the first-frame image"),
        ([[1, 1, 9, 9]], np.zeros((9, 20, 30), np.uint8), "no character found in the frames"),
    ],
)
def test_without_a_character_it_abstains(models: Any, picture: Path, boxes: Any, masks: Any, reason: str) -> None:
    scorer = CharacterScorer(detector=KnownBoxes(boxes), tracker=KnownMasks(masks))
    scorer.load(models.weights, "cpu")
    score, note = scorer.score(prepared_clip(np.full((9, 20, 30, 3), 99, np.uint8), picture))
    assert math.isnan(score)
    assert reason in note


def test_a_character_seen_too_briefly_is_no_score(models: Any, picture: Path) -> None:
    masks = np.zeros((9, 20, 30), np.uint8)
    masks[:7, 3:9, 3:9] = 1
    scorer = CharacterScorer(detector=KnownBoxes([[1, 1, 9, 9]]), tracker=KnownMasks(masks))
    scorer.load(models.weights, "cpu")
    frames = np.full((9, 20, 30, 3), 99, np.uint8)
    score, note = scorer.score(prepared_clip(frames, picture))
    assert math.isnan(score)
    assert "visible in 8 frames" in note
    masks[7] = masks[6]
    assert 0 < scorer.score(prepared_clip(frames, picture))[0] <= 1


def test_without_a_first_frame_image_it_abstains(models: Any) -> None:
    scorer = CharacterScorer(detector=KnownBoxes([]), tracker=KnownMasks(np.zeros(0)))
    scorer.load(models.weights, "cpu")
    score, note = scorer.score(prepared_clip(np.full((9, 20, 30, 3), 99, np.uint8), None))
    assert math.isnan(score)
    assert "no first-frame image" in note


def test_an_unreadable_image_is_one_sentence(tmp_path: Path) -> None:
    frames = np.full((9, 20, 30, 3), 99, np.uint8)
    with pytest.raises(ValueError, match=r"first-frame image .*gone.png cannot be read"):
        prepared_clip(frames, tmp_path / "gone.png")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"first-frame image .*text.png cannot be read"):
        prepared_clip(frames, tmp_path / "text.png")


def test_the_clip_s_score_is_the_mean_over_its_characters(models: Any) -> None:
    scorer = CharacterScorer(detector=KnownBoxes([]), tracker=KnownMasks(np.zeros(0)))
    scorer.load(models.weights, "cpu")
    pictures = np.random.default_rng(0).integers(0, 256, (2, 8, 224, 224, 3), dtype=np.uint8)
    pictures[1] //= 4
    together, _ = scorer.score({"crops": pictures})
    alone = [scorer.score({"crops": pictures[k : k + 1]})[0] for k in range(2)]
    assert alone[0] != pytest.approx(alone[1], abs=1e-4)
    assert together == pytest.approx(np.mean(alone), abs=1e-6)


def test_probabilities_follow_the_rule_written_out() -> None:
    rng = np.random.default_rng(0)
    query, stored = rng.normal(size=(2, 8, 5)), rng.normal(size=(6, 5))
    members = (np.array([0, 1]), np.array([2, 3, 5]), np.array([4]))
    expected = np.zeros((2, 3))
    for k in range(2):
        for i in range(8):
            mean = [np.mean([query[k, i] @ stored[m] for m in one]) for one in members]
            expected[k] += np.exp(mean) / np.exp(mean).sum() / 8
    ours = identity_probabilities(torch.tensor(query), torch.tensor(stored), members)
    np.testing.assert_allclose(ours.numpy(), expected, atol=1e-12)


def test_the_paper_s_cosine_follows_equation_10(models: Any) -> None:
    rng = np.random.default_rng(1)
    query, stored = rng.normal(size=(8, 5)), rng.normal(size=(6, 5))
    cosine = np.mean([q @ s / np.linalg.norm(q) / np.linalg.norm(s) for q in query for s in stored[[1, 4]]])
    ours = identity_cosine(torch.tensor(query), torch.tensor(stored), np.array([1, 4]))
    assert ours == pytest.approx(cosine, abs=1e-12)
    same = torch.tensor(np.repeat(stored[:1], 8, axis=0))
    assert identity_cosine(7 * same, torch.tensor(stored), np.array([0])) == pytest.approx(1.0, abs=1e-12)


def test_the_cosine_variant_compares_with_the_most_probable_identity(models: Any) -> None:
    released, paper = (
        CharacterScorer(cosine=cosine, detector=KnownBoxes([]), tracker=KnownMasks(np.zeros(0)))
        for cosine in (False, True)
    )
    for scorer in (released, paper):
        scorer.load(models.weights, "cpu")
    pictures = np.random.default_rng(2).integers(0, 256, (1, 8, 224, 224, 3), dtype=np.uint8)
    gallery = read_gallery(models.gallery)
    best = int(released.probabilities(pictures)[0].argmax())
    network = Recogniser(models.character / "blip_checkpoints" / "animate_recoginzer.pth", "cpu")
    expected = identity_cosine(network.embed(pictures[0]), network.embed_gallery(gallery), gallery.members[best])
    assert paper.score({"crops": pictures})[0] == pytest.approx(expected, abs=1e-5)
    assert paper.score({"crops": pictures})[0] != pytest.approx(released.score({"crops": pictures})[0], abs=1e-3)


def test_the_gallery_is_embedded_once(models: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer = CharacterScorer(detector=KnownBoxes([]), tracker=KnownMasks(np.zeros(0)))
    scorer.load(models.weights, "cpu")
    sizes: list[int] = []
    embed = Recogniser.embed
    monkeypatch.setattr(Recogniser, "embed", lambda self, p: sizes.append(len(p)) or embed(self, p))  # type: ignore
    for _ in range(2):
        scorer.score({"crops": np.zeros((1, 8, 224, 224, 3), np.uint8)})
    assert sizes == [8, 8]


def test_batches_are_bounded_and_do_not_change_embeddings(models: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    network = Recogniser(models.character / "blip_checkpoints" / "animate_recoginzer.pth", "cpu")
    pictures = np.random.default_rng(3).integers(0, 256, (7, 224, 224, 3), dtype=np.uint8)
    whole = network.embed(pictures)
    monkeypatch.setattr(recogniser_module, "AT_ONCE", 3)
    torch.testing.assert_close(network.embed(pictures), whole, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        network.embed_gallery(read_gallery(models.gallery)),
        torch.cat([network.embed(p) for p in read_gallery(models.gallery).pictures(1)]),
        atol=1e-5,
        rtol=1e-5,
    )


def test_half_precision_stays_close(models: Any) -> None:
    path = models.character / "blip_checkpoints" / "animate_recoginzer.pth"
    pictures = np.random.default_rng(4).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    full, half = Recogniser(path, "cpu"), Recogniser(path, "cpu", torch.bfloat16)
    difference = (full.embed(pictures) - half.embed(pictures)).abs().max()
    assert 0 < difference < 0.1


def test_names_are_grouped_in_lower_case_by_first_appearance(make_gallery: Callable[..., Path], tmp_path: Path) -> None:
    gallery = read_gallery(make_gallery(tmp_path / "g", ["Zoe", "adam", "zoe", "Adam", "ZOE"]))
    assert gallery.identities == ("zoe", "adam")
    assert [m.tolist() for m in gallery.members] == [[0, 2, 4], [1, 3]]


def test_the_published_folder_of_the_gallery_is_read(make_gallery: Callable[..., Path], tmp_path: Path) -> None:
    plain = make_gallery(tmp_path / "plain", ["a", "b"])
    published = tmp_path / "character"
    (published / "BLIP" / "data").mkdir(parents=True)
    (published / "videos").mkdir()
    (plain / "gallerys.json").rename(published / "BLIP" / "data" / "gallerys.json")
    for file in plain.glob("*.png"):
        file.rename(published / "videos" / file.name)
    assert [path.parent.name for path in read_gallery(published).paths] == ["videos", "videos"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, r"holds no gallerys.json"),
        ("{", r"is not a list of"),
        ('[{"image": "0.png"}]', r"is not a list of .* \(KeyError\)"),
        ("[]", r"names no picture"),
        (
            json.dumps([{"image": "0.png", "caption": "a"}, {"image": "none.png", "caption": "b"}]),
            r"1 of the 2 pictures that .* names are missing, the first is .*none.png",
        ),
    ],
)
def test_a_gallery_that_cannot_be_used_is_one_sentence(
    make_gallery: Callable[..., Path], tmp_path: Path, content: str | None, sentence: str
) -> None:
    folder = make_gallery(tmp_path / "g", ["a"])
    if content is None:
        (folder / "gallerys.json").unlink()
    else:
        (folder / "gallerys.json").write_text(content)
    with pytest.raises(ValueError, match=sentence):
        read_gallery(folder)


def test_missing_models_are_one_sentence_each(models: Any, tmp_path: Path) -> None:
    scorer = CharacterScorer()
    with pytest.raises(ValueError, match=r"needs --weights gallery=PATH"):
        scorer.load({"character": models.character}, "cpu")
    with pytest.raises(ValueError, match=r"lack blip_checkpoints/animate_recoginzer.pth"):
        scorer.load({"character": tmp_path, "gallery": models.gallery}, "cpu")
    (tmp_path / "blip_checkpoints").symlink_to(models.character / "blip_checkpoints")
    with pytest.raises(ValueError, match=r"GroundingDINO is missing: .*grouding-dino-base holds no config.json"):
        scorer.load({"character": tmp_path, "gallery": models.gallery}, "cpu")
    (tmp_path / "grouding-dino-base").symlink_to(models.character / "grouding-dino-base")
    with pytest.raises(ValueError, match=r"lack SAM 2: put facebook/sam2.1-hiera-base-plus"):
        scorer.load({"character": tmp_path, "gallery": models.gallery}, "cpu")


def test_the_recogniser_is_loaded_strictly(make_recogniser: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    def load(state: dict[str, Any]) -> Recogniser:
        torch.save({"model": state}, tmp_path / "r.pth")
        return Recogniser(tmp_path / "r.pth", "cpu")

    state = make_recogniser()
    with pytest.raises(ValueError, match=r"1 missing: vision_proj.bias"):
        load({name: value for name, value in state.items() if name != "vision_proj.bias"})
    with pytest.raises(ValueError, match=r"1 unexpected: head_diff.weight"):
        load({**state, "head_diff.weight": torch.zeros(1)})
    with pytest.raises(ValueError, match=r"is not the character recogniser"):
        load({"x": torch.zeros(1)})
    load({**state, "text_encoder.pooler.weight": torch.zeros(1), "temp": torch.zeros([])})


def test_sizes_follow_from_the_tensors_and_heads_from_arch_json(
    make_recogniser: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    path = tmp_path / "blip_checkpoints" / "r.pth"
    path.parent.mkdir()
    torch.save({"model": make_recogniser(width=128, embedding=7, depth=3)}, path)
    pictures = np.random.default_rng(5).integers(0, 256, (1, 224, 224, 3), dtype=np.uint8)
    embedded = []
    for heads in (None, 2, 4):
        if heads is not None:
            (tmp_path / "arch.json").write_text(json.dumps({"vision_heads": heads}))
        embedded.append(Recogniser(path, "cpu").embed(pictures))
    assert embedded[0].shape == (1, 7)
    torch.testing.assert_close(embedded[0], embedded[1], atol=0, rtol=0)
    assert (embedded[0] - embedded[2]).abs().max() > 1e-4
    (tmp_path / "arch.json").write_text('{"vision_heads": 5}')
    with pytest.raises(ValueError, match=r"vision_heads=5, which does not divide the width 128"):
        Recogniser(path, "cpu")
