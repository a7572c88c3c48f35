"""Where the person of a drawn frame is, and the crops that are looked at closely."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image


class Person(NamedTuple):
    """Centre of the face and half its width, pixels."""

    x: float
    y: float
    unit: float


class Region(NamedTuple):
    """A square around a person: offset of its centre below the face and its side, both in half widths of the face."""

    below: float
    side: float


HEAD = Region(-0.1, 5.0)
BODY = Region(3.6, 6.4)


def crop(frame: np.ndarray, person: Person, region: Region, size: int, margin: float = 1.0) -> np.ndarray:
    """uint8 (size, size, 3) of a region of ``frame`` (H, W, 3), black where it leaves the frame."""
    half = 0.5 * region.side * person.unit * margin
    cx, cy = person.x, person.y + region.below * person.unit
    left, top = int(np.floor(cx - half)), int(np.floor(cy - half))
    right, bottom = max(left + 2, int(np.ceil(cx + half))), max(top + 2, int(np.ceil(cy + half)))
    h, w = frame.shape[:2]
    square = np.zeros((bottom - top, right - left, 3), np.uint8)
    t, b, le, r = max(0, top), min(h, bottom), max(0, left), min(w, right)
    if b > t and r > le:
        square[t - top : b - top, le - left : r - left] = frame[t:b, le:r]
    return np.asarray(Image.fromarray(square).resize((size, size), Image.Resampling.BILINEAR))
