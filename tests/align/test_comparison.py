"""Base against aligned: differences, wins, and what takes no part."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from rewardbench.align.comparison import compare, wilson_interval

NAN = math.nan


def test_means_differences_and_wins_of_a_few_prompts() -> None:
    found = compare({"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}, {"a": 2.0, "b": 2.0, "c": 2.5, "d": 6.0})
    assert found is not None
    assert (found.base, found.aligned, found.difference) == (2.5, 3.125, 0.625)
    assert found.standardised == pytest.approx(0.625 / math.sqrt(5 / 3))
    assert found.win_rate == (1 + 0.5 + 0 + 1) / 4
    assert (found.n, found.abstained, found.failed) == (4, 0, 0)


def test_prompts_without_both_scores_are_counted_by_their_reason() -> None:
    base = {"a": 1.0, "b": NAN, "c": 1.0, "d": NAN, "only base": 1.0}
    aligned = {"a": 2.0, "b": 2.0, "c": NAN, "d": NAN, "only aligned": 1.0}
    found = compare(base, aligned, failed={"c", "a"})
    assert found is not None
    assert (found.n, found.abstained, found.failed) == (1, 2, 1)
    assert found.standardised is None
    assert compare({"a": NAN}, {"a": 1.0}) is None
    assert compare({}, {}) is None


def test_the_interval_of_the_difference_is_that_of_a_mean() -> None:
    rng = np.random.default_rng(5)
    base, gain = rng.normal(size=400), rng.normal(0.3, 1.0, size=400)
    found = compare(*({str(i): v for i, v in enumerate(side)} for side in (base, base + gain)))
    assert found is not None
    half = 1.96 * gain.std(ddof=1) / math.sqrt(400)
    assert found.difference_ci95 == pytest.approx((gain.mean() - half, gain.mean() + half), abs=0.1 * half)


@given(n=st.integers(1, 400), share=st.floats(0, 1))
def test_the_interval_of_wins_is_wilsons(n: int, share: float) -> None:
    wins = round(share * n)
    expected = binomtest(wins, n).proportion_ci(0.95, "wilson")
    assert wilson_interval(wins / n, n) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert wilson_interval(0.0, n)[0] == 0.0
    assert wilson_interval(1.0, n)[1] == 1.0


def test_two_wins_of_two_prove_little() -> None:
    found = compare({"a": 1.0, "b": 2.0}, {"a": 2.0, "b": 3.0})
    assert found is not None
    assert found.win_rate == 1.0
    assert found.win_rate_ci95 == pytest.approx((2 / (2 + 1.959964**2), 1.0), abs=1e-6)


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=2, max_size=30))
def test_the_other_way_round_everything_is_mirrored(pairs) -> None:
    base, aligned = ({str(i): p[side] for i, p in enumerate(pairs)} for side in (0, 1))
    there, back = compare(base, aligned), compare(aligned, base)
    assert there is not None
    assert back is not None
    assert there.difference == pytest.approx(-back.difference, abs=1e-12)
    assert there.win_rate == pytest.approx(1 - back.win_rate)
    low, high = back.win_rate_ci95
    assert there.win_rate_ci95 == pytest.approx((1 - high, 1 - low), abs=1e-12)
