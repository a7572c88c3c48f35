"""Sampling from a family: one loop for both parameterisations, with a place for what changes the velocity."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rewardbench.align.families.base import Condition, VideoFamily
from rewardbench.align.noise import Time, column, split_velocity
from rewardbench.align.precision import autocast
from rewardbench.errors import InputError

VelocityHook = Callable[[Tensor, Tensor, Time, Condition], Tensor]
"""``hook(velocity, x_t, time, condition)`` returns the velocity to step with; called after classifier-free guidance."""


@dataclass(frozen=True)
class SamplingSettings:
    """How clips are sampled.

    Attributes:
        steps: of the solver: Euler on a rectified flow, DDIM with v-prediction (one formula for both: clean latent and
            noise are read off the velocity and mixed again at the next level).
        guidance: of classifier-free guidance; 1 asks the network once a step.
        batch_size: clips at once. It does not change a clip but for rounding.
    """

    steps: int = 20
    guidance: float = 1.0
    batch_size: int = 16


@dataclass(frozen=True)
class SamplingChoice:
    """What the user says of sampling; what is None is the family's usual value."""

    steps: int | None = None
    guidance: float | None = None
    batch_size: int | None = None

    def filled(self, family: VideoFamily) -> SamplingSettings:
        """With the family's usual values where nothing was said.

        Raises:
            InputError: no steps, no clips at once, or a guidance below 0 or not finite.
        """
        steps, guidance = family.usual_sampling
        for name, given in (("sampling steps", self.steps), ("clips sampled at once", self.batch_size)):
            if given is not None and given < 1:
                raise InputError(f"{name} are at least 1, not {given}")
        if self.guidance is not None and not (math.isfinite(self.guidance) and self.guidance >= 0):
            raise InputError(f"guidance is 0 or a larger finite number, not {self.guidance}; 1 asks the network once")
        return SamplingSettings(
            steps if self.steps is None else self.steps,
            guidance if self.guidance is None else self.guidance,
            family.usual_batch if self.batch_size is None else self.batch_size,
        )


def seed_of(*parts: object) -> int:
    """A 63-bit seed that depends on the parts alone, whatever process or order they are drawn in."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def noise(shape: tuple[int, ...], seeds: list[int]) -> Tensor:
    """Standard normal (B, *shape), float32, on the CPU: row i from seed i alone."""
    return torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


def sample(
    family: VideoFamily,
    condition: Condition,
    empty: Condition,
    seeds: list[int],
    settings: SamplingSettings,
    *,
    network: nn.Module | None = None,
    hook: VelocityHook | None = None,
    precision: str = "no",
) -> Tensor:
    """Latents (B, …) of B clips, float32.

    Args:
        family: the generator.
        condition: of the B clips; ``empty`` the same without caption, for guidance.
        seeds: of the noise they start from.
        settings: steps and guidance.
        network: asked instead of the family's own.
        hook: changes the velocity of every step (reward guidance).
        precision: ``no``, ``bf16`` or ``fp16``: what autocast computes in, which in training is the recipe's. A network
            that is compared with another has to be asked in the same.
    """
    network = network or family.transformer
    device = next(iter(condition.values())).device
    x = family.prepare_latents(noise(family.latent_shape, seeds).to(device), condition)
    t = family.schedule.steps(settings.steps)
    for i in range(settings.steps):
        now = family.schedule.at(t[i].expand(len(seeds))).to(device)
        after = family.schedule.at(t[i + 1].expand(len(seeds))).to(device)
        with torch.no_grad(), autocast(device.type, precision):
            velocity = family.predict(network, x, now, condition).float()
            if settings.guidance != 1.0:
                plain = family.predict(network, x, now, empty).float()
                velocity = plain + settings.guidance * (velocity - plain)
        if hook is not None:
            velocity = hook(velocity, x, now, condition)
        clean, eps = split_velocity(velocity, x, now, family.schedule.kind)
        last = i + 1 == settings.steps
        # the table of v-prediction keeps a little noise at its first entry; the last step ends at the clean latent
        x = clean if last else column(after.alpha, x) * clean + column(after.sigma, x) * eps
        x = family.prepare_latents(x, condition)
    return x
