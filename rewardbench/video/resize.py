"""The one place where frames are resized."""

from __future__ import annotations

from dataclasses import dataclass
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

EDGE = 2e-4
"""Values this near to a rounding edge are computed again in torch's own order of operations (0.04 % of them). The order
of float32 sums moves a value by up to 8e-5; unsettled, a few pixels a clip moved scores of golden data by 4e-3."""

AT_ONCE = 2048
"""Values that are computed again together, so that a picture of nothing but edges takes little memory."""

Band = tuple[int, int, int, int, np.ndarray]
"""Outputs start, stop, inputs start, stop, and their weights float32 (outputs, inputs)."""


def resize_frames(rgb: np.ndarray, spec: FrameSpec) -> np.ndarray:
    """Resize frames to ``spec.size`` with ``spec.filter``, then cut ``spec.size.center_crop``.

    * ``bicubic-antialias``, ``bilinear-antialias``: what torchvision's ``resize(..., antialias=True)`` gives for uint8
      tensors: separable filters widened by the reduction, in float32, clamped and rounded half to even. Computed here
      by banded matrix products (several times as fast as torch's float kernel on one core, without importing it);
      values near a rounding edge are then computed again with torch's own order of operations, all fused, as torch 2.3
      has it on processors that can (VideoAlign's own frames, made with it, come out equal in every value; torch 2.15
      fuses fewer, which moves 2 values per million by one grey level);
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
    return f"pillow {version('pillow')}" if name.startswith("pil-") else "rewardbench 2"


def _antialias(frame: np.ndarray, height: int, width: int, name: str) -> np.ndarray:
    rows, columns = frame.shape[:2]
    kernel = name.removesuffix("-antialias")
    pixels = frame.reshape(rows, columns * 3)
    vertical, horizontal = _bands(rows, height, kernel), _bands(columns, width, kernel)
    resized = np.empty((height, width, 3), np.uint8)
    edges: list[np.ndarray] = []
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
        rounded = np.rint(narrow)
        near = np.flatnonzero(np.abs(narrow - rounded) > 0.5 - EDGE)
        column, rest = np.divmod(near, 3 * count)
        edges.append(np.stack([rest % count + top, column, rest // count]))
        np.clip(rounded, 0, 255, out=rounded)
        resized[top:bottom] = rounded.reshape(width, 3, count).transpose(2, 0, 1)
    _settle(frame, resized, np.concatenate(edges, axis=1), _taps(rows, height, kernel), _taps(columns, width, kernel))
    return resized


def _settle(frame: np.ndarray, resized: np.ndarray, edges: np.ndarray, vertical: _Taps, horizontal: _Taps) -> None:
    """Compute the values at ``edges`` (row, column, channel; (3, K)) again, in torch's order."""
    for first in range(0, edges.shape[1], AT_ONCE):
        row, column, channel = edges[:, first : first + AT_ONCE]
        exact = _in_torchs_order(frame, row, column, channel, vertical, horizontal)
        resized[row, column, channel] = np.clip(np.rint(exact), 0, 255)


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
    """float32 (target, size), rows sum to 1: the filter centred on each output pixel, widened when reducing."""
    taps = _taps(size, target, kernel)
    weights = np.zeros((target, size), np.float32)
    for row, (start, count) in enumerate(zip(taps.start, taps.count, strict=True)):
        weights[row, start : start + count] = taps.weights[row, :count]
    return weights


@dataclass(frozen=True)
class _Taps:
    """Inputs of every output pixel: ``count`` from ``start``, with ``weights`` float32 (target, most), zero beyond."""

    start: np.ndarray
    count: np.ndarray
    weights: np.ndarray


@lru_cache(maxsize=64)
def _taps(size: int, target: int, kernel: str) -> _Taps:
    """Filter weights, rounded where torch rounds them: with exact ones seven times as many values fall on the other
    side of a rounding edge."""
    scale = np.float32(size) / np.float32(target)
    support = np.float32(2 if kernel == "bicubic" else 1) * max(scale, np.float32(1))
    inverse = np.float64(np.float32(1) / scale) if scale >= 1 else np.float64(1)
    rows: list[np.ndarray] = []
    starts: list[int] = []
    for row in range(target):
        centre = np.float32(np.float64(scale) * (row + 0.5))
        start = max(int(float(centre - support) + 0.5), 0)
        stop = min(int(float(centre + support) + 0.5), size)
        offset = np.arange(start, stop).astype(np.float32) - centre
        distance = np.abs(((offset.astype(np.float64) + 0.5) * inverse).astype(np.float32))
        values = _cubic(distance) if kernel == "bicubic" else np.maximum(np.float32(1) - distance, 0)
        rows.append(values / values.cumsum(dtype=np.float32)[-1])  # a sum in order; numpy's sum is pairwise
        starts.append(start)
    count = np.array([len(values) for values in rows])
    weights = np.zeros((target, count.max()), np.float32)
    for row, values in enumerate(rows):
        weights[row, : len(values)] = values
    return _Taps(np.array(starts), count, weights)


def _cubic(x: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution kernel with a = -1/2 (IEEE TASSP 29, 1981, Eq. 15) at distances ``x`` >= 0, in float32
    with the products and sums fused that compilers fuse."""
    near = _fused(_fused(1.5, x, -2.5) * x, x, 1)
    far = _fused(_fused(_fused(-0.5, x, 2.5), x, -4), x, 2)
    return np.where(x < 1, near, np.where(x < 2, far, np.float32(0)))


def _fused(a: np.ndarray | float, b: np.ndarray, c: np.ndarray | float) -> np.ndarray:
    """a * b + c, rounded to float32 once (the product of two float32 is exact in float64)."""
    total: np.ndarray = (np.asarray(a, np.float64) * b.astype(np.float64) + np.asarray(c, np.float64)).astype(
        np.float32
    )
    return total


def _in_torchs_order(
    frame: np.ndarray, row: np.ndarray, column: np.ndarray, channel: np.ndarray, vertical: _Taps, horizontal: _Taps
) -> np.ndarray:
    """Output values float32 (K,) at these places, as torch's kernel sums them: columns first, then rows, in order,
    every product and sum fused."""
    lines = vertical.start[row][:, None] + np.arange(vertical.weights.shape[1])
    lines = np.minimum(lines, len(frame) - 1)  # beyond a window's end the weights are zero
    first, weights = horizontal.start[column], horizontal.weights[column]
    sums = np.zeros(lines.shape, np.float32)
    for tap in range(weights.shape[1]):
        at = np.minimum(first + tap, frame.shape[1] - 1)
        sums = _fused(frame[lines, at[:, None], channel[:, None]], weights[:, tap, None], sums)
    weights = vertical.weights[row]
    values = np.zeros(len(row), np.float32)
    for tap in range(weights.shape[1]):
        values = _fused(sums[:, tap], weights[:, tap], values)
    return values


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
