"""Noise levels and velocities against diffusers' schedulers and closed forms."""

from __future__ import annotations

import pytest
import torch

from rewardbench.align.noise import (
    FlowSchedule,
    TimeLaw,
    add_noise,
    scaled_linear_table,
    shifted,
    split_velocity,
)


@pytest.fixture(params=["flow", "v"])
def schedule(request):
    return FlowSchedule() if request.param == "flow" else scaled_linear_table()


def test_a_true_velocity_splits_into_its_clean_latent_and_noise(schedule) -> None:
    x0, eps = torch.randn(5, 3, 4), torch.randn(5, 3, 4)
    time = schedule.at(torch.tensor([0.0, 0.2, 0.5, 0.9, 1.0]))
    x_t = add_noise(x0, eps, time)
    clean, noise = split_velocity(schedule.target(x0, eps, time), x_t, time, schedule.kind)
    torch.testing.assert_close(clean, x0, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(noise, eps, rtol=1e-4, atol=1e-5)


def test_the_table_is_cogvideox_schedulers() -> None:
    from diffusers import CogVideoXDPMScheduler

    for shift in (1.0, 3.0):
        theirs = CogVideoXDPMScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            prediction_type="v_prediction",
            rescale_betas_zero_snr=True,
            snr_shift_scale=shift,
            timestep_spacing="trailing",
        )
        ours = scaled_linear_table(snr_shift=shift)
        torch.testing.assert_close(ours.alphas_cumprod.float(), theirs.alphas_cumprod.float(), rtol=1e-5, atol=1e-7)
        assert float(ours.alphas_cumprod[-1]) == 0.0
        theirs.set_timesteps(20)
        steps = ours.at(ours.steps(20)).native[:-1]
        assert steps.tolist() == theirs.timesteps.tolist()


def test_velocity_and_noise_are_cogvideox_schedulers() -> None:
    from diffusers import CogVideoXDPMScheduler

    theirs = CogVideoXDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type="v_prediction",
        rescale_betas_zero_snr=True, timestep_spacing="trailing", snr_shift_scale=1.0,
    )  # fmt: skip
    ours = scaled_linear_table()
    x0, eps = torch.randn(3, 2, 2), torch.randn(3, 2, 2)
    time = ours.at(torch.tensor([5, 500, 999]) / 999)
    assert time.native.tolist() == [5, 500, 999]
    torch.testing.assert_close(add_noise(x0, eps, time), theirs.add_noise(x0, eps, time.native), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        ours.target(x0, eps, time), theirs.get_velocity(x0, eps, time.native), rtol=1e-5, atol=1e-6
    )


def test_flow_steps_are_shifted_once() -> None:
    """σ' = 3σ/(1 + 2σ) at σ = 1, .8, .6, .4, .2, 0: by hand."""
    steps = FlowSchedule(shift=3.0).steps(5)
    assert steps.tolist() == pytest.approx([1.0, 0.9230769, 0.8181818, 0.6666667, 0.4285714, 0.0])
    assert float(shifted(torch.tensor(0.5), 5.0)) == pytest.approx(2.5 / 3.0)


def test_uniform_times_keep_to_their_part() -> None:
    t = TimeLaw("uniform", 0.0, 0.5).sample(20_000, torch.Generator().manual_seed(0))
    assert 0.0 <= float(t.min()) < 0.001
    assert 0.499 < float(t.max()) <= 0.5
    assert float(t.mean()) == pytest.approx(0.25, abs=0.005)


def test_a_positive_logit_mean_moves_towards_noise() -> None:
    t = TimeLaw("logit_normal", mean=1.0).sample(50_000, torch.Generator().manual_seed(0))
    assert float(t.median()) == pytest.approx(torch.sigmoid(torch.tensor(1.0)).item(), abs=0.01)


@pytest.mark.parametrize(
    "arguments", [{"name": "beta"}, {"low": 0.5, "high": 0.2}, {"std": 0.0}, {"high": 1.5}, {"shift": -1.0}]
)
def test_impossible_laws_are_refused(arguments) -> None:
    with pytest.raises(ValueError, match="not known|lie between|positive"):
        TimeLaw(**arguments)
