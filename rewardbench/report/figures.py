"""The drawings of the page as inline SVG: light, deterministic, coloured by the page's style sheet in light and dark.

Drawn by hand because a plotting library costs about a second to import and embeds fonts or paths that cannot follow the
reader's colour scheme or font size. ``Markup.format`` escapes every value, so no foreign text can become markup.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from rewardbench.report import notation
from rewardbench.report.evidence import MarginHistogram

if TYPE_CHECKING:
    from rewardbench.metrics.ties import TieCurve

WIDTH, HEIGHT = 360, 220
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 14, 40
_LABELS = {1: ("A", "a"), 0: ("tie", "tie"), -1: ("B", "b")}


def _joined(parts: Sequence[Markup]) -> Markup:
    return Markup("").join(parts)


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round positions within [low, high], at most ``most`` + 1 of them."""
    span = high - low
    if not (math.isfinite(span) and span > 0):
        return [low]
    raw = span / most
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _tick_text(value: float) -> str:
    return f"{value:.6g}".replace("-", "−").replace("e−0", "e−").replace("e+0", "e")


def _axis(low: float, high: float, name: str) -> Markup:
    """The horizontal axis of a chart."""
    parts = []
    for value in ticks(low, high, 4):
        x = LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)
        parts.append(
            Markup('<line class="grid" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/>').format(x, TOP, HEIGHT - BOTTOM)
        )
        parts.append(
            Markup('<text class="tick" x="{:.1f}" y="{}" text-anchor="middle">{}</text>').format(
                x, HEIGHT - BOTTOM + 15, _tick_text(value)
            )
        )
    parts.append(
        Markup('<text class="axis" x="{}" y="{}" text-anchor="middle">{}</text>').format(
            (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, name
        )
    )
    return _joined(parts)


def accuracy_domain(values: Sequence[float | None]) -> tuple[float, float]:
    """The range of accuracies to draw: tenths around all values, at least .3 wide."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known:
        return 0.0, 1.0
    low = max(0.0, math.floor(min(known) * 10 - 0.15) / 10)
    high = min(1.0, math.ceil(max(known) * 10 + 0.15) / 10)
    while high - low < 0.299:
        low, high = max(0.0, low - 0.1), min(1.0, high + 0.1)
    return round(low, 1), round(high, 1)


def interval_plot(
    value: float | None,
    ci95: tuple[float, float] | None,
    reference: float | None,
    domain: tuple[float, float],
    mark: str = "circle",
) -> Markup:
    """One accuracy as a dot with its 95 % interval, and the line it has to beat, on an axis as wide as its cell.

    Positions are percentages of the cell, so the drawing follows the layout without scaling its strokes or text.
    """
    low, high = domain

    def at(position: float) -> str:
        return f"{3 + 94 * min(max((position - low) / (high - low), 0.0), 1.0):.2f}%"

    parts = [Markup('<line class="grid" x1="{0}" x2="{0}" y1="0" y2="26"/>').format(at(t)) for t in ticks(low, high, 5)]
    if reference is not None:
        parts.append(Markup('<line class="floor" x1="{0}" x2="{0}" y1="3" y2="23"/>').format(at(reference)))
    place = notation.against_floor(value, ci95, reference)
    if ci95 is not None:
        parts.append(
            Markup('<line class="ci {}" x1="{}" x2="{}" y1="13" y2="13"/>').format(place, at(ci95[0]), at(ci95[1]))
        )
    if value is not None and mark == "circle":
        parts.append(Markup('<circle class="dot {}" cx="{}" cy="13" r="4.5"/>').format(place, at(value)))
    elif value is not None:
        parts.append(
            Markup(
                '<svg x="{}" y="13" overflow="visible"><rect class="dot {}" x="-4" y="-4" width="8" height="8"'
                ' transform="rotate(45)"/></svg>'
            ).format(at(value), place)
        )
    described = f"{notation.proportion(value)}, interval {notation.interval(ci95) or 'undefined'}"
    if reference is not None:
        described += f", to beat {notation.proportion(reference)}"
    return Markup('<svg class="interval" width="100%" height="26" role="img" aria-label="{}">{}</svg>').format(
        described, _joined(parts)
    )


def interval_axis(domain: tuple[float, float]) -> Markup:
    """The axis under a column of interval plots."""
    low, high = domain
    parts = [
        Markup('<text class="tick" x="{:.2f}%" y="12" text-anchor="middle">{}</text>').format(
            3 + 94 * (t - low) / (high - low), notation.proportion(t, 1)
        )
        for t in ticks(low, high, 5)
    ]
    return Markup('<svg class="interval" width="100%" height="16" aria-hidden="true">{}</svg>').format(_joined(parts))


def _path(x: Sequence[float], y: Sequence[float]) -> str:
    return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x, y, strict=True))


def threshold_curve(
    curve: TieCurve,
    floor: float | None,
    oracle: tuple[float, float] | None,
    crossfit: Sequence[float],
    title: str,
) -> Markup:
    """Accuracy with ties over the tie threshold.

    Args:
        curve: every threshold that changes the accuracy.
        floor: majority floor, drawn as a dashed line.
        oracle: (threshold, accuracy) of the best threshold on these pairs.
        crossfit: thresholds chosen on the other folds, drawn as ticks on the axis.
        title: names the drawing for screen readers.
    """
    size = curve.thresholds
    chosen = [t for t in [*crossfit, *([oracle[0]] if oracle else [])] if t is not None and math.isfinite(t)]
    reach = float(np.quantile(size, 0.98))
    if size[-1] <= 1.25 * reach:
        reach = float(size[-1])
    reach = max([reach, *(1.05 * t for t in chosen if t <= float(size[-1]) * 1.01)])
    reach = reach if math.isfinite(reach) and reach > 0 else 1.0
    # A step function: drawn exactly where it has few steps, else at one position per third of a pixel.
    grid = size[size <= reach] if len(size) <= 400 else np.linspace(0, reach, 900)
    accuracy = curve.accuracy[np.searchsorted(size, grid, side="right") - 1]
    low, high = accuracy_domain([float(accuracy.min()), float(accuracy.max()), floor, oracle[1] if oracle else None])

    def px(value: float) -> float:
        return LEFT + min(value, reach) / reach * (WIDTH - LEFT - RIGHT)

    def py(value: float) -> float:
        return TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts = [_axis(0, reach, "tie threshold, |margin| ≤ t is a tie")]
    for value in ticks(low, high, 5):
        parts.append(
            Markup('<line class="grid" x1="{0}" x2="{1}" y1="{2:.1f}" y2="{2:.1f}"/>').format(
                LEFT, WIDTH - RIGHT, py(value)
            )
        )
        parts.append(
            Markup('<text class="tick" x="{}" y="{:.1f}" text-anchor="end">{}</text>').format(
                LEFT - 6, py(value) + 3.5, notation.proportion(value, 1)
            )
        )
    if floor is not None:
        y = py(floor)
        parts.append(
            Markup('<line class="floor dashed" x1="{0}" x2="{1}" y1="{2:.1f}" y2="{2:.1f}"/>').format(
                LEFT, WIDTH - RIGHT, y
            )
        )
    steps_x, steps_y = [px(float(grid[0]))], [py(float(accuracy[0]))]
    for t, a in zip(grid[1:], accuracy[1:], strict=True):
        if py(float(a)) == steps_y[-1]:
            continue
        steps_x += [px(float(t)), px(float(t))]
        steps_y += [steps_y[-1], py(float(a))]
    steps_x.append(px(reach))
    steps_y.append(steps_y[-1])
    parts.append(Markup('<path class="curve" d="{}"/>').format(_path(steps_x, steps_y)))
    bottom = HEIGHT - BOTTOM
    for t in sorted({float(t) for t in crossfit if t is not None and 0 <= t <= reach}):
        parts.append(Markup('<path class="fold" d="M{0:.1f} {1}l-4 8h8z"/>').format(px(t), bottom - 8))
    if oracle is not None and math.isfinite(oracle[0]):
        x, y = px(oracle[0]), py(oracle[1])
        parts.append(
            Markup('<line class="oracle" x1="{0:.1f}" x2="{0:.1f}" y1="{1:.1f}" y2="{2}"/>').format(x, y, bottom)
        )
        parts.append(Markup('<circle class="oracle" cx="{:.1f}" cy="{:.1f}" r="4"/>').format(x, y))
    return _chart(parts, title)


def margin_histogram(histogram: MarginHistogram, tie_threshold: float | None, title: str) -> Markup:
    """Margins by human label: three histograms above each other on one axis, with the band called a tie shaded."""
    edges, reach = histogram.edges, float(histogram.edges[-1])
    tallest = max(float(share.max()) for share in histogram.share.values()) or 1.0
    lane = (HEIGHT - TOP - BOTTOM) / 3

    def px(value: float) -> float:
        return LEFT + (value + reach) / (2 * reach) * (WIDTH - LEFT - RIGHT)

    parts = []
    if tie_threshold is not None and math.isfinite(tie_threshold) and tie_threshold > 0:
        band = min(tie_threshold, reach)
        parts.append(
            Markup('<rect class="band" x="{:.1f}" y="{}" width="{:.1f}" height="{}"/>').format(
                px(-band), TOP, max(1.0, px(band) - px(-band)), HEIGHT - TOP - BOTTOM
            )
        )
    parts.append(_axis(-reach, reach, "margin: favours B  ←  0  →  favours A"))
    for row, (label, (name, css)) in enumerate(_LABELS.items()):
        base = TOP + lane * (row + 1)
        heights = histogram.share[label] / tallest * (lane - 6)
        outline = [f"M{px(float(edges[0])):.1f} {base:.1f}"]
        for k, height in enumerate(heights):
            y = base - float(height)
            outline.append(f"L{px(float(edges[k])):.1f} {y:.1f}L{px(float(edges[k + 1])):.1f} {y:.1f}")
        outline.append(f"L{px(float(edges[-1])):.1f} {base:.1f}Z")
        parts.append(Markup('<path class="hist {}" d="{}"/>').format(css, "".join(outline)))
        parts.append(
            Markup('<line class="base" x1="{0}" x2="{1}" y1="{2:.1f}" y2="{2:.1f}"/>').format(LEFT, WIDTH - RIGHT, base)
        )
        parts.append(
            Markup('<text class="lane {}" x="{}" y="{:.1f}" text-anchor="end">{}</text>').format(
                css, LEFT - 8, base - lane / 2 + 3, name
            )
        )
        parts.append(
            Markup('<text class="tick" x="{}" y="{:.1f}">n {}</text>').format(
                LEFT + 4, base - lane + 14, notation.count(histogram.counts[label])
            )
        )
    zero = px(0.0)
    parts.append(
        Markup('<line class="zero" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/>').format(zero, TOP, HEIGHT - BOTTOM)
    )
    return _chart(parts, title)


def _chart(parts: Sequence[Markup], title: str) -> Markup:
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        WIDTH, HEIGHT, title, _joined(parts)
    )
