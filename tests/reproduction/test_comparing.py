"""When a number is the printed one."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardbench.reproduction import Reproduction, manifests
from rewardbench.reproduction.comparing import Compared, compare, digits, is_printed
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


def test_what_only_slack_allows_has_a_state_of_its_own() -> None:
    cells = [Cell(name=name, value="0.31") for name in "abc"]
    found = compare(cells, {"a": 0.3149, "b": 0.3153, "c": 0.33}, "all", dict.fromkeys("abc", 0.001))
    assert [one.state for one in found] == ["equal", "equal within rounding of inputs", "differs"]


def test_numbers_of_other_pairs_stand_beside_the_print_and_are_not_held_against_it() -> None:
    cells = [Cell(name="a", value="0.31"), Cell(name="b", value="0.31"), Cell(name="a", value="0.3", data="even")]
    cells.append(Cell(name="a", value="0.3", origin="recomputed"))
    found = compare(cells, {"a": 0.9}, "all", None, "first 2 pairs")
    assert [(one.state, one.shown, one.difference) for one in found] == [
        ("not compared", "0.90", None),
        ("not computed", "-", None),
        ("not compared", "0.9", None),
        ("not computed", "-", None),
    ]
    assert {one.why for one in found} == {"first 2 pairs"}


PAPER = {"paper": "0.1", "name": "x", "ours": 0.1, "shown": "0.1", "difference": 0.0}


@pytest.mark.parametrize(
    ("cells", "limited", "state", "code"),
    [
        (["equal", "equal"], False, "reproduces", 0),
        (["equal", "equal within rounding of inputs"], False, "reproduces within rounding of inputs", 0),
        (["equal", "not computed"], False, "reproduces in part", 1),
        (["equal", "differs", "known to differ"], False, "differs", 1),
        (["equal", "known to differ"], False, "does not reproduce, as known", 1),
        (["not computed", "not computed"], False, "not run", 2),
        (["not computed", "equal*"], False, "recomputed only", 0),
        (["equal", "equal*"], False, "reproduces", 0),
        (["equal", "not computed*"], False, "reproduces", 0),
        (["differs*", "not computed"], False, "differs", 1),
        (["not compared", "not computed"], True, "limited", 0),
        (["not compared", "not compared"], False, "not compared", 2),
    ],
)
def test_what_is_said_of_a_row(cells: list[str], limited: bool, state: str, code: int) -> None:
    """A star marks a number that stands in no paper."""
    compared = tuple(
        Compared(**PAPER, origin="recomputed" if one.endswith("*") else "paper", state=one.rstrip("*"))  # type: ignore[arg-type]
        for one in cells
    )
    found = Reproduction(next(iter(manifests().values())), compared, 1, (), limited)
    assert (found.state, found.exit_code) == (state, code)
