"""SAM 2's plumbing with random weights: objects, numbers, order, memory; and geometry with a network that sees colour.

Random weights track nothing, so that masks follow a character is only shown for what surrounds the network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from rewardbench_animereward.character import tracking
from rewardbench_animereward.character.tracking import Sam2Tracker, stack_masks, whole_pixels
from scipy import ndimage

from rewardbench.synth.scene import Scene

BOXES = np.array([[10, 10, 50, 50], [60, 20, 120, 90]], np.float32)


@pytest.fixture(scope="module")
def tracker(sam2: Path) -> Sam2Tracker:
    return Sam2Tracker(sam2, "cpu")


@pytest.fixture(scope="module")
def frames() -> np.ndarray:
    rng = np.random.default_rng(0)
    first = np.kron(rng.integers(0, 256, (6, 9, 3)), np.ones((12, 12, 1))).astype(np.uint8)
    return np.stack([np.roll(first, 3 * t, axis=1) for t in range(8)])


def watched(tracker: Sam2Tracker, monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """The network's mask logits of every frame from now on."""
    seen: list[torch.Tensor] = []
    forward = tracker._model.forward

    def watch(*arguments: Any, **options: Any) -> Any:
        outputs = forward(*arguments, **options)
        seen.append(outputs.pred_masks.clone())
        return outputs

    monkeypatch.setattr(tracker._model, "forward", watch)
    return seen


def test_masks_are_whole_numbers_of_the_clip_s_shape(tracker: Sam2Tracker, frames: np.ndarray) -> None:
    masks = tracker.masks(frames, BOXES)
    assert masks.shape == frames.shape[:3]
    assert masks.dtype == np.uint8
    assert set(np.unique(masks)) <= {0, 1, 2}
    assert len(np.unique(masks)) > 1


def test_objects_do_not_disturb_each_other(
    tracker: Sam2Tracker, frames: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The released code tracks each object in a run of its own."""
    seen = watched(tracker, monkeypatch)
    tracker.masks(frames, BOXES)
    together = torch.stack(seen)
    for number in range(2):
        seen.clear()
        tracker.masks(frames, BOXES[number : number + 1])
        torch.testing.assert_close(together[:, number], torch.stack(seen)[:, 0], atol=1e-4, rtol=1e-4)


def test_forgetting_changes_nothing(tracker: Sam2Tracker, frames: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = watched(tracker, monkeypatch)
    tracker.masks(frames, BOXES)
    forgetful = torch.stack(seen)
    seen.clear()
    monkeypatch.setattr(tracking, "_forget", lambda *_: None)
    tracker.masks(frames, BOXES)
    torch.testing.assert_close(forgetful, torch.stack(seen), atol=0, rtol=0)


def test_what_is_kept_of_past_frames_is_bounded(
    tracker: Sam2Tracker, frames: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions: list[Any] = []
    make = tracker._session
    monkeypatch.setattr(tracker, "_session", lambda *a: sessions.append(make(*a)) or sessions[-1])
    tracker.masks(frames, BOXES)
    for outputs in sessions[0].output_dict_per_obj.values():
        held = [out for kept in outputs.values() for out in kept.values()]
        assert len(held) == 8
        assert sum("maskmem_features" in out for out in held) <= 1 + tracker._model.config.num_maskmem
        assert not any("high_res_masks" in out for out in held)


def test_the_library_s_own_session_gives_the_same_masks(
    tracker: Sam2Tracker, frames: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The session that transformers' processor makes, fed with all frames at once."""
    from transformers import Sam2ImageProcessor, Sam2VideoProcessor, Sam2VideoVideoProcessor

    size = {"height": 64, "width": 64}
    processor = Sam2VideoProcessor(Sam2ImageProcessor(size=size), Sam2VideoVideoProcessor(size=size), target_size=64)
    session = processor.init_video_session(video=frames)
    processor.add_inputs_to_inference_session(
        session, frame_idx=0, obj_ids=[1, 2], input_boxes=[whole_pixels(BOXES).tolist()]
    )
    tracker._model(session, frame_idx=0)
    expected = [out.pred_masks.clone() for out in tracker._model.propagate_in_video_iterator(session)]
    seen = watched(tracker, monkeypatch)
    tracker.masks(frames, BOXES)
    torch.testing.assert_close(torch.stack(seen), torch.stack(expected), atol=1e-3, rtol=1e-3)


def test_later_objects_are_written_over_earlier_ones_and_numbers_have_no_gaps() -> None:
    rng = np.random.default_rng(3)
    masks = rng.random((5, 4, 6, 7)) > 0.6  # frames, objects
    masks[:, 1] = False
    volume = stack_masks(iter(masks), 4)
    expected = np.zeros((5, 6, 7), int)
    for number in range(4):  # as the released code does: one object after the other, numbered by the highest so far
        written = expected.max() + 1
        expected[masks[:, number]] = written
    assert np.array_equal(volume, expected)
    assert set(np.unique(volume)) == {0, 1, 2, 3}


def test_boxes_are_rounded_by_corner_and_size() -> None:
    boxes = np.array([[10.4, 9.6, 20.9, 30.5], [0.5, 1.5, 3.0, 4.0]])
    # width 10.5 and 2.5, height 20.9 and 2.5; halves go to the even number
    assert whole_pixels(boxes).tolist() == [[10, 10, 20, 31], [0, 2, 2, 4]]


def test_one_frame_is_tracked(tracker: Sam2Tracker, frames: np.ndarray) -> None:
    assert tracker.masks(frames[:1], BOXES[:1]).shape == (1, *frames.shape[1:3])


def colour_network(side: int) -> Callable[..., Any]:
    """In place of SAM 2: in each frame the person (not magenta, nor its shadow) nearest to the one before."""
    current: dict[int, np.ndarray] = {}

    def forward(session: Any, frame_idx: int) -> SimpleNamespace:
        std, mean = (torch.tensor(v)[:, None, None] for v in (tracking.STD, tracking.MEAN))
        rgb = (session.get_frame(frame_idx) * std + mean).numpy()
        regions, _ = ndimage.label((rgb[1] > 0.25) | (rgb[0] < 0.5) | (rgb[2] < 0.5))
        logits = np.full((session.get_obj_num(), 1, side // 4, side // 4), -4.0, np.float32)
        for number in range(session.get_obj_num()):
            if frame_idx == 0:
                (x0, y0), (x1, y1) = session.point_inputs_per_obj[number][0]["point_coords"][0, 0].numpy().astype(int)
                current[number] = np.zeros(regions.shape, bool)
                current[number][y0:y1, x0:x1] = True
            shares = np.bincount(regions[current[number]], minlength=2)
            current[number] = regions == 1 + shares[1:].argmax()
            fine = current[number].reshape(side // 4, 4, side // 4, 4).mean(axis=(1, 3))
            logits[number, 0] = 8 * (fine - 0.5)
        return SimpleNamespace(pred_masks=torch.from_numpy(logits))

    return forward


def test_masks_lie_on_the_drawn_characters(
    tracker: Sam2Tracker,
    drawn: Callable[..., Any],
    overlap: Callable[[np.ndarray, np.ndarray], float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Boxes, resizing to a square and back, and numbering, with a network that finds persons by their colour."""
    side = 1024
    monkeypatch.setattr(tracker, "_side", side)
    monkeypatch.setattr(tracker, "_model", colour_network(side))
    tracker._model.config = SimpleNamespace(num_maskmem=7)  # type: ignore[attr-defined]
    left = Scene(3, action="wave", size=0.8, position=-0.25)
    right = replace(left, seed=4, hair_colour="black", outfit_colour="blue", position=0.25)
    size = {"height": 180, "width": 320}
    one, two = drawn(left, **size), drawn(right, **size)
    assert not (one.person & two.person).any()
    frames = np.where(two.person[..., None], two.frames, one.frames)
    boxes = []
    for clip in (one, two):
        rows, columns = np.flatnonzero(clip.person[0].any(axis=1)), np.flatnonzero(clip.person[0].any(axis=0))
        boxes.append([columns[0] - 3, rows[0] - 3, columns[-1] + 3, rows[-1] + 3])
    masks = tracker.masks(frames, np.array(boxes, np.float32))
    assert overlap(masks == 1, one.person) > 0.9
    assert overlap(masks == 2, two.person) > 0.9
    swapped = tracker.masks(frames, np.array(boxes[::-1], np.float32))
    assert overlap(swapped == 1, two.person) > 0.9


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_tracks_much_the_same(
    sam2: Path, tracker: Sam2Tracker, frames: np.ndarray, dtype: str, overlap: Callable[..., float]
) -> None:
    half = Sam2Tracker(sam2, "cpu", dtype).masks(frames, BOXES)
    assert overlap(half > 0, tracker.masks(frames, BOXES) > 0) > 0.9
