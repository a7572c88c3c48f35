"""Which frames stand for a character, and how its crops are cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rewardbench_animereward.character.crops import cut, object_crops, picked_frames, query_picture, through_jpeg


@settings(deadline=None, max_examples=60)
@given(st.lists(st.booleans(), min_size=1, max_size=120))
def test_every_nth_visible_frame_eight_of_them(visible: list[bool]) -> None:
    seen = [i for i, one in enumerate(visible) if one]
    picked = picked_frames(np.array(visible))
    if len(seen) < 8:
        assert picked is None
    else:
        assert picked is not None
        step = len(seen) // 8
        assert picked.tolist() == [seen[k * step] for k in range(8)]


@pytest.mark.parametrize(
    ("count", "expected"), [(8, list(range(8))), (15, list(range(8))), (17, list(range(0, 16, 2)))]
)
def test_the_end_of_the_clip_is_left_out_where_the_count_is_no_multiple_of_eight(
    count: int, expected: list[int]
) -> None:
    picked = picked_frames(np.ones(count, bool))
    assert picked is not None
    assert picked.tolist() == expected


def test_a_crop_is_the_object_alone_in_the_smallest_square() -> None:
    frame = np.full((20, 30, 3), 200, np.uint8)
    mask = np.zeros((20, 30), bool)
    mask[3:6, 10:18] = True  # 3 high, 8 wide: 2 rows above, 3 below
    mask[4, 12] = False
    square = cut(frame, mask)
    assert square.shape == (8, 8, 3)
    inside = square[2:5]
    assert (square[:2] == 0).all()
    assert (square[5:] == 0).all()
    assert (inside[1, 2] == 0).all()
    assert (inside[..., 0] > 0).sum() == mask.sum()


def test_an_object_at_the_edge_is_cut_whole() -> None:
    rng = np.random.default_rng(0)
    frame = rng.integers(1, 256, (9, 7, 3), dtype=np.uint8)
    mask = np.zeros((9, 7), bool)
    mask[0, 0] = mask[8, 6] = True
    square = cut(frame, mask)
    assert square.shape == (9, 9, 3)
    assert np.array_equal(square[0, 1], frame[0, 0])
    assert np.array_equal(square[8, 7], frame[8, 6])


def test_objects_seen_in_fewer_than_eight_frames_are_left_out() -> None:
    frames = np.full((9, 16, 16, 3), 90, np.uint8)
    masks = np.zeros((9, 16, 16), np.uint8)
    masks[:7, 2:6, 2:6] = 1
    masks[1:, 8:12, 8:14] = 2
    crops = list(object_crops(frames, masks))
    assert len(crops) == 1
    assert [crop.shape for crop in crops[0]] == [(6, 6, 3)] * 8


def test_a_background_without_objects_has_no_crops() -> None:
    assert list(object_crops(np.zeros((9, 8, 8, 3), np.uint8), np.zeros((9, 8, 8), np.uint8))) == []


def test_masks_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="do not belong to frames"):
        list(object_crops(np.zeros((9, 8, 8, 3), np.uint8), np.zeros((9, 8, 9), np.uint8)))


def test_frames_pass_through_jpeg_before_they_are_cut() -> None:
    rng = np.random.default_rng(1)
    frames = np.repeat(np.repeat(rng.integers(0, 256, (8, 6, 6, 3), dtype=np.uint8), 4, axis=1), 4, axis=2)
    masks = np.zeros((8, 24, 24), np.uint8)
    masks[:, 5:21, 5:21] = 1
    (once,) = object_crops(frames, masks, frames_are_jpeg=True)
    (twice,) = object_crops(frames, masks)
    expected = through_jpeg(cut(through_jpeg(frames[3]), masks[3] == 1))
    assert np.array_equal(twice[3], expected)
    assert not np.array_equal(once[3], expected)


def test_the_query_keeps_its_proportions_within_a_square() -> None:
    assert query_picture(np.zeros((37, 37, 3), np.uint8)).shape == (224, 224, 3)
