"""The losses against closed forms, the numpy implementation and torch's own, on random rewards."""

from math import exp, log

import numpy as np
import pytest
import torch

from rewardbench.errors import InputError
from rewardbench.metrics import bradley_terry_with_ties, rao_kupper_tie_threshold
from rewardbench.reward_training.objectives import (
    bradley_terry_loss,
    bradley_terry_with_ties_loss,
    regression_loss,
)

NAN = float("nan")


def rewards(seed=0, n=200, scale=4.0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(2, n, generator=generator, dtype=torch.float64)


def probabilities(a, b, theta=5.0):
    """P(A), P(tie), P(B) as the loss has them."""
    return [
        torch.exp(-bradley_terry_with_ties_loss(a, b, torch.full_like(a, label), theta=theta).each)
        for label in (1.0, 0.0, -1.0)
    ]


@pytest.mark.parametrize("theta", [1.5, 5.0, 20.0])
def test_the_three_probabilities_sum_to_one(theta):
    a, b = rewards()
    total = sum(probabilities(a, b, theta))
    np.testing.assert_allclose(total.numpy(), 1.0, atol=1e-12)


def test_probabilities_equal_the_numpy_implementation():
    a, b = rewards(1)
    for ours, theirs in zip(probabilities(a, b), bradley_terry_with_ties(a.numpy(), b.numpy()), strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-12)


def test_swapping_the_clips_and_the_label_changes_nothing():
    a, b = rewards(2)
    label = torch.tensor([1.0, 0.0, -1.0, NAN]).repeat(50).double()
    for loss in (bradley_terry_loss, bradley_terry_with_ties_loss):
        torch.testing.assert_close(loss(a, b, label).each, loss(b, a, -label).each, rtol=0, atol=0)


@pytest.mark.parametrize("theta", [2.5, 5.0, 9.0])
def test_a_tie_is_likeliest_up_to_the_closed_form_threshold(theta):
    threshold = log((theta**2 - 2) / theta)
    assert rao_kupper_tie_threshold(theta) == pytest.approx(threshold)
    d = torch.tensor([threshold - 1e-6, threshold + 1e-6], dtype=torch.float64)
    win, tie, _ = probabilities(d, torch.zeros_like(d), theta)
    assert tie[0] > win[0]
    assert tie[1] < win[1]


def test_hand_computed_values():
    a, b = torch.tensor([0.7, 0.7, 0.7]), torch.tensor([-0.3, -0.3, -0.3])
    each = bradley_terry_with_ties_loss(a, b, torch.tensor([1.0, 0.0, -1.0])).each
    win, lose = 1 / (1 + 5 * exp(-1.0)), 1 / (1 + 5 * exp(1.0))
    expected = [-log(win), -log(24 * win * lose), -log(lose)]
    torch.testing.assert_close(each, torch.tensor(expected))
    assert bradley_terry_loss(a[:1], b[:1], torch.tensor([1.0])).loss == pytest.approx(log(1 + exp(-1.0)))


def test_bradley_terry_is_the_limit_without_ties():
    a, b = rewards(3)
    label = torch.tensor([1.0, -1.0]).repeat(100).double()
    near = bradley_terry_with_ties_loss(a, b, label, theta=1 + 1e-9).each
    torch.testing.assert_close(near, bradley_terry_loss(a, b, label).each, rtol=1e-6, atol=1e-7)


def test_only_what_people_said_is_counted():
    a, b = (r.clone().requires_grad_() for r in rewards(4, n=4))
    label = torch.tensor([1.0, 0.0, NAN, -1.0]).double()
    bt = bradley_terry_loss(a, b, label)
    assert bt.counted.tolist() == [True, False, False, True]
    assert bt.loss.item() == pytest.approx(bt.each[[0, 3]].mean().item())
    bt.loss.backward()
    assert a.grad[[1, 2]].tolist() == [0.0, 0.0]
    assert (a.grad[[0, 3]] != 0).all()
    assert bradley_terry_with_ties_loss(a, b, label).counted.tolist() == [True, True, False, True]


def test_a_batch_in_which_nothing_is_counted_has_a_gradient_of_zero():
    a, b = (r.clone().requires_grad_() for r in rewards(5, n=3))
    loss = bradley_terry_loss(a, b, torch.zeros(3).double()).loss
    loss.backward()
    assert loss.item() == 0
    assert a.grad.abs().max() == 0


def test_the_loss_stays_finite_for_huge_margins():
    a, b = torch.tensor([500.0, 500.0, 500.0]), torch.tensor([-500.0, -500.0, -500.0])
    each = bradley_terry_with_ties_loss(a, b, torch.tensor([1.0, 0.0, -1.0])).each
    # far from 0 a tie costs d - ln θ - ln(θ²-1) + ..., a lost pair d + ln θ
    torch.testing.assert_close(each, torch.tensor([0.0, 1000 + log(5) - log(24), 1000 + log(5)]))


def test_regression_is_the_mean_squared_error_over_ratings():
    reward = torch.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    rating = torch.tensor([[2.0, NAN], [3.0, 1.0]])
    result = regression_loss(reward, rating)
    assert result.loss.item() == pytest.approx((1 + 0 + 9) / 3)
    result.loss.backward()
    torch.testing.assert_close(reward.grad, torch.tensor([[-2 / 3, 0.0], [0.0, 2.0]]))


@pytest.mark.parametrize("theta", [1.0, 0.5, float("inf"), NAN])
def test_theta_must_leave_room_for_ties(theta):
    with pytest.raises(InputError, match="above 1"):
        bradley_terry_with_ties_loss(*rewards(), torch.zeros(200), theta=theta)
