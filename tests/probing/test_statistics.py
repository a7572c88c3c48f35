"""Changes, intervals, tests and verdicts against closed forms, brute force and scipy."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rewardbench.probing import statistics
from rewardbench.probing.statistics import (
    MARGIN,
    Change,
    change,
    mean_interval,
    response,
    sign_flip_p,
    smallest_p,
    spearman,
    spread_between,
    unit_of,
    verdict,
)

FEW = np.array([0.3, -0.1, 0.4, 0.25, 0.6, 0.05])
values = st.lists(st.floats(-5, 5).map(lambda v: round(v, 3)), min_size=1, max_size=8).map(np.array)


def brute_force(gain: np.ndarray, one_sided: bool) -> float:
    sums = [
        sum(s * g for s, g in zip(signs, gain, strict=True)) for signs in itertools.product((1, -1), repeat=len(gain))
    ]
    reached = sum(gain) if one_sided else abs(sum(gain))
    return float(np.mean([(s if one_sided else abs(s)) >= reached - 1e-9 for s in sums]))


@given(values, st.booleans())
@settings(max_examples=60, deadline=None)
def test_the_sign_flip_test_is_the_share_of_flips_as_extreme(gain: np.ndarray, one_sided: bool) -> None:
    expected = brute_force(gain, one_sided) if gain.any() else 1.0
    assert sign_flip_p(gain, 0, one_sided=one_sided) == pytest.approx(expected)


def test_the_sign_flip_test_agrees_with_scipys_permutation_test() -> None:
    other = stats.permutation_test((FEW,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert sign_flip_p(FEW, 0) == pytest.approx(other.pvalue)


def test_drawn_flips_come_near_the_exact_share_and_never_reach_zero() -> None:
    rng = np.random.default_rng(3)
    gain = rng.normal(0.3, 1.0, 17)
    assert sign_flip_p(gain, 5) == pytest.approx(brute_force(gain, False), abs=0.01)
    assert sign_flip_p(np.ones(40), 0) == pytest.approx(1 / 20_001)
    assert sign_flip_p(gain, 5) == sign_flip_p(gain, 5)


@pytest.mark.parametrize("n", [1, 2, 5, 12])
def test_the_smallest_p_value_is_reached_by_equal_changes(n: int) -> None:
    assert sign_flip_p(np.ones(n), 0) == smallest_p(n)


def test_nothing_moved_is_no_evidence() -> None:
    assert sign_flip_p(np.zeros(4), 0) == 1.0


@given(st.lists(st.integers(0, 4), min_size=2, max_size=6))
@settings(max_examples=60, deadline=None)
def test_spearman_is_scipys_and_0_where_nothing_changes(scores: list[int]) -> None:
    doses = np.linspace(0, 1, len(scores))
    row = np.array(scores, float)
    expected = 0.0 if len(set(scores)) == 1 else stats.spearmanr(doses, row)[0]
    assert spearman(doses, row) == pytest.approx(expected)


def test_a_change_is_in_units_of_the_spread_and_turned_so_that_up_is_better() -> None:
    before, after = np.array([1.0, 2.0, 3.0, np.nan, 5.0]), np.array([0.0, 1.5, 3.0, 4.0, np.nan])
    for sign in (1.0, -1.0):
        found = change(before, after, sign=sign, unit=2.0, margin=MARGIN, seed=0)
        assert (found.n, found.abstained, found.equal) == (3, 2, 1)
        assert found.mean == pytest.approx(sign * -0.5)
        assert found.effect == pytest.approx(sign * -0.25)
        assert found.typical == pytest.approx(0.25)
        assert found.largest == 1.0


def test_the_interval_is_the_percentile_bootstrap_over_clips() -> None:
    drawn = np.random.default_rng(7).integers(len(FEW), size=(2000, len(FEW)))
    assert mean_interval(FEW, 7) == pytest.approx(tuple(np.percentile(FEW[drawn].mean(1), [2.5, 97.5])))
    assert all(math.isnan(bound) for bound in mean_interval(FEW[:1], 7))
    assert mean_interval(np.full(4, 0.1), 7) == (0.1, 0.1)


def test_changes_up_and_down_are_typical_though_their_mean_is_nothing() -> None:
    gain = np.tile([1.0, -1.0], 7)
    found = change(np.zeros(14), gain, sign=1.0, unit=1.0, margin=MARGIN, seed=0)
    assert found.effect == 0.0
    assert found.typical == 1.0
    assert found.p_mean == 1.0
    assert found.p_moved == pytest.approx(2.0**-14)


def test_the_spread_of_one_clip_or_none_is_nothing() -> None:
    assert spread_between(np.array([3.0, np.nan])) == 0.0
    assert spread_between(np.array([1.0, np.nan, 4.0])) == pytest.approx(np.std([1, 4], ddof=1))


def test_the_unit_is_the_spread_but_at_least_a_hundredth_of_the_declared_range() -> None:
    assert unit_of(0.3, 0.0, 1.0, 5) == 0.3
    assert unit_of(0.001, -1.0, 1.0, 5) == 0.02
    assert unit_of(0.001, 0.0, math.inf, 5) == 0.001
    assert unit_of(0.0, 0.0, 1.0, 1) == 0.0, "one clip has changes in the model's own units"


def test_without_a_spread_effects_are_unknown_unless_nothing_changed() -> None:
    assert math.isnan(change(np.zeros(3), np.ones(3), sign=1.0, unit=0.0, margin=MARGIN, seed=0).effect)
    assert change(np.zeros(3), np.zeros(3), sign=1.0, unit=0.0, margin=MARGIN, seed=0).effect == 0.0


def test_a_response_counts_clips_that_fall_with_every_dose() -> None:
    doses = [0.0, 0.5, 1.0]
    scores = np.array([[3.0, 2, 1], [3, 3, 1], [1, 2, 0], [1, 1, 1], [np.nan, 0, 0]])
    found = response(scores, doses, sign=1.0, unit=2.0, seed=0)
    assert found.n == 4
    assert found.falling == 0.5
    assert found.flat == 0.25
    assert found.effects == pytest.approx((0.0, 0.0, -0.625))
    rho = [stats.spearmanr(doses, row)[0] for row in scores[:3]]
    assert found.rho == pytest.approx((sum(rho) + 0.0) / 4)
    turned = response(scores, doses, sign=-1.0, unit=2.0, seed=0)
    assert turned.rho == pytest.approx(-found.rho)
    assert turned.falling == 0.0


def test_a_response_without_any_score_is_undefined() -> None:
    found = response(np.full((3, 2), np.nan), [0, 1], sign=1.0, unit=1.0, seed=0)
    assert found.n == 0
    assert all(math.isnan(e) for e in found.effects)


def seen(gain: np.ndarray) -> Change:
    return change(np.zeros(len(gain)), gain, sign=1.0, unit=1.0, margin=MARGIN, seed=0)


TEN = np.linspace(0.9, 1.1, 10)
CASES = {
    "falls": -TEN,
    "rises": TEN,
    "up and down": TEN * np.tile([1, -1], 5),
    "hardly": 0.05 * TEN * np.tile([1, -1], 5),
    "falls a little": -0.1 * TEN,
    "not at all": np.zeros(10),
    "few": -TEN[:4],
    "scattered": np.array([-3, 2.5, -0.4, 3, -2, 0.1, 0.3, -2.9, 1, 0.2]),
}
WORDS = {
    ("falls", "fall"): "as expected",
    ("falls", "still"): "moves",
    ("falls", "move"): "as expected",
    ("rises", "fall"): "wrong way",
    ("rises", "still"): "moves",
    ("rises", "move"): "as expected",
    ("up and down", "fall"): "open",
    ("up and down", "still"): "moves",
    ("up and down", "move"): "as expected",
    ("hardly", "fall"): "blind",
    ("hardly", "still"): "as expected",
    ("hardly", "move"): "blind",
    ("falls a little", "fall"): "blind",
    ("falls a little", "still"): "as expected",
    ("falls a little", "move"): "blind",
    ("not at all", "fall"): "blind",
    ("not at all", "still"): "as expected",
    ("not at all", "move"): "blind",
    ("few", "fall"): "open",
    ("few", "still"): "open",
    ("few", "move"): "open",
    ("scattered", "fall"): "open",
}


@pytest.mark.parametrize(("case", "expectation"), WORDS)
def test_the_rule_gives_this_word(case: str, expectation: str) -> None:
    found = seen(CASES[case])
    assert verdict(expectation, found, found.p_for(expectation), margin=MARGIN) == WORDS[case, expectation]


@pytest.mark.parametrize("case", ["falls", "rises", "up and down", "hardly", "falls a little", "not at all"])
def test_turning_an_expectation_round_changes_the_word(case: str) -> None:
    """A wrong expectation table cannot go unnoticed: where something moves, still and move never give one word."""
    assert WORDS[case, "still"] != WORDS[case, "move"]
    assert WORDS["falls", "fall"] != WORDS["rises", "fall"]


def test_nothing_expected_and_nothing_compared_get_no_word() -> None:
    assert verdict(None, seen(TEN), math.nan, margin=MARGIN) is None
    nothing = change(np.array([np.nan]), np.array([1.0]), sign=1.0, unit=1.0, margin=MARGIN, seed=0)
    assert verdict("fall", nothing, math.nan, margin=MARGIN) is None


def test_where_holm_corrects_a_test_away_the_cells_own_interval_says_likely_or_doubtful() -> None:
    found = seen(-TEN)
    assert verdict("fall", found, 0.06, margin=MARGIN) == "likely"
    assert verdict("move", found, 0.06, margin=MARGIN) == "likely"
    assert verdict("still", found, 0.06, margin=MARGIN) == "doubtful"
    assert verdict("fall", seen(TEN), 0.06, margin=MARGIN) == "doubtful"
    assert verdict("fall", seen(CASES["scattered"]), 0.06, margin=MARGIN) == "open"


def test_where_all_clips_score_alike_any_sure_fall_counts() -> None:
    found = change(np.zeros(10), -0.001 * TEN, sign=1.0, unit=0.0, margin=MARGIN, seed=0)
    assert verdict("fall", found, found.p_mean, margin=MARGIN) == "as expected"
    assert verdict("still", found, found.p_moved, margin=MARGIN) == "moves"


def test_the_rule_on_the_page_names_its_numbers() -> None:
    text = statistics.RULE.format(unit="u", margin=0.2, alpha=0.05, fewest=5)
    assert "0.2" in text
    assert "0.05" in text
    assert "fewer than 5" in text
