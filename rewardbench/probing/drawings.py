"""Dose-response curves as inline SVG, coloured by the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from rewardbench.report import notation
from rewardbench.report.figures import ticks

WIDTH, HEIGHT = 360, 210
LEFT, RIGHT, TOP, BOTTOM = 40, 92, 10, 34
_LABEL_GAP = 12.0
_LEAST_REACH = 0.5
"""Curves that stay within half a standard deviation are drawn on an axis of that reach: small must look small."""


@dataclass(frozen=True)
class Curve:
    """One dimension's mean effect at ascending doses from 0.

    Attributes:
        name: of the dimension.
        hue: 0 to 7, its colour and dash throughout the page.
        effects, bounds: in standard deviations between clips; a bound is None where it is unknown.
        expected: drawn strongly, with its interval: it is a dimension that should fall.
    """

    name: str
    hue: int
    effects: Sequence[float]
    bounds: Sequence[tuple[float, float] | None]
    expected: bool


def dose_chart(doses: Sequence[float], curves: Sequence[Curve], margin: float, described: str) -> Markup:
    """All dimensions' curves for one degradation, each named at its end; the band is what counts as no change."""
    bounded = [b for c in curves if c.expected for pair in c.bounds if pair is not None for b in pair]
    values = [v for c in curves for v in c.effects] + [v for v in bounded if math.isfinite(v)]
    low, high = min([-_LEAST_REACH, *values]), max([_LEAST_REACH / 2, *values])
    pad = 0.04 * (high - low)
    low, high = low - pad, high + pad

    def x(dose: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * dose

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - value) / (high - low)

    parts = [_frame(doses, (low, high), margin, x, y)]
    for curve in sorted(curves, key=lambda c: c.expected):
        parts.append(_line(doses, curve, x, y))
    ends = [(y(curve.effects[-1]), curve) for curve in curves]
    for place, (end, curve) in zip(_spread([end for end, _ in ends]), ends, strict=True):
        css = f"hue-{curve.hue}{' strong' if curve.expected else ''}"
        parts.append(
            Markup('<path class="leader {}" d="M{:.1f} {:.1f}L{:.1f} {:.1f}"/>').format(
                css, x(1.0) + 3, end, x(1.0) + 10, place
            )
        )
        parts.append(
            Markup('<text class="end {}" x="{:.1f}" y="{:.1f}">{}</text>').format(
                css, x(1.0) + 12, place + 3.6, notation.plain(curve.name, 14)
            )
        )
    return Markup('<svg class="chart doses" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, HEIGHT, described, Markup("").join(parts)
    )


def _frame(doses: Sequence[float], domain: tuple[float, float], margin: float, x, y) -> Markup:  # type: ignore[no-untyped-def]
    low, high = domain
    parts = [
        Markup('<rect class="margin" x="{}" y="{:.1f}" width="{}" height="{:.1f}"/>').format(
            LEFT, y(min(margin, high)), WIDTH - LEFT - RIGHT, y(max(-margin, low)) - y(min(margin, high))
        )
    ]
    for value in ticks(low, high, 5):
        parts.append(
            Markup('<line class="grid" x1="{}" x2="{}" y1="{y:.1f}" y2="{y:.1f}"/>').format(
                LEFT, WIDTH - RIGHT, y=y(value)
            )
        )
        parts.append(
            Markup('<text class="tick" x="{}" y="{:.1f}" text-anchor="end">{}</text>').format(
                LEFT - 5, y(value) + 3.6, notation.measure(value)
            )
        )
    parts.append(
        Markup('<line class="zero" x1="{}" x2="{}" y1="{y:.1f}" y2="{y:.1f}"/>').format(LEFT, WIDTH - RIGHT, y=y(0.0))
    )
    for dose in doses:
        parts.append(
            Markup('<text class="tick" x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(
                x(dose), HEIGHT - BOTTOM + 14, notation.proportion(dose, 2).rstrip("0").rstrip(".") or "0"
            )
        )
    parts.append(
        Markup('<text class="axis" x="{:.1f}" y="{}" text-anchor="middle">dose</text>').format(x(0.5), HEIGHT - 5)
    )
    return Markup("").join(parts)


def _line(doses: Sequence[float], curve: Curve, x, y) -> Markup:  # type: ignore[no-untyped-def]
    css = f"hue-{curve.hue}{' strong' if curve.expected else ''}"
    parts = []
    if curve.expected:
        for dose, pair in zip(doses, curve.bounds, strict=True):
            if pair is not None and pair[0] < pair[1]:
                parts.append(
                    Markup('<line class="bar {}" x1="{x:.1f}" x2="{x:.1f}" y1="{:.1f}" y2="{:.1f}"/>').format(
                        css, y(pair[0]), y(pair[1]), x=x(dose)
                    )
                )
    path = "M" + "L".join(f"{x(d):.1f} {y(e):.1f}" for d, e in zip(doses, curve.effects, strict=True))
    parts.append(Markup('<path class="dose {}" d="{}"/>').format(css, path))
    for dose, effect in zip(doses, curve.effects, strict=True):
        if curve.expected:
            parts.append(
                Markup('<circle class="dose {}" cx="{:.1f}" cy="{:.1f}" r="2.6"/>').format(css, x(dose), y(effect))
            )
    return Markup("").join(parts)


def _spread(places: Sequence[float]) -> list[float]:
    """Heights of the labels: at their line's end or, where they would touch, moved apart and kept in the drawing."""
    order = sorted(range(len(places)), key=lambda i: places[i])
    moved = [0.0] * len(places)
    floor = TOP + 2.0
    for i in order:
        moved[i] = max(places[i], floor)
        floor = moved[i] + _LABEL_GAP
    ceiling = HEIGHT - BOTTOM + 2.0
    for i in reversed(order):
        moved[i] = min(moved[i], ceiling)
        ceiling = moved[i] - _LABEL_GAP
    return moved
