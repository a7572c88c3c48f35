"""What ``model_config.json`` says of a checkpoint, with the user's options applied."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rewardbench_plugin import FrameSpec, Sampling, Size
from rewardbench_plugin.options import choice, flag, number, whole
from rewardbench_videoreward.card import DIMENSIONS, GENAI_MAX_PIXELS, MIN_PIXELS, TEMPLATES, fps_spec

OPTION_NAMES = ("fps", "num_frames", "max_pixels", "min_pixels", "sample_type", "norm", "checkpoint_step")
GENAI = "genai-bench"
SAMPLE_TYPES = ("uniform", "multi_pts")
POOLING = ("special", "last", "mean")
POINTS = Sampling("windows", count=24, fps=8.0, multiple=6, rounding="half-even")
"""``multi_pts``: four times six neighbouring frames of the clip at 8 frames a second."""

TRAINED_LENGTH = 6144
"""Most tokens of a sequence in VideoAlign's published training, where ``training_args`` does not say."""


@dataclass(frozen=True)
class Lora:
    """LoRA of a checkpoint.

    Attributes:
        rank: columns of every B.
        scale: of B @ A where it is added to the weights.
        exclude: fragments of module names without LoRA; every other linear layer or embedding has one.
        last: only so many of these, the last ones in the model's order; all where not positive.
    """

    rank: int
    scale: float
    exclude: tuple[str, ...]
    last: int


@dataclass(frozen=True)
class Settings:
    """One way to score with a checkpoint.

    Attributes:
        base: the base model as the checkpoint names it.
        dimensions: what the reward head rates, in its order.
        template: name of the prompt template; ``none`` is the prompt alone.
        template_sha256: of a template that is the checkpoint's own, not a published one.
        eval_dim: the dimensions that the template names.
        pooling: where rewards are read: ``special``, ``last`` or ``mean``.
        special_tokens: whether the tokenizer has a token for every dimension.
        output_dim: rows of the reward head.
        lora: None where the checkpoint has none.
        spec: the frames to read.
        norm: mean and standard deviation of every dimension, None where raw scores are reported.
        loss: the training objective.
        trained_length: most tokens of a sequence in training.
    """

    base: str
    dimensions: tuple[str, ...]
    template: str
    template_sha256: str | None
    eval_dim: tuple[str, ...]
    pooling: str
    special_tokens: bool
    output_dim: int
    lora: Lora | None
    spec: FrameSpec
    norm: Mapping[str, tuple[float, float]] | None
    loss: str
    trained_length: int


def reward_token(dimension: str) -> str:
    """The special token at which a dimension is read."""
    return f"<|{dimension}_reward|>"


def read_settings(config: Mapping[str, Any], options: Mapping[str, str], preset: str | None, source: Any) -> Settings:
    """Settings of a checkpoint; ``source`` names the file in errors. Absent keys have VideoAlign's defaults.

    Raises:
        ValueError: values that do not go together.
    """
    data, model = config["data_config"], config["model_config"]
    named = data.get("eval_dim", "VQ")
    eval_dim = (named,) if isinstance(named, str) else tuple(str(d) for d in named)
    own_template = data.get("prompt_template_sha256")
    dimensions = eval_dim if own_template else DIMENSIONS
    template = str(data.get("prompt_template_type", "none"))
    if own_template is None and template not in ("none", *TEMPLATES):
        raise ValueError(f"{source}: prompt_template_type {template!r} is not one of none, {', '.join(TEMPLATES)}")
    if not eval_dim or not set(eval_dim) <= set(dimensions):
        raise ValueError(f"{source}: eval_dim {named!r} is not made of {', '.join(DIMENSIONS)}")
    special = bool(model.get("use_special_tokens", False))
    pooling = "special" if special else str(model.get("reward_token", "last"))
    output_dim = int(model.get("output_dim", 1))
    _check_pooling(pooling, special, output_dim, len(dimensions), source)
    return Settings(
        base=str(model.get("model_name_or_path") or ""),
        dimensions=dimensions,
        template=template,
        template_sha256=own_template,
        eval_dim=eval_dim,
        pooling=pooling,
        special_tokens=special,
        output_dim=output_dim,
        lora=_lora(config["peft_lora_config"], source),
        spec=frame_spec(data, options, preset, source),
        norm=_norm(config.get("inference_config"), dimensions, source) if flag(options, "norm", True) else None,
        loss=str(model.get("loss_type", "regular")),
        trained_length=int((config.get("training_args") or {}).get("max_length") or TRAINED_LENGTH),
    )


def _check_pooling(pooling: str, special: bool, output_dim: int, n: int, source: Any) -> None:
    if pooling not in POOLING:
        raise ValueError(f"{source}: reward_token {pooling!r} is not one of {', '.join(POOLING)}")
    if pooling == "special" and not special:
        raise ValueError(f"{source}: reward_token is special, but use_special_tokens is false")
    if pooling == "special" and output_dim not in (1, n):
        raise ValueError(f"{source}: output_dim {output_dim} with special tokens must be 1 or {n}")
    if pooling != "special" and output_dim < n:
        raise ValueError(f"{source}: output_dim {output_dim} with reward_token {pooling} must be at least {n}")


def _lora(peft: Mapping[str, Any], source: Any) -> Lora | None:
    if not peft.get("lora_enable", False):
        return None
    rank, alpha = int(peft.get("lora_r", 16)), float(peft.get("lora_alpha", 32))
    if rank < 1:
        raise ValueError(f"{source}: lora_r {rank} is not above 0")
    scale = alpha / math.sqrt(rank) if peft.get("use_rslora", False) else alpha / rank
    exclude = peft.get("lora_namespan_exclude") or ()
    fragments = (exclude,) if isinstance(exclude, str) else tuple(str(fragment) for fragment in exclude)
    return Lora(rank, scale, fragments, int(peft.get("num_lora_modules", -1)))


def _norm(inference: Any, dimensions: tuple[str, ...], source: Any) -> Mapping[str, tuple[float, float]] | None:
    """None where the checkpoint has no such numbers: its scores are then raw, with ``norm`` or without."""
    if inference is None:
        return None
    try:
        found = {d: (float(inference[f"{d}_mean"]), float(inference[f"{d}_std"])) for d in dimensions}
    except (KeyError, TypeError, ValueError):
        names = ", ".join(f"{d}_mean, {d}_std" for d in dimensions)
        raise ValueError(f"{source}: inference_config must hold the numbers {names}") from None
    if not all(math.isfinite(mean) and math.isfinite(std) and std > 0 for mean, std in found.values()):
        raise ValueError(f"{source}: inference_config holds a mean or standard deviation that cannot be used")
    return found


def frame_spec(data: Mapping[str, Any], options: Mapping[str, str], preset: str | None, source: Any) -> FrameSpec:
    """The frames to read: options before the preset before the checkpoint's ``data_config``.

    Raises:
        ValueError: options that exclude each other.
    """
    genai = preset == GENAI
    max_pixels = GENAI_MAX_PIXELS if genai else int(data.get("max_frame_pixels", 240 * 320))
    max_pixels = whole(options, "max_pixels", max_pixels, 28 * 28) or max_pixels
    min_pixels = whole(options, "min_pixels", 0 if genai else int(data.get("min_frame_pixels", MIN_PIXELS)), 0) or 0
    size = Size(max_pixels=max_pixels, min_pixels=min_pixels, multiple=28)
    sample_type = choice(options, "sample_type", str(data.get("sample_type", "uniform")), SAMPLE_TYPES)
    if sample_type == "multi_pts":
        given = [name for name in ("fps", "num_frames") if name in options]
        if given:
            raise ValueError(f"--option sample_type=multi_pts takes its own 24 frames: drop --option {given[0]}")
        return FrameSpec("pyav", POINTS, size, "bicubic-antialias")
    fps = number(options, "fps", float(data.get("fps") or 2.0), 1e-3)
    stored = None if genai or data.get("num_frames") is None else int(data["num_frames"])
    count = whole(options, "num_frames", stored, 2)
    if count is None:
        return fps_spec(fps, size)
    if "fps" in options:
        also = "--option num_frames" if "num_frames" in options else f"num_frames {count} in {source}"
        raise ValueError(f"--option fps={options['fps']} and {also} exclude each other: name one of the two options")
    asked = round(count / 2) * 2  # Python's round: half to even, as VideoAlign's
    return FrameSpec("pyav", Sampling("count", count=max(asked, 2), rounding="half-even"), size, "bicubic-antialias")
