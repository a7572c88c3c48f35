"""Small image operations on stacks of frames, in numpy alone (float32 throughout)."""

from __future__ import annotations

import numpy as np

LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def luma(rgb: np.ndarray) -> np.ndarray:
    """float32 (..., H, W), 0..255, of uint8 or float (..., H, W, 3)."""
    return np.asarray(rgb, np.float32) @ LUMA


def opponent(rgb: np.ndarray) -> np.ndarray:
    """float32 (..., 3): luma, blue-yellow and red-cyan differences, each in grey levels."""
    x = np.asarray(rgb, np.float32)
    y = x @ LUMA
    return np.stack([y, x[..., 2] - y, x[..., 0] - y], axis=-1)


def halve(x: np.ndarray) -> np.ndarray:
    """Means of 2 x 2 blocks of (..., H, W); an odd last row or column is dropped, a single one kept."""
    h, w = x.shape[-2:]
    if h > 1:
        x = 0.5 * (x[..., 0 : h - 1 : 2, :] + x[..., 1:h:2, :])
    if w > 1:
        x = 0.5 * (x[..., :, 0 : w - 1 : 2] + x[..., :, 1:w:2])
    return x


def box(x: np.ndarray, radius: int) -> np.ndarray:
    """Mean over (2 radius + 1) squared windows of (..., H, W), edges repeated."""
    h, w = x.shape[-2:]
    size = 2 * radius + 1
    lead = [(0, 0)] * (x.ndim - 2)
    p = np.pad(np.asarray(x, np.float32), [*lead, (radius, radius), (radius, radius)], mode="edge")
    rows = p[..., :h, :].copy()
    for k in range(1, size):
        rows += p[..., k : k + h, :]
    out = rows[..., :w].copy()
    for k in range(1, size):
        out += rows[..., k : k + w]
    out *= np.float32(1.0 / (size * size))
    return out


def gradients(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Central differences (d/drow, d/dcolumn) of (..., H, W), one-sided at the edges."""
    p = np.pad(x, [(0, 0)] * (x.ndim - 2) + [(1, 1), (1, 1)], mode="edge")
    return 0.5 * (p[..., 2:, 1:-1] - p[..., :-2, 1:-1]), 0.5 * (p[..., 1:-1, 2:] - p[..., 1:-1, :-2])


def warp(x: np.ndarray, dy: np.ndarray, dx: np.ndarray) -> np.ndarray:
    """Bilinear samples of a stack (N, H, W) at (row + dy, column + dx), edges repeated."""
    n, h, w = x.shape
    rows = np.clip(np.arange(h, dtype=np.float32)[:, None] + dy, 0, h - 1)
    columns = np.clip(np.arange(w, dtype=np.float32)[None, :] + dx, 0, w - 1)
    top, left = rows.astype(np.int32), columns.astype(np.int32)
    top, left = np.minimum(top, max(h - 2, 0)), np.minimum(left, max(w - 2, 0))
    v, u = rows - top, columns - left
    flat = x.reshape(-1)
    at = (np.arange(n, dtype=np.int32)[:, None, None] * h + top) * w + left
    right = 1 if w > 1 else 0
    down = w if h > 1 else 0
    upper = flat[at] * (1 - u) + flat[at + right] * u
    lower = flat[at + down] * (1 - u) + flat[at + down + right] * u
    return np.asarray(upper * (1 - v) + lower * v)


def optical_flow(a: np.ndarray, b: np.ndarray, steps: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coarse-to-fine Lucas-Kanade from frames ``a`` to ``b``.

    Args:
        a, b: float32 (N, H, W).
        steps: solves per pyramid level.

    Returns:
        (dy, dx, texture), each (N, H, W): displacement in pixels, and the smaller eigenvalue of the structure tensor
        (0 where the displacement is not determined).
    """
    levels = [(a, b)]
    while min(levels[-1][0].shape[-2:]) >= 24:
        levels.append((halve(levels[-1][0]), halve(levels[-1][1])))
    dy = dx = np.zeros_like(levels[-1][0])
    texture = dy
    for level, (p, q) in enumerate(reversed(levels)):
        if level:
            dy, dx = (2 * _enlarge(d, p.shape[-2:]) for d in (dy, dx))
        gy, gx = gradients(p)
        yy, xx, xy = box(gy * gy, 2), box(gx * gx, 2), box(gy * gx, 2)
        half, root = 0.5 * (yy + xx), np.sqrt(0.25 * (yy - xx) ** 2 + xy**2)
        texture = np.maximum(half - root, 0)
        ridge = np.float32(4.0) + 0.02 * half
        det = (yy + ridge) * (xx + ridge) - xy**2
        for _ in range(steps):
            change = p - warp(q, dy, dx)
            ty, tx = box(gy * change, 2), box(gx * change, 2)
            dy = dy + np.clip(((xx + ridge) * ty - xy * tx) / det, -1.5, 1.5)
            dx = dx + np.clip(((yy + ridge) * tx - xy * ty) / det, -1.5, 1.5)
    return dy, dx, texture


def _enlarge(x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    rows = np.minimum(np.arange(shape[0]) // 2, x.shape[-2] - 1)
    columns = np.minimum(np.arange(shape[1]) // 2, x.shape[-1] - 1)
    return x[..., rows, :][..., columns]


def percentiles(x: np.ndarray, at: tuple[float, ...]) -> np.ndarray:
    """float32 (len(at),) percentiles of all values, by nearest rank (a partition is faster than interpolation)."""
    flat = np.asarray(x, np.float32).reshape(-1)
    ranks = [min(len(flat) - 1, int(p / 100 * len(flat))) for p in at]
    return np.partition(flat, ranks)[ranks]
