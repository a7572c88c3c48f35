"""The toy's latents: a linear code of small space-time blocks.

A block of 2 frames by 8x8 pixels (384 numbers) is written in the first components of a principal component analysis of
drawn clips. Code and decode are one matrix each, exact inverses on the kept components, and differentiable.
"""

from __future__ import annotations

import torch
from torch import Tensor

FRAMES, SIDE = 2, 8
"""Extent of a block in time and space."""
BLOCK = FRAMES * SIDE * SIDE * 3


class BlockCodec:
    """Pixels to latents and back.

    Attributes:
        mean: (384,) of all blocks, pixel values in [-1, 1].
        basis: (384, C), orthonormal columns.
        scale: (C,) a latent is the projection divided by it. It is the square root of the component's standard
            deviation, times a constant that makes the mean variance 1: between whitening, which would make the network
            learn faint detail as eagerly as shapes, and plain projection.
    """

    def __init__(self, mean: Tensor, basis: Tensor, scale: Tensor) -> None:
        self.mean, self.basis, self.scale = mean, basis, scale

    @property
    def channels(self) -> int:
        return int(self.basis.shape[1])

    def to(self, device: torch.device | str) -> BlockCodec:
        return BlockCodec(self.mean.to(device), self.basis.to(device), self.scale.to(device))

    def encode(self, pixels: Tensor) -> Tensor:
        """Float (B, T, H, W, 3) in [-1, 1] to latents (B, C, T/2, H/8, W/8).

        Raises:
            ValueError: an odd number of frames, or a side that is not a multiple of 8.
        """
        b, t, h, w, _ = pixels.shape
        if t % FRAMES or h % SIDE or w % SIDE:
            raise ValueError(f"the toy codes an even number of frames with sides of 8, 16, … pixels, not {t}x{h}x{w}")
        blocks = pixels.reshape(b, t // FRAMES, FRAMES, h // SIDE, SIDE, w // SIDE, SIDE, 3)
        blocks = blocks.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(b, t // FRAMES, h // SIDE, w // SIDE, BLOCK)
        return (((blocks - self.mean) @ self.basis) / self.scale).permute(0, 4, 1, 2, 3)

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, C, t, h, w) to float (B, 2t, 8h, 8w, 3); values may pass [-1, 1] a little."""
        b, _, t, h, w = latents.shape
        blocks = (latents.permute(0, 2, 3, 4, 1) * self.scale) @ self.basis.T + self.mean
        blocks = blocks.reshape(b, t, h, w, FRAMES, SIDE, SIDE, 3).permute(0, 1, 4, 2, 5, 3, 6, 7)
        return blocks.reshape(b, t * FRAMES, h * SIDE, w * SIDE, 3)


def fit_codec(pixels: Tensor, channels: int) -> tuple[BlockCodec, float]:
    """The codec of drawn clips (N, T, H, W, 3) in [-1, 1], and the share of their variance it keeps."""
    plain = BlockCodec(torch.zeros(BLOCK), torch.eye(BLOCK), torch.ones(BLOCK))
    blocks = plain.encode(pixels).permute(0, 2, 3, 4, 1).reshape(-1, BLOCK).double()
    mean = blocks.mean(0)
    centred = blocks - mean
    values, vectors = torch.linalg.eigh(centred.T @ centred / len(centred))
    values, vectors = values.flip(0), vectors.flip(1)
    kept = values[:channels]
    scale = kept.sqrt().sqrt()
    scale = scale * (kept / scale**2).mean().sqrt()
    return BlockCodec(mean.float(), vectors[:, :channels].float(), scale.float()), float(kept.sum() / values.sum())
