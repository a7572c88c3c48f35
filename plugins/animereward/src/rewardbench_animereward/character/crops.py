"""From frames and object masks to the pictures of each character that the recogniser reads.

The released code keeps frames and crops as JPEG files between its steps; that loss is part of its numbers, so it is
repeated here (quality 95, chroma at half resolution, which is what OpenCV writes).
"""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image

FRAMES = 8
"""Pictures of each character; one that is visible in fewer frames is not judged."""
SIDE = 224
"""Input size of the recogniser, pixels; the aspect ratio of a crop is kept by its black margins."""
JPEG_QUALITY = 95


def through_jpeg(rgb: np.ndarray) -> np.ndarray:
    """``rgb`` (uint8, (H, W, 3)) as it comes back from a JPEG file."""
    stream = io.BytesIO()
    Image.fromarray(rgb).save(stream, "JPEG", quality=JPEG_QUALITY, subsampling="4:2:0")
    return np.asarray(Image.open(stream))


def picked_frames(visible: np.ndarray) -> np.ndarray | None:
    """Indices (8,) of the frames whose crops stand for an object, or None where it is seen in fewer than 8.

    Every ``n // 8``-th of the ``n`` frames in which it is visible, the first 8 of them: the end of the clip is left out
    where ``n`` is no multiple of 8.

    Args:
        visible: bool (T,).
    """
    seen = np.flatnonzero(visible)
    step = len(seen) // FRAMES
    return None if step == 0 else seen[::step][:FRAMES]


def cut(frame: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The object alone, black around it, in the smallest square around its bounding box: uint8 (S, S, 3).

    Where the margin is odd, the larger half is below or on the right.

    Args:
        frame: uint8 (H, W, 3).
        mask: bool (H, W), somewhere True.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    inside = frame[box] * mask[box][..., None]
    height, width = inside.shape[:2]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    square = np.zeros((side, side, 3), np.uint8)
    square[top : top + height, left : left + width] = inside
    return square


def object_crops(frames: np.ndarray, masks: np.ndarray, *, frames_are_jpeg: bool = False) -> Iterator[list[np.ndarray]]:
    """For each object in turn its 8 crops, uint8 (S, S, 3) each, as read back from JPEG.

    Objects seen in fewer than 8 frames are left out.

    Args:
        frames: uint8 (T, H, W, 3).
        masks: whole numbers (T, H, W): 0 is background, k is object k.
        frames_are_jpeg: the frames were read from JPEG files and are not compressed once more.

    Raises:
        ValueError: where frames and masks are not of one shape.
    """
    if masks.shape != frames.shape[:3]:
        raise ValueError(f"masks of shape {masks.shape} do not belong to frames of shape {frames.shape[:3]}")
    for number in range(1, int(masks.max(initial=0)) + 1):
        picked = picked_frames(np.fromiter(((mask == number).any() for mask in masks), bool, len(masks)))
        if picked is None:
            continue
        pictures = (frames[i] if frames_are_jpeg else through_jpeg(frames[i]) for i in picked)
        yield [through_jpeg(cut(picture, masks[i] == number)) for i, picture in zip(picked, pictures, strict=True)]


def query_picture(crop: np.ndarray) -> np.ndarray:
    """A crop at the recogniser's size, uint8 (224, 224, 3), by Pillow's bilinear filter."""
    return np.asarray(Image.fromarray(crop).resize((SIDE, SIDE), Image.Resampling.BILINEAR))


def gallery_picture(image: Image.Image) -> np.ndarray:
    """A gallery image at the recogniser's size, uint8 (224, 224, 3), by Pillow's bicubic filter."""
    return np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC))
