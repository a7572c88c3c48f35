"""Outfits, drawn over the skeleton in body coordinates (standing height 1, y downwards, ground at 0)."""

from __future__ import annotations

import numpy as np

from rewardbench.synth.canvas import Canvas, capsule, ellipse, smooth
from rewardbench.synth.palette import RGB, darker, lighter, mix
from rewardbench.synth.pose import Point, Skeleton

_TROUSERS: RGB = (66, 70, 92)
_SHOES: RGB = (74, 52, 46)
_STEEL: RGB = (176, 182, 196)
_GOLD: RGB = (232, 190, 84)
_CREAM: RGB = (250, 246, 236)


def contrast(colour: RGB) -> RGB:
    """A colour for trim that stands out against ``colour``."""
    luma = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    return (50, 54, 92) if luma > 190 else _CREAM


def draw_legs(canvas: Canvas, outfit: str, person: str, cloth: RGB, skin: RGB, bones: Skeleton, far: str) -> None:
    """Both legs with socks or trousers and shoes; the ``far`` one first."""
    for side in (far, "left" if far == "right" else "right"):
        hip, knee, foot = bones.left_leg if side == "left" else bones.right_leg
        if outfit in ("dress", "kimono") or (outfit == "school uniform" and person == "girl"):
            canvas.shape(capsule((hip, knee, foot), (0.062, 0.052, 0.042)), skin, shrink=0.88)
            sock = mix_points(knee, foot, 0.25)
            tone = (58, 56, 76) if outfit == "school uniform" else _CREAM
            canvas.shape(capsule((sock, foot), (0.054, 0.046)), tone, shrink=0.88)
        elif outfit == "armor":
            canvas.shape(capsule((hip, knee, foot), (0.066, 0.058, 0.05)), (84, 82, 96), shrink=0.88)
            canvas.shape(capsule((knee, foot), (0.066, 0.056)), _STEEL, shrink=0.85)
            canvas.shape(ellipse(knee[0], knee[1], 0.034, 0.034, 12), mix(cloth, _STEEL, 0.25))
        else:
            tone = darker(_TROUSERS, 0.2) if outfit == "coat" else _TROUSERS
            if outfit == "school uniform":
                tone = mix(cloth, (36, 40, 76), 0.55)
            canvas.shape(capsule((hip, knee, foot), (0.072, 0.062, 0.052)), tone, shrink=0.88)
        toe = 0.014 if side == "right" else -0.014
        shoe = _STEEL if outfit == "armor" else _SHOES
        canvas.shape(ellipse(foot[0] + toe, foot[1] + 0.002, 0.040, 0.022, 14), shoe)


def mix_points(a: Point, b: Point, amount: float) -> Point:
    """The point ``amount`` of the way from ``a`` to ``b``."""
    return a[0] + (b[0] - a[0]) * amount, a[1] + (b[1] - a[1]) * amount


def draw_sleeve(canvas: Canvas, outfit: str, cloth: RGB, joints: tuple[Point, Point, Point]) -> None:
    """The sleeve of one arm; the bare arm below it is already drawn."""
    shoulder, elbow, wrist = joints
    if outfit == "dress":
        canvas.shape(capsule((shoulder, mix_points(shoulder, elbow, 0.45)), (0.07, 0.062)), cloth)
    elif outfit == "kimono":
        end = mix_points(elbow, wrist, 0.92)
        out = -0.03 if wrist[0] < shoulder[0] else 0.03
        drop = (end[0] + 1.4 * out, end[1] + 0.085)
        inner = (elbow[0] - out, elbow[1] + 0.05)
        canvas.shape(np.array([(elbow[0] + out, elbow[1]), end, drop, inner]), cloth)
        canvas.shape(capsule((shoulder, elbow, end), (0.062, 0.072, 0.078)), cloth, shrink=0.86)
        canvas.line(np.array([end, drop]), contrast(cloth), 1.4)
    elif outfit == "armor":
        canvas.shape(capsule((shoulder, elbow), (0.05, 0.046)), (84, 82, 96))
        canvas.shape(capsule((mix_points(elbow, wrist, 0.15), mix_points(elbow, wrist, 0.85)), (0.052, 0.046)), _STEEL)
        canvas.shape(ellipse(shoulder[0], shoulder[1], 0.048, 0.040, 16), cloth)
    else:
        wide = 0.066 if outfit in ("coat", "hoodie") else 0.056
        end = mix_points(elbow, wrist, 0.86)
        canvas.shape(capsule((shoulder, elbow, end), (wide, wide * 0.95, wide * 0.9)), cloth, shrink=0.86)
        trim = contrast(cloth) if outfit == "school uniform" else darker(cloth, 0.3)
        canvas.shape(capsule((mix_points(elbow, wrist, 0.78), end), (wide * 0.95, wide * 0.95)), trim, outline=0.7)


def draw_outfit(
    canvas: Canvas, outfit: str, cloth: RGB, skin: RGB, person: str, build: float, bones: Skeleton, sway: float
) -> None:
    """Trunk, skirt and trim."""
    painter = _Trunk(canvas, bones, build)
    if outfit == "school uniform":
        _uniform(painter, cloth, skin, person, sway)
    elif outfit == "kimono":
        _kimono(painter, cloth, sway)
    elif outfit == "hoodie":
        _hoodie(painter, cloth)
    elif outfit == "armor":
        _armor(painter, cloth, sway)
    elif outfit == "dress":
        _dress(painter, cloth, skin, sway)
    else:
        _coat(painter, cloth, sway)


class _Trunk:
    """Places outfit shapes: x in half shoulder widths, y 0 at the shoulders, 1 at the hips, further down the legs."""

    def __init__(self, canvas: Canvas, bones: Skeleton, build: float) -> None:
        self.canvas = canvas
        self.top = np.array(bones.neck) + np.array([0.0, 0.02])
        self.hip = np.array(bones.hip)
        self.half = 0.095 * build
        feet = (np.array(bones.left_leg[2]) + np.array(bones.right_leg[2])) / 2
        self.feet = np.array([0.6 * feet[0] + 0.4 * self.hip[0], feet[1]])

    def place(self, points: tuple[tuple[float, float], ...] | np.ndarray) -> np.ndarray:
        p = np.asarray(points, dtype=np.float64)
        y = p[:, 1:2]
        above = self.top + (self.hip - self.top) * np.minimum(y, 1.0)
        below = (self.feet - self.hip) * np.maximum(0.0, y - 1.0) / 1.65
        middle = above + below
        middle[:, 0] += p[:, 0] * self.half
        return np.asarray(middle)

    def shape(
        self,
        points: tuple[tuple[float, float], ...],
        colour: RGB,
        curve: int = 0,
        *,
        shade: bool = True,
        outline: float = 1.0,
    ) -> None:
        p = smooth(points, curve) if curve else np.asarray(points)
        self.canvas.shape(self.place(p), colour, shade=shade, outline=outline)

    def line(self, points: tuple[tuple[float, float], ...], colour: RGB, width: float = 1.0) -> None:
        self.canvas.line(self.place(points), colour, width)


_TORSO = ((-0.55, -0.06), (0.55, -0.06), (1.0, 0.12), (0.82, 0.55), (0.86, 1.02), (-0.86, 1.02), (-0.82, 0.55),
          (-1.0, 0.12))  # fmt: skip


def _skirt(trunk: _Trunk, colour: RGB, length: float, flare: float, sway: float, pleats: int) -> None:
    s = 0.35 * sway * length
    hem = np.linspace(-flare, flare, 2 * pleats + 1)
    edge = tuple((float(x + s), 1.0 + length + (0.05 if i % 2 else 0.0)) for i, x in enumerate(hem))
    trunk.shape(((0.80, 0.90), (-0.80, 0.90), *edge), colour)
    for x, _ in edge[2:-2:2]:
        trunk.line((((x - s) * 0.75 / flare, 1.0), (x, 1.0 + length)), darker(colour, 0.4), 0.8)


def _uniform(trunk: _Trunk, cloth: RGB, skin: RGB, person: str, sway: float) -> None:
    trim = contrast(cloth)
    trunk.shape(_TORSO, cloth)
    if person == "girl":
        _skirt(trunk, mix(cloth, (36, 40, 76), 0.30), 0.62, 1.35, sway, 5)
        trunk.shape(((-0.40, -0.06), (0.40, -0.06), (0.0, 0.34)), skin, shade=False)
        for side in (-1.0, 1.0):
            collar = ((side * 0.40, -0.10), (side * 0.98, 0.10), (side * 0.70, 0.36), (0.0, 0.46), (side * 0.02, 0.34))
            trunk.shape(collar, trim)
        ribbon = (226, 72, 78) if cloth[0] < 180 or cloth[1] > 180 else (60, 96, 190)
        trunk.shape(((0.0, 0.44), (-0.42, 0.36), (-0.36, 0.66)), ribbon)
        trunk.shape(((0.0, 0.44), (0.42, 0.36), (0.36, 0.66)), ribbon)
        return
    trunk.shape(((-0.34, -0.06), (0.34, -0.06), (0.0, 0.50)), _CREAM, shade=False)
    trunk.shape(((-0.08, 0.10), (0.08, 0.10), (0.10, 0.46), (0.0, 0.54), (-0.10, 0.46)), darker(cloth, 0.5))
    for y in (0.62, 0.82):
        trunk.canvas.fill(trunk.place(ellipse(0.0, y, 0.07, 0.03, 10)), _GOLD)


def _kimono(trunk: _Trunk, cloth: RGB, sway: float) -> None:
    s = 0.25 * sway
    trunk.shape(((-0.84, 0.9), (0.84, 0.9), (0.98, 1.5), (0.86 + s, 2.42), (-0.86 + s, 2.42), (-0.98, 1.5)), cloth)
    trunk.line(((0.20, 1.0), (0.36 + s, 2.40)), darker(cloth, 0.45), 1.0)
    trunk.shape(_TORSO, cloth)
    trim = contrast(cloth)
    for x0, y0 in ((-0.5, 1.6), (0.45, 1.9), (-0.3, 2.15), (0.1, 1.4), (0.62, 1.45)):
        trunk.canvas.fill(trunk.place(ellipse(x0 + s * (y0 - 1), y0, 0.13, 0.075, 10)), lighter(cloth, 0.55), 0.9)
    trunk.shape(((-0.40, -0.10), (-0.20, -0.10), (0.18, 0.42), (0.02, 0.52)), trim, shade=False)
    trunk.shape(((0.40, -0.10), (0.20, -0.10), (-0.18, 0.42), (-0.02, 0.52)), trim, shade=False)
    obi = _GOLD if abs(cloth[0] - 232) + abs(cloth[2] - 84) > 120 else (90, 60, 120)
    trunk.shape(((-0.88, 0.52), (0.88, 0.52), (0.88, 0.92), (-0.88, 0.92)), obi)
    trunk.line(((-0.86, 0.72), (0.86, 0.72)), darker(obi, 0.5), 1.2)


def _hoodie(trunk: _Trunk, cloth: RGB) -> None:
    trunk.shape(
        ((-0.55, -0.06), (0.55, -0.06), (1.05, 0.12), (0.98, 0.6), (1.02, 1.14), (-1.02, 1.14), (-0.98, 0.6),
         (-1.05, 0.12)), cloth)  # fmt: skip
    trunk.shape(((-0.52, 0.74), (0.52, 0.74), (0.66, 1.04), (-0.66, 1.04)), darker(cloth, 0.10), outline=0.8)
    trunk.line(((-1.0, 1.06), (1.0, 1.06)), darker(cloth, 0.4), 0.9)
    trunk.shape(((-0.78, -0.05), (-0.4, -0.22), (0.4, -0.22), (0.78, -0.05), (0.36, 0.20), (0.0, 0.26), (-0.36, 0.20)),
                darker(cloth, 0.14), 3)  # fmt: skip
    for x in (-0.16, 0.16):
        trunk.line(((x, 0.18), (x * 1.1, 0.48)), contrast(cloth), 1.5)


def _armor(trunk: _Trunk, cloth: RGB, sway: float) -> None:
    _skirt(trunk, darker(cloth, 0.15), 0.5, 1.15, sway * 0.6, 3)
    trunk.shape(_TORSO, cloth)
    trunk.shape(((-0.66, 0.06), (0.66, 0.06), (0.76, 0.36), (0.0, 0.62), (-0.76, 0.36)), mix(cloth, _STEEL, 0.45))
    trunk.line(((0.0, 0.10), (0.0, 0.60)), darker(cloth, 0.5), 1.0)
    trunk.shape(((-0.88, 0.86), (0.88, 0.86), (0.88, 1.02), (-0.88, 1.02)), _GOLD)
    trunk.canvas.fill(trunk.place(ellipse(0.0, 0.30, 0.12, 0.06, 12)), _GOLD)
    trunk.shape(((-0.42, -0.14), (0.42, -0.14), (0.50, 0.04), (-0.50, 0.04)), _STEEL)


def _dress(trunk: _Trunk, cloth: RGB, skin: RGB, sway: float) -> None:
    _skirt(trunk, cloth, 1.02, 1.62, sway, 4)
    trunk.shape(_TORSO, cloth)
    trunk.shape(((-0.48, -0.07), (0.48, -0.07), (0.26, 0.20), (-0.26, 0.20)), skin, shade=False)
    trim = contrast(cloth)
    trunk.shape(((-0.50, -0.08), (-0.26, 0.22), (0.26, 0.22), (0.50, -0.08), (0.62, -0.02), (0.34, 0.34),
                 (-0.34, 0.34), (-0.62, -0.02)), trim)  # fmt: skip
    trunk.shape(((-0.84, 0.80), (0.84, 0.80), (0.82, 0.96), (-0.82, 0.96)), trim)


def _coat(trunk: _Trunk, cloth: RGB, sway: float) -> None:
    s = 0.35 * sway
    trunk.shape(((-0.55, -0.06), (0.55, -0.06), (1.05, 0.12), (0.90, 0.7), (1.20 + s, 1.95), (-1.20 + s, 1.95),
                 (-0.90, 0.7), (-1.05, 0.12)), cloth)  # fmt: skip
    trunk.shape(((-0.26, -0.06), (0.26, -0.06), (0.14, 0.60), (-0.14, 0.60)), _CREAM, shade=False)
    for side in (-1.0, 1.0):
        lapel = ((side * 0.20, -0.14), (side * 0.64, -0.02), (side * 0.46, 0.34), (side * 0.08, 0.62))
        trunk.shape(lapel, darker(cloth, 0.18))
        trunk.line(((side * 0.62, 1.10), (side * 0.90, 1.06)), darker(cloth, 0.5), 1.0)
    trunk.line(((0.0, 0.60), (s, 1.93)), darker(cloth, 0.5), 1.0)
    trunk.shape(((-0.92, 0.80), (0.92, 0.80), (0.94, 0.94), (-0.94, 0.94)), darker(cloth, 0.35))
    trunk.canvas.fill(trunk.place(ellipse(0.0, 0.87, 0.13, 0.07, 10)), _GOLD)
