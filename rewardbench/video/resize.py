"""The one place where frames are resized."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from rewardbench.errors import ClipError
from rewardbench_plugin.clip import FrameSpec

BLOCK = 8
"""Output pixels computed by one small matrix product; the weights are banded, so larger blocks multiply more zeros."""

GROUP = 4
"""Blocks of rows that go through both passes together: the floats in between then stay in the processor's cache."""

PRODUCT = 1 << 18
"""Multiplications up to which OpenBLAS stays in the calling thread. Its threads wait in a busy loop: beside decoder
threads on a loaded machine larger products took 30 times as long."""

Band = tuple[int, int, int, int, np.ndarray]
"""Outputs start, stop, inputs start, stop, and their weights float32 (outputs, inputs)."""


def resize_frames(rgb: np.ndarray, spec: FrameSpec) -> np.ndarray:
    """Resize frames to ``spec.size`` with ``spec.filter``, then cut ``spec.size.center_crop``.

    * ``bicubic-antialias``, ``bilinear-antialias``: what torchvision's ``resize(..., antialias=True)`` gives for uint8
      tensors: separable filters widened by the reduction, in float32, clamped and rounded half to even. Computed here
      by banded matrix products (several times as fast as torch's float kernel on one core, without importing it);
      values equal torchvision's except 7 to 310 per million (measured on four real clips) that lie on a rounding
      edge and differ by one grey level.
      torch's uint8 kernel (``transforms.v2``) is not used: it clamps between its two passes, which moved values by up
      to 5 grey levels beside strong edges;
    * ``pil-bicubic``, ``pil-bilinear``, ``pil-box``: Pillow's.

    Args:
        rgb: uint8 (T, H, W, 3).
        spec: its ``size`` and ``filter`` are used.

    Returns:
        uint8 (T, h, w, 3), C-contiguous.

    Raises:
        ClipError: the frames are smaller than the crop.
        ValueError: ``rgb`` is not uint8 (T, H, W, 3).
    """
    if rgb.dtype != np.uint8 or rgb.ndim != 4 or rgb.shape[-1] != 3:
        raise ValueError(f"frames must be uint8 (T, H, W, 3), not {rgb.dtype} {rgb.shape}")
    if spec.size is None:
        return np.ascontiguousarray(rgb)
    height, width = spec.size.target(rgb.shape[1], rgb.shape[2])
    if (height, width) == rgb.shape[1:3]:
        resized = rgb
    else:
        one = _pillow if spec.filter.startswith("pil-") else _antialias
        resized = np.empty((len(rgb), height, width, 3), np.uint8)
        for frame, out in zip(rgb, resized, strict=True):
            out[:] = one(frame, height, width, spec.filter)
    if spec.size.center_crop is not None:
        resized = _center_crop(resized, *spec.size.center_crop)
    return np.ascontiguousarray(resized)


def filter_version(name: str) -> str:
    """What implements a resize filter, for provenance, e.g. ``pillow 13.0.0``; empty for ``none``."""
    from importlib.metadata import version

    if name == "none":
        return ""
    return f"pillow {version('pillow')}" if name.startswith("pil-") else "rewardbench 1"


def _antialias(frame: np.ndarray, height: int, width: int, name: str) -> np.ndarray:
    rows, columns = frame.shape[:2]
    kernel = name.removesuffix("-antialias")
    pixels = frame.reshape(rows, columns * 3)
    vertical, horizontal = _bands(rows, height, kernel), _bands(columns, width, kernel)
    resized = np.empty((height, width, 3), np.uint8)
    for at in range(0, len(vertical), GROUP):
        group = vertical[at : at + GROUP]
        top, bottom = group[0][0], group[-1][1]
        count = bottom - top
        above = min(start for _, _, start, _, _ in group)
        image = pixels[above : max(stop for _, _, _, stop, _ in group)].astype(np.float32)
        # Written transposed, so that the second pass, too, mixes whole rows of memory.
        low = np.empty((columns * 3, count), np.float32)
        for first, last, start, stop, weights in group:
            for part in _parts(columns * 3, weights.size):
                np.matmul(
                    image[start - above : stop - above, part].T, weights.T, out=low[part, first - top : last - top]
                )
        low = low.reshape(columns, 3 * count)
        narrow = np.empty((width, 3 * count), np.float32)
        for first, last, start, stop, weights in horizontal:
            for part in _parts(3 * count, weights.size):
                np.matmul(weights, low[start:stop, part], out=narrow[first:last, part])
        np.rint(narrow, out=narrow)
        np.clip(narrow, 0, 255, out=narrow)
        resized[top:bottom] = narrow.reshape(width, 3, count).transpose(2, 0, 1)
    return resized


def _parts(length: int, cost: int) -> list[slice]:
    """Cut an axis so that one product has at most :data:`PRODUCT` multiplications."""
    step = max(1, PRODUCT // cost)
    return [slice(start, start + step) for start in range(0, length, step)]


@lru_cache(maxsize=64)
def _bands(size: int, target: int, kernel: str) -> tuple[Band, ...]:
    """Filter weights from ``size`` to ``target`` pixels, in blocks of outputs."""
    weights = _filter_weights(size, target, kernel)
    bands: list[Band] = []
    for first in range(0, target, BLOCK):
        last = min(first + BLOCK, target)
        used = np.flatnonzero(weights[first:last].any(axis=0))
        start, stop = int(used[0]), int(used[-1]) + 1
        bands.append((first, last, start, stop, np.ascontiguousarray(weights[first:last, start:stop])))
    return tuple(bands)


def _filter_weights(size: int, target: int, kernel: str) -> np.ndarray:
    """float32 (target, size), rows sum to 1: the filter centred on each output pixel, widened when reducing.

    In float32 throughout, as torch computes them: with exact weights seven times as many values fall on the other
    side of a rounding edge.
    """
    one, half = np.float32(1), np.float32(0.5)
    scale = np.float32(size) / np.float32(target)
    stretch = max(scale, one)
    support = np.float32(2 if kernel == "bicubic" else 1) * stretch
    weights = np.zeros((target, size), np.float32)
    for row in range(target):
        centre = scale * (np.float32(row) + half)
        start = max(int(centre - support + half), 0)
        stop = min(int(centre + support + half), size)
        distance = np.abs((np.arange(start, stop, dtype=np.float32) - centre + half) * (one / stretch))
        values = _cubic(distance) if kernel == "bicubic" else np.maximum(one - distance, 0)
        weights[row, start:stop] = values / values.sum(dtype=np.float32)
    return weights


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution kernel with a = -1/2 (IEEE TASSP 29, 1981, Eq. 15) at distances ``x`` >= 0."""
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return np.where(x < 1, near, np.where(x < 2, far, np.float32(0)))


def _pillow(frame: np.ndarray, height: int, width: int, name: str) -> np.ndarray:
    from PIL import Image

    filters = {
        "pil-bicubic": Image.Resampling.BICUBIC,
        "pil-bilinear": Image.Resampling.BILINEAR,
        "pil-box": Image.Resampling.BOX,
    }
    return np.asarray(Image.fromarray(np.ascontiguousarray(frame)).resize((width, height), filters[name]))


def _center_crop(rgb: np.ndarray, height: int, width: int) -> np.ndarray:
    """Cut the middle; the offset is rounded half to even, as in torchvision's ``center_crop``."""
    if height > rgb.shape[1] or width > rgb.shape[2]:
        raise ClipError(f"frames of {rgb.shape[2]}x{rgb.shape[1]} pixels are smaller than the {width}x{height} crop")
    top, left = round((rgb.shape[1] - height) / 2), round((rgb.shape[2] - width) / 2)
    return rgb[:, top : top + height, left : left + width]
