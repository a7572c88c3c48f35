"""Key frames of a clip, from its sampled frames: one for each stretch between its largest changes."""

from __future__ import annotations

import numpy as np

CELLS = 16
"""Changes are measured on a grid of 16 x 16 cell means, so that noise and small shifts do not count as changes."""


def key_frames(rgb: np.ndarray, count: int) -> np.ndarray:
    """Indices int64 (K,), ascending, K = min(count, T), into frames uint8 (T, H, W, 3).

    The clip is cut before the ``count - 1`` frames that differ most from the frame before them (mean absolute
    difference of cell means; of equal changes the earlier counts), and the middle frame of every stretch is taken (the
    earlier of two).
    """
    total = len(rgb)
    if total <= count:
        return np.arange(total, dtype=np.int64)
    changes = np.abs(np.diff(_cells(rgb), axis=0)).mean(axis=(1, 2, 3))
    cuts = np.sort(np.argsort(-changes, kind="stable")[: count - 1]) + 1
    starts, ends = np.concatenate([[0], cuts]), np.concatenate([cuts, [total]])
    middles: np.ndarray = (starts + ends - 1) // 2
    return middles.astype(np.int64)


def _cells(rgb: np.ndarray) -> np.ndarray:
    """Means float64 (T, 16, 16, 3) of an even grid of cells."""
    rows, columns = (np.linspace(0, side, CELLS + 1).astype(int) for side in rgb.shape[1:3])
    sums = np.zeros((len(rgb), rgb.shape[1] + 1, rgb.shape[2] + 1, 3))
    sums[:, 1:, 1:] = rgb.cumsum(axis=1, dtype=np.float64).cumsum(axis=2)
    top, bottom, left, right = rows[:-1], rows[1:], columns[:-1], columns[1:]
    area = (bottom - top)[:, None] * (right - left)[None, :]
    corner = lambda y, x: sums[:, y][:, :, x]  # noqa: E731
    total = corner(bottom, right) - corner(top, right) - corner(bottom, left) + corner(top, left)
    means: np.ndarray = total / np.maximum(area, 1)[None, :, :, None]
    return means
