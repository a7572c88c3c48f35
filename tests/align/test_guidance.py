"""Reward guidance against its formula and against a case with a known answer."""

from __future__ import annotations

import pytest
import torch

from rewardbench.align.guidance import guided_velocity, reward_guided_velocity
from rewardbench.align.noise import FlowSchedule, column, scaled_linear_table, split_velocity


def test_the_formula() -> None:
    v, g = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[0.5, -1.0], [2.0, 0.0]])
    t = torch.tensor([0.5, 0.8])
    found = reward_guided_velocity(v, t, g, 100.0)
    expected = v - 100.0 * torch.tensor([[1.0], [4.0]]) * g
    torch.testing.assert_close(found, expected)


def test_pure_noise_is_left_alone_and_so_is_the_end() -> None:
    v, g = torch.randn(2, 3), torch.randn(2, 3)
    assert torch.equal(reward_guided_velocity(v, torch.tensor([1.0, 0.0]), g, 100.0), v)


def test_zero_scale_changes_nothing() -> None:
    v = torch.randn(2, 3)
    assert torch.equal(reward_guided_velocity(v, 0.3, torch.randn(2, 3), 0.0), v)


def test_clamp_limits_the_factor() -> None:
    v, g = torch.zeros(1, 2), torch.ones(1, 2)
    assert float(reward_guided_velocity(v, 0.99, g, 1.0, clamp=2.0)[0, 0]) == pytest.approx(-2.0)
    assert float(reward_guided_velocity(v, 0.5, g, 1.0, clamp=2.0)[0, 0]) == pytest.approx(-1.0)


def test_norm_cap_limits_the_correction_of_every_sample() -> None:
    v = torch.zeros(2, 4)
    g = torch.tensor([[3.0, 4.0, 0.0, 0.0], [0.03, 0.04, 0.0, 0.0]])
    found = reward_guided_velocity(v, 0.5, g, 10.0, norm_cap=1.0)
    assert found.norm(dim=1).tolist() == pytest.approx([1.0, 0.5])
    torch.testing.assert_close(found[0] / found[0].norm(), -g[0] / g[0].norm())


@pytest.mark.parametrize("kind", ["flow", "v"])
def test_guidance_towards_a_quadratic_reward_is_exact_for_gaussian_data(kind) -> None:
    """Data N(0, 1), reward -x_t²/2 at every level: the guided score is -x_t/var - w·x_t. Velocities are
    written from scores.
    """
    schedule = FlowSchedule() if kind == "flow" else scaled_linear_table()
    time = schedule.at(torch.tensor([0.3, 0.6]))
    x = torch.tensor([[0.7], [-1.2]])
    alpha, sigma = column(time.alpha, x), column(time.sigma, x)
    variance = alpha**2 + sigma**2

    def velocity(score: torch.Tensor) -> torch.Tensor:
        eps = -sigma * score
        x0 = (x - sigma * eps) / alpha
        return eps - x0 if kind == "flow" else alpha * eps - sigma * x0

    w = 0.25
    found = guided_velocity(velocity(-x / variance), time, -x, w)
    torch.testing.assert_close(found, velocity(-x / variance - w * x), rtol=1e-5, atol=1e-5)
    _, eps = split_velocity(found, x, time, kind)
    torch.testing.assert_close(eps, -sigma * (-x / variance - w * x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"t": 1.5}, r"lie in \[0, 1\]"),
        ({"reward_gradient": torch.zeros(1, 3)}, "gradient is"),
        ({"clamp": 0.0}, "clamp .* positive"),
        ({"norm_cap": -1.0}, "norm cap .* positive"),
    ],
)
def test_what_cannot_be_meant_is_refused(changes, sentence) -> None:
    given = {"velocity": torch.zeros(1, 2), "t": 0.5, "reward_gradient": torch.zeros(1, 2), "scale": 1.0} | changes
    with pytest.raises(ValueError, match=sentence):
        reward_guided_velocity(**given)
