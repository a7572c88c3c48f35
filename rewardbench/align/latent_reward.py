"""Flow-NRG's reward: a small network on early layers of the generator that sees noisy latents and knows the time.

It is trained with Bradley-Terry on pairs whose two clips get the same noise at the same time, so that what tells them
apart is the clip and not the noise (Liu et al., 2025, arXiv:2501.13918v2, Sec. 4.4). It has one output a dimension, and
what they weigh is said when it guides. The paper does not say how many layers it reuses nor what its head is; both are
options here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from rewardbench.align.families.base import Condition, VideoFamily
from rewardbench.align.noise import Time
from rewardbench.errors import InputError


class EarlyBlocks(nn.Module):
    """Features of the first blocks of a generator's network: it is run as ever and stopped after block ``depth``.

    Args:
        family: its network is shared, not copied, and stays as it is.
        depth: number of blocks, at least 1.
    """

    def __init__(self, family: VideoFamily, depth: int) -> None:
        super().__init__()
        blocks = family.blocks(family.transformer)
        if not 1 <= depth <= len(blocks):
            raise InputError(f"the generator has {len(blocks)} blocks; the latent reward cannot reuse {depth} of them")
        self._family = [family]  # in a list: the generator's weights are not this module's
        self.depth = depth

    def forward(self, x_t: Tensor, time: Time, condition: Condition) -> Tensor:
        """Tokens (B, N, width), float32, of noisy latents (B, …); differentiable in them."""
        (family,) = self._family
        block = family.blocks(family.transformer)[self.depth - 1]
        caught: list[Any] = []

        def stop(module: nn.Module, given: Any, out: Any) -> None:
            caught.append(out[0] if isinstance(out, tuple) else out)
            raise _Stop

        handle = block.register_forward_hook(stop)
        try:
            family.predict(family.transformer, x_t, time, condition)
        except _Stop:
            pass
        finally:
            handle.remove()
        tokens: Tensor = caught[0]
        return tokens.float()


class _Stop(Exception):  # noqa: N818 (not an error: enough has been computed)
    """The block that was asked for has been reached."""


class LatentRewardModel(nn.Module):
    """Rewards (B, D) of noisy latents; implements :class:`rewardbench_plugin.LatentReward`.

    Tokens of the early blocks are normalised, mixed by one layer, pooled by mean and by a learned attention, and read
    by one linear layer; the time reaches it through the blocks themselves.

    Args:
        family: whose blocks it reads.
        dimensions: names of the D rewards.
        depth: blocks that are reused.
        width: of the head.
        sees_time: False trains and asks it at t = 0 only: the clean latent reward of the paper's ablation (App. E).
        tokens: width of the blocks' tokens; they are asked for it if None.

    Attributes:
        pairs: dimension to number of pairs that decided it in training; empty before.
    """

    def __init__(
        self,
        family: VideoFamily,
        dimensions: Sequence[str],
        *,
        depth: int = 2,
        width: int = 128,
        sees_time: bool = True,
        tokens: int | None = None,
    ) -> None:
        super().__init__()
        self.dimensions = tuple(dimensions)
        self.pairs: dict[str, int] = {}
        self.sees_time, self.width = sees_time, width
        self.features = EarlyBlocks(family, depth)
        self.family = [family]
        size = tokens or _token_width(family, self.features)
        self.norm = nn.LayerNorm(size)
        self.mix = nn.Linear(size, width)
        self.ask = nn.Linear(width, 1)
        self.read = nn.Linear(2 * width, len(self.dimensions))
        nn.init.zeros_(self.read.weight)
        nn.init.zeros_(self.read.bias)

    def rewards(self, x_t: Tensor, time: Time, condition: Condition) -> Tensor:
        """float32 (B, D)."""
        if not self.sees_time:
            time = self.family[0].schedule.at(torch.zeros_like(time.t)).to(x_t.device)
        tokens = nn.functional.gelu(self.mix(self.norm(self.features(x_t, time, condition))))
        share = self.ask(tokens).softmax(1)
        pooled = torch.cat([tokens.mean(1), (share * tokens).sum(1)], -1)
        out: Tensor = self.read(pooled)
        return out

    def reward(self, latents: Tensor, t: Tensor, text: Condition) -> Tensor:
        """The plugin API's name for it: rewards (B, D) of latents at times t (B,)."""
        return self.rewards(latents, self.family[0].schedule.at(t).to(latents.device), text)

    def save(self, path: Path) -> None:
        """Write the head (the blocks are the generator's)."""
        facts = {
            "dimensions": self.dimensions,
            "depth": self.features.depth,
            "width": self.width,
            "sees_time": self.sees_time,
            "pairs": self.pairs,
            "generator": _generator(self.family[0]),
        }
        tensors = {k: v.detach().cpu().contiguous() for k, v in self.state_dict().items()}
        partial = path.with_suffix(".partial")
        save_file(tensors, partial, metadata={"latent_reward": json.dumps(facts)})
        os.replace(partial, path)

    @classmethod
    def load(cls, path: Path, family: VideoFamily) -> LatentRewardModel:
        """Read a head for this generator.

        Raises:
            InputError: it cannot be read, or belongs to another generator.
        """
        try:
            with safe_open(path, framework="pt") as file:
                facts = json.loads((file.metadata() or {})["latent_reward"])
                tensors = {k: file.get_tensor(k) for k in list(file.keys())}
        except Exception as error:
            raise InputError(f"{path} is not a latent reward: {error}") from error
        if facts["generator"] != _generator(family):
            raise InputError(f"{path} is the latent reward of another generator")
        model = cls(
            family,
            facts["dimensions"],
            depth=facts["depth"],
            width=facts["width"],
            sees_time=facts["sees_time"],
            tokens=len(tensors["norm.weight"]),
        )
        model.load_state_dict(tensors)
        model.pairs = dict(facts.get("pairs", {}))
        return model


@dataclass(frozen=True)
class LatentPair:
    """Two clips of one prompt; by dimension +1 where the first is better, -1 where the second is, 0 for neither."""

    first: str
    second: str
    prompt_id: str
    labels: Mapping[str, int]


def latent_pairs(
    samples: Sequence[Any], rewards: Mapping[str, Mapping[str, float]], *, min_gap: float = 0.0
) -> list[LatentPair]:
    """All pairs of clips under one prompt that differ by more than ``min_gap`` in some dimension.

    Args:
        samples: :class:`rewardbench.align.samples.Sample`.
        rewards: dimension to clip id to reward, higher is better; NaN decides nothing.
        min_gap: smallest difference that decides.
    """
    groups: dict[str, list[str]] = {}
    for s in samples:
        groups.setdefault(s.prompt.prompt_id, []).append(s.clip_id)
    found = []
    for prompt_id, clips in groups.items():
        for i, a in enumerate(clips):
            for b in clips[i + 1 :]:
                labels = {}
                for dimension, values in rewards.items():
                    gap = values[a] - values[b]
                    labels[dimension] = 0 if not abs(gap) > min_gap else (1 if gap > 0 else -1)
                if any(labels.values()):
                    found.append(LatentPair(a, b, prompt_id, labels))
    return found


def decided_pairs(pairs: Sequence[LatentPair]) -> dict[str, int]:
    """Dimension to number of pairs that it decides."""
    return {d: sum(p.labels[d] != 0 for p in pairs) for d in (pairs[0].labels if pairs else ())}


def check_weights(name: str, dimensions: Sequence[str], weights: Mapping[str, float]) -> None:
    """Refuse weights of dimensions that a latent reward does not have; it may have more than are weighed.

    Raises:
        InputError: naming the first.
    """
    unknown = [d for d in weights if d not in dimensions]
    if unknown:
        raise InputError(f"{name} has no dimension {unknown[0]!r}; there are {', '.join(dimensions)}")


def reward_gradient(
    model: LatentRewardModel, x_t: Tensor, time: Time, condition: Condition, weights: Mapping[str, float]
) -> Tensor:
    """∇ of the weighted sum of rewards with respect to the noisy latents, float32 (B, …).

    Args:
        model: the latent reward.
        x_t, time, condition: noisy latents and what the network is told.
        weights: dimension to weight.

    Raises:
        InputError: a dimension that the model does not have.
    """
    check_weights("the latent reward", model.dimensions, weights)
    with torch.enable_grad():
        x = x_t.detach().float().requires_grad_()
        rewards = model.rewards(x, time, condition)
        total = sum(w * rewards[:, model.dimensions.index(d)].sum() for d, w in weights.items())
        (gradient,) = torch.autograd.grad(total, x)  # type: ignore[arg-type]
    return gradient


def _token_width(family: VideoFamily, features: EarlyBlocks) -> int:
    """Width of the tokens, by asking once."""
    device = next(family.transformer.parameters()).device
    blank = torch.zeros(1, family.clip.height, family.clip.width, 3) if family.needs_image else None
    condition = family.encode_condition([""], blank, torch.Generator().manual_seed(0))
    with torch.no_grad():
        time = family.schedule.at(torch.full((1,), 0.5)).to(device)
        return int(features(torch.zeros(1, *family.latent_shape, device=device), time, condition).shape[-1])


def _generator(family: VideoFamily) -> str:
    """Whose latents a head reads, and whose blocks: both are part of it."""
    return f"{family.fingerprint()} {family.network_digest()}"
