"""How a clean latent becomes a noisy one, and what a network that looks at it is asked for.

Both parameterisations of today's video generators mix the clean latent x0 with noise eps,

    x_t = α·x0 + σ·eps,

and ask for a velocity that points towards the noise:

* rectified flow (Wan, LTX, HunyuanVideo, the toy): α = 1 − t, σ = t, v = eps − x0; t = 1 is noise;
* v-prediction (CogVideoX; Salimans & Ho, 2022): α = √ᾱ, σ = √(1 − ᾱ), v = α·eps − σ·x0.

In both, an error of the velocity is an error of the noise times 1/α and of the clean latent times 1/σ, so that
E_eps = α²·E_v and E_x0 = σ²·E_v. Nothing here reads a diffusers scheduler *object*: such objects shift their tables at
construction and again when steps are set. Numbers of a checkpoint's scheduler *configuration* are handed in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Time:
    """Noise levels of B latents.

    Attributes:
        t: float32 (B,) in [0, 1]; 0 is clean, 1 is noise. What reports and time laws speak of.
        native: (B,) what the network is told: t·1000 (flow) or the integer step of its table (v-prediction).
        alpha, sigma: float32 (B,), coefficients of clean latent and noise.
    """

    t: Tensor
    native: Tensor
    alpha: Tensor
    sigma: Tensor

    def __getitem__(self, index: Any) -> Time:
        return Time(self.t[index], self.native[index], self.alpha[index], self.sigma[index])

    def repeat(self, n: int) -> Time:
        """The B times n times over: (n·B,), block after block."""
        return Time(*(x.repeat(n) for x in (self.t, self.native, self.alpha, self.sigma)))

    def to(self, device: torch.device | str) -> Time:
        return Time(*(x.to(device) for x in (self.t, self.native, self.alpha, self.sigma)))


class Schedule(Protocol):
    """A parameterisation; the two below are all that are known."""

    @property
    def kind(self) -> str:
        """``flow`` or ``v``."""
        ...

    def at(self, t: Tensor) -> Time:
        """Noise levels at t (B,) in [0, 1]."""
        ...

    def target(self, x0: Tensor, eps: Tensor, time: Time) -> Tensor:
        """The velocity the network is asked for; shape of x0."""
        ...

    def steps(self, n: int) -> Tensor:
        """float32 (n + 1,): t of the n sampling steps, from noise (first) to 0 (last)."""
        ...

    def describe(self) -> dict[str, Any]:
        """Goes into the run's record."""
        ...


def column(values: Tensor, like: Tensor) -> Tensor:
    """(B,) as (B, 1, …, 1) with as many axes as ``like``."""
    return values.reshape(-1, *[1] * (like.dim() - 1))


def add_noise(x0: Tensor, eps: Tensor, time: Time) -> Tensor:
    """x_t = α·x0 + σ·eps in float32; shapes (B, …)."""
    return column(time.alpha, x0) * x0.float() + column(time.sigma, x0) * eps.float()


def split_velocity(velocity: Tensor, x_t: Tensor, time: Time, kind: str) -> tuple[Tensor, Tensor]:
    """(clean latent, noise) that a velocity at x_t implies; shapes (B, …), float32."""
    v, x = velocity.float(), x_t.float()
    if kind == "flow":
        sigma = column(time.sigma, x)
        return x - sigma * v, x + (1.0 - sigma) * v
    alpha, sigma = column(time.alpha, x), column(time.sigma, x)
    return alpha * x - sigma * v, sigma * x + alpha * v


@dataclass(frozen=True)
class FlowSchedule:
    """Rectified flow.

    Attributes:
        shift: moves *sampling* steps towards noise, σ' = s·σ / (1 + (s − 1)·σ) (Esser et al., 2024, Eq. 23). Training
            times follow the run's time law, which has a shift of its own.
        scale: what t is multiplied by for the network.
    """

    shift: float = 1.0
    scale: float = 1000.0
    kind: str = field(default="flow", init=False)

    def at(self, t: Tensor) -> Time:
        t = t.float()
        return Time(t, t * self.scale, 1.0 - t, t)

    def target(self, x0: Tensor, eps: Tensor, time: Time) -> Tensor:
        return eps.float() - x0.float()

    def steps(self, n: int) -> Tensor:
        return shifted(torch.linspace(1.0, 0.0, n + 1), self.shift)

    def describe(self) -> dict[str, Any]:
        return {"prediction": "flow velocity, v = eps - x0", "sampling_shift": self.shift, "time_scale": self.scale}


@dataclass(frozen=True)
class VSchedule:
    """v-prediction on a discrete table.

    Attributes:
        alphas_cumprod: float64 (N,), ᾱ of every step, falling; the last is 0 with zero terminal SNR.
        origin: the numbers it was made from, for the record.
    """

    alphas_cumprod: Tensor
    origin: Mapping[str, Any] = field(default_factory=dict)
    kind: str = field(default="v", init=False)

    def at(self, t: Tensor) -> Time:
        """The table's entry nearest to t·(N − 1)."""
        table = self.alphas_cumprod.to(t.device)
        last = len(table) - 1
        index = (t.double() * last).round().long().clamp(0, last)
        bar = table[index]
        return Time((index / last).float(), index, bar.sqrt().float(), (1.0 - bar).sqrt().float())

    def target(self, x0: Tensor, eps: Tensor, time: Time) -> Tensor:
        return column(time.alpha, x0) * eps.float() - column(time.sigma, x0) * x0.float()

    def steps(self, n: int) -> Tensor:
        """Trailing spacing: the first step is the table's last entry (Lin et al., 2024)."""
        last = len(self.alphas_cumprod) - 1
        index = torch.arange(last + 1, 0, -(last + 1) / n, dtype=torch.float64)[:n].round() - 1
        return torch.cat([index / last, torch.zeros(1, dtype=torch.float64)]).float()

    def describe(self) -> dict[str, Any]:
        return {"prediction": "v = sqrt(abar)*eps - sqrt(1-abar)*x0", "steps": len(self.alphas_cumprod), **self.origin}


def shifted(t: Tensor, shift: float) -> Tensor:
    """t' = s·t / (1 + (s − 1)·t), in [0, 1]; s > 1 moves towards noise."""
    return shift * t / (1.0 + (shift - 1.0) * t)


def scaled_linear_table(
    steps: int = 1000,
    start: float = 0.00085,
    end: float = 0.012,
    *,
    snr_shift: float = 1.0,
    zero_terminal_snr: bool = True,
    squared: bool = True,
) -> VSchedule:
    """The ᾱ table of CogVideoX: (scaled-)linear betas, an SNR shift, and a last step without signal.

    Args:
        steps: length of the table.
        start, end: first and last beta.
        snr_shift: ᾱ ← ᾱ / (s + (1 − s)·ᾱ); 3.0 in CogVideoX-2B, 1.0 in 5B.
        zero_terminal_snr: √ᾱ is moved and stretched so that the last is 0 and the first stays (Lin et al., 2024).
        squared: betas are linear in their square root (``scaled_linear``); linear if False.
    """
    if squared:
        betas = torch.linspace(start**0.5, end**0.5, steps, dtype=torch.float64) ** 2
    else:
        betas = torch.linspace(start, end, steps, dtype=torch.float64)
    bar = torch.cumprod(1.0 - betas, 0)
    bar = bar / (snr_shift + (1.0 - snr_shift) * bar)
    if zero_terminal_snr:
        root = bar.sqrt()
        bar = ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2
    origin = {"beta_start": start, "beta_end": end, "snr_shift": snr_shift, "zero_terminal_snr": zero_terminal_snr}
    return VSchedule(bar, origin)


TIME_LAWS = ("uniform", "logit_normal")


@dataclass(frozen=True)
class TimeLaw:
    """How training times are drawn.

    Attributes:
        name: ``uniform`` on [low, high], or ``logit_normal``: t = sigmoid(mean + std·n), clipped to [low, high].
            A positive mean moves towards *noise* (in scripts that use it as an index of a falling table, towards data).
        low, high: part of [0, 1] that is used; RealDPO's code uses [0, 0.5].
        mean, std: of the logit.
        shift: applied last, see :func:`shifted`.
    """

    name: str = "uniform"
    low: float = 0.0
    high: float = 1.0
    mean: float = 0.0
    std: float = 1.0
    shift: float = 1.0

    def __post_init__(self) -> None:
        if self.name not in TIME_LAWS:
            raise ValueError(f"time law {self.name!r} is not known; there are {', '.join(TIME_LAWS)}")
        if not 0.0 <= self.low < self.high <= 1.0:
            raise ValueError(f"times lie between 0 and 1, lowest first, not [{self.low}, {self.high}]")
        if not (self.std > 0 and self.shift > 0):
            raise ValueError(f"std and shift of a time law are positive, not {self.std} and {self.shift}")

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """float32 (n,) on the CPU."""
        if self.name == "uniform":
            t = self.low + (self.high - self.low) * torch.rand(n, generator=generator)
        else:
            t = torch.sigmoid(self.mean + self.std * torch.randn(n, generator=generator)).clamp(self.low, self.high)
        return shifted(t, self.shift)
