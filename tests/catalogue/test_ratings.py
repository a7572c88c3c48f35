"""Ratings to pairs, against exact fractions and counting."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardbench.catalogue.ratings import RatedClip, label_of, rated_pairs, rater_views
from rewardbench.metrics.agreement import majority

RATINGS = st.lists(st.one_of(st.none(), st.integers(1, 5)), min_size=3, max_size=3)


def sign(x: Fraction) -> int:
    return (x > 0) - (x < 0)


@given(RATINGS, RATINGS)
def test_the_mean_rule_is_the_sign_of_the_difference_of_exact_means(a: list, b: list) -> None:
    rated = [[Fraction(v) for v in side if v is not None] for side in (a, b)]
    expected = None
    if all(rated):
        expected = sign(sum(rated[0]) / len(rated[0]) - sum(rated[1]) / len(rated[1]))
    assert label_of(a, b, "mean") == expected


@given(RATINGS, RATINGS)
def test_the_majority_rule_counts_the_raters_of_both(a: list, b: list) -> None:
    said = [sign(Fraction(x - y)) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    counts = Counter(said)
    expected = None if not said else next((k for k, n in counts.items() if 2 * n > len(said)), 0)
    assert label_of(a, b, "majority") == expected
    views = [[np.nan if x is None or y is None else np.sign(x - y) for x, y in zip(a, b, strict=True)]]
    elsewhere = majority(views, no_majority=0.0)[0]
    assert (None if np.isnan(elsewhere) else int(elsewhere)) == expected


@pytest.mark.parametrize("rule", ["mean", "majority"])
@given(a=RATINGS, b=RATINGS)
def test_swapping_the_sides_negates_the_label(rule, a: list, b: list) -> None:
    one, other = label_of(a, b, rule), label_of(b, a, rule)
    assert (one is None) == (other is None)
    assert one is None or one == -other


def test_tenths_are_compared_as_they_are_printed() -> None:
    """0.1 + 0.2 is not 0.3 in floating point; as printed fractions the means are equal."""
    a, b = (Fraction("0.1"), Fraction("0.2")), (Fraction("0.15"), Fraction("0.15"))
    assert label_of(a, b, "mean") == 0


def clip(prompt_id: str, system: str, *ratings: int | None) -> RatedClip:
    return RatedClip(prompt_id, f"prompt {prompt_id}", system, f"{system}/{prompt_id}.mp4", {"d": ratings})


def test_every_two_systems_of_a_prompt_are_one_pair_in_a_fixed_order() -> None:
    clips = [clip(p, s, i, 3) for p in ("7", "8") for i, s in enumerate(("z", "a", "m"))]
    rows = rated_pairs(clips, ("a", "m", "z"), "mean")
    assert [row.pair_id for row in rows] == [
        f"{p}-{x}-{y}" for p in ("7", "8") for x, y in combinations(("a", "m", "z"), 2)
    ]
    assert [row.labels["d"] for row in rows[:3]] == [-1, 1, 1]
    assert rated_pairs(list(reversed(clips)), ("a", "m", "z"), "mean")[0].pair_id == "8-a-m"  # prompts as in the file


def test_pairs_that_nobody_decides_are_left_out_and_missing_raters_stay_missing() -> None:
    clips = [clip("1", "a", None, None), clip("1", "b", 4, 4), clip("2", "a", None, 2), clip("2", "b", 4, 4)]
    assert [row.pair_id for row in rated_pairs(clips, ("a", "b"), "mean")] == ["2-a-b"]
    views = rater_views(clips, ("a", "b"), "d", "mean")
    assert views.items.shape == (4, 2)
    np.testing.assert_array_equal(views.pairs, [[np.nan, np.nan], [np.nan, -2.0]])
    assert views.prompts == ("prompt 1", "prompt 2")
