"""Rao-Kupper probabilities against their closed form and their defining likelihood."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardbench.errors import InputError
from rewardbench.metrics import bradley_terry_with_ties, rao_kupper_tie_threshold

rewards = st.floats(-50, 50)
thetas = st.floats(1.0, 100.0)


@settings(deadline=None)
@given(rewards, rewards, thetas)
def test_probabilities_by_strengths(r_a: float, r_b: float, theta: float) -> None:
    """With strengths e^r: P(A) = s_a / (s_a + theta s_b), and the three sum to 1 (Rao and Kupper 1967, eq. 3)."""
    s_a, s_b = math.exp(r_a), math.exp(r_b)
    p_a, p_tie, p_b = bradley_terry_with_ties(r_a, r_b, theta)
    assert p_a == pytest.approx(s_a / (s_a + theta * s_b), rel=1e-9)
    assert p_b == pytest.approx(s_b / (s_b + theta * s_a), rel=1e-9)
    assert p_a + p_tie + p_b == pytest.approx(1.0, abs=1e-12)
    assert bradley_terry_with_ties(r_b, r_a, theta) == pytest.approx((p_b, p_tie, p_a), abs=1e-15)


def test_no_ties_at_theta_one() -> None:
    p_a, p_tie, p_b = bradley_terry_with_ties(0.7, -0.3, theta=1.0)
    assert p_tie == 0
    assert p_a == pytest.approx(1 / (1 + math.exp(-1.0)))
    assert p_a + p_b == pytest.approx(1.0)


def test_arrays_extremes_and_missing_values() -> None:
    p_a, p_tie, p_b = bradley_terry_with_ties(np.array([1e4, -1e4, np.nan, 0.0]), 0.0)
    np.testing.assert_allclose(p_a, [1, 0, np.nan, 1 / 6], atol=1e-12)
    np.testing.assert_allclose(p_tie, [0, 0, np.nan, 24 / 36], atol=1e-12)
    np.testing.assert_allclose(p_b, [0, 1, np.nan, 1 / 6], atol=1e-12)


@settings(deadline=None)
@given(st.floats(2.01, 50.0))
def test_threshold_is_where_tie_stops_being_likeliest(theta: float) -> None:
    threshold = rao_kupper_tie_threshold(theta)
    inside, outside = threshold - 1e-6, threshold + 1e-6
    p_a, p_tie, _ = bradley_terry_with_ties(threshold, 0.0, theta)
    assert p_a == pytest.approx(p_tie, abs=1e-12)
    assert np.argmax(bradley_terry_with_ties(inside, 0.0, theta)) == 1
    assert np.argmax(bradley_terry_with_ties(outside, 0.0, theta)) == 0


def test_threshold_values() -> None:
    assert rao_kupper_tie_threshold() == pytest.approx(math.log(23 / 5))
    assert round(rao_kupper_tie_threshold(5.0), 3) == 1.526
    for theta in (1.0, 1.5, 2.0):
        assert rao_kupper_tie_threshold(theta) == 0.0
        _, p_tie, p_b = bradley_terry_with_ties(0.0, 0.0, theta)
        assert p_tie <= p_b + 1e-15


@pytest.mark.parametrize("theta", [0.99, -1.0, float("nan"), float("inf")])
def test_bad_theta_is_refused(theta: float) -> None:
    with pytest.raises(InputError, match="theta"):
        bradley_terry_with_ties(0.0, 0.0, theta)
    with pytest.raises(InputError, match="theta"):
        rao_kupper_tie_threshold(theta)


def test_bad_rewards_are_refused() -> None:
    with pytest.raises(InputError, match="infinite"):
        bradley_terry_with_ties([1.0, np.inf], [0.0, 0.0])
    with pytest.raises(InputError, match="shape"):
        bradley_terry_with_ties([1.0, 2.0], [0.0, 0.0, 0.0])
