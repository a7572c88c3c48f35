"""SAM 2's own checkpoint layout, written here name by name, is read strictly and tracks the same."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rewardbench_animereward.character.sam2_layout import PUBLISHED, _published_config, carried_over, load_original
from rewardbench_animereward.character.tracking import Sam2Tracker
from transformers import Sam2VideoConfig, Sam2VideoModel

BASE_PLUS = {  # some names and shapes of sam2.1_hiera_base_plus, as SAM 2's code registers them
    "image_encoder.trunk.pos_embed": (1, 112, 14, 14),
    "image_encoder.trunk.pos_embed_window": (1, 112, 8, 8),
    "image_encoder.trunk.blocks.2.proj.weight": (224, 112),
    "image_encoder.trunk.blocks.23.mlp.layers.1.weight": (896, 3584),
    "image_encoder.neck.convs.0.conv.weight": (256, 896, 1, 1),
    "memory_attention.layers.3.cross_attn_image.k_proj.weight": (256, 64),
    "memory_attention.norm.weight": (256,),
    "memory_encoder.mask_downsampler.encoder.9.weight": (256, 64, 3, 3),
    "memory_encoder.mask_downsampler.encoder.12.bias": (256,),
    "memory_encoder.fuser.layers.1.gamma": (256,),
    "memory_encoder.fuser.layers.0.pwconv2.weight": (256, 1024),
    "memory_encoder.pix_feat_proj.weight": (256, 256, 1, 1),
    "memory_encoder.out_proj.weight": (64, 256, 1, 1),
    "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix": (2, 128),
    "sam_prompt_encoder.point_embeddings.3.weight": (1, 256),
    "sam_prompt_encoder.mask_downscaling.6.weight": (256, 16, 1, 1),
    "sam_mask_decoder.output_upscaling.3.weight": (64, 32, 2, 2),
    "sam_mask_decoder.output_hypernetworks_mlps.3.layers.2.weight": (32, 256),
    "sam_mask_decoder.pred_obj_score_head.layers.2.weight": (1, 256),
    "sam_mask_decoder.transformer.layers.1.norm4.weight": (256,),
    "sam_mask_decoder.transformer.norm_final_attn.weight": (256,),
    "sam_mask_decoder.transformer.final_attn_token_to_image.out_proj.weight": (256, 128),
    "obj_ptr_proj.layers.1.weight": (256, 256),
    "obj_ptr_tpos_proj.weight": (64, 256),
    "maskmem_tpos_enc": (7, 1, 1, 64),
    "no_obj_embed_spatial": (1, 64),
    "no_obj_ptr": (1, 256),
}
WHOLE = {
    "memory_temporal_positional_encoding": "maskmem_tpos_enc",
    "no_memory_embedding": "no_mem_embed",
    "no_memory_positional_encoding": "no_mem_pos_enc",
    "no_object_pointer": "no_obj_ptr",
    "occlusion_spatial_embedding_parameter": "no_obj_embed_spatial",
    "prompt_encoder.shared_embedding.positional_embedding": (
        "sam_prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"
    ),
}
FIRST = {
    "vision_encoder.backbone": "image_encoder.trunk",
    "vision_encoder.neck": "image_encoder.neck",
    "prompt_encoder": "sam_prompt_encoder",
    "mask_decoder": "sam_mask_decoder",
    "object_pointer_proj": "obj_ptr_proj",
    "temporal_positional_encoding_projection_layer": "obj_ptr_tpos_proj",
}
PIECES = {
    "patch_embed.projection": "patch_embed.proj",
    "memory_encoder.projection": "memory_encoder.out_proj",
    "feature_projection": "pix_feat_proj",
    "memory_fuser": "fuser",
    "depthwise_conv": "dwconv",
    "pointwise_conv": "pwconv",
    "o_proj": "out_proj",
    "upscale_conv1": "output_upscaling.0",
    "upscale_layer_norm": "output_upscaling.1",
    "upscale_conv2": "output_upscaling.3",
    "mask_embed.conv1": "mask_downscaling.0",
    "mask_embed.layer_norm1": "mask_downscaling.1",
    "mask_embed.conv2": "mask_downscaling.3",
    "mask_embed.layer_norm2": "mask_downscaling.4",
    "mask_embed.conv3": "mask_downscaling.6",
    "mask_downsampler.final_conv": "mask_downsampler.encoder.12",
}


def original(name: str) -> str:
    """SAM 2's own name of a tensor of transformers."""
    if name in WHOLE:
        return WHOLE[name]
    downsampler = re.match(r"memory_encoder\.mask_downsampler\.layers\.(\d)\.(conv|layer_norm)\.(\w+)", name)
    if downsampler:
        layer = 3 * int(downsampler[1]) + (downsampler[2] == "layer_norm")
        return f"memory_encoder.mask_downsampler.encoder.{layer}.{downsampler[3]}"
    for new, old in FIRST.items():
        if name.startswith(f"{new}."):
            name = old + name[len(new) :]
    for new, old in PIECES.items():
        name = name.replace(f".{new}", f".{old}") if not new.startswith("memory_encoder") else name.replace(new, old)
    name = name.replace("layer_norm", "norm")
    name = re.sub(r"(image_encoder\.neck\.convs\.\d)\.", r"\1.conv.", name)
    name = re.sub(r"\.scale$", ".gamma", name)
    if ".mlp.proj_" in name:
        return name.replace("proj_in", "layers.0").replace("proj_out", "layers.1")
    name = re.sub(r"(mlps\.\d|head|obj_ptr_proj)\.layers\.0", r"\1.layers.1", name)
    return name.replace("proj_in", "layers.0").replace("proj_out", "layers.2")


def original_state(model: Any) -> dict[str, torch.Tensor]:
    """The model's tensors in SAM 2's own layout."""
    state = dict(model.state_dict())
    state.pop("shared_image_embedding.positional_embedding")
    corners = state.pop("prompt_encoder.point_embed.weight")
    written = {original(name): value for name, value in state.items()}
    written |= {f"sam_prompt_encoder.point_embeddings.{i}.weight": corners[i : i + 1] for i in range(4)}
    return written


@pytest.fixture
def model(sam2: Path) -> Any:
    return Sam2VideoModel.from_pretrained(sam2).eval()


def write(folder: Path, state: Mapping[str, Any], config: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(folder)
    torch.save({"model": dict(state)}, folder / "sam2.1_hiera_base_plus.pt")
    return folder / "sam2.1_hiera_base_plus.pt"


def test_a_written_checkpoint_reads_back_tensor_by_tensor(model: Any, tmp_path: Path) -> None:
    path = write(tmp_path, original_state(model), model.config)
    read = load_original(path, "cpu")
    for name, value in model.state_dict().items():
        torch.testing.assert_close(read.state_dict()[name], value, atol=0, rtol=0, msg=name)


def test_both_layouts_track_the_same(model: Any, sam2: Path, tmp_path: Path) -> None:
    path = write(tmp_path, original_state(model), model.config)
    frames = np.random.default_rng(0).integers(0, 256, (3, 40, 50, 3), dtype=np.uint8)
    box = np.array([[5, 5, 30, 30]])
    ours, theirs = Sam2Tracker(path, "cpu"), Sam2Tracker(sam2, "cpu")
    assert np.array_equal(ours.masks(frames, box), theirs.masks(frames, box))


def test_the_names_are_those_of_the_published_checkpoint() -> None:
    with torch.device("meta"):
        trunk = {"image_encoder.trunk.patch_embed.proj.weight": torch.empty(112, 3, 7, 7)}
        trunk |= {f"image_encoder.trunk.blocks.{i}.x": torch.empty(1) for i in range(24)}
        trunk |= {"image_encoder.trunk.pos_embed": torch.empty(1, 112, 14, 14), "no_obj_embed_spatial": torch.empty(1)}
        published = Sam2VideoModel(_published_config(trunk, Path("sam2.1_hiera_base_plus.pt")))
    state = original_state(published)
    assert {name: tuple(state[name].shape) for name in BASE_PLUS} == BASE_PLUS
    assert sum(value.numel() for value in state.values()) == pytest.approx(80.8e6, rel=0.005)
    assert set(carried_over(state, Path("x.pt"))) == set(published.state_dict())


@pytest.mark.parametrize(("width", "depth"), PUBLISHED)
def test_each_published_size_has_as_many_blocks_as_its_stages(width: int, depth: int) -> None:
    size = PUBLISHED[width, depth]
    assert sum(size.blocks) == depth
    assert max(size.global_blocks) < depth


def test_a_missing_tensor_and_a_left_over_one_are_listed(model: Any, tmp_path: Path) -> None:
    state = original_state(model)
    state["obj_ptr_proj.extra"] = state.pop("no_obj_ptr")
    with pytest.raises(ValueError, match=r"1 missing: no_object_pointer; 1 unexpected: object_pointer_proj.extra"):
        load_original(write(tmp_path, state, model.config), "cpu")


def test_a_checkpoint_of_another_model_is_refused(model: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no SAM 2 checkpoint"):
        load_original(write(tmp_path, {"head.weight": torch.zeros(2)}, model.config), "cpu")


def test_unknown_sizes_without_a_configuration_are_refused(model: Any, tmp_path: Path) -> None:
    path = write(tmp_path, original_state(model), Sam2VideoConfig())
    (tmp_path / "config.json").unlink()
    with pytest.raises(ValueError, match=r"5 blocks of width 8, none of SAM 2's published sizes"):
        load_original(path, "cpu")


def test_sam_2_0_is_refused(model: Any, tmp_path: Path) -> None:
    state = original_state(model)
    del state["no_obj_embed_spatial"]
    path = write(tmp_path, state, model.config)
    (tmp_path / "config.json").unlink()
    with pytest.raises(ValueError, match=r"is SAM 2.0; AnimeReward uses SAM 2.1"):
        load_original(path, "cpu")
