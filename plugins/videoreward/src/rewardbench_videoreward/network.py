"""Qwen2-VL with a reward head, in the shape VideoAlign runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rewardbench_plugin.checkpoints import load_strict
from rewardbench_videoreward.architecture import model_config
from rewardbench_videoreward.checkpoint import EMBEDDING, HEAD, Weights


@dataclass(frozen=True)
class Network:
    """A loaded model.

    Attributes:
        backbone: transformers' Qwen2-VL without its language-model head.
        head: float (rows, hidden).
        video_pad: id of the token that a merged patch replaces.
        mean, std: of the pixels, per channel, in [0, 1].
        rewards: ids of the reward tokens; empty where ``pooling`` is not ``special``.
        pooling: ``special``, ``last`` or ``mean``.
        rated: how many dimensions are rated.
    """

    backbone: Any
    head: Any
    video_pad: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    rewards: tuple[int, ...]
    pooling: str
    rated: int

    def hidden_states(self, frames: Sequence[np.ndarray], ids: Sequence[np.ndarray]) -> Any:
        """After the final norm, (N, longest, hidden); what lies beyond a sequence's end means nothing.

        Sequences are padded on the right. Attention looks back only, so no token ever sees a pad, no mask is needed,
        and a batch gives what each clip gives alone. All three rope axes count 0, 1, 2 …: the released model was
        trained without 3-D positions.

        Args:
            frames: uint8 (T, h, w, 3) for every clip.
            ids: int32 (L,) for every clip.
        """
        import torch

        device = self.head.device
        longest = max(len(one) for one in ids)
        padded = np.zeros((len(ids), longest), np.int64)
        for row, one in zip(padded, ids, strict=True):
            row[: len(one)] = one
        tokens = torch.from_numpy(padded).to(device)
        known = torch.arange(longest, device=device) < torch.tensor([[len(one)] for one in ids], device=device)
        patches, grids = zip(*(self._patches(one) for one in frames), strict=True)
        grid = torch.tensor(grids, device=device)
        merged = self.backbone.visual(torch.cat(patches), grid_thw=grid).pooler_output
        embedded = self.backbone.get_input_embeddings()(tokens)
        embedded[(tokens == self.video_pad) & known] = merged.to(embedded.dtype)
        positions = torch.arange(longest, device=device).expand(3, len(ids), longest)
        states = self.backbone.language_model(inputs_embeds=embedded, position_ids=positions, use_cache=False)
        return states.last_hidden_state

    def rewards_of(self, frames: Sequence[np.ndarray], ids: Sequence[np.ndarray]) -> np.ndarray:
        """Raw rewards float64 (N, rated) of N clips."""
        import torch

        with torch.inference_mode():
            states = self.hidden_states(frames, ids)
            rows = [self._pool(state, one) for state, one in zip(states, ids, strict=True)]
            return torch.stack(rows).double().cpu().numpy()

    def _pool(self, state: Any, ids: np.ndarray) -> Any:
        """Rewards (rated,) of one clip.

        ``special`` reads every dimension at its own token (one row of the head each, or one for all); ``last`` reads
        the last token; ``mean`` averages over all tokens but the last.
        """
        if self.pooling == "special":
            places = [int(np.flatnonzero(ids == token)[0]) for token in self.rewards]
            logits = state[places] @ self.head.T
            return logits.diagonal() if logits.shape[1] > 1 else logits[:, 0]
        logits = state[: len(ids)] @ self.head.T
        pooled = logits[-1] if self.pooling == "last" else logits[:-1].mean(dim=0)
        return pooled[: self.rated]

    def _patches(self, rgb: np.ndarray) -> tuple[Any, tuple[int, int, int]]:
        """Normalised patches (t * h * w, channels * frames * patch * patch) and their grid (t, h, w).

        In the order of Qwen2-VL: the patches that are merged into one token follow each other.
        """
        import torch

        config = self.backbone.config.vision_config
        patch, merge, depth = config.patch_size, config.spatial_merge_size, config.temporal_patch_size
        pixels = torch.from_numpy(rgb).to(self.head.device).permute(0, 3, 1, 2).float()
        mean = torch.tensor(self.mean, device=pixels.device)[:, None, None]
        std = torch.tensor(self.std, device=pixels.device)[:, None, None]
        pixels = (pixels / 255 - mean) / std
        t, h, w = len(rgb) // depth, rgb.shape[1] // patch, rgb.shape[2] // patch
        blocks = pixels.reshape(t, depth, 3, h // merge, merge, patch, w // merge, merge, patch)
        blocks = blocks.permute(0, 3, 6, 4, 7, 2, 1, 5, 8)
        return blocks.reshape(t * h * w, 3 * depth * patch * patch).to(self.head.dtype), (t, h, w)


def build_network(
    weights: Weights,
    config: Mapping[str, Any],
    device: str,
    dtype: Any,
    *,
    output_dim: int,
    **reading: Any,
) -> Network:
    """A network with these weights on ``device``; every tensor has its place and every place its tensor.

    Args:
        config: of the base model, see :func:`~rewardbench_videoreward.architecture.read_config`.
        reading: the remaining fields of :class:`Network`.

    Raises:
        ValueError: the tensors are not those of a VideoReward checkpoint.
    """
    shapes = weights.shapes()
    made = model_config(config, shapes, weights.source)
    expected = (output_dim, shapes[EMBEDDING][1])
    if shapes.get(HEAD) != expected:
        found = shapes.get(HEAD)
        raise ValueError(f"{weights.source}: {HEAD} is {found or 'missing'}, model_config.json asks for {expected}")
    state = {_inner(name): tensor for name, tensor in weights.folded(dtype)}
    head = state.pop(HEAD).to(device)
    backbone = empty_backbone(made, device, dtype)
    load_strict(backbone, state, weights.source)
    _round_rotary(backbone, dtype)
    for parameter in backbone.parameters():
        parameter.requires_grad_(False)
    return Network(backbone.eval(), head.to(device=device, dtype=dtype), **reading)


def _inner(name: str) -> str:
    """A tensor's name in transformers 5's ``Qwen2VLModel``; unknown names stay and are then unexpected."""
    if name.startswith("model."):
        return f"language_model.{name.removeprefix('model.')}"
    return name


def empty_backbone(config: Any, device: str, dtype: Any) -> Any:
    """The modules with unset parameters (filling 2 billion random numbers first takes a minute on a CPU)."""
    import torch
    from transformers import Qwen2VLModel
    from transformers.initialization import no_init_weights

    with torch.device(device), no_init_weights():
        return Qwen2VLModel._from_config(config, attn_implementation="sdpa", dtype=dtype)


def _round_rotary(backbone: Any, dtype: Any) -> None:
    """Rotary frequencies as VideoAlign has them in half precision.

    It casts the whole model, buffers included, so the frequencies lose their lower bits: by position 2000 an angle is
    off by up to 2.3 radians. The released model was trained that way. transformers 5 keeps them in float32.
    """
    import torch

    if dtype == torch.float32:
        return
    text, vision = backbone.language_model.rotary_emb, backbone.visual.rotary_pos_emb
    text.inv_freq = text.inv_freq.to(dtype).float()
    backbone.visual.rotary_pos_emb = _rounded_vision_rotary(vision, dtype)


def _rounded_vision_rotary(vision: Any, dtype: Any) -> Any:
    """The vision encoder's rotary embedding with frequencies, angles, cosines and sines all in ``dtype``."""
    import torch

    class Rounded(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inv_freq = torch.nn.Buffer(vision.inv_freq.to(dtype), persistent=False)

        def forward(self, x: Any, position_ids: Any) -> tuple[Any, Any]:
            angles = position_ids[..., None].to(dtype) * self.inv_freq.to(x.device)
            arranged = vision.recomposition_frequencies
            return arranged(angles.cos()), arranged(angles.sin())

    return Rounded()
