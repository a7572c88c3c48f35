"""Reading answers: five numbers from 0 to 10, or no score at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rewardbench_judge.answers import parse_rating, parse_verdict

PLAIN = "Answer 1: 8\nAnswer 2: 7.5\nAnswer 3: 0\nAnswer 4: 10\nAnswer 5: 9"
FIVE = (8.0, 7.5, 0.0, 10.0, 9.0)


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        PLAIN.replace("\n", "\r\n"),
        PLAIN.upper(),
        f"Here is my rating.\n\n{PLAIN}\n\nI hope this helps!",
        PLAIN.replace("Answer", "**Answer").replace(":", ":**"),
        "\n".join(f"- *{line}*" for line in PLAIN.splitlines()),
        "\n".join(f"{i}. {line}" for i, line in enumerate(PLAIN.splitlines(), start=1)),
        "\n".join(f"### {line}" for line in PLAIN.splitlines()),
        f"```\n{PLAIN}\n```",
        "\n".join(f"> `{line}`" for line in PLAIN.splitlines()),
        "\n".join(f"{line}/10" for line in PLAIN.splitlines()),
        "\n".join(f"{line} out of 10." for line in PLAIN.splitlines()),
        "\n".join(f"{line} (smooth, mostly)" for line in PLAIN.splitlines()),
        "\n".join(reversed(PLAIN.splitlines())),
        f"{PLAIN}\nAnswer 1: 8",
        PLAIN.replace(": ", "："),
    ],
)
def test_the_same_five_numbers_however_they_are_dressed(text: str) -> None:
    assert parse_rating(text) == FIVE


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "answer 1, 2, 3, 4, 5 missing"),
        ("8\n7\n0\n10\n9", "missing"),
        (PLAIN.replace("Answer 3: 0\n", ""), "answer 3 missing"),
        (PLAIN.replace("10", "11"), "answer 4 is 11, outside 0 to 10"),
        (PLAIN.replace(": 0", ": -1"), "answer 3 is -1, outside"),
        (PLAIN.replace("10", "100"), "answer 4 is 100, outside"),
        (PLAIN.replace(": 0", ": none"), "answer 3 is not one number"),
        (PLAIN.replace(": 0", ":"), "answer 3 is not one number"),
        (PLAIN.replace(": 8", ": 7-8"), "answer 1 is not one number"),
        (PLAIN.replace(": 8", ": 8/100"), "answer 1 is not one number"),
        (PLAIN.replace(": 8", ": 8,5"), "answer 1 is not one number"),
        (PLAIN.replace(": 8", ": 8 of 12"), "answer 1 is not one number"),
        (PLAIN.replace(": 8", ": 1.2.3"), "answer 1 is not one number"),
        (PLAIN.replace("\n", " "), "answer 1 is not one number"),
        (f"{PLAIN}\nAnswer 1: 7", "answer 1 stands twice"),
        (f"{PLAIN}\nAnswer 6: 7", "answer 6 was not asked for"),
        (PLAIN.replace("Answer", "Question"), "missing"),
    ],
)
def test_whatever_can_be_read_in_two_ways_is_no_score(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_rating(text)


@given(st.lists(st.integers(0, 100).map(lambda tenths: tenths / 10), min_size=5, max_size=5), st.permutations(range(5)))
def test_any_five_numbers_in_any_order_of_lines(values: list[float], order: list[int]) -> None:
    text = "\n".join(f"Answer {i + 1}: {values[i]}" for i in order)
    assert parse_rating(text) == tuple(values)


@given(st.text(max_size=200))
def test_no_text_breaks_the_parser(text: str) -> None:
    try:
        values = parse_rating(text)
    except ValueError:
        return
    assert len(values) == 5


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("Verdict: 1", 1),
        ("verdict: 2.", -1),
        ("**Verdict:** tie", 0),
        ("The first is sharper.\n\nVerdict: Video 1 is better", 1),
        ("Verdict: 2\nVerdict: video 2", -1),
        ("`Verdict: TIE`", 0),
    ],
)
def test_verdicts(text: str, verdict: int) -> None:
    assert parse_verdict(text) == verdict


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no verdict line"),
        ("Video 1 is better", "no verdict line"),
        ("Verdict: 3", "none of 1, 2, tie"),
        ("Verdict: 1 or 2", "none of 1, 2, tie"),
        ("Verdict: 1\nVerdict: 2", "disagree"),
    ],
)
def test_no_verdict(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_verdict(text)
