"""Displacements between neighbouring frames by block matching, and what of them is not the camera's."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

RADIUS = 3
"""Blocks are (2 RADIUS + 1) squared, one around every pixel."""
REACH = 6
"""Largest displacement looked for, in pixels a frame along each axis."""
TEXTURE = 8.0
"""Variance of a block, in squared grey levels, from which on its displacement counts as determined."""
STAY = 0.5
"""Squared grey levels that a displacement has to save for every squared pixel of it, so that what is flat stays."""
EXPLAINED = 0.5
"""Most that a displacement may leave of the change at a place to be believed; noise finds better places by chance."""
RIDGE = 1.0
"""Squared grey levels added to the gradients' variances, so that an edge does not slide along itself."""
FEWEST = 64
"""Determined pixels of the surroundings from which on they tell the camera's movement."""


class Flow(NamedTuple):
    """Displacements from each frame to the next.

    ``dy``, ``dx``: float (T - 1, H, W), pixels; ``seen``: bool (T - 1, H, W), where they are determined.
    """

    dy: np.ndarray
    dx: np.ndarray
    seen: np.ndarray


def match(luma: np.ndarray) -> Flow:
    """Where each block of frames (T, H, W), 0..255, lies in the next frame; T is at least 2.

    Blocks are compared by the variance of their difference, which a change of brightness leaves alone. A step of least
    squares on the gradient (Lucas and Kanade, 1981) from the best whole displacement gives the fraction.
    """
    n, h, w = len(luma) - 1, *luma.shape[1:]
    luma = luma.astype(np.float32) - 128  # variances are differences of squares, and float32 has seven digits
    a = _padded(luma[:-1], RADIUS)
    b = _padded(luma[1:], RADIUS + REACH)
    mean_a, mean_b = _blocks(a), _blocks(b)
    spread_a, spread_b = _blocks(a * a) - mean_a**2, _blocks(b * b) - mean_b**2
    side = 2 * REACH + 1
    cost = np.empty((side * side, n, h, w), np.float32)
    for i in range(side):
        for j in range(side):
            together = _blocks(a * b[:, i : i + a.shape[1], j : j + a.shape[2]])
            shared = together - mean_a * mean_b[:, i : i + h, j : j + w]
            apart = spread_a + spread_b[:, i : i + h, j : j + w] - 2 * shared
            cost[i * side + j] = apart + STAY * ((i - REACH) ** 2 + (j - REACH) ** 2)
    best, middle = cost.argmin(axis=0), REACH * side + REACH
    believed = np.take_along_axis(cost, best[None], axis=0)[0] <= EXPLAINED * cost[middle]
    dy, dx = (k - REACH for k in np.divmod(np.where(believed, best, middle), side))
    t, r, c = np.ogrid[:n, :h, :w]
    there = luma[1:][t, np.clip(r + dy, 0, h - 1), np.clip(c + dx, 0, w - 1)]
    return Flow(*_refined(luma[:-1], there, dy, dx), spread_a > TEXTURE)


def own_motion(flow: Flow) -> np.ndarray:
    """Length float64 (T - 1, H, W), pixels, of what is left of the displacements after the camera's part.

    The camera's shift is the median of each component over the determined pixels around the person's place; its zoom
    is the median of what is left, taken along the line from the middle and divided by the distance from it.
    """
    n, h, w = flow.dy.shape
    down, right = from_middle(h, w)
    around = (right / 0.3) ** 2 + (down / 0.55) ** 2 > 1.0
    distance = np.maximum(down**2 + right**2, 1e-6)
    length = np.zeros((n, h, w))
    for t in range(n):
        dy, dx = flow.dy[t].astype(np.float64), flow.dx[t].astype(np.float64)
        there = flow.seen[t] & around
        if there.sum() >= FEWEST:
            dy, dx = dy - np.median(dy[there]), dx - np.median(dx[there])
            zoom = np.median(((dy * down + dx * right) / distance)[there])
            dy, dx = dy - zoom * down, dx - zoom * right
        length[t] = np.hypot(dy, dx)
    return length


def from_middle(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """How far below and to the right of the frame's middle each pixel lies, (H, 1) and (1, W), in shorter sides."""
    side = min(height, width)
    return (
        ((np.arange(height) - (height - 1) / 2) / side)[:, None],
        ((np.arange(width) - (width - 1) / 2) / side)[None, :],
    )


def follow(frames: np.ndarray, flow: Flow) -> np.ndarray:
    """Bilinear samples float64 (N, H, W) of ``frames`` (N, H, W) where the first N displacements lead."""
    n, h, w = frames.shape
    rows = np.clip(np.arange(h)[:, None] + flow.dy[:n], 0, h - 1)
    columns = np.clip(np.arange(w)[None, :] + flow.dx[:n], 0, w - 1)
    top, left = np.minimum(rows.astype(int), h - 2), np.minimum(columns.astype(int), w - 2)
    v, u, t = rows - top, columns - left, np.arange(n)[:, None, None]
    upper = frames[t, top, left] * (1 - u) + frames[t, top, left + 1] * u
    lower = frames[t, top + 1, left] * (1 - u) + frames[t, top + 1, left + 1] * u
    return np.asarray(upper * (1 - v) + lower * v, np.float64)


def smoothed(luma: np.ndarray) -> np.ndarray:
    """Means float32 (T, H, W) of the blocks around every pixel, edges repeated."""
    return _blocks(_padded(luma, RADIUS))


def _padded(frames: np.ndarray, by: int) -> np.ndarray:
    return np.pad(frames.astype(np.float32), ((0, 0), (by, by), (by, by)), mode="edge")


def _blocks(x: np.ndarray) -> np.ndarray:
    """Means over the blocks inside (N, H + 2 RADIUS, W + 2 RADIUS): (N, H, W)."""
    size = 2 * RADIUS + 1
    h, w = x.shape[1] - size + 1, x.shape[2] - size + 1
    rows = x[:, :h].copy()
    for k in range(1, size):
        rows += x[:, k : k + h]
    means = rows[:, :, :w].copy()
    for k in range(1, size):
        means += rows[:, :, k : k + w]
    means /= np.float32(size * size)
    return means


def _refined(here: np.ndarray, there: np.ndarray, dy: np.ndarray, dx: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Displacements (N, H, W) at most one pixel from the whole ones, with ``there`` the frames those lead to.

    Solved for the whole displacement and not for its rest, because neighbours in a block may differ by a pixel.
    """
    gy, gx = np.gradient(here, axis=(1, 2))
    parts = [gy, gx, here - there + gy * dy + gx * dx]
    means = [smoothed(part) for part in parts]

    def shared(i: int, j: int) -> np.ndarray:
        return smoothed(parts[i] * parts[j]) - means[i] * means[j]

    yy, xx, xy = shared(0, 0) + RIDGE, shared(1, 1) + RIDGE, shared(0, 1)
    yt, xt = shared(0, 2) + RIDGE * dy, shared(1, 2) + RIDGE * dx
    determinant = yy * xx - xy * xy
    y, x = (xx * yt - xy * xt) / determinant, (yy * xt - xy * yt) / determinant
    return np.clip(y, dy - 1, dy + 1), np.clip(x, dx - 1, dx + 1)
