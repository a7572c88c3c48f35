"""Judges' verdicts: spellings, the rules of GenAI-Bench, and its published accuracies."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardbench.errors import InputError
from rewardbench.metrics import (
    human_votes,
    likeliest_verdict,
    pairwise_accuracy,
    parse_verdict,
    position_consistency,
    verdict_accuracy,
    verdict_margins,
)


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("[[A>B]]", "A"),
        ("[[A>>B]]", "A much"),
        ("[[B>A]]", "B"),
        ("[[B>>A]]", "B much"),
        ("[[A=B=Good]]", "good"),
        ("[[A=B=Bad]]", "bad"),
        ("[[A=B]]", "tie"),
        ("[[ a > b ]]", "A"),
        ("Both are fine, yet the left one moves better.\nVerdict: [[A>B]].", "A"),
        ("Choices are [[A>B]], [[B>A]] and [[A=B=Bad]]; mine is [[B>A]]", "B"),
        ("[[B>A]] as noted in [[1]]", "B"),
        ("", None),
        ("A>B", None),
        ("[A>B]", None),
        ("[[A]]", None),
        (None, None),
        (float("nan"), None),
    ],
)
def test_genai_spellings(text: object, meaning: str | None) -> None:
    assert parse_verdict(text) == meaning


@pytest.mark.parametrize(
    ("text", "meaning"),
    [("A", "A"), (" b ", "B"), ("tie", "tie"), ("Same", "tie"), ("[[A>B]]", None), ("", None), ("AB", None)],
)
def test_plain_spellings(text: str, meaning: str | None) -> None:
    assert parse_verdict(text, "plain") == meaning


def test_margins_and_votes() -> None:
    verdicts = ["[[A>B]]", "[[A>>B]]", "[[B>>A]]", "[[A=B=Good]]", "[[A=B=Bad]]", "[[A=B]]", "?"]
    np.testing.assert_array_equal(verdict_margins(verdicts), [1, 1, -1, 0, 0, 0, np.nan])
    np.testing.assert_array_equal(verdict_margins(["A", "b", "same", ""], "plain"), [1, -1, 0, np.nan])
    assert human_votes(["leftvote", "rightvote", "tievote", "bothbad_vote"]).tolist() == [1, -1, 0, 0]
    assert human_votes(["A", "B", "tie", "same"], "plain").tolist() == [1, -1, 0, 0]


def test_rules_differ_where_they_should() -> None:
    """One vote of each kind against each spelling; the expected shares are counted by hand."""
    human = ["leftvote", "leftvote", "rightvote", "tievote", "tievote", "bothbad_vote", "bothbad_vote", "leftvote"]
    verdict = ["[[A>B]]", "[[A>>B]]", "[[A=B]]", "[[A=B]]", "[[A=B=Bad]]", "[[A=B]]", "[[A=B=Bad]]", ""]
    found = verdict_accuracy(human, verdict)
    assert found.strict == 2 / 8  # rows 0 and 6
    assert found.genai_v1 == 5 / 8  # and the doubled sign, and [[A=B]] on either kind of tie
    assert found.three_way == 6 / 8  # and a tie of the wrong kind
    assert found.without_ties == 2 / 4
    assert (found.n_unparsed, found.n) == (1, 8)


def test_plain_format_has_three_classes() -> None:
    found = verdict_accuracy(["A", "B", "tie", "same"], ["a", "A", "same", "none"], "plain")
    assert math.isnan(found.genai_v1)
    assert (found.three_way, found.strict, found.without_ties, found.n_unparsed) == (0.5, 0.5, 0.5, 1)


def test_empty_input_is_undefined() -> None:
    found = verdict_accuracy([], [])
    assert math.isnan(found.genai_v1)
    assert found.n == 0


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="human vote 'left' at row 1 is unknown"):
        verdict_accuracy(["leftvote", "left"], ["[[A>B]]", "[[A>B]]"])
    with pytest.raises(InputError, match="verdicts has 1 entries but human has 2"):
        verdict_accuracy(["leftvote", "leftvote"], ["[[A>B]]"])
    with pytest.raises(InputError, match='label format "csv" is unknown'):
        human_votes(["A"], "csv")  # type: ignore[arg-type]


@pytest.mark.shared
@pytest.mark.parametrize(
    ("judge", "genai_v1", "three_way", "without_ties", "unparsed"),
    [
        ("gpt4o", 48.46, 49.77, 68.86, 0),
        ("gemini-1.5-pro", 46.21, 46.77, 68.86, 1),
        ("llava", 30.40, 30.40, 46.43, 0),
        ("random", 25.16, 33.30, 25.43, 0),
    ],
)
def test_genai_bench_published_accuracies(
    shared: Path, judge: str, genai_v1: float, three_way: float, without_ties: float, unparsed: int
) -> None:
    with (shared / "data" / "tables" / "genai_bench_v1_video_votes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    human, verdict = [row["human_vote"] for row in rows], [row[judge] for row in rows]
    found = verdict_accuracy(human, verdict)
    assert round(100 * found.genai_v1, 2) == genai_v1
    assert round(100 * found.three_way, 2) == three_way
    assert round(100 * found.without_ties, 2) == without_ties
    assert (found.n, found.n_unparsed) == (1069, unparsed)
    # As margins, an unparsed verdict abstains instead of being wrong: the two agree after adding it back.
    margins = pairwise_accuracy(human_votes(human), verdict_margins(verdict), tie_rule=0.0)
    assert margins.n_abstained == unparsed
    assert round(margins.with_ties * margins.n) == round(found.three_way * found.n)


@given(
    st.lists(
        st.tuples(st.sampled_from([1.0, 0.0, -1.0, math.nan]), st.sampled_from([1.0, 0.0, -1.0, math.nan])), max_size=30
    )
)
def test_position_consistency_counts_pair_by_pair(said: list[tuple[float, float]]) -> None:
    found = position_consistency([ab for ab, _ in said], [ba for _, ba in said])
    both = [(ab, ba) for ab, ba in said if not (math.isnan(ab) or math.isnan(ba))]
    assert found.n == len(both)
    if not both:
        assert math.isnan(found.consistency)
        return
    assert found.consistency == pytest.approx(sum(ab == ba for ab, ba in both) / len(both))
    assert found.favours_first == pytest.approx(sum(ab > ba for ab, ba in both) / len(both))
    assert found.consistency + found.favours_first + found.favours_second == pytest.approx(1)
    turned = position_consistency([-ba for _, ba in said], [-ab for ab, _ in said])
    assert turned.favours_first == pytest.approx(found.favours_first), "naming the clips otherwise changes nothing"


def test_position_consistency_refuses_unequal_lengths() -> None:
    with pytest.raises(InputError):
        position_consistency([1.0], [1.0, 0.0])


@pytest.mark.parametrize(
    ("p", "verdict"),
    [((0.4, 0.35, 0.25), 1), ((0.2, 0.3, 0.5), -1), ((0.3, 0.5, 0.2), 0), ((0.4, 0.2, 0.4), 0), ((0.5, 0.5, 0.0), 0)],
)
def test_the_likeliest_verdict(p: tuple[float, float, float], verdict: int) -> None:
    assert likeliest_verdict(p) == verdict
    assert math.isnan(likeliest_verdict(None))
