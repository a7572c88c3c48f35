"""When a number is the printed one."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardbench.reproduction.comparing import compare, digits, is_printed
from rewardbench.reproduction.manifest import Cell


@given(st.floats(-1000, 1000), st.integers(0, 4), st.sampled_from([ROUND_HALF_EVEN, ROUND_HALF_UP]))
def test_a_number_printed_by_any_usual_rounding_is_recognised(x: float, places: int, rounding: str) -> None:
    printed = str(Decimal(x).quantize(Decimal(1).scaleb(-places), rounding))
    assert digits(printed) == places
    assert is_printed(x, printed)


@given(st.integers(0, 9999), st.integers(1, 4), st.sampled_from([-1, 1]))
def test_a_number_one_unit_away_is_not(n: int, places: int, side: int) -> None:
    printed = str(Decimal(n).scaleb(-places))
    assert not is_printed(float(printed) + side * 0.51 * 10.0**-places, printed)
    assert is_printed(float(printed) + side * 0.51 * 10.0**-places, printed, slack=0.02 * 10.0**-places)


@pytest.mark.parametrize(("printed", "places"), [("0.309", 3), ("48.46", 2), ("75", 0), ("30.40", 2), ("1E2", 0)])
def test_digits_are_counted_as_printed(printed: str, places: int) -> None:
    assert digits(printed) == places


def test_states() -> None:
    cells = [
        Cell(name="a", value="0.31"),
        Cell(name="b", value="0.31"),
        Cell(name="c", value="0.31", reproduces=False, why="known"),
        Cell(name="d", value="0.31"),
        Cell(name="e", value="0.31", data="even"),
    ]
    numbers = {"a": 0.3140, "b": 0.3151, "c": 0.5, "d": float("nan"), "e": 0.31}
    found = compare(cells, numbers, "all")
    assert [one.state for one in found] == ["equal", "differs", "known to differ", "not computed", "not computed"]
    assert [one.shown for one in found] == ["0.31", "0.32", "0.50", "-", "-"]
    assert found[1].difference == pytest.approx(0.0051)
    assert found[4].why == "belongs to the part 'even' of the data; here is 'all'"
