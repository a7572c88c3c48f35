"""Everything a user chooses about a training run, each choice beside its default and its reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from math import isfinite
from pathlib import Path
from typing import Any

from rewardbench.errors import InputError
from rewardbench.reward_training.objectives import OBJECTIVES, THETA

REWARD_TOKENS = ("special", "last")
HEADS = ("per-dimension", "shared")
LANGUAGE = ("lora", "full", "frozen")
VISION = ("full", "frozen")
DTYPES = ("float32", "bfloat16")
SCHEDULES = ("constant", "constant_with_warmup", "linear", "cosine")


@dataclass(frozen=True)
class TrainingSettings:
    """A training run. Defaults are those of VideoReward's paper (Table 11) where it states them.

    Attributes:
        data: pairs file, VideoAlign's csv, or rating table.
        base: folder of a Qwen2-VL model (config, tokenizer, image processor, safetensors), or the checkpoint file of
            one of AnimeReward's consistency models.
        out: folder of the run; ``out/model`` becomes the checkpoint.
        validation: a table of its own; None takes ``validation_share`` of the prompts of ``data``.
        objective: ``regression`` (ratings), ``bt`` (pairs; ties are left out) or ``btt`` (pairs with ties).
        theta: tie parameter of ``btt``.
        dimensions: what is trained; None takes every labelled dimension of the data but an overall one.
        reward_token: ``special`` reads every dimension at a token of its own, ``last`` all at the last token.
        head: ``per-dimension`` has one row of weights a dimension, ``shared`` (special tokens only) one for all.
        context_dimensions: with special tokens, the dimensions whose token comes after the prompt and may see it;
            None takes those about text.
        template: ``short`` (ours, made for any dimensions), or the name of a published one in ``templates``.
        templates: folder of published templates.
        bert: folder of BERT's vocabulary, for AnimeReward's text-video model.
        language, vision: what is trained of the two halves; the head always is, and so are the special tokens' rows.
        lora_rank, lora_alpha, lora_dropout: LoRA on every linear layer of the language model.
        learning_rate: of LoRA (or the whole language model), and of what has no rate of its own.
        vision_learning_rate, head_learning_rate: of the vision encoder; of head and special tokens.
        weight_decay: on matrices; never on the special tokens, norms and biases.
        batch_size: examples a step and device (the paper: 32 over 8 GPUs); ``gradient_accumulation`` multiplies it.
        pairs_per_prompt: so many pairs of one prompt make one example; their shared clips are computed once.
        save_every: steps between states to resume from; None is ten times in a run.
        fps, num_frames, max_pixels, min_pixels: what the model sees of a clip, as VideoReward samples it.
        device: ``auto``, ``cpu``, ``cuda``.
        dtype: ``bfloat16`` computes under autocast (weights stay float32) and writes bfloat16 weights; None is
            bfloat16 on a GPU, float32 on the CPU.
        workers: processes that decode ahead; 0 decodes between steps.
    """

    data: Path
    base: Path
    out: Path
    validation: Path | None = None
    validation_share: float = 0.1
    objective: str = "btt"
    theta: float = THETA
    dimensions: tuple[str, ...] | None = None
    reward_token: str = "special"
    head: str = "per-dimension"
    context_dimensions: tuple[str, ...] | None = None
    template: str = "short"
    templates: Path | None = None
    bert: Path | None = None
    language: str = "lora"
    vision: str = "full"
    lora_rank: int = 64
    lora_alpha: int = 128
    lora_dropout: float = 0.0
    learning_rate: float = 2e-6
    vision_learning_rate: float | None = None
    head_learning_rate: float | None = None
    weight_decay: float = 0.0
    schedule: str = "constant_with_warmup"
    warmup_share: float = 0.05
    max_grad_norm: float = 1.0
    epochs: float = 2.0
    batch_size: int = 4
    gradient_accumulation: int = 1
    pairs_per_prompt: int = 1
    save_every: int | None = None
    fps: float = 2.0
    num_frames: int | None = None
    max_pixels: int = 448 * 448
    min_pixels: int = 128 * 28 * 28
    gradient_checkpointing: bool = False
    device: str = "auto"
    dtype: str | None = None
    workers: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        self._check_values()
        self._check_combinations()

    def _check_values(self) -> None:
        for name, allowed in (
            ("objective", OBJECTIVES),
            ("reward_token", REWARD_TOKENS),
            ("head", HEADS),
            ("language", LANGUAGE),
            ("vision", VISION),
            ("schedule", SCHEDULES),
        ):
            _one_of(name, getattr(self, name), allowed)
        if self.dtype is not None:
            _one_of("dtype", self.dtype, DTYPES)
        for name in ("lora_rank", "lora_alpha", "batch_size", "gradient_accumulation", "pairs_per_prompt"):
            _at_least(name, getattr(self, name), 1)
        for name in ("learning_rate", "epochs", "fps"):
            if not (isfinite(getattr(self, name)) and getattr(self, name) > 0):
                raise InputError(f"{_flag(name)} is {getattr(self, name)}; it must be above 0")
        for name in ("vision_learning_rate", "head_learning_rate", "weight_decay", "max_grad_norm"):
            _at_least(name, getattr(self, name), 0)
        for name in ("save_every", "num_frames", "max_pixels", "min_pixels"):
            _at_least(name, getattr(self, name), 1)
        _at_least("workers", self.workers, 0)
        for name, high in (("validation_share", 0.9), ("warmup_share", 1.0), ("lora_dropout", 0.9)):
            if not 0.0 <= getattr(self, name) <= high:
                raise InputError(f"{_flag(name)} is {getattr(self, name)}; it must lie from 0 to {high:g}")
        if self.objective == "btt" and not (isfinite(self.theta) and self.theta > 1):
            raise InputError(f"--theta is {self.theta}; the tie parameter of the objective btt is a number above 1")

    def _check_combinations(self) -> None:
        if self.validation is None and self.validation_share == 0:
            raise InputError(
                "--validation-share 0 leaves no prompts to normalise the scores on; give a share above 0 or "
                "--validation FILE"
            )
        if self.head == "shared" and self.reward_token == "last":
            raise InputError(
                "--head shared with --reward-token last gives every dimension the same score; use --head per-dimension "
                "or --reward-token special"
            )
        if self.context_dimensions and self.reward_token == "last":
            raise InputError("--context-dimension goes with --reward-token special: the last token sees everything")
        if self.min_pixels > self.max_pixels:
            raise InputError(f"--min-pixels {self.min_pixels} is above --max-pixels {self.max_pixels}")
        if (self.template == "short") != (self.templates is None):
            raise InputError("--template NAME and --templates DIR go together: they choose a published template")

    def sampling(self) -> dict[str, Any]:
        """What the model sees of a clip, as ``data_config`` of a checkpoint states it."""
        return {
            "max_frame_pixels": self.max_pixels,
            "min_frame_pixels": self.min_pixels,
            "num_frames": self.num_frames,
            "fps": self.fps,
            "sample_type": "uniform",
        }

    def record(self) -> dict[str, Any]:
        """All choices as JSON values."""
        return {name: _plain(value) for name, value in asdict(self).items()}

    def changes_to(self, other: dict[str, Any]) -> list[str]:
        """Names of choices that differ from a recorded run's and change what is learned."""
        own = self.record()
        free = {"out", "save_every", "workers"}
        return [f.name for f in fields(self) if f.name not in free and own[f.name] != other.get(f.name)]


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value.resolve())
    return list(value) if isinstance(value, tuple) else value


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _one_of(name: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise InputError(f"{_flag(name)} {value!r} is not one of {', '.join(allowed)}")


def _at_least(name: str, value: float | None, low: float) -> None:
    if value is not None and not (isfinite(value) and value >= low):
        raise InputError(f"{_flag(name)} is {value}; it must be at least {low}")
