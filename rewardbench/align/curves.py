"""Drawings of the alignment page as inline SVG: values over steps, stacked seconds, a histogram."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from rewardbench.report import notation
from rewardbench.report.figures import BOTTOM, HEIGHT, RIGHT, TOP, WIDTH, ticks

LEFT = 66
"""Wider than on the other page: the vertical axis has a name and numbers of any size."""
MOST_POINTS = 600
PHASES = ("data", "reference", "forward", "backward", "optimiser")

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Line:
    """One curve: its name in the legend, its class in the style sheet, its points.

    ``hollow`` are the steps whose dots are drawn empty (where a chart has dots): they rest on too little.
    """

    name: str
    css: str
    points: Points
    hollow: frozenset[float] = frozenset()


class _Frame:
    """Axes of one chart, and where numbers lie on them."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float], x_name: str, y_name: str, whole: bool) -> None:
        self._x, self._y = _wide(x), _wide(y)
        self.parts: list[Markup] = []
        for value in ticks(*self._y, 4):
            at = self.y(value)
            self._add('<line class="grid" x1="{}" x2="{}" y1="{:.1f}" y2="{:.1f}"/>', LEFT, WIDTH - RIGHT, at, at)
            self._add(
                '<text class="tick" x="{}" y="{:.1f}" text-anchor="end">{}</text>', LEFT - 6, at + 3.5, _tick(value)
            )
        for value in ticks(*self._x, 4):
            if whole and value != round(value):
                continue
            at = self.x(value)
            self._add('<line class="grid" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/>', at, TOP, HEIGHT - BOTTOM)
            self._add(
                '<text class="tick" x="{:.1f}" y="{}" text-anchor="middle">{}</text>',
                at,
                HEIGHT - BOTTOM + 15,
                _tick(value),
            )
        middle = (LEFT + WIDTH - RIGHT) / 2
        self._add('<text class="axis" x="{}" y="{}" text-anchor="middle">{}</text>', middle, HEIGHT - 6, x_name)
        middle = (TOP + HEIGHT - BOTTOM) / 2
        self._add(
            '<text class="axis" transform="translate(12 {}) rotate(-90)" text-anchor="middle">{}</text>', middle, y_name
        )

    def _add(self, template: str, *values: object) -> None:
        self.parts.append(Markup(template).format(*values))

    def x(self, value: float) -> float:
        low, high = self._x
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        low, high = self._y
        return TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM)

    def level(self, value: float, css: str = "floor dashed") -> None:
        """A horizontal line."""
        self._add(
            '<line class="{0}" x1="{1}" x2="{2}" y1="{3:.1f}" y2="{3:.1f}"/>',
            css,
            LEFT,
            WIDTH - RIGHT,
            self.y(value),
        )

    def upright(self, value: float, css: str) -> None:
        """A vertical line."""
        self._add(
            '<line class="{0}" x1="{1:.1f}" x2="{1:.1f}" y1="{2}" y2="{3}"/>', css, self.x(value), TOP, HEIGHT - BOTTOM
        )

    def curve(self, line: Line, dots: bool = False) -> None:
        """A line with gaps where values are not finite; a lone point as a dot, or all points."""
        run: list[tuple[float, float]] = []
        for x, y in [*thinned(line.points), (math.nan, math.nan)]:
            if math.isfinite(y):
                run.append((self.x(x), self.y(y)))
            elif len(run) == 1 and not dots:
                self._add('<circle class="point {}" cx="{:.1f}" cy="{:.1f}" r="2.5"/>', line.css, *run[0])
                run = []
            elif run:
                if len(run) > 1:
                    self._add('<path class="curve {}" d="{}"/>', line.css, _path(run))
                run = []
        for x, y in line.points if dots else ():
            if math.isfinite(y):
                css = f"{line.css} hollow" if x in line.hollow else line.css
                self._add('<circle class="point {}" cx="{:.1f}" cy="{:.1f}" r="2.8"/>', css, self.x(x), self.y(y))

    def area(self, css: str, x: Sequence[float], low: np.ndarray, high: np.ndarray) -> None:
        """What lies between two curves."""
        upper = [(self.x(a), self.y(float(b))) for a, b in zip(x, high, strict=True)]
        lower = [(self.x(a), self.y(float(b))) for a, b in zip(x, low, strict=True)]
        self._add('<path class="area {}" d="{}Z"/>', css, _path([*upper, *lower[::-1]]))

    def svg(self, title: str) -> Markup:
        return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
            WIDTH, HEIGHT, title, Markup("").join(self.parts)
        )


def line_chart(
    lines: Sequence[Line],
    y_name: str,
    title: str,
    *,
    level: float | None = None,
    marks: Sequence[float] = (),
    share: bool = False,
    dots: bool = False,
    alarm: float | None = None,
    span: tuple[float, float] | None = None,
) -> Markup | None:
    """Values over steps; None where no value is finite.

    Args:
        lines: on one vertical axis.
        y_name: of that axis.
        title: for screen readers; first and last values are added.
        level: value to draw a dashed line at (chance, no change).
        marks: steps to draw a vertical line at (the rounds' ends).
        share: the axis goes from 0 to 1.
        dots: every point is drawn as a dot too (few points, with nothing measured in between).
        alarm: value to draw the line of an alarm at.
        span: values that the vertical axis reaches at least, to be as long as another chart's.
    """
    known = [(x, y) for line in lines for x, y in line.points if math.isfinite(y)]
    if not known:
        return None
    values = [*(y for _, y in known), *(v for v in (level, alarm) if v is not None), *(span or ())]
    low, high = (0.0, 1.0) if share else (min(values), max(values))
    pad = 0.0 if share else 0.06 * (high - low)
    last = max(x for x, _ in known)
    frame = _Frame((0.0, last), (low - pad, high + pad), "step", y_name, whole=True)
    for mark in marks:
        frame.upright(mark, "oracle")
    if level is not None:
        frame.level(level)
    if alarm is not None:
        frame.level(alarm, "floor alarm")
    for line in lines:
        frame.curve(line, dots)
    ends = [f"{line.name} {ends_of(line.points)}" for line in lines if line.points]
    return frame.svg(f"{title}: {'; '.join(ends)}.")


def stacked_seconds(phases: Sequence[tuple[str, Points]], title: str) -> Markup | None:
    """Seconds of a step by phase above each other, over steps; None where there are none."""
    steps = sorted({x for _, points in phases for x, _ in points})
    if not steps:
        return None
    tables = [dict(points) for _, points in phases]
    heights = np.array([[table.get(x, 0.0) for x in steps] for table in tables])
    tops = np.vstack([np.zeros(len(steps)), heights.cumsum(0)])
    if len(steps) == 1:  # one reading becomes a block from the first step on
        steps, tops = [0.0, steps[0]], np.repeat(tops, 2, axis=1)
    frame = _Frame((0.0, steps[-1]), (0.0, float(tops[-1].max()) * 1.05), "step", "seconds a step", whole=True)
    for number, (name, _) in enumerate(phases):
        frame.area(phase_class(name), steps, tops[number], tops[number + 1])
    ends = [f"{name} {ends_of(points)}" for name, points in phases]
    return frame.svg(f"{title}: {'; '.join(ends)}.")


def gap_histogram(gaps: Sequence[float], title: str) -> Markup | None:
    """How many pairs have which difference of rewards; a dashed line at the median. None where there are none."""
    values = np.array([g for g in gaps if math.isfinite(g)])
    if len(values) == 0:
        return None
    low, high = _wide((min(0.0, float(values.min())), float(values.max())))
    counts, edges = np.histogram(
        values, bins=int(min(30, max(6, math.ceil(math.sqrt(len(values)))))), range=(low, high)
    )
    frame = _Frame(
        (low, high), (0.0, float(counts.max()) * 1.05), "reward of the winner − of the loser", "pairs", False
    )
    for count, left, right in zip(counts, edges[:-1], edges[1:], strict=True):
        x, y = frame.x(float(left)), frame.y(float(count))
        frame.parts.append(
            Markup('<rect class="hist a" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
                x, y, max(0.5, frame.x(float(right)) - x - 1), HEIGHT - BOTTOM - y
            )
        )
    frame.upright(float(np.median(values)), "oracle")
    return frame.svg(title)


def phase_class(name: str) -> str:
    """Class of a phase in the style sheet."""
    return f"phase-{PHASES.index(name)}" if name in PHASES else "phase-other"


def thinned(points: Points) -> list[tuple[float, float]]:
    """At most :data:`MOST_POINTS` points: means of neighbours where there are more."""
    size = math.ceil(len(points) / MOST_POINTS)
    if size <= 1:
        return list(points)
    groups = [points[i : i + size] for i in range(0, len(points), size)]
    return [(group[-1][0], sum(y for _, y in group) / len(group)) for group in groups]


def ends_of(points: Points) -> str:
    """``first 0.6931, last 0.4`` of a curve, or its only value."""
    values = [notation.measure(y) for _, y in points]
    if not values:
        return notation.UNDEFINED
    return values[0] if len(values) == 1 else f"first {values[0]}, last {values[-1]}"


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def _wide(span: tuple[float, float]) -> tuple[float, float]:
    """A span that is not empty."""
    low, high = span
    if high > low:
        return low, high
    reach = abs(low) * 0.1 or 1.0
    return (low, low + reach) if low == 0 else (low - reach, low + reach)


def _tick(value: float) -> str:
    return notation.measure(0.0 if abs(value) < 1e-15 else value)
