"""Features of one picture against another, for image-video and character consistency.

The first-frame image (or the clip's own first frame) is compared with frames over the clip: palette, tones, detail and
layout, and how each of these develops in time.
"""

from __future__ import annotations

import numpy as np

from rewardbench_animereward.images import box, gradients, halve, opponent, percentiles

BINS = (12, 10, 10)
"""Luma, blue and red bins of a palette histogram."""
GRID = 16


class Signature:
    """What is compared of a stack of N pictures."""

    def __init__(self, rgb: np.ndarray) -> None:
        """``rgb``: uint8 (N, H, W, 3), short side about 128."""
        self.colour = opponent(rgb)
        self.n = len(rgb)
        weights = _central(*rgb.shape[1:3])
        self.palette = np.stack([palette(x, None) for x in self.colour])
        self.centre = np.stack([palette(x, weights) for x in self.colour])
        self.tones = np.stack([_tones(x) for x in self.colour])
        self.detail = np.stack([_detail(x[..., 0]) for x in self.colour])
        self.grid = _grid(self.colour)


def image_features(image: Signature, clip: Signature) -> dict[str, float]:
    """Named features of the first-frame image against the frames of the clip, in time order."""
    out: dict[str, float] = {}
    for name, series in _distances(image, 0, clip).items():
        _development(out, name, series)
    for k in range(image.detail.shape[1]):
        signed = clip.detail[:, k] - image.detail[0, k]
        out[f"detail{k}_mean"], out[f"detail{k}_drift"] = float(signed.mean()), _drift(signed)
    for k in range(image.tones.shape[1]):
        signed = clip.tones[:, k] - image.tones[0, k]
        out[f"tone{k}_mean"], out[f"tone{k}_drift"] = float(signed.mean()), _drift(signed)
    return out


def character_features(clip: Signature) -> dict[str, float]:
    """Named features of change within the clip: gradual or sudden, everywhere or in the middle of the picture."""
    out: dict[str, float] = {}
    for name, series in _distances(clip, 0, clip).items():
        _development(out, f"first_{name}", series[1:] if len(series) > 1 else series)
    for name, values in (("palette", clip.palette), ("centre", clip.centre)):
        step, within, where = split(values)
        out[f"{name}_step"], out[f"{name}_within"], out[f"{name}_where"] = _log(step), _log(within), where
        out[f"{name}_gain"] = float(np.log((step + 0.02) / (within + 0.02)))
        adjacent = 0.5 * np.abs(np.diff(values, axis=0)).sum(axis=1) if clip.n > 1 else np.zeros(1)
        out[f"{name}_jump"] = _log(adjacent.max())
        out[f"{name}_jump_ratio"] = float(np.log((adjacent.max() + 0.02) / (np.median(adjacent) + 0.02)))
    out["centre_excess"] = out["centre_step"] - out["palette_step"]
    # colour change of cells that keep their place: a recoloured region against the rest of the picture
    grid = clip.grid
    half = max(1, clip.n // 2)
    late, early = np.median(grid[half:] if clip.n > 1 else grid, axis=0), np.median(grid[:half], axis=0)
    moved = np.abs(late - early)[..., 1:].sum(-1)
    for p, value in zip((25, 50, 75, 90, 97), percentiles(moved, (25, 50, 75, 90, 97)), strict=False):
        out[f"cells_p{p}"] = _log(value / 64)
    out["cells_luma"] = _log(np.abs(late - early)[..., 0].mean() / 64)
    return out


def _distances(one: Signature, index: int, many: Signature) -> dict[str, np.ndarray]:
    """Series (N,) of distances between picture ``index`` of ``one`` and every picture of ``many``."""
    out: dict[str, np.ndarray] = {}
    out["palette"] = 0.5 * np.abs(many.palette - one.palette[index]).sum(axis=1)
    out["new"] = np.maximum(many.palette - 2.0 * one.palette[index] - 0.002, 0).sum(axis=1)
    out["gone"] = np.maximum(one.palette[index] - 2.0 * many.palette - 0.002, 0).sum(axis=1)
    out["centre"] = 0.5 * np.abs(many.centre - one.centre[index]).sum(axis=1)
    change = np.abs(many.tones - one.tones[index])
    third = change.shape[1] // 3
    out["luma"], out["blue"], out["red"] = (change[:, i * third : (i + 1) * third].mean(axis=1) for i in range(3))
    out["detail"] = np.abs(many.detail - one.detail[index]).mean(axis=1)
    layout, colour = zip(*(_layout(one.grid[index], g) for g in many.grid), strict=False)
    out["layout"], out["cells"] = np.array(layout), np.array(colour)
    return out


def _development(out: dict[str, float], name: str, series: np.ndarray) -> None:
    out[f"{name}_start"] = _log(series[:2].mean())
    out[f"{name}_mean"] = _log(series.mean())
    out[f"{name}_end"] = _log(series[-2:].mean())
    out[f"{name}_least"] = _log(series.min())
    out[f"{name}_drift"] = _drift(series)
    out[f"{name}_rough"] = _log(np.abs(np.diff(series, n=2)).mean() if len(series) > 2 else 0.0)


def _drift(series: np.ndarray) -> float:
    k = max(1, len(series) // 3)
    return float(series[-k:].mean() - series[:k].mean())


def palette(x: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """Smoothed colour histogram, flat, sum 1, of opponent values (H, W, 3)."""
    scaled = [
        np.clip(x[..., 0] / 256 * BINS[0], 0, BINS[0] - 1),
        np.clip((x[..., 1] + 110) / 220 * BINS[1], 0, BINS[1] - 1),
        np.clip((x[..., 2] + 110) / 220 * BINS[2], 0, BINS[2] - 1),
    ]
    a, b, c = (s.astype(np.int32) for s in scaled)
    flat = ((a * BINS[1] + b) * BINS[2] + c).ravel()
    counts = np.bincount(flat, None if weights is None else weights.ravel(), int(np.prod(BINS))).reshape(BINS)
    counts = counts / counts.sum()
    for axis in range(3):  # neighbouring bins are nearly the same colour
        pad = [(0, 0)] * 3
        pad[axis] = (1, 1)
        p = np.pad(counts, pad, mode="edge")
        n = counts.shape[axis]
        counts = 0.25 * p.take(range(n), axis) + 0.5 * counts + 0.25 * p.take(range(2, n + 2), axis)
    return np.asarray(counts.ravel(), np.float32)


def _central(h: int, w: int) -> np.ndarray:
    r, c = (np.arange(h) / h - 0.5)[:, None], (np.arange(w) - w / 2)[None, :] / min(h, w)
    return np.asarray(np.exp(-((r / 0.4) ** 2 + (c / 0.2) ** 2)), np.float32)


def _tones(x: np.ndarray) -> np.ndarray:
    """Quantiles of luma, blue and red (15,), in units of 64 grey levels."""
    at = (5, 25, 50, 75, 95)
    return np.concatenate([percentiles(x[..., c], at) for c in range(3)]) / 64


def _detail(y: np.ndarray) -> np.ndarray:
    """Log energy of four octaves and of steep edges (7,)."""
    values: list[float] = []
    level = y
    for _ in range(4):
        values.append(float(np.log(np.abs(level - box(level, 1)).mean() + 0.05)))
        level = halve(level) if min(level.shape) >= 8 else level
    gy, gx = gradients(y)
    steep = percentiles(np.hypot(gy, gx), (50, 90, 99))
    return np.array(values + [float(np.log(v + 0.25)) for v in steep], np.float32)


def _grid(x: np.ndarray) -> np.ndarray:
    """Mean colours of GRID x GRID cells: float32 (N, GRID, GRID, 3)."""
    _n, h, w = x.shape[:3]
    rows = np.linspace(0, h, GRID + 1).astype(int)[:-1]
    columns = np.linspace(0, w, GRID + 1).astype(int)[:-1]
    sums = np.add.reduceat(np.add.reduceat(x, rows, axis=1), columns, axis=2)
    ones = np.add.reduceat(np.add.reduceat(np.ones((1, h, w, 1), np.float32), rows, axis=1), columns, axis=2)
    return np.asarray(sums / ones, np.float32)


def _layout(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """(1 - correlation of luma, mean colour difference / 64) of two grids at their best shift by up to two cells."""
    best, colour = 2.0, 4.0
    for dy in (-1, 0, 1):
        for dx in (-2, -1, 0, 1, 2):
            p = a[max(0, dy) : GRID + min(0, dy), max(0, dx) : GRID + min(0, dx)]
            q = b[max(0, -dy) : GRID + min(0, -dy), max(0, -dx) : GRID + min(0, -dx)]
            u, v = p[..., 0] - p[..., 0].mean(), q[..., 0] - q[..., 0].mean()
            best = min(best, 1.0 - float((u * v).sum() / (np.sqrt((u * u).sum() * (v * v).sum()) + 1.0)))
            colour = min(colour, float(np.abs(p - q).mean()) / 64)
    return best, colour


def split(values: np.ndarray) -> tuple[float, float, float]:
    """(distance between the two parts, mean distance within them, position) of the best cut of a series in time."""
    n = len(values)
    if n < 4:
        return 0.0, 0.0, 0.5
    best = (-1.0, 0.0, 0.5)
    for k in range(2, n - 1):
        early, late = values[:k].mean(axis=0), values[k:].mean(axis=0)
        between = 0.5 * float(np.abs(early - late).sum())
        spread = np.abs(values[:k] - early).sum(axis=1).tolist() + np.abs(values[k:] - late).sum(axis=1).tolist()
        within = 0.5 * float(np.mean(spread))
        if between - within > best[0] - best[1] or best[0] < 0:
            best = (between, within, k / n)
    return best


def _log(x: float) -> float:
    return float(np.log(float(x) + 0.01))
