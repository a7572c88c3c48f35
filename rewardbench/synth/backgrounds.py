"""Backgrounds with depth. Each is painted once per clip on a canvas larger than the frame; the camera moves over it.

Coordinates: the frame is [0, 1] x [0, 1] (x is stretched with the frame's aspect ratio, so that a wide frame shows
more); painting extends :data:`MARGIN` beyond it on every side. The ground under the person's feet is near y = 0.9.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rewardbench.synth.canvas import Canvas, ellipse, smooth
from rewardbench.synth.palette import RGB, STYLES, Style, darker, lighter, mix
from rewardbench.synth.scene import Scene

MARGIN = 0.20
Floats = NDArray[np.float32]


def paint_background(scene: Scene, height: int, width: int) -> Image.Image:
    """The background of ``scene``: RGB, (1 + 2 MARGIN) times the frame's height and width."""
    style = STYLES[scene.style]
    h, w = round(height * (1 + 2 * MARGIN)), round(width * (1 + 2 * MARGIN))
    image = Image.new("RGB", (w, h), (0, 0, 0))
    canvas = Canvas(image, style, float(height), (MARGIN * width, MARGIN * height), min(height, width))
    rng = np.random.default_rng([scene.seed, 1])
    painter = _Painter(canvas, rng, width / height)
    _PAINTERS[scene.background](painter)
    pixels = canvas.image_array(w, h).astype(np.float32)
    pixels = _texture(pixels, style, rng, min(height, width))
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


class _Painter:
    """Shapes in frame coordinates; backgrounds are drawn with lines half as thick as the person's."""

    def __init__(self, canvas: Canvas, rng: np.random.Generator, aspect: float) -> None:
        self.canvas = canvas
        self.rng = rng
        self.aspect = aspect
        self.left, self.right = -MARGIN * aspect, (1 + MARGIN) * aspect
        self.top, self.bottom = -MARGIN, 1 + MARGIN

    def box(self, x0: float, y0: float, x1: float, y1: float, colour: RGB, outline: float = 0.0) -> None:
        self.poly([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], colour, outline)

    def poly(self, points: list[tuple[float, float]] | np.ndarray, colour: RGB, outline: float = 0.0) -> None:
        self.canvas.shape(points, colour, shade=False, outline=outline)

    def blob(
        self, cx: float, cy: float, rx: float, ry: float, colour: RGB, outline: float = 0.0, bumps: int = 9
    ) -> None:
        """A cloud, bush or crown: a bumpy ellipse with a lit upper left side."""
        angles = 2 * math.pi * np.arange(bumps * 2) / (bumps * 2)
        radius = 1.0 + np.where(np.arange(bumps * 2) % 2 == 0, 0.10, -0.08) + self.rng.uniform(-0.05, 0.05, bumps * 2)
        points = tuple(
            (float(cx + rx * r * math.cos(a)), float(cy + ry * r * math.sin(a)))
            for a, r in zip(angles, radius, strict=True)
        )
        curve = smooth.__wrapped__(points, 4)
        self.canvas.shape(curve, colour, anchor=(cx - 0.25 * rx, cy - 0.3 * ry), shrink=0.80, outline=outline)

    def sky(self, top: RGB, low: RGB, horizon: float) -> None:
        """Bands from ``top`` to ``low``; a flat style gets one band."""
        self.box(self.left, horizon, self.right, self.bottom, low)  # seen between hills or houses that stand lower
        bands = 1 if self.canvas.style.texture == "flat" else 28
        edges = np.linspace(self.top, horizon, bands + 1)
        for i in range(bands):
            tone = mix(top, low, (i + 0.5) / bands if bands > 1 else 0.6)
            self.box(self.left, float(edges[i]) - 0.002, self.right, float(edges[i + 1]) + 0.004, tone)

    def ridge(self, y: float, height: float, colour: RGB, waves: float, outline: float = 0.4) -> None:
        """A line of hills from side to side."""
        x = np.linspace(self.left, self.right, 60)
        phase = self.rng.uniform(0, 2 * math.pi, 3)
        z = y - height * (
            0.5 + 0.3 * np.sin(waves * x + phase[0]) + 0.15 * np.sin(2.3 * waves * x + phase[1])
            + 0.05 * np.sin(5.1 * waves * x + phase[2])
        )  # fmt: skip
        points = np.vstack([np.stack([x, z], axis=1), [(self.right, self.bottom), (self.left, self.bottom)]])
        self.poly(points, colour, outline)

    def spread(self, n: int, jitter: float = 0.4) -> list[float]:
        """``n`` x-positions from side to side, evenly spread with some disorder."""
        n = max(2, round(n * (self.right - self.left) / 1.4))
        step = (self.right - self.left) / n
        positions: list[float] = (
            self.left + (np.arange(n) + 0.5 + self.rng.uniform(-jitter, jitter, n)) * step
        ).tolist()
        return positions

    def star(self, x: float, y: float, r: float, colour: RGB, opacity: float = 1.0) -> None:
        self.canvas.fill(ellipse(x, y, r, r, 10), colour, opacity)


def _classroom(p: _Painter) -> None:
    wall, floor = (236, 226, 200), (190, 146, 98)
    p.box(p.left, p.top, p.right, 0.74, wall)
    p.box(p.left, 0.62, p.right, 0.74, (206, 190, 156), 0.4)
    c = float(p.rng.uniform(0.30, 0.70)) * p.aspect
    p.box(c - 0.42, 0.10, c + 0.22, 0.48, (150, 106, 66), 0.5)
    p.box(c - 0.40, 0.12, c + 0.20, 0.46, (46, 96, 76))
    for i in range(4):
        y = 0.19 + 0.06 * i
        x = c - 0.36 + float(p.rng.uniform(0, 0.08))
        p.canvas.line([(x, y), (x + float(p.rng.uniform(0.15, 0.40)), y)], (226, 236, 226), 0.6, 0.8)
    for x in (c - 0.78, c + 0.34, c + 0.80):
        p.box(x, 0.06, x + 0.32, 0.50, (250, 250, 246), 0.5)
        p.box(x + 0.02, 0.08, x + 0.30, 0.48, (150, 206, 246))
        p.blob(x + 0.12, 0.34, 0.08, 0.04, (250, 252, 255))
        p.box(x + 0.15, 0.08, x + 0.17, 0.48, (250, 250, 246))
    p.box(p.left, 0.74, p.right, p.bottom, floor)
    for y in (0.79, 0.87, 0.98, 1.10):
        p.canvas.line([(p.left, y), (p.right, y)], darker(floor, 0.3), 0.5)
    for x in p.spread(4, 0.15):
        p.box(x - 0.13, 0.68, x + 0.13, 0.715, (216, 170, 112), 0.5)
        p.box(x - 0.11, 0.715, x - 0.09, 0.90, (130, 130, 140))
        p.box(x + 0.09, 0.715, x + 0.11, 0.90, (130, 130, 140))


def _night_city(p: _Painter) -> None:
    p.sky((10, 12, 44), (66, 52, 120), 0.75)
    for _ in range(40):
        x, y = float(p.rng.uniform(p.left, p.right)), float(p.rng.uniform(p.top, 0.4))
        p.star(x, y, float(p.rng.uniform(0.0015, 0.004)), (250, 248, 220))
    mx = float(p.rng.uniform(0.15, 0.85)) * p.aspect
    p.star(mx, 0.14, 0.075, (252, 244, 204))
    p.star(mx + 0.028, 0.13, 0.062, (26, 24, 64))
    for depth, (colour, low, n) in enumerate((((44, 42, 92), 0.30, 11), ((26, 26, 60), 0.44, 8))):
        for x in p.spread(n, 0.2):
            half, top = float(p.rng.uniform(0.06, 0.10)), low + float(p.rng.uniform(-0.10, 0.14))
            p.box(x - half, top, x + half, 0.86, colour, 0.4)
            size = 0.014 + 0.004 * depth
            for wx in np.arange(x - half + 0.016, x + half - size - 0.008, size * 1.9):
                for wy in np.arange(top + 0.02, 0.80, size * 2.3):
                    if p.rng.random() < 0.45:
                        light: RGB = ((255, 220, 120), (255, 240, 190), (140, 214, 250))[int(p.rng.integers(3))]
                        p.box(float(wx), float(wy), float(wx) + size, float(wy) + size * 1.3, light)
    p.box(p.left, 0.84, p.right, p.bottom, (40, 40, 62), 0.4)
    p.box(p.left, 0.84, p.right, 0.865, (84, 84, 112))
    for x in np.arange(p.left, p.right, 0.22):
        p.poly([(x, 1.02), (x + 0.12, 1.02), (x + 0.11, 1.045), (x - 0.015, 1.045)], (226, 214, 150))
    for x in p.spread(3, 0.2):
        p.box(x - 0.007, 0.42, x + 0.007, 0.86, (16, 16, 34))
        p.canvas.fill(ellipse(x, 0.42, 0.07, 0.07), (255, 226, 150), 0.25)
        p.star(x, 0.42, 0.024, (255, 240, 190))


def _tree(p: _Painter, x: float, base: float, size: float, leaves: RGB, trunk: RGB, outline: float) -> None:
    w = 0.05 * size
    p.poly(
        [(x - w, base), (x - w * 0.6, base - 0.5 * size), (x + w * 0.6, base - 0.5 * size), (x + w, base)],
        trunk,
        outline,
    )
    p.blob(x, base - 0.72 * size, 0.30 * size, 0.28 * size, leaves, outline, 10)
    p.blob(x - 0.16 * size, base - 0.56 * size, 0.18 * size, 0.15 * size, darker(leaves, 0.10), outline * 0.6, 8)
    p.blob(x + 0.16 * size, base - 0.58 * size, 0.18 * size, 0.15 * size, leaves, outline * 0.6, 8)


def _forest(p: _Painter) -> None:
    p.sky((148, 208, 226), (224, 240, 208), 0.7)
    p.ridge(0.66, 0.22, (126, 182, 150), 6.0)
    for x in p.spread(10):
        _tree(p, x, 0.74, float(p.rng.uniform(0.5, 0.66)), (92, 156, 108), (104, 88, 74), 0.3)
    p.ridge(0.80, 0.08, (98, 160, 88), 5.0)
    for x in p.spread(4, 0.35):
        _tree(p, x, 0.88, float(p.rng.uniform(0.85, 1.05)), (58, 132, 70), (112, 78, 52), 0.5)
    p.ridge(0.90, 0.06, (120, 184, 84), 4.0, 0.5)
    for x in p.spread(14):
        y = 0.92 + float(p.rng.uniform(0, 0.16))
        p.poly(
            [(x - 0.02, y), (x - 0.014, y - 0.04), (x, y - 0.012), (x + 0.012, y - 0.05), (x + 0.02, y)], (74, 140, 62)
        )


def _seaside(p: _Painter) -> None:
    p.sky((70, 158, 236), (196, 232, 252), 0.55)
    for x in p.spread(4):
        y = float(p.rng.uniform(0.02, 0.32))
        for dx, r in ((-0.08, 0.7), (0.0, 1.0), (0.09, 0.65)):
            p.blob(x + dx, y + 0.02 * (1 - r), 0.09 * r, 0.05 * r, (252, 253, 255))
    p.box(p.left, 0.55, p.right, 0.80, (38, 126, 196))
    p.box(p.left, 0.66, p.right, 0.80, (58, 156, 210))
    for _ in range(26):
        x, y = float(p.rng.uniform(p.left, p.right)), float(p.rng.uniform(0.57, 0.76))
        p.canvas.line([(x, y), (x + 0.03 + 0.10 * (y - 0.55), y)], (226, 246, 255), 0.7, 0.8)
    p.ridge(0.80, 0.025, (240, 250, 255), 9.0, 0.0)
    p.ridge(0.82, 0.025, (246, 222, 166), 8.0, 0.4)
    for _ in range(24):
        x, y = float(p.rng.uniform(p.left, p.right)), float(p.rng.uniform(0.86, 1.15))
        p.canvas.fill(ellipse(x, y, 0.012, 0.005, 10), (222, 190, 130))
    ix = float(p.rng.choice((0.1, 0.9))) * p.aspect
    p.blob(ix, 0.55, 0.16, 0.06, (76, 140, 96), 0.4)
    p.box(p.left, 0.55, p.right, 0.585, (38, 126, 196))


def _shrine(p: _Painter) -> None:
    p.sky((128, 186, 232), (240, 236, 220), 0.7)
    p.ridge(0.66, 0.26, (134, 170, 140), 5.0)
    for x in p.spread(7):
        _tree(p, x, 0.76, float(p.rng.uniform(0.6, 0.76)), (236, 168, 190), (96, 72, 66), 0.3)
    p.box(p.left, 0.74, p.right, p.bottom, (188, 184, 170), 0.4)
    c = (0.5 + float(p.rng.uniform(-0.14, 0.14))) * p.aspect
    p.poly([(c - 0.16, 0.74), (c + 0.16, 0.74), (c + 0.60, p.bottom), (c - 0.60, p.bottom)], (222, 216, 200), 0.4)
    for y in (0.80, 0.88, 0.98, 1.10):
        k = 0.16 + 0.44 * (y - 0.74) / (p.bottom - 0.74)
        p.canvas.line([(c - k, y), (c + k, y)], (168, 160, 146), 0.6)
    gate = (206, 58, 44)
    for s in (-1.0, 1.0):
        x = c + s * 0.36
        p.poly([(x - 0.036, 0.86), (x - 0.028, 0.14), (x + 0.028, 0.14), (x + 0.036, 0.86)], gate, 0.5)
        p.box(x - 0.046, 0.80, x + 0.046, 0.87, (50, 44, 48), 0.5)
    p.box(c - 0.46, 0.24, c + 0.46, 0.29, gate, 0.5)
    p.box(c - 0.025, 0.16, c + 0.025, 0.24, gate, 0.4)
    p.poly([(c - 0.60, 0.05), (c, 0.10), (c + 0.60, 0.05), (c + 0.55, 0.13), (c, 0.165), (c - 0.55, 0.13)], gate, 0.5)
    p.poly(
        [(c - 0.61, 0.02), (c, 0.075), (c + 0.61, 0.02), (c + 0.60, 0.06), (c, 0.11), (c - 0.60, 0.06)],
        (56, 46, 52),
        0.5,
    )


def _snow_field(p: _Painter) -> None:
    p.sky((140, 164, 198), (222, 230, 240), 0.7)
    p.ridge(0.62, 0.34, (190, 204, 224), 5.0)
    p.ridge(0.70, 0.14, (214, 224, 238), 4.0)
    for x in p.spread(7):
        base, s = 0.78, float(p.rng.uniform(0.26, 0.40))
        p.box(x - 0.012, base - 0.05, x + 0.012, base, (98, 76, 66))
        for i in range(3):
            y, half = base - 0.04 - 0.26 * s * i, 0.30 * s * (1 - 0.26 * i)
            p.poly([(x - half, y), (x, y - 0.45 * s), (x + half, y)], (72, 112, 110), 0.4)
            low = y - 0.225 * s
            p.poly(
                [(x - half * 0.5, low), (x, y - 0.45 * s), (x + half * 0.5, low), (x, y - 0.19 * s)], (244, 248, 252)
            )
    p.ridge(0.82, 0.05, (240, 244, 250), 4.0, 0.4)
    p.ridge(0.98, 0.06, (226, 234, 246), 3.0, 0.0)
    for _ in range(70):
        x, y = float(p.rng.uniform(p.left, p.right)), float(p.rng.uniform(p.top, p.bottom))
        p.star(x, y, float(p.rng.uniform(0.003, 0.009)), (255, 255, 255), 0.9)


def _sunset_hill(p: _Painter) -> None:
    p.sky((92, 70, 150), (255, 176, 96), 0.68)
    sx = float(p.rng.uniform(0.2, 0.8)) * p.aspect
    for r, o in ((0.24, 0.18), (0.18, 0.25), (0.12, 1.0)):
        p.canvas.fill(ellipse(sx, 0.56, r, r, 30), (255, 226, 140), o)
    for x in p.spread(4):
        y = float(p.rng.uniform(0.08, 0.40))
        p.poly(ellipse(x, y, 0.17, 0.016, 20), (250, 140, 120))
        p.poly(ellipse(x + 0.06, y + 0.025, 0.12, 0.011, 20), (236, 112, 124))
    p.ridge(0.70, 0.16, (140, 74, 120), 6.0, 0.3)
    p.ridge(0.80, 0.10, (98, 60, 96), 4.0, 0.4)
    p.ridge(0.92, 0.10, (122, 108, 60), 2.5, 0.5)
    for x in p.spread(26):
        y = 0.90 + float(p.rng.uniform(0, 0.25))
        p.canvas.line([(x, y), (x + 0.012, y - 0.035)], (196, 160, 84), 0.8)


def _bedroom(p: _Painter) -> None:
    wall: RGB = ((222, 206, 232), (206, 224, 232), (244, 218, 214))[int(p.rng.integers(3))]
    p.box(p.left, p.top, p.right, 0.78, wall)
    for x in np.arange(p.left, p.right, 0.09):
        p.box(x, p.top, x + 0.035, 0.78, lighter(wall, 0.25))
    p.box(p.left, 0.76, p.right, 0.79, (250, 246, 242), 0.4)
    p.box(p.left, 0.79, p.right, p.bottom, (206, 164, 122))
    c = float(p.rng.uniform(0.25, 0.75)) * p.aspect
    p.box(c - 0.20, 0.10, c + 0.20, 0.48, (252, 250, 246), 0.5)
    p.box(c - 0.175, 0.125, c + 0.175, 0.455, (170, 216, 246))
    p.box(c - 0.008, 0.125, c + 0.008, 0.455, (252, 250, 246))
    for s in (-1.0, 1.0):
        curtain = [
            (c + s * 0.30, 0.06),
            (c + s * 0.12, 0.06),
            (c + s * 0.18, 0.30),
            (c + s * 0.20, 0.54),
            (c + s * 0.30, 0.54),
        ]
        p.poly(curtain, (240, 150, 160), 0.5)
    side = 1.0 if c < 0.5 * p.aspect else -1.0
    b = c + side * 0.62
    p.box(b - 0.28, 0.52, b + 0.28, 0.86, (150, 104, 76), 0.5)
    p.poly(
        smooth(((b - 0.27, 0.64), (b, 0.60), (b + 0.27, 0.64), (b + 0.29, 0.84), (b - 0.29, 0.84)), 4),
        (120, 160, 214),
        0.5,
    )
    p.blob(b - side * 0.14, 0.63, 0.09, 0.045, (252, 250, 246), 0.4)
    d = c - side * 0.52
    p.box(d - 0.16, 0.24, d + 0.16, 0.84, (176, 126, 88), 0.5)
    for row in range(4):
        y = 0.37 + 0.14 * row
        p.box(d - 0.14, y - 0.105, d + 0.14, y, (120, 82, 58))
        x = d - 0.135
        while x < d + 0.11:
            w = float(p.rng.uniform(0.014, 0.03))
            book: RGB = ((208, 72, 72), (72, 116, 196), (236, 196, 86), (84, 158, 110), (240, 236, 226))[
                int(p.rng.integers(5))
            ]
            p.box(x, y - float(p.rng.uniform(0.06, 0.09)), x + w, y, book)
            x += w + 0.002
    p.canvas.fill(ellipse(0.5 * p.aspect, 0.98, 0.42, 0.07, 30), (240, 190, 190))


_PAINTERS: dict[str, Callable[[_Painter], None]] = {
    "classroom": _classroom,
    "night city": _night_city,
    "forest": _forest,
    "seaside": _seaside,
    "shrine": _shrine,
    "snow field": _snow_field,
    "sunset hill": _sunset_hill,
    "bedroom": _bedroom,
}


def _texture(pixels: Floats, style: Style, rng: np.random.Generator, unit: int) -> Floats:
    """Lay the style's paper or screen over the painted background; float32 (H, W, 3) in and out."""
    h, w = pixels.shape[0], pixels.shape[1]

    def field(rows: int, columns: int) -> Floats:
        return _enlarge(rng.normal(0.0, 1.0, (rows, columns)).astype(np.float32), h, w)

    if style.texture in ("flat", "gradient"):
        return pixels
    if style.texture == "grain":
        change = 5.0 * field(max(2, h // 2), max(2, w // 2))
    elif style.texture == "wash":
        change = 10.0 * (field(9, max(2, round(9 * w / h))) + 0.35 * field(48, 48))
    else:
        y, x = np.mgrid[0:h, 0:w] / unit
        dark = 1.0 - pixels.mean(axis=2) / 255.0
        if style.texture == "hatch":
            lines = np.clip(2.0 * np.sin(2 * np.pi * 34 * (x + y)) - 1.0, 0.0, 1.0)
            change = -60.0 * np.clip(dark - 0.25, 0.0, 1.0) * lines
        else:
            dots = np.clip(3.0 * (np.cos(2 * np.pi * 30 * x) * np.cos(2 * np.pi * 30 * y) - 0.3), 0.0, 1.0)
            change = 26.0 * (dark - 0.4) * dots
    return np.asarray(pixels + change[..., None], dtype=np.float32)


def _enlarge(field: Floats, height: int, width: int) -> Floats:
    resized = Image.fromarray(field).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(resized, dtype=np.float32)
