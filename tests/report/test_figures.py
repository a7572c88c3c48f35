"""Drawings are well-formed, say what they show, and place their marks where the numbers are."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardbench.metrics.ties import TieCurve, tie_curve
from rewardbench.report import figures
from rewardbench.report.evidence import RowEvidence, margin_histogram

HOSTILE = "\"><script>alert(1)</script>&'"


def parsed(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)


def sample(n: int = 300, scale: float = 1.0) -> RowEvidence:
    rng = np.random.default_rng(0)
    human = rng.choice([1, 0, -1], n).astype(np.int8)
    return RowEvidence(np.arange(n), human, scale * (human + rng.normal(0, 1, n)))


@given(st.floats(-1e6, 1e6), st.floats(1e-9, 1e12))
def test_ticks_lie_inside_and_are_evenly_spaced(low: float, span: float) -> None:
    """Ranges no narrower than a double can tell apart: ``low`` is in units of the span."""
    low *= span
    found = figures.ticks(low, low + span)
    assert len(found) <= 6 + 1
    slack = 1e-6 * max(span, abs(low))
    assert all(low - slack <= value <= low + span + slack for value in found)


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=8))
def test_the_domain_of_accuracies_holds_them_all(values: list[float | None]) -> None:
    low, high = figures.accuracy_domain(values)
    assert 0 <= low < high <= 1
    assert high - low >= 0.29
    assert all(low - 1e-9 <= value <= high + 1e-9 for value in values if value is not None)


def test_interval_plot_places_dot_interval_and_floor() -> None:
    svg = parsed(figures.interval_plot(0.5, (0.25, 0.75), 0.0, (0.0, 1.0)))
    by_class = {(element.get("class") or "").split()[0]: element for element in svg if element.get("class") != "grid"}
    assert by_class["dot"].get("cx") == "50.00%"
    assert (by_class["ci"].get("x1"), by_class["ci"].get("x2")) == ("26.50%", "73.50%")
    assert by_class["floor"].get("x1") == "3.00%"
    assert by_class["dot"].get("class") == "dot above"
    assert svg.get("aria-label") == ".5000, interval .2500–.7500, to beat .0000"


@pytest.mark.parametrize("mark", ["circle", "diamond"])
def test_interval_plot_of_nothing_is_empty_but_named(mark: str) -> None:
    svg = parsed(figures.interval_plot(None, None, None, (0.0, 1.0), mark))
    assert svg.get("aria-label") == "–, interval undefined"
    assert {element.get("class") for element in svg} <= {"grid"}


def test_threshold_curve_marks_the_best_threshold_and_the_folds() -> None:
    drawn = sample()
    curve = tie_curve(drawn.human, drawn.margin)
    best = int(np.argmax(curve.accuracy))
    oracle = (float(curve.thresholds[best]), float(curve.accuracy[best]))
    svg = parsed(figures.threshold_curve(curve, 0.4, oracle, [0.1, 0.2, 0.2], "title"))
    path = next(element for element in svg if element.get("class") == "curve")
    points = [(float(x), float(y)) for x, y in re.findall(r"([\d.]+) ([\d.]+)", path.get("d") or "")]
    dot = next(element for element in svg if element.tag == "circle")
    assert min(y for _, y in points) == pytest.approx(float(dot.get("cy") or 0), abs=0.11)
    assert sum(element.get("class") == "fold" for element in svg) == 2
    assert all(0 <= x <= figures.WIDTH and 0 <= y <= figures.HEIGHT for x, y in points)


@pytest.mark.parametrize(
    "curve",
    [
        TieCurve(np.array([0.0]), np.array([0.5])),
        TieCurve(np.array([0.0, 1e-300]), np.array([0.5, 0.25])),
        TieCurve(np.array([0.0, 1e300]), np.array([0.5, 0.25])),
    ],
)
def test_threshold_curve_of_few_or_extreme_steps_is_drawn(curve: TieCurve) -> None:
    svg = figures.threshold_curve(curve, None, None, [float("nan")], "title")
    assert parsed(svg).tag == "svg"
    assert "nan" not in svg
    assert "inf" not in svg


def test_a_long_curve_stays_small_and_reaches_its_peak() -> None:
    drawn = sample(20_000)
    curve = tie_curve(drawn.human, drawn.margin)
    svg = figures.threshold_curve(curve, 0.4, None, [], "title")
    assert len(svg) < 40_000


@pytest.mark.parametrize("scale", [0.0, 1e-12, 1.0, 1e12])
def test_histogram_is_drawn_at_any_scale(scale: float) -> None:
    histogram = margin_histogram(sample(50, scale))
    assert histogram is not None
    svg = figures.margin_histogram(histogram, 0.5 * scale, "title")
    assert sum((element.get("class") or "").startswith("hist") for element in parsed(svg)) == 3
    assert "nan" not in svg


def test_titles_cannot_become_markup() -> None:
    histogram = margin_histogram(sample())
    assert histogram is not None
    curve = tie_curve([1, 0], [0.5, 0.1])
    for svg in (
        figures.margin_histogram(histogram, None, HOSTILE),
        figures.threshold_curve(curve, 0.5, None, [], HOSTILE),
    ):
        assert parsed(svg).get("aria-label") == HOSTILE
        assert "<script" not in svg


def test_the_same_numbers_give_the_same_drawing() -> None:
    first, second = margin_histogram(sample()), margin_histogram(sample())
    assert first is not None
    assert second is not None
    assert figures.margin_histogram(first, 0.5, "t") == figures.margin_histogram(second, 0.5, "t")
