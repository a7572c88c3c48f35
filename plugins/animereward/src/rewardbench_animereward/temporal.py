"""Features of change in time, for smoothness and motion: what a fault does to consecutive frames.

All lengths are fractions of the frame's short side and all ratios are free of units, so that the same fault gives the
same numbers at every resolution and, as far as possible, over every content.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rewardbench_animereward.images import box, halve, luma, optical_flow, percentiles
from rewardbench_animereward.people import Person

SMALL = 1e-3


class Flow(NamedTuple):
    """Displacement between neighbouring frames of a stack of T, at half the size of the frames it was made from.

    ``dy``, ``dx``: (T - 1, H, W), what is left after the camera's part, in fractions of the short side; ``weight``:
    how far it is determined, 0 to 1; ``camera``: (T - 1, 3) shift down, shift right, zoom.
    """

    dy: np.ndarray
    dx: np.ndarray
    weight: np.ndarray
    camera: np.ndarray


def steadied(frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(luma without common changes of brightness, float32 (T, H, W); log gains (T - 1,)); T is at least 3."""
    y = luma(frames)
    if len(y) < 3:
        y = np.concatenate([y, np.repeat(y[-1:], 3 - len(y), axis=0)])
    gain = log_gains(y)
    return y * np.exp(-np.concatenate([[0.0], np.cumsum(gain)]))[:, None, None].astype(np.float32), gain


def flow_of(steady: np.ndarray) -> Flow:
    """Flow of the result of :func:`steadied`."""
    y = halve(steady)
    dy, dx, texture = optical_flow(y[:-1], y[1:])
    weight = texture / (texture + 10.0)
    cy, cx, camera = _camera(dy, dx, weight)
    side = np.float32(min(y.shape[-2:]))
    return Flow((dy - cy) / side, (dx - cx) / side, weight, camera / side)


def temporal_features(steady: np.ndarray, gain: np.ndarray, flow: Flow, fps: float) -> dict[str, float]:
    """Named features of T neighbouring frames.

    Args:
        steady, gain: from :func:`steadied`, of frames with a short side of about 128.
        flow: from :func:`flow_of`.
        fps: frames per second (0 or less counts as 12).
    """
    out: dict[str, float] = {}
    _series(out, "gain", gain)
    steps = np.abs(np.diff(steady, axis=0)).mean(axis=(1, 2))
    _steps(out, "step", steps)
    level, octave = steady, 0
    while min(level.shape[-2:]) >= 12 and octave < 4:
        out[f"jerk{octave}"] = _jerk(level)
        level, octave = halve(level), octave + 1
    _flow(out, flow, fps if fps > 0 else 12.0)
    return out


def activity_features(flow: Flow, people: Sequence[Person], fps: float) -> dict[str, float]:
    """What the person and the camera do: signed camera motion, and where around the face the body moves.

    Args:
        flow: from :func:`flow_of`.
        people: the person at moments spread over the same frames; units are fractions of the short side, the origin
            is the frame's middle.
        fps: frames per second.
    """
    fps = fps if fps > 0 else 12.0
    out: dict[str, float] = {}
    for name, series in zip(("down", "right", "zoom"), flow.camera.T, strict=False):
        median = float(np.median(series)) * fps
        out[f"camera_{name}"] = float(np.tanh(median * 10))
        out[f"camera_{name}_log"] = float(np.sign(median) * np.log1p(abs(median) * 200))
    n, h, w = flow.dy.shape
    nearest = np.rint(np.linspace(0, len(people) - 1, n)).astype(int)
    u = np.linspace(-3.75, 3.75, 16)
    v = np.linspace(-1.75, 7.75, 20)
    cells = []
    for t in range(n):
        person, side = people[nearest[t]], min(h, w)
        rows = np.clip(np.rint((person.y + v * person.unit) * side + h / 2), 0, h - 1).astype(int)
        columns = np.clip(np.rint((person.x + u * person.unit) * side + w / 2), 0, w - 1).astype(int)
        patch = np.stack([np.abs(f[t][rows][:, columns]) for f in (flow.dy, flow.dx)])
        cells.append(patch.reshape(2, 5, 4, 4, 4).mean(axis=(2, 4)) * fps / max(person.unit, 0.03))
    grid = np.stack(cells)
    for c, direction in enumerate(("y", "x")):
        mean = np.log(grid[:, c].mean(axis=0) + 0.02)
        for i in range(5):
            for j in range(4):
                out[f"body_{direction}{i}{j}"] = float(mean[i, j])
            out[f"body_{direction}{i}_spread"] = float(np.log(grid[:, c, i].mean(axis=1).std() + 0.02))
    place = np.array([(p.x, p.y, p.unit) for p in people])
    unit = float(np.median(place[:, 2])) + 1e-3
    for c, name in enumerate("xy"):
        series = place[:, c] / unit
        trend = np.polyfit(np.linspace(-0.5, 0.5, len(series)), series, 1)[0] if len(series) > 1 else 0.0
        line = np.linspace(-0.5, 0.5, len(series)) * trend
        out[f"place_{name}_trend"] = float(np.tanh(trend))
        out[f"place_{name}_size"] = float(np.log(abs(trend) + 0.05))
        out[f"place_{name}_swing"] = float(np.log((series - line).std() + 0.02))
    out["place_unit"] = unit
    return out


def log_gains(y: np.ndarray) -> np.ndarray:
    """Common change of brightness between consecutive frames (T - 1,), natural logarithm.

    The median over pixels of the log ratio of blurred frames: what moves is a minority, a flicker is everybody.
    """
    coarse = halve(halve(halve(y)))
    ratio = np.log((coarse[1:] + 12.0) / (coarse[:-1] + 12.0))
    return np.asarray(np.median(ratio.reshape(len(ratio), -1), axis=1))


def _series(out: dict[str, float], name: str, x: np.ndarray) -> None:
    out[f"{name}_abs"] = _log(np.abs(x).mean())
    out[f"{name}_second"] = _log(np.abs(np.diff(x)).mean())
    out[f"{name}_top"] = _log(np.sort(np.abs(x))[-3:].mean())


def _steps(out: dict[str, float], name: str, x: np.ndarray) -> None:
    """Evenness of a series of step sizes: holds, jumps and their alternation."""
    mean = float(x.mean()) + SMALL
    upper = float(np.percentile(x, 75)) + SMALL
    out[f"{name}_size"] = float(np.log(mean))
    out[f"{name}_held"] = float((x < 0.2 * upper).mean())
    out[f"{name}_half"] = float((x < 0.5 * upper).mean())
    out[f"{name}_uneven"] = float(np.abs(np.diff(x)).mean() / mean)
    out[f"{name}_spread"] = float(np.std(np.log(x + 0.05 * mean)))
    top = max(float(np.sort(x)[-2:].mean()), 0.1 * mean)
    out[f"{name}_peak"] = float(np.log(top / (np.median(x) + 0.1 * mean)))
    centre = np.minimum(x[:-2], x[2:]) if len(x) > 2 else x[:1]
    jump = x[1:-1] - np.maximum(x[:-2], x[2:]) if len(x) > 2 else x[:1] * 0
    out[f"{name}_spike"] = float(np.maximum(jump, 0).mean() / mean)
    out[f"{name}_dip"] = float(np.maximum(centre - x[1:-1], 0).mean() / mean) if len(x) > 2 else 0.0


def _jerk(y: np.ndarray) -> float:
    """Second over first differences: near 0 for even motion at a coarse scale, towards 1 for random change."""
    first = np.abs(np.diff(y, axis=0))
    second = np.abs(np.diff(y, n=2, axis=0))
    return float(second.mean() / (first[1:].mean() + first[:-1].mean() + 0.05))


def _flow(out: dict[str, float], flow: Flow, fps: float) -> None:
    ry, rx, weight = flow.dy, flow.dx, flow.weight
    shift = flow.camera[:, :2]
    out["shift_second"] = _log(np.abs(np.diff(shift, axis=0)).mean())
    out["shift_size"] = _log(np.hypot(*shift.mean(axis=0)))
    out["shift_ratio"] = float(np.abs(np.diff(shift, axis=0)).mean() / (np.abs(shift).mean() + 2e-4))
    zoom = flow.camera[:, 2]
    out["zoom_second"] = _log(np.abs(np.diff(zoom)).mean())
    speed = np.hypot(ry, rx)
    seen = weight > 0.5
    local = speed[seen] if seen.any() else np.zeros(1, np.float32)
    for p, value in zip((25, 50, 75, 90, 97), percentiles(local, (25, 50, 75, 90, 97)), strict=False):
        out[f"local_p{p}"] = _log(value)
    acceleration = np.hypot(np.diff(ry, axis=0), np.diff(rx, axis=0))
    both = seen[1:] & seen[:-1]
    change = acceleration[both] if both.any() else np.zeros(1, np.float32)
    for p, value in zip((25, 50, 75, 90), percentiles(change, (25, 50, 75, 90)), strict=False):
        out[f"change_p{p}"] = _log(value)
    rough = np.hypot(ry - box(ry, 3), rx - box(rx, 3))[seen]
    out["rough_p50"], out["rough_p90"] = (
        (_log(v) for v in percentiles(rough, (50, 90))) if rough.size else (_log(0.0), _log(0.0))
    )
    moving = speed * weight
    series = moving.reshape(len(moving), -1)
    top = np.sort(series, axis=1)[:, int(0.97 * series.shape[1]) :].mean(axis=1)
    _steps(out, "pace", top * 100)
    area = speed.mean(axis=(1, 2))
    _steps(out, "drift", area * 100)
    out["speed_mean"] = _log(fps * float(moving.mean()))
    out["speed_top"] = _log(fps * float(top.mean()))
    still = np.median(speed * (weight > 0.3), axis=0)
    out["speed_still"] = _log(fps * float(np.percentile(still, 90)))
    path = np.hypot(ry.sum(axis=0), rx.sum(axis=0)) / (speed.sum(axis=0) + 1e-4)
    out["path_straight"] = float((path * speed.mean(axis=0)).sum() / (speed.mean(axis=0).sum() + 1e-6))


def _camera(dy: np.ndarray, dx: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shift and zoom shared by most of the picture: fields (N, H, W) and parameters (N, 3): dy, dx, zoom.

    Weighted least squares with two rounds of down-weighting what disagrees, which is the character.
    """
    n, h, w = dy.shape
    rows = (np.arange(h, dtype=np.float32) - np.float32((h - 1) / 2))[:, None] / np.float32(min(h, w))
    columns = (np.arange(w, dtype=np.float32) - np.float32((w - 1) / 2))[None, :] / np.float32(min(h, w))
    r, c = rows[::2], columns[:, ::2]
    dy, dx, weight = dy[:, ::2, ::2], dx[:, ::2, ::2], weight[:, ::2, ::2]
    parameters = np.zeros((n, 3), np.float32)
    trust = weight + 1e-4
    for _ in range(3):
        sw = trust.sum(axis=(1, 2))
        sr, sc = (trust * r).sum(axis=(1, 2)), (trust * c).sum(axis=(1, 2))
        srr = (trust * (r * r + c * c)).sum(axis=(1, 2))
        by, bx = (trust * dy).sum(axis=(1, 2)), (trust * dx).sum(axis=(1, 2))
        bz = (trust * (dy * r + dx * c)).sum(axis=(1, 2))
        zero = np.zeros_like(sw)
        system = np.stack(
            [np.stack([sw, zero, sr], -1), np.stack([zero, sw, sc], -1), np.stack([sr, sc, srr], -1)], axis=1
        )
        system = system + 1e-3 * np.eye(3, dtype=np.float32)
        parameters = np.linalg.solve(system, np.stack([by, bx, bz], -1)[..., None])[..., 0]
        cy = parameters[:, 0, None, None] + parameters[:, 2, None, None] * r
        cx = parameters[:, 1, None, None] + parameters[:, 2, None, None] * c
        error = np.hypot(dy - cy, dx - cx)
        scale = np.median(error.reshape(n, -1), axis=1)[:, None, None] + 0.05
        trust = (weight + 1e-4) / (1 + (error / scale) ** 2)
    cy, cx = (parameters[:, k, None, None] + parameters[:, 2, None, None] * x for k, x in ((0, rows), (1, columns)))
    return cy, cx, parameters


def _log(x: float) -> float:
    return float(np.log(float(x) + 1e-4))
