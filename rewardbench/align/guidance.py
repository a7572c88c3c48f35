"""Reward guidance while sampling: Flow-NRG (Liu et al., 2025, arXiv:2501.13918v2, Eq. 11)."""

from __future__ import annotations

import torch
from torch import Tensor

from rewardbench.align.noise import Time, column


def reward_guided_velocity(
    velocity: Tensor,
    t: Tensor | float,
    reward_gradient: Tensor,
    scale: float,
    *,
    clamp: float | None = None,
    norm_cap: float | None = None,
) -> Tensor:
    """v - w·t/(1 - t)·∇r, for a rectified flow; samples with t = 1 are left alone.

    Args:
        velocity: (B, …), after classifier-free guidance.
        t: one number or (B,) in [0, 1]; 1 is noise.
        reward_gradient: ∇r of the reward with respect to the noisy latent, (B, …).
        scale: w; 0 leaves the velocity as it is.
        clamp: largest value of t/(1 - t), which grows without bound towards t = 1; None for none.
        norm_cap: largest L2 norm of what is subtracted from a sample; None for none.

    Returns:
        float32 (B, …).

    Raises:
        ValueError: a time outside [0, 1], shapes that differ, or a clamp or cap that is not positive.
    """
    time = torch.as_tensor(t, dtype=torch.float32, device=velocity.device).expand(len(velocity))
    if not bool(((time >= 0) & (time <= 1)).all()):
        raise ValueError("times lie in [0, 1]")
    return _guided(velocity, time, 1.0 - time, reward_gradient, scale, clamp, norm_cap)


def guided_velocity(
    velocity: Tensor,
    time: Time,
    reward_gradient: Tensor,
    scale: float,
    *,
    clamp: float | None = None,
    norm_cap: float | None = None,
) -> Tensor:
    """The same for either parameterisation: v - w·σ/α·∇r.

    Adding w·∇r to the score moves the noise by -σ·w·∇r; at a given x_t, dv/d(eps) is 1/α for the rectified flow
    (α = 1 - t) and for v-prediction alike. Samples without signal (α = 0) are left alone.
    """
    return _guided(velocity, time.sigma, time.alpha, reward_gradient, scale, clamp, norm_cap)


def _guided(
    velocity: Tensor,
    sigma: Tensor,
    alpha: Tensor,
    gradient: Tensor,
    scale: float,
    clamp: float | None,
    norm_cap: float | None,
) -> Tensor:
    if gradient.shape != velocity.shape:
        raise ValueError(f"the reward's gradient is {tuple(gradient.shape)}, the velocity {tuple(velocity.shape)}")
    for name, value in (("clamp", clamp), ("norm cap", norm_cap)):
        if value is not None and not value > 0:
            raise ValueError(f"{name} of reward guidance is positive, not {value}")
    noise_only = alpha <= 0
    factor = torch.where(noise_only, 0.0, sigma / torch.where(noise_only, 1.0, alpha))
    if clamp is not None:
        factor = factor.clamp(max=clamp)
    correction = scale * column(factor, velocity) * gradient.float()
    if norm_cap is not None:
        norm = correction.flatten(1).norm(dim=1)
        correction = correction * column((norm_cap / norm.clamp(min=1e-30)).clamp(max=1.0), velocity)
    return torch.where(column(noise_only, velocity), velocity.float(), velocity.float() - correction)
