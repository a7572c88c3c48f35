"""Texts of --option: what is taken, and that everything else is refused by name."""

from __future__ import annotations

import pytest

from rewardbench_plugin.options import choice, flag, number, whole


def test_the_default_where_nothing_is_given() -> None:
    assert whole({}, "n", 3, 1) == 3
    assert whole({}, "n", None, 1) is None
    assert number({}, "x", 0.5, 0) == 0.5
    assert flag({}, "f", True) is True
    assert choice({}, "c", "a", ("a", "b")) == "a"


def test_given_values() -> None:
    assert whole({"n": "16"}, "n", 3, 1, 16) == 16
    assert number({"x": "2.5e-1"}, "x", 1, 0, 1) == 0.25
    assert (flag({"f": "true"}, "f", False), flag({"f": "false"}, "f", True)) == (True, False)
    assert choice({"c": "b"}, "c", "a", ("a", "b")) == "b"


@pytest.mark.parametrize("text", ["0", "17", "1.5", "-3", "", " 4", "²", "٣", "ten"])
def test_whole_refuses(text) -> None:
    with pytest.raises(ValueError, match=r"--option n=.* is not a whole number from 1 to 16"):
        whole({"n": text}, "n", 3, 1, 16)


@pytest.mark.parametrize("text", ["nan", "inf", "-0.1", "1.1", "x", ""])
def test_number_refuses(text) -> None:
    with pytest.raises(ValueError, match="--option x=.* is not a number from 0 to 1"):
        number({"x": text}, "x", 0.5, 0, 1)


@pytest.mark.parametrize("text", ["True", "1", "yes", ""])
def test_flag_refuses(text) -> None:
    with pytest.raises(ValueError, match="neither true nor false"):
        flag({"f": text}, "f", False)


def test_choice_lists_what_it_takes() -> None:
    with pytest.raises(ValueError, match="--option c=z is not one of a, b"):
        choice({"c": "z"}, "c", "a", ("a", "b"))
