"""The sizes of a checkpoint's network: from its tensors, and from a configuration where these do not tell."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rewardbench_videoreward.folder import Checkpoint, read_json

PUBLISHED: Mapping[str, Any] = {
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1_000_000.0,
    "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
    "max_position_embeddings": 32768,
    "use_sliding_window": False,
    "hidden_act": "silu",
    "vision_config": {"num_heads": 16, "spatial_merge_size": 2},
}
"""What the tensors of Qwen2-VL-2B-Instruct do not tell."""
HEADS = (("num_attention_heads", "hidden_size", 1536), ("vision_config.num_heads", "embed_dim", 1280))
"""Published head counts, and the width of the published model that each of them belongs to."""
ASSUMED = "assumed"
"""Key of a configuration: which of :data:`HEADS` nothing but the published model states."""
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def read_config(base: Path | None, checkpoint: Checkpoint) -> dict[str, Any]:
    """A flat ``config.json``-like dict: the base model's, else ``arch.json`` over the published one.

    ``assumed`` lists the head counts that only the published one states; :func:`model_config` takes them for tensors
    of the published widths alone.

    Raises:
        ValueError: the base model is no Qwen2-VL model.
    """
    if base is not None and (base / "config.json").is_file():
        config = read_json(base / "config.json")
        if config.get("model_type") != "qwen2_vl":
            raise ValueError(f"{base} is a {config.get('model_type')} model; VideoReward's base is a qwen2_vl model")
        nested = config.get("text_config")
        if isinstance(nested, dict):
            config = {**config, **nested, "model_type": "qwen2_vl"}
        return config
    config: dict[str, Any] = {**PUBLISHED, ASSUMED: tuple(name for name, _, _ in HEADS)}
    for folder in (checkpoint.path, checkpoint.root):
        if (folder / "arch.json").is_file():
            own = read_json(folder / "arch.json")
            vision = {**config["vision_config"], **own.get("vision_config", {})}
            stated = {*own, *(f"vision_config.{name}" for name in own.get("vision_config", {}))}
            assumed = tuple(name for name in config[ASSUMED] if name not in stated)
            return {**config, **own, "vision_config": vision, ASSUMED: assumed}
    return config


def model_config(config: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], source: Any) -> Any:
    """transformers' configuration for tensors of these shapes (published names, LoRA folded in).

    Raises:
        ValueError: the configuration states other sizes than the tensors have, or nothing states their head counts.
    """
    from transformers import Qwen2VLConfig

    text, vision = _text_sizes(shapes, source), _vision_sizes(shapes, source)
    _require_heads(config, {**text, "embed_dim": vision["embed_dim"]}, source)
    stated_vision = dict(config.get("vision_config") or {})
    stated_vision.pop("model_type", None)
    wrong = [
        f"{name} {stated[name]} instead of {value}"
        for stated, sizes in ((config, text), (stated_vision, vision))
        for name, value in sizes.items()
        if name in stated and name != "vocab_size" and stated[name] != value
    ]
    if wrong:
        raise ValueError(f"the base model's config.json does not fit {source}: {', '.join(wrong)}")
    rotary = {name: config[name] for name in ("rope_theta", "rope_scaling", "rope_parameters") if config.get(name)}
    kept = {
        name: config[name]
        for name in (
            *("num_attention_heads", "num_key_value_heads", "rms_norm_eps", "max_position_embeddings", "hidden_act"),
            *("use_sliding_window", "sliding_window", "max_window_layers"),
            *("video_token_id", "image_token_id", "vision_start_token_id", "vision_end_token_id"),
        )
        if name in config
    }
    no_tokens = dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"))  # nothing is generated
    return Qwen2VLConfig(**{**kept, **rotary, **text, **no_tokens}, vision_config={**stated_vision, **vision})


def _require_heads(config: Mapping[str, Any], sizes: Mapping[str, int], source: Any) -> None:
    """Published head counts are those of the published widths; the heads of another width have to be stated.

    Tensors do not tell them, and a wrong count that divides the width would give other scores, not an error.
    """
    unknown = [
        f"{name} ({size} is {sizes[size]}, the published model's {width})"
        for name, size, width in HEADS
        if name in config.get(ASSUMED, ()) and sizes[size] != width
    ]
    if unknown:
        raise ValueError(
            f"the checkpoint {source} has other widths than the published model, and nothing states its attention "
            "heads: add --weights base=PATH (a folder with the base model's config.json), or an arch.json beside the "
            f"checkpoint with {' and '.join(unknown)}"
        )


def _text_sizes(shapes: Mapping[str, tuple[int, ...]], source: Any) -> dict[str, int]:
    vocabulary, hidden = _shape(shapes, "model.embed_tokens.weight", source)
    inner, _ = _shape(shapes, "model.layers.0.mlp.up_proj.weight", source)
    return {
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": _count(shapes, r"model\.layers\.(\d+)\."),
    }


def _vision_sizes(shapes: Mapping[str, tuple[int, ...]], source: Any) -> dict[str, int]:
    width, channels, frames, patch, _ = _shape(shapes, "visual.patch_embed.proj.weight", source)
    inner, _ = _shape(shapes, "visual.blocks.0.mlp.fc1.weight", source)
    out, _ = _shape(shapes, "visual.merger.mlp.2.weight", source)
    return {
        "embed_dim": width,
        "in_channels": channels,
        "temporal_patch_size": frames,
        "patch_size": patch,
        "mlp_ratio": inner // width,
        "hidden_size": out,
        "depth": _count(shapes, r"visual\.blocks\.(\d+)\."),
    }


def _shape(shapes: Mapping[str, tuple[int, ...]], name: str, source: Any) -> tuple[int, ...]:
    if name not in shapes:
        raise ValueError(f"{source} is not a checkpoint of VideoReward: {name} is missing")
    return shapes[name]


def _count(shapes: Mapping[str, tuple[int, ...]], pattern: str) -> int:
    numbers = [int(match[1]) for name in shapes if (match := re.match(pattern, name))]
    return 1 + max(numbers, default=-1)


def pixel_statistics(base: Path | None) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel, for values in [0, 1], of the base model's image processor."""
    data = _processor(base)
    mean, std = data.get("image_mean", MEAN), data.get("image_std", STD)
    return tuple(float(v) for v in mean), tuple(float(v) for v in std)


def processor_pixels(base: Path | None) -> tuple[int, int]:
    """Fewest and most pixels of a frame that the base model's own processor leaves as they are."""
    data = _processor(base)
    size = data.get("size") or {}
    least = data.get("min_pixels") or size.get("min_pixels") or size.get("shortest_edge") or 4 * 28 * 28
    most = data.get("max_pixels") or size.get("max_pixels") or size.get("longest_edge") or 1280 * 28 * 28
    return int(least), int(most)


def _processor(base: Path | None) -> dict[str, Any]:
    path = None if base is None else base / "preprocessor_config.json"
    return read_json(path) if path is not None and path.is_file() else {}
