"""Losses against closed forms, brute force and the papers' pseudo-code."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rewardbench.align.losses import (
    bradley_terry_loss,
    effective_beta,
    effective_sample_size,
    gap_weight,
    normalise_rewards,
    preference_loss,
    reward_weight,
    sample_error,
    scheduled_beta,
    to_error_space,
    weighted_loss,
)

ERRORS = st.lists(st.floats(0, 5), min_size=4, max_size=4)
BETAS = st.floats(0.01, 20)


def test_equal_policy_and_reference_give_ln_2_and_half_accuracy() -> None:
    e = torch.tensor([0.3, 1.7])
    found = preference_loss(e, e + 1, e, e + 1, beta=5000.0)
    assert float(found.loss) == pytest.approx(math.log(2), abs=1e-7)
    assert float(found.accuracy) == 0.5
    assert float(found.margin) == 0.0


@given(ERRORS, BETAS, st.sampled_from([0.5, 1.0]), st.floats(0, 3))
def test_the_loss_is_the_formula_written_out(errors, beta, scale, weight) -> None:
    pw, pl, rw, rl = errors
    found = preference_loss(
        *(torch.tensor([e], dtype=torch.float64) for e in errors), beta=beta, scale=scale, weight=weight
    )
    z = -scale * beta * ((pw - rw) - (pl - rl))
    expected = weight * (np.logaddexp(0.0, -z))
    assert float(found.loss) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert float(found.logits) == pytest.approx(z, rel=1e-9, abs=1e-12)


def test_a_lower_error_on_the_winner_lowers_the_loss_and_on_the_loser_raises_it() -> None:
    pw, pl = torch.tensor([1.0], requires_grad=True), torch.tensor([1.0], requires_grad=True)
    preference_loss(pw, pl, torch.tensor([1.0]), torch.tensor([1.0]), beta=10.0).loss.backward()
    # dL/dpw = w·scale·β·σ(-z) = 0.5·10·0.5
    assert float(pw.grad) == pytest.approx(2.5)
    assert float(pl.grad) == pytest.approx(-2.5)


def test_weights_act_on_every_pair_and_not_on_the_mean() -> None:
    pw, zero = torch.tensor([0.0, 2.0]), torch.zeros(2)
    weight = torch.tensor([1.0, 3.0])
    found = preference_loss(pw, zero, zero, zero, beta=1.0, scale=1.0, weight=weight)
    each = [math.log(2), math.log1p(math.exp(2.0))]
    assert float(found.loss) == pytest.approx((each[0] + 3 * each[1]) / 2, rel=1e-6)
    assert float(found.loss) != pytest.approx(sum(each) / 2 * 2)


def test_several_losers_share_one_winner() -> None:
    win, lose = torch.tensor([[1.0], [2.0]]), torch.tensor([[1.5, 2.5, 3.5], [1.0, 1.0, 4.0]])
    zero = torch.zeros(2, 1)
    found = preference_loss(win, lose, zero, torch.zeros(2, 3), beta=2.0)
    each = [math.log1p(math.exp(0.5 * 2.0 * (float(win[i]) - float(lose[i, j])))) for i in range(2) for j in range(3)]
    assert float(found.loss) == pytest.approx(np.mean(each), rel=1e-6)
    assert found.logits.shape == (2, 3)


def test_accuracy_and_margin_count_logits() -> None:
    zero = torch.zeros(4)
    found = preference_loss(torch.tensor([-1.0, 1.0, 0.0, -3.0]), zero, zero, zero, beta=2.0, scale=0.5)
    assert float(found.accuracy) == pytest.approx(2.5 / 4)
    assert float(found.margin) == pytest.approx((1 - 1 + 0 + 3) / 4)


def test_scale_half_at_twice_the_beta_is_scale_one() -> None:
    errors = [torch.tensor([x]) for x in (0.4, 0.9, 0.5, 0.7)]
    assert torch.equal(
        preference_loss(*errors, beta=5000.0).logits, preference_loss(*errors, beta=2500.0, scale=1.0).logits
    )


def test_half_precision_errors_are_computed_in_float32() -> None:
    e = torch.tensor([1.0], dtype=torch.bfloat16)
    assert preference_loss(e, e, e, e, beta=1.0).loss.dtype == torch.float32


def test_huge_logits_stay_finite() -> None:
    found = preference_loss(
        torch.tensor([1.0]), torch.tensor([0.0]), torch.tensor([0.0]), torch.tensor([0.0]), beta=1e9
    )
    assert float(found.loss) == pytest.approx(5e8)


@given(st.integers(1, 5), st.integers(2, 40))
def test_a_sum_is_the_mean_times_the_number_of_elements(batch, elements) -> None:
    generator = torch.Generator().manual_seed(batch * 100 + elements)
    a, b = (torch.randn(batch, elements, generator=generator) for _ in range(2))
    total, mean = sample_error(a, b, reduction="sum"), sample_error(a, b, reduction="mean")
    torch.testing.assert_close(total, mean * elements)
    beta_sum = effective_beta(3.0, scale=0.5, reduction="sum", elements=elements)
    beta_mean = effective_beta(3.0 * elements, scale=0.5, reduction="mean", elements=elements)
    assert beta_sum.per_sample == pytest.approx(beta_mean.per_sample)
    assert beta_sum.per_element == pytest.approx(beta_mean.per_element)


def test_a_mask_leaves_elements_out_of_sum_and_count() -> None:
    a, b = torch.tensor([[1.0, 5.0, 2.0]]), torch.zeros(1, 3)
    mask = torch.tensor([[1.0, 0.0, 1.0]])
    assert float(sample_error(a, b, mask=mask)) == pytest.approx((1 + 4) / 2)
    assert float(sample_error(a, b, reduction="sum", mask=mask)) == pytest.approx(5.0)
    with pytest.raises(ValueError, match="without an element"):
        sample_error(a, b, mask=torch.zeros(1, 3))


@pytest.mark.parametrize("kind", ["flow", "v"])
def test_error_spaces_are_identities_of_predictions(kind) -> None:
    """Written out from x_t and v, not from the formula that is tested."""
    generator = torch.Generator().manual_seed(0)
    x0, eps, v_hat = (torch.randn(6, 50, generator=generator, dtype=torch.float64) for _ in range(3))
    t = torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9, 0.99], dtype=torch.float64)[:, None]
    alpha, sigma = (1 - t, t) if kind == "flow" else (torch.cos(t), torch.sin(t))
    x_t = alpha * x0 + sigma * eps
    v = eps - x0 if kind == "flow" else alpha * eps - sigma * x0
    if kind == "flow":
        eps_hat, x0_hat = x_t + (1 - t) * v_hat, x_t - t * v_hat
    else:
        eps_hat, x0_hat = sigma * x_t + alpha * v_hat, alpha * x_t - sigma * v_hat
    e_v = sample_error(v_hat, v)
    kwargs = {} if kind == "flow" else {"alpha": alpha[:, 0], "sigma": sigma[:, 0]}
    torch.testing.assert_close(to_error_space(e_v, t[:, 0], "epsilon", **kwargs), sample_error(eps_hat, eps))
    torch.testing.assert_close(to_error_space(e_v, t[:, 0], "x0", **kwargs), sample_error(x0_hat, x0))
    assert torch.equal(to_error_space(e_v, t[:, 0], "velocity"), e_v)


def test_beta_falling_with_time_is_epsilon_space_with_constant_beta() -> None:
    t, e = torch.tensor([0.2, 0.8]), torch.tensor([0.3, 0.6])
    zero = torch.zeros(2)
    falling = preference_loss(e, zero, zero, zero, beta=scheduled_beta(500.0, t, "(1-t)^2"))
    space = preference_loss(to_error_space(e, t, "epsilon"), zero, zero, zero, beta=500.0)
    torch.testing.assert_close(falling.logits, space.logits)


@pytest.mark.parametrize(("win", "lose", "expected"), [(0.9, 0.4, 0.5466), (0.7, 0.6, 0.1088)])
def test_gap_weights_of_the_papers_example(win, lose, expected) -> None:
    assert float(gap_weight(win, lose, alpha=2.0)) == pytest.approx(2**win - 2**lose, rel=1e-6)
    assert float(gap_weight(win, lose)) == pytest.approx(expected, abs=5e-5)


@given(st.floats(0, 1), st.floats(0, 1), st.floats(1.01, 10))
def test_a_gap_weighs_nothing_where_there_is_none_and_changes_sign_with_the_sides(a, b, alpha) -> None:
    w = float(gap_weight(torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64), alpha=alpha))
    other = float(gap_weight(torch.tensor(b, dtype=torch.float64), torch.tensor(a, dtype=torch.float64), alpha=alpha))
    assert w == pytest.approx(-other)
    assert (w > 0) == (a > b) or w == 0


@pytest.mark.parametrize(("win", "alpha", "sentence"), [(1.2, 2.0, r"lie in \[0, 1\]"), (0.5, 1.0, "above 1")])
def test_gap_weights_refuse_what_they_do_not_mean(win, alpha, sentence) -> None:
    with pytest.raises(ValueError, match=sentence):
        gap_weight(win, 0.2, alpha=alpha)


def test_rewards_are_normalised_by_a_range_and_limited_to_it() -> None:
    found = normalise_rewards(torch.tensor([-1.0, 0.0, 50.0, 100.0, 120.0]), 0.0, 100.0)
    assert found.tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]
    with pytest.raises(ValueError, match="cannot be normalised"):
        normalise_rewards(torch.tensor([1.0]), 2.0, 2.0)


def test_rwr_weights_are_exponentials_with_a_limit() -> None:
    r = torch.tensor([0.0, 1.0, 5.0], dtype=torch.float64)
    found = reward_weight(r, temperature=2.0, clip=3.0)
    assert found.tolist() == pytest.approx([1.0, math.exp(0.5), 3.0])
    assert float(reward_weight(1000.0, temperature=1.0, clip=10.0)) == pytest.approx(10.0)
    assert float(reward_weight(2.0, temperature=1.0, clip=None)) == pytest.approx(math.exp(2.0))


def test_effective_sample_size_of_equal_and_of_lone_weights() -> None:
    assert float(effective_sample_size(torch.full((8,), 0.3))) == pytest.approx(8.0)
    assert float(effective_sample_size(torch.tensor([1.0, 0.0, 0.0]))) == pytest.approx(1.0)


def test_weighted_loss_is_the_mean_of_products() -> None:
    assert float(weighted_loss(torch.tensor([1.0, 2.0]), torch.tensor([3.0, 0.5]))) == pytest.approx(2.0)
    assert float(weighted_loss(torch.tensor([1.0, 2.0]))) == pytest.approx(1.5)


def test_bradley_terry_of_equal_rewards_is_ln_2() -> None:
    assert float(bradley_terry_loss(torch.zeros(3, 2), torch.zeros(3, 2))) == pytest.approx(math.log(2))


def test_flow_dpo_pseudo_code() -> None:
    """The paper's lines (App. C) in numpy, with the mean that beta 500 can only mean."""
    rng = np.random.default_rng(0)
    x0_w, x0_l, noise, policy_w, policy_l, ref_w, ref_l = rng.normal(size=(7, 4, 30))
    v_w, v_l = noise - x0_w, noise - x0_l
    model_diff = ((policy_w - v_w) ** 2).mean(1) - ((policy_l - v_l) ** 2).mean(1)
    ref_diff = ((ref_w - v_w) ** 2).mean(1) - ((ref_l - v_l) ** 2).mean(1)
    inside = -0.5 * 500.0 * (model_diff - ref_diff)
    expected = np.logaddexp(0, -inside).mean()
    tensors = [torch.from_numpy(x) for x in (policy_w, policy_l, ref_w, ref_l)]
    targets = [torch.from_numpy(x) for x in (v_w, v_l, v_w, v_l)]
    errors = [sample_error(p, v) for p, v in zip(tensors, targets, strict=True)]
    # sample_error computes in float64 here, so the two agree closely
    assert float(preference_loss(*errors, beta=500.0).loss) == pytest.approx(expected, rel=1e-9)


def test_realdpo_x0_error_over_its_variance_is_the_velocity_error() -> None:
    """anisora's and RealDPO's code weigh the clean latent's error with 1/(1 - abar): plain velocity error."""
    e_v, bar = torch.tensor([0.7]), torch.tensor([0.36])
    e_x0 = to_error_space(e_v, 0.0, "x0", alpha=bar.sqrt(), sigma=(1 - bar).sqrt())
    torch.testing.assert_close(e_x0 / (1 - bar), e_v)


def test_gapo_is_the_papers_equation_pair_by_pair() -> None:
    """Eq. 12 and 13 (arXiv:2504.10044) in numpy: noise-space DPO times alpha^R_w - alpha^R_l, then the mean."""
    rng = np.random.default_rng(1)
    eps, policy_w, policy_l, ref_w, ref_l = rng.normal(size=(5, 6, 40))
    reward_w, reward_l = np.sort(rng.random((2, 6)), axis=0)[::-1]
    beta, alpha = 300.0, 2.0

    def error(predicted: np.ndarray) -> np.ndarray:
        return ((eps - predicted) ** 2).mean(1)

    inside = -0.5 * beta * ((error(policy_w) - error(ref_w)) - (error(policy_l) - error(ref_l)))
    expected = ((alpha**reward_w - alpha**reward_l) * -np.log(1.0 / (1.0 + np.exp(-inside)))).mean()
    errors = [sample_error(torch.from_numpy(x), torch.from_numpy(eps)) for x in (policy_w, policy_l, ref_w, ref_l)]
    weight = gap_weight(torch.from_numpy(reward_w.copy()), torch.from_numpy(reward_l.copy()), alpha=alpha)
    assert float(preference_loss(*errors, beta=beta, weight=weight).loss) == pytest.approx(expected, rel=1e-6)


def test_realdpo_pseudo_code() -> None:
    """Eq. 6 (arXiv:2510.14955) for a v-prediction: errors of the clean latent, one winner against three losers."""
    rng = np.random.default_rng(2)
    bar = rng.uniform(0.2, 0.9, size=(1, 5, 1))
    eps = rng.normal(size=(1, 5, 30))
    x0 = rng.normal(size=(4, 5, 30))  # the winner, then three losers
    policy, reference = rng.normal(size=(2, 4, 5, 30))
    x_t = np.sqrt(bar) * x0 + np.sqrt(1 - bar) * eps
    beta = 40.0

    def clean_error(velocity: np.ndarray) -> np.ndarray:
        found = np.sqrt(bar) * x_t - np.sqrt(1 - bar) * velocity
        return ((found - x0) ** 2).mean(2)

    gap = clean_error(policy) - clean_error(reference)
    expected = np.log1p(np.exp(0.5 * beta * (gap[:1] - gap[1:]))).mean()
    target = np.sqrt(bar) * eps - np.sqrt(1 - bar) * x0
    flat = [torch.from_numpy(x.reshape(20, 30)) for x in (policy, reference, target)]
    alpha, sigma = (torch.from_numpy(np.tile(x.ravel(), 4)) for x in (np.sqrt(bar), np.sqrt(1 - bar)))
    p, r = (
        to_error_space(sample_error(x, flat[2]), 0.0, "x0", alpha=alpha, sigma=sigma).reshape(4, 5) for x in flat[:2]
    )
    found = preference_loss(p[:1], p[1:], r[:1], r[1:], beta=beta)
    assert float(found.loss) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    "call",
    [
        lambda: sample_error(torch.zeros(1, 2), torch.zeros(1, 2), reduction="max"),
        lambda: to_error_space(1.0, 0.5, "score"),
        lambda: scheduled_beta(1.0, 0.5, "linear"),
        lambda: reward_weight(1.0, temperature=0.0, clip=None),
    ],
)
def test_unknown_choices_are_refused(call) -> None:
    with pytest.raises(ValueError, match="not known|positive"):
        call()
