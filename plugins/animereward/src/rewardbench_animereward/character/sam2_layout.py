"""SAM 2's own checkpoint (``sam2.1_hiera_base_plus.pt``, as AnimeReward publishes it) in the model of `transformers`.

Names are carried over one by one, and every tensor of either side must be accounted for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardbench_plugin.checkpoints import load_strict, read_tensors

RENAMED: tuple[tuple[str, str], ...] = (
    (r"^image_encoder\.trunk\.", "vision_encoder.backbone."),
    (r"^image_encoder\.neck\.convs\.(\d+)\.conv\.", r"vision_encoder.neck.convs.\1."),
    (r"^sam_prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix$", "sam_prompt_encoder.{shared}"),
    (r"^sam_prompt_encoder\.", "prompt_encoder."),
    (r"^sam_mask_decoder\.", "mask_decoder."),
    (r"\.patch_embed\.proj\.", ".patch_embed.projection."),
    (r"\.norm(\d|_final_attn)?\.", r".layer_norm\1."),
    (r"\.out_proj\.", ".o_proj."),
    (r"^memory_encoder\.o_proj\.", "memory_encoder.projection."),
    (r"^memory_encoder\.pix_feat_proj\.", "memory_encoder.feature_projection."),
    (r"^memory_encoder\.fuser\.", "memory_encoder.memory_fuser."),
    (r"\.gamma$", ".scale"),
    (r"\.dwconv\.", ".depthwise_conv."),
    (r"\.pwconv(\d)\.", r".pointwise_conv\1."),
    (r"\.mask_downscaling\.0\.", ".mask_embed.conv1."),
    (r"\.mask_downscaling\.1\.", ".mask_embed.layer_norm1."),
    (r"\.mask_downscaling\.3\.", ".mask_embed.conv2."),
    (r"\.mask_downscaling\.4\.", ".mask_embed.layer_norm2."),
    (r"\.mask_downscaling\.6\.", ".mask_embed.conv3."),
    (r"\.output_upscaling\.0\.", ".upscale_conv1."),
    (r"\.output_upscaling\.1\.", ".upscale_layer_norm."),
    (r"\.output_upscaling\.3\.", ".upscale_conv2."),
    (r"\.mlp\.layers\.0\.", ".mlp.proj_in."),
    (r"\.mlp\.layers\.1\.", ".mlp.proj_out."),
    (r"(mlps\.\d|iou_prediction_head|pred_obj_score_head|^obj_ptr_proj)\.layers\.0\.", r"\1.proj_in."),
    (r"(mlps\.\d|iou_prediction_head|pred_obj_score_head|^obj_ptr_proj)\.layers\.1\.", r"\1.layers.0."),
    (r"(mlps\.\d|iou_prediction_head|pred_obj_score_head|^obj_ptr_proj)\.layers\.2\.", r"\1.proj_out."),
    (r"^obj_ptr_proj\.", "object_pointer_proj."),
    (r"^obj_ptr_tpos_proj\.", "temporal_positional_encoding_projection_layer."),
    (r"^maskmem_tpos_enc$", "memory_temporal_positional_encoding"),
    (r"^no_mem_embed$", "no_memory_embedding"),
    (r"^no_mem_pos_enc$", "no_memory_positional_encoding"),
    (r"^no_obj_ptr$", "no_object_pointer"),
    (r"^no_obj_embed_spatial$", "occlusion_spatial_embedding_parameter"),
)
"""Applied in this order, each to the outcome of those before it."""
SHARED = "shared_embedding.positional_embedding"
CORNERS = 4
"""Point embeddings, separate tensors in SAM 2's own layout: background, foreground and a box's two corners."""


@dataclass(frozen=True)
class Trunk:
    """What the tensors of a Hiera trunk do not tell (SAM 2, Ravi et al. 2024, and its released configurations)."""

    blocks: tuple[int, ...]
    heads: int
    global_blocks: tuple[int, ...]
    windows: tuple[int, ...] = (8, 4, 14, 7)


PUBLISHED: Mapping[tuple[int, int], Trunk] = {
    (96, 12): Trunk((1, 2, 7, 2), 1, (5, 7, 9)),
    (96, 16): Trunk((1, 2, 11, 2), 1, (7, 10, 13)),
    (112, 24): Trunk((2, 3, 16, 3), 2, (12, 16, 20)),
    (144, 48): Trunk((2, 6, 36, 4), 2, (23, 33, 43), (8, 4, 16, 8)),
}
"""By width and number of blocks: tiny, small, base plus, large."""


def load_original(path: Path, device: str) -> Any:
    """The SAM 2 video model of ``path``, float32, for inference.

    A ``config.json`` beside the checkpoint (of `transformers`) states its sizes, else it is one of the four published.

    Raises:
        ValueError: where it is no SAM 2.1 checkpoint, or of unknown sizes.
    """
    from transformers import Sam2VideoConfig, Sam2VideoModel

    state = read_tensors(path)
    beside = path.parent / "config.json"
    config = Sam2VideoConfig.from_pretrained(path.parent) if beside.is_file() else _published_config(state, path)
    model: Any = Sam2VideoModel(config)
    load_strict(model, carried_over(state, path), path)
    return model.to(device=device).eval().requires_grad_(False)


def carried_over(state: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The tensors under the names of `transformers`.

    Raises:
        ValueError: where the point embeddings are not there.
    """
    import torch

    renamed = {_rename(name): value for name, value in state.items()}
    corners = [f"prompt_encoder.point_embeddings.{i}.weight" for i in range(CORNERS)]
    shared = f"prompt_encoder.{SHARED}"
    missing = [name for name in (*corners, shared) if name not in renamed]
    if missing:
        raise ValueError(f"{path} is no SAM 2 checkpoint: it lacks what becomes {missing[0]}")
    renamed["prompt_encoder.point_embed.weight"] = torch.cat([renamed.pop(name) for name in corners])
    renamed["shared_image_embedding.positional_embedding"] = renamed[shared]
    return renamed


def _rename(name: str) -> str:
    for pattern, replacement in RENAMED:
        name = re.sub(pattern, replacement.replace("{shared}", SHARED), name)
    match = re.fullmatch(r"memory_encoder\.mask_downsampler\.encoder\.(\d+)\.(weight|bias)", name)
    if match is None:
        return name
    layer, kind = divmod(int(match[1]), 3)  # convolution, norm, activation; after the last four a 1 x 1 convolution
    place = "final_conv" if layer == CORNERS else f"layers.{layer}.{('conv', 'layer_norm', 'activation')[kind]}"
    return f"memory_encoder.mask_downsampler.{place}.{match[2]}"


def _published_config(state: Mapping[str, Any], path: Path) -> Any:
    """The configuration of one of the published sizes.

    Raises:
        ValueError: where it has another size, or lacks what SAM 2.1 added to SAM 2.
    """
    from transformers import Sam2HieraDetConfig, Sam2VideoConfig, Sam2VisionConfig

    trunk = "image_encoder.trunk."
    if f"{trunk}patch_embed.proj.weight" not in state:
        raise ValueError(f"{path} is no SAM 2 checkpoint: it lacks {trunk}patch_embed.proj.weight")
    if "no_obj_embed_spatial" not in state:
        raise ValueError(f"{path} is SAM 2.0; AnimeReward uses SAM 2.1 (sam2.1_hiera_base_plus.pt)")
    width = int(state[f"{trunk}patch_embed.proj.weight"].shape[0])
    depth = len({name.split(".")[3] for name in state if name.startswith(f"{trunk}blocks.")})
    size = PUBLISHED.get((width, depth))
    if size is None:
        raise ValueError(
            f"{path} has {depth} blocks of width {width}, none of SAM 2's published sizes; put a config.json beside it"
        )
    widths = [width << stage for stage in range(len(size.blocks))]
    backbone = Sam2HieraDetConfig(
        hidden_size=width,
        num_attention_heads=size.heads,
        embed_dim_per_stage=widths,
        num_attention_heads_per_stage=[size.heads << stage for stage in range(len(size.blocks))],
        blocks_per_stage=list(size.blocks),
        global_attention_blocks=list(size.global_blocks),
        window_size_per_stage=list(size.windows),
        window_positional_embedding_background_size=list(state[f"{trunk}pos_embed"].shape[-2:]),
    )
    vision = Sam2VisionConfig(backbone_config=backbone, backbone_channel_list=widths[::-1])
    return Sam2VideoConfig(vision_config=vision)
