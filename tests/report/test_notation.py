"""Numbers and foreign text are written the same way everywhere."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardbench.report import notation


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.53279, ".5328"), (0.76, ".7600"), (1.0, "1.0000"), (0.0, ".0000"), (-0.038, "−.0380"), (-1.0, "−1.0000")],
)
def test_proportion_has_four_decimals_and_no_leading_zero(value: float, text: str) -> None:
    assert notation.proportion(value) == text


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_what_is_not_defined_is_a_dash(value: float | None) -> None:
    assert notation.proportion(value) == notation.threshold(value) == notation.measure(value) == "–"


@given(st.floats(0, 1))
def test_proportion_reads_back_to_within_half_a_unit(value: float) -> None:
    assert abs(float(notation.proportion(value)) - value) <= 5.0001e-5


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.56884766, "1.56884766"),
        (0.05514091253, "0.05514091"),
        (0.0, "0"),
        (12.5, "12.5"),
        (1.110223e-16, "1.110223e-16"),
        (100.0, "100"),
    ],
)
def test_threshold_shows_the_digits_papers_are_checked_against(value: float, text: str) -> None:
    assert notation.threshold(value) == text


@given(st.text(), st.integers(1, 50))
def test_plain_text_holds_no_control_character_or_direction_override(text: str, limit: int) -> None:
    shown = notation.plain(text, limit)
    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cs") and c not in "\t\n"]
    assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    assert len(shown) <= limit + len("… (100 characters)") + 3


def test_plain_leaves_ordinary_text_alone() -> None:
    assert notation.plain("少女が歩く, é – “quoted”\n") == "少女が歩く, é – “quoted”\n"


@pytest.mark.parametrize(
    ("value", "ci95", "floor", "place"),
    [
        (0.6, (0.5, 0.7), 0.4, "above"),
        (0.6, (0.5, 0.7), 0.5, "level"),
        (0.6, (0.5, 0.7), 0.8, "below"),
        (0.6, None, 0.4, "unknown"),
        (0.6, (0.5, 0.7), None, "unknown"),
        (None, None, None, "unknown"),
    ],
)
def test_an_accuracy_passes_the_floor_only_with_its_whole_interval(
    value: float | None, ci95: tuple[float, float] | None, floor: float | None, place: str
) -> None:
    assert notation.against_floor(value, ci95, floor) == place
