"""Majority, leave-one-rater-out and Krippendorff's alpha against brute force, published examples and recorded data."""

from __future__ import annotations

import csv
import json
from collections import Counter
from itertools import combinations, permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardbench.errors import InputError
from rewardbench.metrics.agreement import krippendorff_alpha, leave_one_out, majority

NAN = float("nan")
cells = st.sampled_from([1.0, 0.0, -1.0, NAN])
tables = st.integers(2, 4).flatmap(lambda k: st.lists(st.lists(cells, min_size=k, max_size=k), min_size=1, max_size=12))


@given(tables)
def test_majority_is_the_value_with_more_than_half_of_the_votes(rows: list[list[float]]) -> None:
    found = majority(rows, no_majority=0.0)
    for row, value in zip(rows, found, strict=True):
        votes = [vote for vote in row if not np.isnan(vote)]
        if not votes:
            assert np.isnan(value)
            continue
        most, count = Counter(votes).most_common(1)[0]
        assert value == (most if 2 * count > len(votes) else 0.0)


def test_without_a_majority_the_default_is_no_value() -> None:
    found = majority([[1, 1, -1], [1, -1, 0], [1, -1, NAN], [2, NAN, NAN], [NAN, NAN, NAN]])
    assert np.array_equal(found, [1, NAN, NAN, 2, NAN], equal_nan=True)


@pytest.mark.shared
def test_majority_gives_the_recorded_majority_label_of_fetv(shared: Path) -> None:
    values = {"A": 1.0, "B": -1.0, "same": 0.0}
    with open(shared / "data" / "tables" / "fetv_pairs_even.csv", newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    for kind in ("static_quality", "temporal_quality", "alignment"):
        votes = [[values[row[f"{kind}_r{k}"]] for k in range(3)] for row in rows]
        recorded = [values[row[f"{kind}_majority"]] for row in rows]
        assert majority(votes, no_majority=0.0).tolist() == recorded


def naive_leave_one_out(rows: np.ndarray, k: int) -> tuple[int, float, float]:
    """n, with ties, without ties (strict) of rater k against the majority of the others."""
    right = decided = right_decided = n = 0
    for row in rows:
        others = [v for i, v in enumerate(row) if i != k and not np.isnan(v)]
        if not others or np.isnan(row[k]):
            continue
        most, count = Counter(others).most_common(1)[0]
        label = most if 2 * count > len(others) else 0.0
        n += 1
        right += row[k] == label
        decided += label != 0
        right_decided += label != 0 and row[k] == label
    return n, right / n if n else NAN, right_decided / decided if decided else NAN


@given(tables)
def test_leave_one_out_equals_a_loop_over_raters(rows: list[list[float]]) -> None:
    table = np.array(rows)
    found = leave_one_out(table)
    for k, rater in enumerate(found.raters):
        expected = naive_leave_one_out(table, k)
        assert (rater.rater, rater.n, rater.n_dropped) == (k, expected[0], len(rows) - expected[0])
        np.testing.assert_allclose([rater.with_ties, rater.without_ties], expected[1:], rtol=1e-15, atol=0)
    per_rater = np.array([rater.with_ties for rater in found.raters])
    if not np.isnan(per_rater).all():
        np.testing.assert_allclose(found.with_ties, np.nanmean(per_rater))


def test_raters_who_agree_reach_one_and_a_lone_tie_is_half_credit() -> None:
    agreeing = leave_one_out([[1, 1, 1], [-1, -1, -1], [0, 0, 0]])
    assert (agreeing.with_ties, agreeing.without_ties) == (1, 1)
    unsure = leave_one_out([[0, 1, 1]])
    assert (unsure.raters[0].without_ties, unsure.raters[0].without_ties_half_credit) == (0, 0.5)
    # The other two see one vote for A and one tie: no majority, so a tie, and an A is wrong there.
    assert unsure.raters[1].tie_rate == 1
    assert np.isnan(unsure.raters[1].without_ties)


def video_bench_margins(path: Path) -> np.ndarray:
    """Differences of ratings (pairs of systems per prompt, 4 raters), pairs with a missing rating (0) left out."""
    rows = []
    for item in json.loads(path.read_text(encoding="utf-8")):
        ratings = {name: np.array(values, dtype=float) for name, values in item["human_anno"].items()}
        for one, other in combinations(ratings, 2):
            if ratings[one].all() and ratings[other].all():
                rows.append(ratings[one] - ratings[other])
    return np.array(rows)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "without_ties", "with_ties"),
    [("scene", 0.4771, 0.5872), ("action", 0.2146, 0.4176), ("imaging_quality", 0.7054, 0.6759)],
)
def test_first_rater_of_video_bench_against_the_sum_of_the_others(
    shared: Path, name: str, without_ties: float, with_ties: float
) -> None:
    # Recorded in the study of the data, by another program.
    margins = video_bench_margins(shared / "data" / "tables" / "video_bench_human" / f"{name}.json")
    first = leave_one_out(margins, combine="mean").raters[0]
    assert (round(first.without_ties, 4), round(first.with_ties, 4)) == (without_ties, with_ties)


KRIPPENDORFF_2011 = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
        [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
    ]
).T
"""Four observers, twelve units: "Computing Krippendorff's Alpha-Reliability" (2011), section C."""


@pytest.mark.parametrize(("level", "published"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_of_the_published_example(level: str, published: float) -> None:
    assert round(krippendorff_alpha(KRIPPENDORFF_2011, level), 3) == published  # type: ignore[arg-type]


def naive_alpha(table: np.ndarray, level: str) -> float:
    """Mean disagreement of ordered pairs of ratings within items over that of all pairable ratings."""
    items = [[v for v in row if not np.isnan(v)] for row in table]
    items = [item for item in items if len(item) > 1]
    everything = [v for item in items for v in item]
    counts = Counter(everything)

    def disagreement(a: float, b: float) -> float:
        if level == "nominal":
            return float(a != b)
        if level == "interval":
            return (a - b) ** 2
        between = sum(count for value, count in counts.items() if min(a, b) <= value <= max(a, b))
        return (between - (counts[a] + counts[b]) / 2) ** 2

    n = len(everything)
    observed = sum(disagreement(a, b) / (len(item) - 1) for item in items for a, b in permutations(item, 2)) / n
    expected = sum(disagreement(a, b) for a, b in permutations(everything, 2)) / (n * (n - 1))
    return 1 - observed / expected


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.sampled_from([1.0, 2.0, 4.0, NAN]), min_size=3, max_size=3), min_size=1, max_size=8),
    st.sampled_from(["nominal", "ordinal", "interval"]),
)
def test_alpha_is_one_minus_the_ratio_of_disagreements(rows: list[list[float]], level: str) -> None:
    table = np.array(rows)
    pairable = table[(~np.isnan(table)).sum(axis=1) > 1]
    found = krippendorff_alpha(table, level)  # type: ignore[arg-type]
    if len(set(pairable[~np.isnan(pairable)].tolist())) < 2:
        assert np.isnan(found)
    else:
        np.testing.assert_allclose(found, naive_alpha(table, level), atol=1e-12)


def test_bad_ratings_are_refused_in_a_sentence() -> None:
    with pytest.raises(InputError, match="one row per item"):
        majority([1, 2, 3])
    with pytest.raises(InputError, match="two at least"):
        leave_one_out([[1], [0]])
    with pytest.raises(InputError, match="infinite in row 1"):
        krippendorff_alpha([[1, 2], [1, float("inf")]])
    with pytest.raises(InputError, match='level "ratio" is unknown'):
        krippendorff_alpha([[1, 2]], "ratio")  # type: ignore[arg-type]
    with pytest.raises(InputError, match='combine "median" is unknown'):
        leave_one_out([[1, 1]], combine="median")  # type: ignore[arg-type]
