"""Generators of published sizes (and small ones of their kinds) without their weights: drawn on the device instead.

What is written down here is in the public ``config.json`` files of CogVideoX-5B-I2V and Wan2.1-T2V-1.3B; nothing is
downloaded. The families of ``rewardbench align`` load them as they load a pipeline's folder.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rewardbench.align.families import diffusers_folder
from rewardbench.align.families.base import ClipShape, Condition, VideoFamily
from rewardbench.align.families.cogvideox import CogVideoXFamily
from rewardbench.align.families.wan import WanFamily


@dataclass(frozen=True)
class Size:
    """A network's published configuration (or a small one of its kind) and what goes into it."""

    family: type[VideoFamily]
    pipeline: str
    transformer: tuple[str, dict[str, Any]]
    vae: tuple[str, dict[str, Any]]
    scheduler: dict[str, Any]
    clip: ClipShape
    condition: dict[str, tuple[int, ...]]
    rank: int


COGVIDEOX: dict[str, Any] = {
    "activation_fn": "gelu-approximate", "attention_bias": True, "attention_head_dim": 64, "dropout": 0.0,
    "flip_sin_to_cos": True, "freq_shift": 0, "in_channels": 32, "max_text_seq_length": 226,
    "norm_elementwise_affine": True, "norm_eps": 1e-5, "num_attention_heads": 48, "num_layers": 42, "out_channels": 16,
    "patch_size": 2, "sample_frames": 49, "sample_height": 60, "sample_width": 90, "spatial_interpolation_scale": 1.875,
    "temporal_compression_ratio": 4, "temporal_interpolation_scale": 1.0, "text_embed_dim": 4096, "time_embed_dim": 512,
    "timestep_activation_fn": "silu", "use_learned_positional_embeddings": True,
    "use_rotary_positional_embeddings": True,
}  # fmt: skip
WAN: dict[str, Any] = {
    "added_kv_proj_dim": None, "attention_head_dim": 128, "cross_attn_norm": True, "eps": 1e-6, "ffn_dim": 8960,
    "freq_dim": 256, "image_dim": None, "in_channels": 16, "num_attention_heads": 12, "num_layers": 30,
    "out_channels": 16, "patch_size": [1, 2, 2], "qk_norm": "rms_norm_across_heads", "rope_max_seq_len": 1024,
    "text_dim": 4096,
}  # fmt: skip
COGVIDEOX_PARTS: dict[str, Any] = {
    "family": CogVideoXFamily,
    "pipeline": "CogVideoXImageToVideoPipeline",
    "vae": ("AutoencoderKLCogVideoX", {"latent_channels": 16, "block_out_channels": [128, 256, 256, 512]}),
    "scheduler": {
        "_class_name": "CogVideoXDDIMScheduler",
        "prediction_type": "v_prediction",
        "rescale_betas_zero_snr": True,
        "snr_shift_scale": 1.0,
    },
}
WAN_PARTS: dict[str, Any] = {
    "family": WanFamily,
    "pipeline": "WanPipeline",
    "vae": ("AutoencoderKLWan", {}),
    "scheduler": {"_class_name": "UniPCMultistepScheduler", "prediction_type": "flow_prediction", "flow_shift": 3.0},
}
TRUE = {
    "cogvideox-5b-i2v": Size(
        **COGVIDEOX_PARTS,
        transformer=("CogVideoXTransformer3DModel", COGVIDEOX),
        clip=ClipShape(49, 480, 720, 8.0),
        condition={"text": (226, 4096), "image": (16, 60, 90)},
        rank=64,
    ),
    "wan2.1-1.3b-t2v": Size(
        **WAN_PARTS,
        transformer=("WanTransformer3DModel", WAN),
        clip=ClipShape(81, 480, 832, 16.0),
        condition={"text": (512, 4096)},
        rank=64,
    ),
}
# deep and narrow, so that weights, activations, linear layers and attention stand to each other about as at true size
SMALL_COGVIDEOX: dict[str, Any] = COGVIDEOX | {
    "num_attention_heads": 2, "num_layers": 24, "time_embed_dim": 64, "text_embed_dim": 64, "max_text_seq_length": 16,
    "sample_frames": 25, "sample_height": 20, "sample_width": 22,
}  # fmt: skip
SMALL_WAN: dict[str, Any] = WAN | {
    "num_attention_heads": 1, "num_layers": 16, "ffn_dim": 704, "text_dim": 64, "freq_dim": 64,
}  # fmt: skip
SMALL = {
    "cogvideox-small-i2v": Size(
        **COGVIDEOX_PARTS,
        transformer=("CogVideoXTransformer3DModel", SMALL_COGVIDEOX),
        clip=ClipShape(25, 160, 176, 8.0),
        condition={"text": (16, 64), "image": (16, 20, 22)},
        rank=4,
    ),
    "wan-small-t2v": Size(
        **WAN_PARTS,
        transformer=("WanTransformer3DModel", SMALL_WAN),
        clip=ClipShape(33, 160, 208, 16.0),
        condition={"text": (32, 64)},
        rank=4,
    ),
}


class MadeUp:
    """Latents and conditions out of noise, where the trainer looks for a cache."""

    identity = "made up"

    def __init__(self, family: VideoFamily, size: Size, dtype: torch.dtype) -> None:
        self._shape = family.latent_shape
        generator = torch.Generator().manual_seed(1)
        rows = {name: torch.randn((1, *shape), generator=generator) for name, shape in size.condition.items()}
        self.row: Condition = {name: v.to(dtype) if name == "text" else v for name, v in rows.items()}

    def latents(self, clip_ids: Sequence[str]) -> Tensor:
        seeds = [sum(name.encode()) for name in clip_ids]
        return torch.stack([torch.randn(self._shape, generator=torch.Generator().manual_seed(s)) for s in seeds])

    def condition(self, prompt_ids: Sequence[str], *, without_text: Sequence[bool] | None = None) -> Condition:
        return {name: value.repeat(len(prompt_ids), *[1] * (value.dim() - 1)) for name, value in self.row.items()}


def build(size: Size, folder: Path, device: str, dtype: torch.dtype, *, data: bool = True) -> VideoFamily:
    """The family as it loads from a pipeline's folder; the network's weights are drawn where they would be read.

    Args:
        data: False leaves the network on the meta device.
    """
    name, config = size.transformer
    vae_name, vae = size.vae
    index = {
        "_class_name": size.pipeline,
        "transformer": ["diffusers", name],
        "vae": ["diffusers", vae_name],
        "text_encoder": ["transformers", "T5EncoderModel"],
        "tokenizer": ["transformers", "T5TokenizerFast"],
        "scheduler": ["diffusers", size.scheduler["_class_name"]],
    }
    parts = {"transformer": config, "vae": vae, "text_encoder": {}, "tokenizer": {}, "scheduler": size.scheduler}
    for part, content in parts.items():
        (folder / part).mkdir(parents=True, exist_ok=True)
        file = "scheduler_config.json" if part == "scheduler" else "config.json"
        (folder / part / file).write_text(json.dumps(content))
    (folder / "model_index.json").write_text(json.dumps(index))
    diffusers_folder.load_part = drawn_part if data else empty_part
    return size.family.load(str(folder), device=device, dtype=dtype, clip=size.clip, options={})


def drawn_part(folder: Path, name: str, cls: Any, dtype: torch.dtype, device: str) -> Any:
    """In place of ``load_part``: random weights, cast as diffusers casts what it reads."""
    config = json.loads((folder / name / "config.json").read_text())
    torch.manual_seed(0)
    with torch.device(device):
        part = cls.from_config(config)
    kept = cls._keep_in_fp32_modules or []
    stored = part.state_dict().keys()
    for prefix, module in part.named_modules():
        for own in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
            place = f"{prefix}.{own[0]}"
            if place in stored and own[1].is_floating_point() and not set(kept) & set(place.split(".")):
                own[1].data = own[1].data.to(dtype)
    return part.eval().requires_grad_(False)


def empty_part(folder: Path, name: str, cls: Any, dtype: torch.dtype, device: str) -> Any:
    """The same without data."""
    return drawn_part(folder, name, cls, dtype, "meta")
