"""GroundingDINO's plumbing with random weights: pictures in, boxes in pixels out; thresholds, number and covering."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rewardbench_animereward.character import detection
from rewardbench_animereward.character.detection import GroundingDino, cover, largest, select


@pytest.fixture(scope="module")
def detector(grounding_dino: Path) -> GroundingDino:
    return GroundingDino(grounding_dino, "cpu", torch.float32)


def picture(height: int = 60, width: int = 90, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_boxes_are_those_of_the_library_s_own_post_processing(
    detector: GroundingDino, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = picture()
    processor, model = detector._processor, detector._model
    inputs = processor(images=Image.fromarray(image), text="character.", return_tensors="pt")
    with torch.no_grad():
        outputs = model(**inputs)
    best = outputs.logits[0].sigmoid().amax(dim=-1)
    threshold = float(best.median())
    monkeypatch.setattr(detection, "THRESHOLD", threshold)
    (expected,) = processor.post_process_grounded_object_detection(
        outputs, inputs.input_ids, threshold=threshold, text_threshold=threshold, target_sizes=[(60, 90)]
    )
    boxes = detector.boxes(image)
    assert 0 < len(boxes) < model.config.num_queries
    np.testing.assert_allclose(boxes, expected["boxes"].numpy(), atol=1e-3)


def test_the_question_is_one_word_with_its_full_stop(detector: GroundingDino, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    forward = detector._model.forward

    def watch(*arguments: Any, **inputs: Any) -> Any:
        asked.append(inputs["input_ids"][0].tolist())
        return forward(*arguments, **inputs)

    monkeypatch.setattr(detector._model, "forward", watch)
    detector.boxes(picture())
    assert asked == [[101, 1030, 1012, 102]]


def test_only_scores_above_one_half_are_boxes() -> None:
    logits = torch.tensor([[-9.0, 0.01], [0.0, -torch.inf], [3.0, 2.0]])
    boxes = torch.tensor([[0.5, 0.5, 0.2, 0.4], [0.1, 0.1, 0.1, 0.1], [0.25, 0.75, 0.5, 0.5]])
    np.testing.assert_allclose(
        select(logits, boxes, height=100, width=200), [[80, 30, 120, 70], [0, 50, 100, 100]], atol=1e-4
    )


def test_the_five_largest_are_kept_and_fewer_stay_in_their_order() -> None:
    sides = np.array([3, 9, 5, 7, 4, 8, 6])
    boxes = np.stack([sides * 0, sides * 0, sides, sides], axis=1)
    assert largest(boxes)[:, 2].tolist() == [9, 8, 7, 6, 5]
    assert largest(boxes[:5])[:, 2].tolist() == [3, 9, 5, 7, 4]


@pytest.mark.parametrize("size", [(60, 90), (90, 60), (40, 40), (61, 91), (300, 11), (30, 45)])
def test_the_image_covers_the_frame_and_keeps_its_middle_and_proportions(size: tuple[int, int]) -> None:
    height, width = size
    rows, columns = np.mgrid[0:height, 0:width]
    image = np.stack([255 * (rows + 0.5) / height, 255 * (columns + 0.5) / width, 0 * rows], axis=-1).astype(np.uint8)
    covered = cover(image, 48, 64).astype(float)
    assert covered.shape == (48, 64, 3)
    scale = max(48 / height, 64 / width)
    middle = covered[23:25, 31:33].mean(axis=(0, 1))
    np.testing.assert_allclose(middle[:2], [127, 127], atol=5)
    if scale * height > 4 and scale * width > 4:
        np.testing.assert_allclose(covered[40, 32, 0] - covered[8, 32, 0], 255 * 32 / (scale * height), atol=6)
        np.testing.assert_allclose(covered[24, 56, 1] - covered[24, 8, 1], 255 * 48 / (scale * width), atol=6)


def test_an_image_of_the_frame_s_size_is_not_touched() -> None:
    image = picture(48, 64)
    assert np.array_equal(cover(image, 48, 64), image)


def test_a_character_drawn_in_the_image_is_boxed_where_it_is_in_the_frame(
    detector: GroundingDino, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a network that finds red, all else as it is: the box must come back in pixels of the covered image."""

    def find_red(pixel_values: torch.Tensor, **_: Any) -> SimpleNamespace:
        red = pixel_values[0, 0] > 1.0  # normalised by ImageNet's mean and deviation; black is about -2
        rows, columns = np.flatnonzero(red.any(dim=1)), np.flatnonzero(red.any(dim=0))
        height, width = red.shape
        y0, y1, x0, x1 = rows[0] / height, (rows[-1] + 1) / height, columns[0] / width, (columns[-1] + 1) / width
        box = torch.tensor([[(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0]], dtype=torch.float32)
        return SimpleNamespace(logits=torch.full((1, 1, 4), 3.0), pred_boxes=box[None])

    monkeypatch.setattr(detector, "_model", find_red)
    image = np.zeros((120, 200, 3), np.uint8)
    image[30:90, 80:110, 0] = 255
    (box,) = detector.boxes(cover(image, 60, 60))  # half the size, 20 columns cut off at either side
    np.testing.assert_allclose(box, [20, 15, 35, 45], atol=1.5)


def test_another_model_s_folder_is_refused(sam2: Path) -> None:
    with pytest.raises(ValueError, match=r"holds a model of type sam2_video, not GroundingDINO"):
        GroundingDino(sam2, "cpu", torch.float32)


def test_a_missing_folder_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"GroundingDINO is missing: .* holds no config.json"):
        GroundingDino(tmp_path, "cpu", torch.float32)


def test_a_missing_tensor_is_listed(grounding_dino: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    for file in grounding_dino.iterdir():
        if file.name != "model.safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    state = load_file(grounding_dino / "model.safetensors")
    lost = state.pop("model.level_embed")
    save_file({**state, "model.other": lost}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"1 missing: model.level_embed; 1 unexpected: model.other"):
        GroundingDino(tmp_path, "cpu", torch.float32)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_asks_and_answers(
    grounding_dino: Path, detector: GroundingDino, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detection, "THRESHOLD", 0.0)
    half = GroundingDino(grounding_dino, "cpu", dtype).boxes(picture())
    assert half.dtype == np.float32
    assert half.shape == detector.boxes(picture()).shape
