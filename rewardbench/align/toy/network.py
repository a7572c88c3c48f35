"""The toy's network: a transformer over space-time patches that is told time, caption and first frame.

What it computes is not the velocity itself but what a linear guess leaves over (Karras et al., 2022, Sec. 5): the clean
latent is taken as the first frame held still plus a change d of known spread s, so that y = x_t - α·still = α·d + σ·eps
has a best linear guess of the velocity, and the network adds the rest at unit variance. Without it, a token of 192
noisy numbers would have to pass through a width of 160 unharmed, and samples stayed noisy.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.loaders import PeftAdapterMixin
from torch import Tensor, nn

from rewardbench.align.noise import FlowSchedule, column, scaled_linear_table

PATCH = 2
"""Side of a patch in latent cells."""
FLOW, TABLE = FlowSchedule(), scaled_linear_table()
"""The noise schedules of the two predictions; the table is CogVideoX-5B's."""


class ToyAttention(nn.Module):
    """Self-attention with normalised queries and keys; the names of its layers are those of diffusers."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width)
        self.to_k = nn.Linear(width, width)
        self.to_v = nn.Linear(width, width)
        self.to_out = nn.Linear(width, width)
        self.norm_q = nn.LayerNorm(width // heads, elementwise_affine=False)
        self.norm_k = nn.LayerNorm(width // heads, elementwise_affine=False)

    def forward(self, x: Tensor) -> Tensor:
        b, n, width = x.shape
        q, k, v = (
            layer(x).reshape(b, n, self.heads, -1).transpose(1, 2) for layer in (self.to_q, self.to_k, self.to_v)
        )
        out = nn.functional.scaled_dot_product_attention(self.norm_q(q), self.norm_k(k), v)
        mixed: Tensor = self.to_out(out.transpose(1, 2).reshape(b, n, width))
        return mixed


class ToyBlock(nn.Module):
    """Attention and MLP, each shifted, scaled and gated by what the time and the caption say (adaLN; Peebles & Xie)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False)
        self.attn = ToyAttention(width, heads)
        self.ff_in = nn.Linear(width, 4 * width)
        self.ff_out = nn.Linear(4 * width, width)
        self.table = nn.Parameter(torch.randn(6, width) / width**0.5)

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = (self.table + modulation).unsqueeze(2).unbind(1)
        x = x + gate1 * self.attn(self.norm1(x) * (1 + scale1) + shift1)
        out: Tensor = x + gate2 * self.ff_out(
            nn.functional.gelu(self.ff_in(self.norm2(x) * (1 + scale2) + shift2), approximate="tanh")
        )
        return out


class ToyTransformer(ModelMixin, ConfigMixin, PeftAdapterMixin):  # type: ignore[misc]
    """Velocity of a noisy latent, given time, caption and first frame.

    Args:
        channels: of a latent.
        grid: frames, rows and columns of a latent; sides are even.
        vocabulary: number of words; id 0 is padding, 1 any other word.
        width, depth, heads: of the transformer.
        prediction: ``flow`` or ``v``, what it was trained to give; see :mod:`rewardbench.align.noise`.
        fps: of the clips it was trained on.
    """

    _supports_gradient_checkpointing = True

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        channels: int = 48,
        grid: tuple[int, int, int] = (8, 8, 8),
        vocabulary: int = 128,
        width: int = 160,
        depth: int = 6,
        heads: int = 4,
        prediction: str = "flow",
        fps: float = 8.0,
    ) -> None:
        super().__init__()
        cells = channels * PATCH * PATCH
        self.patch_in = nn.Linear(2 * cells, width)
        self.patch_out = nn.Linear(width, cells)
        self.position_t = nn.Parameter(0.02 * torch.randn(grid[0], 1, 1, width))
        self.position_y = nn.Parameter(0.02 * torch.randn(1, grid[1] // PATCH, 1, width))
        self.position_x = nn.Parameter(0.02 * torch.randn(1, 1, grid[2] // PATCH, width))
        self.words = nn.Embedding(vocabulary, width, padding_idx=0)
        self.text = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.time = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))
        self.modulation = nn.Linear(width, 6 * width)
        self.blocks = nn.ModuleList(ToyBlock(width, heads) for _ in range(depth))
        self.norm_out = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation_out = nn.Linear(width, 2 * width)
        self.register_buffer("spread", torch.ones(channels, grid[0], 1, 1))
        self.gradient_checkpointing = False
        for layer in (self.modulation, self.modulation_out, self.patch_out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, latents: Tensor, native: Tensor, words: Tensor, image: Tensor) -> Tensor:
        """Velocity (B, C, t, h, w).

        Args:
            latents: (B, C, t, h, w), noisy.
            native: (B,) time as the schedule of ``prediction`` has it.
            words: int64 (B, L), 0 padded; a row of zeros is no caption.
            image: (B, C, h, w), latent of the first frame held still.
        """
        b, c, t, h, w = latents.shape
        still = image.unsqueeze(2).expand_as(latents)
        moment, alpha, sigma = self._levels(native, latents)
        change = latents - alpha * still
        variance = (alpha * self.spread) ** 2 + sigma**2
        x = self.patch_in(patches(torch.cat([change / variance.sqrt(), still], 1)))
        x = x + (self.position_t + self.position_y + self.position_x).flatten(0, 2)
        context = self.time(waves(moment, x.shape[-1]).to(x.dtype)) + self._caption(words)
        modulation = self.modulation(nn.functional.silu(context)).reshape(b, 6, -1)
        for block in self.blocks:
            x = block(x, modulation)
        shift, scale = self.modulation_out(nn.functional.silu(context)).unsqueeze(1).chunk(2, -1)
        rest = cells(self.patch_out(self.norm_out(x) * (1 + scale) + shift), (c, t, h, w))
        if self.config["prediction"] == "flow":
            guess = (sigma - alpha * self.spread**2) / variance * change - still
        else:
            guess = alpha * sigma * (1 - self.spread**2) / variance * change - sigma * still
        velocity: Tensor = guess + self.spread / variance.sqrt() * rest
        return velocity

    def _levels(self, native: Tensor, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(t (B,) in [0, 1], α, σ (B, 1, 1, 1, 1)) of native times."""
        if self.config["prediction"] == "flow":
            t = native.to(like.dtype) / FLOW.scale
            moment = FLOW.at(t)
        else:
            moment = TABLE.at(native.to(torch.float64) / (len(TABLE.alphas_cumprod) - 1))
        return moment.t, column(moment.alpha, like).to(like.dtype), column(moment.sigma, like).to(like.dtype)

    def _caption(self, words: Tensor) -> Tensor:
        """(B, width): the mean of the words' vectors, through an MLP."""
        present = (words > 0).unsqueeze(-1)
        total = (self.words(words) * present).sum(1) / present.sum(1).clamp(min=1)
        context: Tensor = self.text(total * total.shape[-1] ** 0.5)
        return context


def patches(x: Tensor) -> Tensor:
    """(B, C, t, h, w) to tokens (B, t·h/2·w/2, 4C)."""
    b, c, t, h, w = x.shape
    x = x.reshape(b, c, t, h // PATCH, PATCH, w // PATCH, PATCH).permute(0, 2, 3, 5, 1, 4, 6)
    return x.reshape(b, -1, c * PATCH * PATCH)


def cells(tokens: Tensor, shape: tuple[int, int, int, int]) -> Tensor:
    """The inverse of :func:`patches`; ``shape`` is (C, t, h, w)."""
    c, t, h, w = shape
    x = tokens.reshape(-1, t, h // PATCH, w // PATCH, c, PATCH, PATCH).permute(0, 4, 1, 2, 5, 3, 6)
    return x.reshape(-1, c, t, h, w)


def waves(t: Tensor, width: int) -> Tensor:
    """(B, width) sines and cosines of times in [0, 1], wavelengths from 1/1000 to 10, geometric."""
    half = width // 2
    frequencies: Any = torch.exp(torch.linspace(-2.3, 6.9, half, device=t.device))
    angles = 2 * torch.pi * t[:, None] * frequencies / 4
    return torch.cat([angles.cos(), angles.sin()], -1)
