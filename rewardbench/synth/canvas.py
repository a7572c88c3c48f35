"""A thin layer over aggdraw: shapes in world coordinates, cel shading and outlines in one style."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import aggdraw
import numpy as np
from PIL import Image

from rewardbench.synth.palette import RGB, Style, darker, lighter

Points = Sequence[tuple[float, float]]


@lru_cache(maxsize=512)
def smooth(points: tuple[tuple[float, float], ...], steps: int = 5, closed: bool = True) -> np.ndarray:
    """Catmull-Rom curve through ``points``; float64 (N, 2), not to be written to."""
    p = np.asarray(points, dtype=np.float64)
    if closed:
        before, after, nxt = np.roll(p, 1, 0), np.roll(p, -1, 0), np.roll(p, -2, 0)
        start = p
    else:
        q = np.vstack([2 * p[0] - p[1], p, 2 * p[-1] - p[-2]])
        before, start, after, nxt = q[:-3], q[1:-2], q[2:-1], q[3:]
    t = (np.arange(steps) / steps)[None, :, None]
    b, s, a, n = before[:, None], start[:, None], after[:, None], nxt[:, None]
    curve = 0.5 * (2 * s + (a - b) * t + (2 * b - 5 * s + 4 * a - n) * t**2 + (3 * s - b - 3 * a + n) * t**3)
    curve = curve.reshape(-1, 2)
    if not closed:
        curve = np.vstack([curve, p[-1:]])
    curve.flags.writeable = False
    return curve


@lru_cache(maxsize=64)
def _circle(n: int) -> np.ndarray:
    angle = 2 * np.pi * np.arange(n) / n
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def ellipse(cx: float, cy: float, rx: float, ry: float, n: int = 22) -> np.ndarray:
    """Ellipse as a closed polygon, float64 (n, 2)."""
    return _circle(n) * (rx, ry) + (cx, cy)


def capsule(joints: Points, widths: Sequence[float], cap: int = 5) -> np.ndarray:
    """A bent tube with round ends through two or three joints; ``widths`` are full widths at the joints."""
    p = np.asarray(joints, dtype=np.float64)
    w = np.asarray(widths, dtype=np.float64) / 2
    steps = p[1:] - p[:-1]
    tangent = np.concatenate([steps[:1], steps[:-1] + steps[1:], steps[-1:]])
    tangent /= np.maximum(np.hypot(tangent[:, 0], tangent[:, 1]), 1e-9)[:, None]
    normal = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
    left, right = p + normal * w[:, None], p - normal * w[:, None]
    arc = _circle(2 * cap + 2)[1 : cap + 1]
    across, along = arc[:, :1], arc[:, 1:]
    end = p[-1] + w[-1] * (across * normal[-1] + along * tangent[-1])
    start = p[0] - w[0] * (across * normal[0] + along * tangent[0])
    return np.concatenate([left, end, right[::-1], start])


@lru_cache(maxsize=64)
def _graded(style: str) -> dict[RGB, RGB]:
    """Colours one style has graded so far, kept between frames."""
    return {}


class Canvas:
    """Draws on one image with one style. World coordinates become pixels by ``pixel = world * scale + origin``."""

    def __init__(self, image: Image.Image, style: Style, scale: float, origin: tuple[float, float], unit: float):
        """``unit``: pixels of one world unit of line width (the frame's shorter side times the camera's zoom)."""
        self.draw = aggdraw.Draw(image)
        self.draw.setantialias(True)
        self.style = style
        self.scale = scale
        self.origin = np.asarray(origin, dtype=np.float64)
        self.line_width = max(0.6, style.line_width * unit)
        self._graded = _graded(style.name)

    def image_array(self, width: int, height: int) -> np.ndarray:
        """uint8 (H, W, 3) of what was drawn."""
        return np.frombuffer(self.draw.tobytes(), dtype=np.uint8).reshape(height, width, 3)

    def grade(self, colour: RGB) -> RGB:
        graded = self._graded.get(colour)
        if graded is None:
            graded = self._graded[colour] = self.style.grade(colour)
        return graded

    def _xy(self, points: Points | np.ndarray) -> list[float]:
        pixels: list[float] = (np.asarray(points, dtype=np.float64) * self.scale + self.origin).ravel().tolist()
        return pixels

    def fill(self, points: Points | np.ndarray, colour: RGB, opacity: float = 1.0) -> None:
        """A filled polygon without outline."""
        self.draw.polygon(self._xy(points), None, aggdraw.Brush(self.grade(colour), round(255 * opacity)))

    def line(self, points: Points | np.ndarray, colour: RGB, width: float = 1.0, opacity: float = 1.0) -> None:
        """An open line; ``width`` in units of the style's line width."""
        pen = aggdraw.Pen(self.grade(colour), max(0.5, self.line_width * width), round(255 * opacity))
        self.draw.line(self._xy(points), pen)

    def outline_colour(self, colour: RGB) -> RGB:
        return self.style.line_colour if self.style.line_colour is not None else darker(colour, 0.55)

    def shape(
        self,
        points: Points | np.ndarray,
        colour: RGB,
        *,
        shade: bool = True,
        anchor: tuple[float, float] | None = None,
        shrink: float = 0.80,
        outline: float = 1.0,
    ) -> None:
        """A cel-shaded shape: shadow tone below, base tone on the lit side, outline on top.

        The lit part is the shape shrunk about ``anchor`` (upper left of its middle if None), so it stays inside every
        shape that is star-shaped about that point.
        """
        p = np.asarray(points, dtype=np.float64)
        style = self.style
        if shade and style.shade_levels > 1:
            if anchor is None:
                low, high = p.min(axis=0), p.max(axis=0)
                lit = low + (high - low) * (0.32, 0.36)
            else:
                lit = np.asarray(anchor, dtype=np.float64)
            self.fill(p, darker(colour, style.shade))
            self.fill(lit + (p - lit) * shrink, colour)
            if style.shade_levels > 2:
                self.fill(lit + (p - lit) * (shrink * 0.5), lighter(colour, 0.14))
        else:
            self.fill(p, colour)
        if style.outline and outline > 0:
            self.line(np.concatenate([p, p[:2]]), self.outline_colour(colour), outline)
