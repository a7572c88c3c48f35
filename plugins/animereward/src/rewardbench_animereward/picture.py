"""Features of single pictures, for appeal: detail, false detail, blocks and colour, without a reference."""

from __future__ import annotations

import numpy as np

from rewardbench_animereward.images import box, gradients, halve, luma, opponent, percentiles

DARK_EDGES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


def picture_features(frames: np.ndarray) -> dict[str, float]:
    """Named features, means over the frames.

    Args:
        frames: uint8 (T, H, W, 3), short side about 256.
    """
    y = luma(frames)
    out: dict[str, float] = {}
    _detail(out, y)
    _false_detail(out, frames, y)
    _blocks(out, y)
    _colour(out, frames)
    return out


def _detail(out: dict[str, float], y: np.ndarray) -> None:
    """Energy per octave, and how steep the steepest edges are relative to their own height."""
    level, previous = y, 0.0
    for octave in range(5):
        if min(level.shape[-2:]) < 8:
            energy = previous
        else:
            band = level - box(level, 1)
            energy = _log(np.abs(band).mean())
            square = band * band
            out[f"band{octave}_kurtosis"] = _log((square * square).mean() / (square.mean() ** 2 + 1e-2))
            level = halve(level)
        out[f"band{octave}"] = energy
        if octave:
            out[f"slope{octave}"] = previous - energy
        previous = energy
    gy, gx = gradients(y)
    steep = np.hypot(gy, gx)
    low, high = _extremes(y)
    height = high - low
    edges = height > max(12.0, float(np.percentile(height[:, ::2, ::2], 80)))
    sharp = (_pool(steep, np.maximum) / (height + 4.0))[edges] if edges.any() else np.zeros(1, np.float32)
    for p, value in zip((50, 75, 90, 98), percentiles(sharp, (50, 75, 90, 98)), strict=False):
        out[f"sharp_p{p}"] = _log(value)
    for p, value in zip((50, 90, 99), percentiles(steep, (50, 90, 99)), strict=False):
        out[f"steep_p{p}"] = _log(value)
    out["contrast"] = _log(y.std())


def _pool(x: np.ndarray, choose: np.ufunc) -> np.ndarray:
    """Maximum or minimum of 2 x 2 blocks of (N, H, W)."""
    h, w = x.shape[1] // 2 * 2, x.shape[2] // 2 * 2
    rows = choose(x[:, 0:h:2], x[:, 1:h:2])
    return np.asarray(choose(rows[:, :, 0:w:2], rows[:, :, 1:w:2]))


def _extremes(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Minimum and maximum around every 2 x 2 block, over windows of 10 x 10 pixels."""
    out = []
    for choose in (np.minimum, np.maximum):
        x = _pool(y, choose)
        for axis in (1, 2):
            pad = [(0, 0)] * 3
            pad[axis] = (2, 2)
            p, n = np.moveaxis(np.pad(x, pad, mode="edge"), axis, 0), x.shape[axis]
            x = np.moveaxis(choose.reduce([p[k : k + n] for k in range(5)]), 0, axis)
        out.append(x)
    return out[0], out[1]


def _false_detail(out: dict[str, float], frames: np.ndarray, y: np.ndarray) -> None:
    """Noise where the picture is flat (low quantiles of local deviation of a diagonal high-pass), luma and colour."""
    channels = {"y": y}
    mixed = opponent(frames[:2])
    channels["b"], channels["r"] = mixed[..., 1], mixed[..., 2]
    for name, values in channels.items():
        small = min(values.shape[-2:]) < 16
        x = np.pad(values, [(0, 0), (0, 16), (0, 16)], mode="edge") if small else values
        diagonal = 0.5 * (x[:, :-1, :-1] - x[:, 1:, :-1] - x[:, :-1, 1:] + x[:, 1:, 1:])
        size = np.abs(diagonal)
        n, h, w = size.shape
        cells = size[:, : h // 8 * 8, : w // 8 * 8].reshape(n, h // 8, 8, w // 8, 8).mean(axis=(2, 4))
        for p, value in zip((5, 25, 50, 90), percentiles(cells, (5, 25, 50, 90)), strict=False):
            out[f"noise_{name}_p{p}"] = _log(value)
        if name == "y":
            out["flat_share"] = float((size < 0.75).mean())
            out["median_high"] = _log(np.median(size[:, ::2, ::2]))
            ring = box(size, 2)
            out["ring"] = _log(((size > 1) & (ring > 0.5)).mean())


def _blocks(out: dict[str, float], y: np.ndarray) -> None:
    """Grid artefacts: the strongest phase of the mean step at periods 8 and 16 over the mean of all phases."""
    for period in (4, 8, 16):
        worst = []
        for axis in (1, 2):
            step = np.abs(np.diff(y, axis=axis))
            second = np.minimum(step, 24).mean(axis=(0, 3 - axis))
            n = len(second) // period * period
            if n == 0:
                worst.append(1.0)
                continue
            phases = second[:n].reshape(-1, period).mean(axis=0) + 0.02
            worst.append(float(phases.max() / np.median(phases)))
        out[f"block{period}"] = _log(float(np.mean(worst)) - 1 + 1e-2)


def _colour(out: dict[str, float], frames: np.ndarray) -> None:
    """Tint of the darkest, brightest and middle tones, and the spread of colours."""
    x = opponent(frames[:, ::4, ::4]).reshape(-1, 3)
    x = x[np.argsort(x[:, 0], kind="stable")]
    for k in range(len(DARK_EDGES) - 1):
        part = x[int(DARK_EDGES[k] * len(x)) : max(int(DARK_EDGES[k + 1] * len(x)), int(DARK_EDGES[k] * len(x)) + 1)]
        mean = part.mean(axis=0) / 128
        out[f"tone{k}_y"], out[f"tone{k}_b"], out[f"tone{k}_r"] = (float(v) for v in mean)
        out[f"tone{k}_c"] = float(np.hypot(mean[1], mean[2]))
    chroma = np.hypot(x[:, 1], x[:, 2])
    out["saturation"] = _log(chroma.mean() + 1)
    for p, value in zip((10, 50, 90), percentiles(chroma, (10, 50, 90)), strict=False):
        out[f"chroma_p{p}"] = _log(value + 1)
    out["grey_share"] = float((chroma < 12).mean())
    angle = np.arctan2(x[:, 2], x[:, 1])
    weight = chroma + 1e-3
    out["hue_bias"] = float(np.abs((weight * np.exp(1j * angle)).sum()) / weight.sum())
    top = np.asarray(frames[:, ::4, ::4], np.float32).reshape(-1, 3)
    for p in (1, 99):
        channels = np.percentile(top, p, axis=0) / 128
        for name, value in zip("rgb", channels, strict=False):
            out[f"channel_{name}_p{p}"] = float(value)
        out[f"channel_spread_p{p}"] = float(channels.max() - channels.min())


def _log(x: float) -> float:
    return float(np.log(float(x) + 1e-3))
