"""Who is seen: a vision transformer with a linear head, compared with the gallery's pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rewardbench_animereward.character.crops import SIDE
from rewardbench_animereward.character.gallery import Gallery
from rewardbench_plugin.checkpoints import load_strict, read_tensors

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
AT_ONCE = 32
"""Pictures in one forward pass, whatever the number of characters or the size of the gallery."""
HEAD_WIDTH = 64
"""Width of one attention head in the published ViT-L/16 (1024 / 16)."""
TRAINING_ONLY = (
    *("text_encoder", "text_proj", "text_decoder", "itm_head", "temp", "queue_ptr", "ptr_queue"),
    *("visual_encoder_m", "vision_proj_m", "text_encoder_m", "text_proj_m", "image_queue", "text_queue"),
)
"""Parts of BLIP's pre-training model: a training checkpoint may carry them, recognition does not read them."""


class Recogniser:
    """Embeddings of pictures: the class token of a ViT through ``vision_proj``, not normalised.

    Sizes follow from the tensors; the number of heads from ``vision_heads`` of an ``arch.json`` beside the checkpoint
    or in the folder above, else one head per 64 channels.

    Raises:
        ValueError: where the checkpoint lacks a tensor, has one too many, or does not take 224 x 224 pixels.
    """

    def __init__(self, checkpoint: Path, device: str, dtype: Any = None) -> None:
        import torch

        state = read_tensors(checkpoint)
        state = {name: value for name, value in state.items() if name.partition(".")[0] not in TRAINING_ONLY}
        self._network = _build(state, checkpoint)
        load_strict(self._network, state, checkpoint, name="the character recogniser (a ViT)")
        self._dtype = dtype or torch.float32
        self._device = device
        self._network.to(device=device, dtype=self._dtype).eval().requires_grad_(False)

    def embed(self, pictures: np.ndarray) -> Any:
        """Embeddings, float32 (N, E) on the CPU, of pictures uint8 (N, 224, 224, 3)."""
        import torch

        mean, std = (torch.tensor(values, device=self._device)[:, None, None] for values in (MEAN, STD))
        parts = []
        with torch.inference_mode():
            for start in range(0, len(pictures), AT_ONCE):
                rgb = torch.from_numpy(np.array(pictures[start : start + AT_ONCE])).to(self._device)
                pixels = (rgb.permute(0, 3, 1, 2).float().div(255) - mean) / std
                tokens = self._network["visual_encoder"].forward_features(pixels.to(self._dtype))
                parts.append(self._network["vision_proj"](tokens[:, 0]).float().cpu())
        return torch.cat(parts)

    def embed_gallery(self, gallery: Gallery) -> Any:
        """Embeddings, float32 (M, E), of the gallery's M pictures, read a few at a time."""
        import torch

        return torch.cat([self.embed(pictures) for pictures in gallery.pictures(AT_ONCE)])


def _build(state: Mapping[str, Any], checkpoint: Path) -> Any:
    """The network of the checkpoint's sizes."""
    from timm.models.vision_transformer import VisionTransformer
    from torch import nn

    try:
        width, _, patch, _ = state["visual_encoder.patch_embed.proj.weight"].shape
        hidden = state["visual_encoder.blocks.0.mlp.fc1.weight"].shape[0]
        embedding = state["vision_proj.weight"].shape[0]
    except (KeyError, ValueError) as error:
        raise ValueError(f"{checkpoint} is not the character recogniser: it lacks {error}") from None
    depth = len({name.split(".")[2] for name in state if name.startswith("visual_encoder.blocks.")})
    heads = _heads(checkpoint, width)
    encoder = VisionTransformer(
        img_size=SIDE,
        patch_size=patch,
        embed_dim=width,
        depth=depth,
        num_heads=heads,
        mlp_ratio=hidden / width,
        num_classes=0,
    )
    return nn.ModuleDict({"visual_encoder": encoder, "vision_proj": nn.Linear(width, embedding)})


def _heads(checkpoint: Path, width: int) -> int:
    for folder in (checkpoint.parent, checkpoint.parent.parent):
        file = folder / "arch.json"
        if file.is_file():
            stated = json.loads(file.read_text(encoding="utf-8")).get("vision_heads")
            if stated is not None:
                if not isinstance(stated, int) or stated < 1 or width % stated:
                    raise ValueError(f"{file} states vision_heads={stated}, which does not divide the width {width}")
                return stated
    if width % HEAD_WIDTH:
        raise ValueError(
            f"{checkpoint} has width {width}, no multiple of {HEAD_WIDTH}: put an arch.json with vision_heads beside it"
        )
    return int(width // HEAD_WIDTH)


def identity_probabilities(query: Any, stored: Any, members: Sequence[np.ndarray]) -> Any:
    """Probabilities over the gallery's identities, float32 (K, I), for K objects.

    Raw dot products (no normalisation, no temperature), their mean within each identity, softmax over identities for
    each picture, mean over the pictures.

    Args:
        query: embeddings (K, 8, E).
        stored: embeddings of the gallery (M, E).
        members: for each identity the positions of its pictures in ``stored``.
    """
    import torch

    similarity = query @ stored.T
    by_identity = torch.stack([similarity[..., torch.from_numpy(m)].mean(dim=-1) for m in members], dim=-1)
    return by_identity.softmax(dim=-1).mean(dim=1)


def identity_cosine(query: Any, stored: Any, members: np.ndarray) -> float:
    """Mean cosine, in [-1, 1], of one object's pictures (8, E) and the stored pictures of one identity (Eq. 10)."""
    from torch.nn.functional import normalize

    cosines = normalize(query, dim=-1) @ normalize(stored[members], dim=-1).T
    return min(1.0, max(-1.0, float(cosines.mean())))
