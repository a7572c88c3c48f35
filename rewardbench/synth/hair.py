"""Hair: what hangs behind the head, and the fringe, strands and highlights in front of it.

All shapes are in head coordinates (unit: half the face's width, y downwards, origin in the middle of the face).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rewardbench.synth.canvas import Canvas, ellipse, smooth
from rewardbench.synth.palette import RGB, darker, lighter

Place = Callable[[np.ndarray], np.ndarray]
Outline = tuple[tuple[float, float], ...]

_LONG: Outline = (
    (0.0, -1.36), (0.75, -1.22), (1.20, -0.60), (1.34, 0.30), (1.42, 1.30), (1.58, 2.30), (1.30, 3.00), (0.95, 2.72),
    (0.50, 3.05), (0.0, 2.80), (-0.50, 3.05), (-0.95, 2.72), (-1.30, 3.00), (-1.58, 2.30), (-1.42, 1.30),
    (-1.34, 0.30), (-1.20, -0.60), (-0.75, -1.22),
)  # fmt: skip
_BOB: Outline = (
    (0.0, -1.36), (0.75, -1.22), (1.20, -0.60), (1.36, 0.20), (1.40, 0.80), (1.10, 1.16), (0.70, 1.02), (0.0, 0.90),
    (-0.70, 1.02), (-1.10, 1.16), (-1.40, 0.80), (-1.36, 0.20), (-1.20, -0.60), (-0.75, -1.22),
)  # fmt: skip
_SHORT: Outline = (
    (0.0, -1.34), (0.72, -1.20), (1.15, -0.62), (1.20, 0.05), (1.05, 0.50), (0.60, 0.55), (0.0, 0.50), (-0.60, 0.55),
    (-1.05, 0.50), (-1.20, 0.05), (-1.15, -0.62), (-0.72, -1.20),
)  # fmt: skip
_SPIKY: Outline = (
    (0.0, -1.40), (0.22, -1.98), (0.52, -1.36), (1.06, -1.72), (1.04, -1.02), (1.68, -1.00), (1.24, -0.46),
    (1.72, -0.14), (1.20, 0.06), (1.44, 0.56), (0.95, 0.40), (0.0, 0.50), (-0.95, 0.40), (-1.44, 0.56), (-1.20, 0.06),
    (-1.72, -0.14), (-1.24, -0.46), (-1.68, -1.00), (-1.04, -1.02), (-1.06, -1.72), (-0.52, -1.36), (-0.30, -1.90),
)  # fmt: skip
_TAIL: Outline = (
    (0.70, -1.00), (1.30, -1.16), (1.90, -0.70), (2.10, 0.20), (2.02, 1.20), (2.16, 2.10), (1.78, 1.80), (1.52, 1.10),
    (1.56, 0.30), (1.34, -0.40), (0.90, -0.66),
)  # fmt: skip
_TWIN: Outline = (
    (0.95, -0.72), (1.45, -1.06), (1.95, -0.60), (2.16, 0.40), (2.10, 1.50), (2.34, 2.60), (1.86, 2.34), (1.60, 1.50),
    (1.60, 0.60), (1.42, -0.10), (1.10, -0.44),
)  # fmt: skip

_FRINGES: dict[str, Outline] = {
    "straight": (
        (0.98, 0.06), (0.86, -0.30), (0.66, -0.12), (0.46, -0.34), (0.22, -0.10), (0.02, -0.34), (-0.22, -0.10),
        (-0.44, -0.34), (-0.66, -0.12), (-0.86, -0.30), (-0.98, 0.06),
    ),
    "swept": (
        (0.98, 0.10), (0.82, -0.36), (0.50, -0.64), (0.20, -0.50), (-0.02, -0.12), (-0.20, -0.40), (-0.48, 0.00),
        (-0.62, -0.34), (-0.86, 0.10), (-0.90, -0.20), (-0.99, 0.16),
    ),
    "boy": (
        (0.98, 0.12), (0.84, -0.30), (0.58, 0.02), (0.42, -0.38), (0.10, 0.06), (-0.06, -0.40), (-0.40, -0.04),
        (-0.52, -0.38), (-0.80, 0.02), (-0.88, -0.24), (-0.99, 0.12),
    ),
}  # fmt: skip


def _mirror(outline: np.ndarray) -> np.ndarray:
    return outline * (-1.0, 1.0)


def _swing(curve: np.ndarray, sway: float, start: float) -> np.ndarray:
    """Shift what hangs below ``start`` sideways, the more the lower it is."""
    moved = curve.copy()
    depth = np.maximum(0.0, curve[:, 1] - start)
    moved[:, 0] += sway * 0.30 * depth**1.3
    moved[:, 1] -= abs(sway) * 0.06 * depth
    return moved


def draw_back_hair(canvas: Canvas, style: str, colour: RGB, place: Place, sway: float, turn: float) -> None:
    """What lies behind the head and the body."""
    back = darker(colour, 0.20)
    if style == "long":
        canvas.shape(place(_swing(smooth(_LONG, 4), sway, 0.3)), back, shrink=0.93)
        for x in (-1.05, -0.55, 0.55, 1.05):
            strand = np.array([(x, 0.9), (x * 1.06, 1.7), (x * 1.02, 2.5)])
            canvas.line(place(_swing(strand, sway, 0.3)), darker(colour, 0.45), 0.8)
        return
    if style in ("ponytail", "braid", "twin tails"):
        side = -1.0 if turn > 0.05 else 1.0
        sides = (-1.0, 1.0) if style == "twin tails" else (side,)
        for s in sides:
            if style == "braid":
                for i in range(7):
                    knot = ellipse(1.25 + 0.05 * i, 0.35 + 0.40 * i, 0.30 - 0.02 * i, 0.28, 14)
                    canvas.shape(place(_swing(knot * (s, 1.0), sway, 0.2)), colour, outline=0.9)
                tip = np.array([(1.42, 2.95), (1.68, 2.95), (1.62, 3.35)])
                canvas.shape(place(_swing(tip * (s, 1.0), sway, 0.2)), colour)
                continue
            tail = _swing(smooth(_TWIN if style == "twin tails" else _TAIL, 4), sway * s, -0.4)
            strand = _swing(np.array([(1.60, -0.60), (1.82, 0.30), (1.80, 1.20), (1.92, 1.90)]), sway * s, -0.4)
            canvas.shape(place(tail if s > 0 else _mirror(tail)), colour, shrink=0.84)
            canvas.line(place(strand if s > 0 else _mirror(strand)), darker(colour, 0.35), 0.8)
    outline = {"bob": _BOB, "spiky": _SPIKY}.get(style, _SHORT)
    canvas.shape(place(smooth(outline, 2 if style == "spiky" else 4)), back, shrink=0.93)


def draw_front_hair(
    canvas: Canvas, style: str, colour: RGB, person: str, place: Place, sway: float, turn: float
) -> None:
    """Cap, fringe, side locks, strands and the band of light."""
    fringe = "boy" if person == "boy" else ("swept" if style in ("ponytail", "short", "braid") else "straight")
    edge = np.array(_FRINGES[fringe])
    edge = edge + np.stack([0.22 * turn * (1.0 - np.abs(edge[:, 0])), np.zeros(len(edge))], axis=1)
    dome = smooth(((-1.10, 0.10), (-1.16, -0.55), (-0.78, -1.20), (0.0, -1.42), (0.78, -1.20), (1.16, -0.55),
                   (1.10, 0.10)), 4, closed=False)  # fmt: skip
    cap = np.vstack([dome, edge])
    canvas.shape(place(cap), colour, anchor=_middle(place, -0.15, -0.75), shrink=0.94)
    if style == "spiky":
        for x, y, s in ((-0.55, -1.25, -0.35), (0.05, -1.42, 0.12), (0.60, -1.22, 0.42)):
            spike = np.array([(x - 0.26, y + 0.16), (x + s, y - 0.48), (x + 0.26, y + 0.16)])
            canvas.shape(place(spike), colour, outline=0.0)
    if style in ("long", "twin tails", "braid", "bob", "ponytail"):
        length = {"bob": 0.75, "long": 1.35}.get(style, 1.05)
        for s in (-1.0, 1.0):
            lock = np.array(
                [(0.98, -0.45), (1.17, -0.10), (1.14, length * 0.6), (1.0, length), (0.92, 0.4), (0.88, -0.1)]
            )
            canvas.shape(place(_swing(lock, sway * s, 0.0) * (s, 1.0)), colour, shrink=0.88, outline=0.8)
    for x0, x1 in ((-0.62, -0.50), (-0.24, -0.20), (0.20, 0.14), (0.58, 0.46)):
        strand = np.array([(x0 * 0.5, -1.12), (x0 * 0.95, -0.70), (x1 + 0.2 * turn, -0.34)])
        canvas.line(place(strand), darker(colour, 0.38), 0.75)
    if canvas.style.shade_levels > 1:
        band = np.array([(-0.80, -0.74), (-0.60, -0.90), (-0.30, -0.98), (0.05, -0.99), (0.30, -0.95), (0.22, -0.82),
                         (0.06, -0.88), (-0.08, -0.76), (-0.24, -0.87), (-0.42, -0.70), (-0.58, -0.78)])  # fmt: skip
        canvas.fill(place(band), lighter(colour, 0.55), 0.85)
        spot = np.array([(0.46, -0.92), (0.70, -0.78), (0.80, -0.60), (0.64, -0.68)])
        canvas.fill(place(spot), lighter(colour, 0.45), 0.8)


def _middle(place: Place, x: float, y: float) -> tuple[float, float]:
    (point,) = place(np.array([(x, y)]))
    return float(point[0]), float(point[1])
