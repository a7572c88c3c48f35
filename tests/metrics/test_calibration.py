"""Fits against scipy and closed forms, proper scores against their definitions, calibration error by the textbook."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from rewardbench.errors import InputError
from rewardbench.metrics import bradley_terry_with_ties
from rewardbench.metrics.calibration import calibrate, expected_calibration_error, fit_rao_kupper
from rewardbench.metrics.folds import fold_of_group


def drawn(seed: int, n: int = 400, scale: float = 0.7, theta: float = 2.5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels drawn from Rao and Kupper's model, margins, and prompts of four pairs."""
    rng = np.random.default_rng(seed)
    margin = 3 * rng.normal(size=n)
    p_a, p_tie, _ = bradley_terry_with_ties(scale * margin, np.zeros(n), theta)
    u = rng.random(n)
    human = np.where(u < p_a, 1, np.where(u < p_a + p_tie, 0, -1)).astype(np.int8)
    return human, margin, np.arange(n) // 4


def test_fit_equals_a_general_optimiser() -> None:
    human, margin, _ = drawn(1)
    typical = float(np.sqrt(np.mean(margin**2)))
    labels, margins = np.append(human, [1, 0, -1]), np.append(margin, [typical] * 3)
    weight = np.append(np.ones(human.size), [1 / 3] * 3)

    def loss(x: np.ndarray) -> float:
        table = np.column_stack(bradley_terry_with_ties(x[0] * margins, np.zeros(margins.size), float(np.exp(x[1]))))
        return -float((weight * np.log(table[np.arange(labels.size), 1 - labels])).sum())

    best = minimize(loss, [0.1, 1.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-12, "maxiter": 5000})
    found = fit_rao_kupper(human, margin)
    assert (found.scale, found.theta) == pytest.approx((best.x[0], np.exp(best.x[1])), rel=1e-6)


def test_fit_finds_the_numbers_the_labels_were_drawn_with() -> None:
    human, margin, _ = drawn(2, n=20_000)
    found = fit_rao_kupper(human, margin)
    assert (found.scale, found.theta) == pytest.approx((0.7, 2.5), rel=0.05)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30))
def test_without_margins_theta_is_that_of_the_tie_rate(wins: int, ties: int, losses: int) -> None:
    human = np.array([1] * wins + [0] * ties + [-1] * losses, dtype=np.int8)
    rate = (ties + 1 / 3) / (human.size + 1)  # one assumed pair with a third of each outcome
    found = fit_rao_kupper(human, np.zeros(human.size))
    assert found.scale == 0
    assert found.theta == pytest.approx((1 + rate) / (1 - rate), rel=1e-9)


def test_scores_that_rank_backwards_get_scale_zero() -> None:
    human, margin, groups = drawn(3)
    found = calibrate(human, -margin, groups=groups, n_bootstrap=0)
    assert found.fit.scale == 0
    assert found.log_loss == pytest.approx(found.base_log_loss, abs=1e-9)


def test_every_pair_is_judged_by_a_fit_on_other_prompts() -> None:
    human, margin, groups = drawn(4)
    found = calibrate(human, margin, groups=groups, n_bootstrap=0)
    fold = np.array([fold_of_group(str(group)) for group in groups])
    for k in range(5):
        fit = fit_rao_kupper(human[fold != k], margin[fold != k])
        n = int((fold == k).sum())
        expected = np.column_stack(bradley_terry_with_ties(fit.scale * margin[fold == k], np.zeros(n), fit.theta))
        np.testing.assert_allclose(found.probabilities[fold == k], expected, rtol=1e-10)
    happened = np.eye(3)[1 - human.astype(int)]
    assert found.log_loss == pytest.approx(-np.log((found.probabilities * happened).sum(axis=1)).mean())
    assert found.brier == pytest.approx(np.square(found.probabilities - happened).sum(axis=1).mean())
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 500))
def test_neither_swapped_sides_nor_the_order_of_rows_nor_the_unit_of_scores_matter(seed: int) -> None:
    human, margin, groups = drawn(seed, n=80)
    rng = np.random.default_rng(seed)
    flip, rows = np.where(rng.random(80) < 0.5, -1, 1), rng.permutation(80)
    one = calibrate(human, margin, groups=groups, n_bootstrap=50, n_simulations=20)
    other = calibrate(
        (human * flip)[rows], (4 * margin * flip)[rows], groups=groups[rows], n_bootstrap=50, n_simulations=20
    )

    def numbers(found: object) -> list[float]:
        names = ("log_loss", "brier", "base_log_loss", "base_brier")
        errors = [getattr(found, side).value for side in ("decided", "tie")]
        return [getattr(found, name) for name in names] + errors + list(found.log_loss_ci95)  # type: ignore[attr-defined]

    np.testing.assert_allclose(numbers(other), numbers(one), rtol=1e-8)
    assert other.fit.scale == pytest.approx(one.fit.scale / 4, rel=1e-8)
    swapped = np.where((flip < 0)[:, None], one.probabilities[:, ::-1], one.probabilities)
    np.testing.assert_allclose(other.probabilities, swapped[rows], rtol=1e-8)


def test_calibrated_margins_stay_within_chance_and_overconfident_ones_do_not() -> None:
    human, margin, groups = drawn(5, n=3000)
    found = calibrate(human, margin, groups=groups, n_bootstrap=0)
    assert found.decided.value < found.decided.reference_high
    assert found.tie.value < found.tie.reference_high
    assert found.log_loss < found.base_log_loss
    # Labels that follow the margin only half of the time below 1 and always above it fit no such curve.
    odd = np.where(np.abs(margin) > 1, np.sign(margin), np.where(human >= 0, 1, -1)).astype(np.int8)
    broken = calibrate(odd, margin, groups=groups, n_bootstrap=0)
    assert broken.decided.value > broken.decided.reference_high


def test_calibration_error_is_the_textbook_s_where_bins_divide_the_pairs() -> None:
    rng = np.random.default_rng(6)
    probability, happened = rng.random(150), rng.integers(2, size=150).astype(float)
    order = np.argsort(probability)
    bins = [abs(probability[part].mean() - happened[part].mean()) * part.size for part in np.split(order, 15)]
    assert expected_calibration_error(probability, happened) == pytest.approx(sum(bins) / 150)


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.floats(0, 1))
def test_pairs_of_one_probability_are_one_group(happened: list[bool], probability: float) -> None:
    outcome = np.array(happened, dtype=float)
    found = expected_calibration_error(np.full(outcome.size, probability), outcome)
    assert found == pytest.approx(abs(probability - outcome.mean()), abs=1e-9)


def test_log_loss_stays_finite_where_a_sure_margin_is_wrong() -> None:
    human, margin = np.array([1, -1] * 40), np.array([3.0, -3.0] * 40)
    margin[0] = -1e9
    groups = np.arange(80)
    found = calibrate(human, margin, groups=groups, n_bootstrap=0)
    assert np.isfinite(found.log_loss)


def test_abstained_pairs_are_left_out_and_nothing_left_is_nan() -> None:
    human, margin, groups = drawn(7, n=60)
    margin[:10] = np.nan
    found = calibrate(human, margin, groups=groups, n_bootstrap=20)
    assert (found.n, found.n_abstained) == (50, 10)
    assert np.isnan(found.probabilities[:10]).all()
    kept = calibrate(human[10:], margin[10:], groups=groups[10:], n_bootstrap=20)
    assert (found.log_loss, found.log_loss_ci95) == (kept.log_loss, kept.log_loss_ci95)
    nothing = calibrate([1, 0], [np.nan, np.nan], groups=["p", "q"])
    assert np.isnan([nothing.log_loss, nothing.brier, nothing.decided.value, nothing.tie.reference]).all()


def test_bad_input_is_refused_in_a_sentence() -> None:
    with pytest.raises(InputError, match="margin has 1 entries"):
        calibrate([1, 0], [1.0], groups=["p", "q"])
    with pytest.raises(InputError, match="n_simulations 0"):
        calibrate([1], [1.0], groups=["p"], n_simulations=0)
