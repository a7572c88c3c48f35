"""A clip as the arrays a Qwen2-VL reward model takes: token ids and patches."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rewardbench.errors import InputError
from rewardbench.reward_training.prompts import PromptTemplate
from rewardbench.reward_training.settings import TrainingSettings
from rewardbench_plugin.clip import Clip, FrameSpec, Sampling, Size

if TYPE_CHECKING:
    from torch import Tensor

VIDEO_PAD = "<|video_pad|>"
CACHE_BYTES = 2 << 30
"""Decoded frames kept in memory, so that a small set is decoded once."""

Prepared = dict[str, np.ndarray]


def frame_spec(settings: TrainingSettings) -> FrameSpec:
    """The frames VideoReward samples: ``fps`` a second (or ``num_frames``), sides multiples of 28."""
    if settings.num_frames is not None:
        sampling = Sampling("count", settings.num_frames, rounding="half-even")
    else:
        sampling = Sampling("fps", 768, settings.fps, min_count=4, multiple=2, rounding="half-even")
    size = Size(max_pixels=settings.max_pixels, min_pixels=settings.min_pixels, multiple=28)
    return FrameSpec("decord", sampling, size, "bicubic-antialias")


@dataclass(frozen=True)
class ImageSettings:
    """What a base model's ``preprocessor_config.json`` says about patches."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    patch_size: int
    temporal_patch_size: int
    merge_size: int

    @classmethod
    def read(cls, base: Path) -> ImageSettings:
        path = base / "preprocessor_config.json"
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            return cls(
                tuple(data["image_mean"]),
                tuple(data["image_std"]),
                int(data["patch_size"]),
                int(data["temporal_patch_size"]),
                int(data["merge_size"]),
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} is not the image processor of a Qwen2-VL model ({error!r})") from None


def patches(frames: np.ndarray, image: ImageSettings) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Qwen2-VL's patches of uint8 frames (T, H, W, 3): float32 (t·h·w, 3·temporal·patch²) and the grid (t, h, w).

    The last frame is repeated up to a multiple of the temporal patch size; patches that are merged later stand
    together.
    """
    tp, p, m = image.temporal_patch_size, image.patch_size, image.merge_size
    missing = -len(frames) % tp
    if missing:
        frames = np.concatenate([frames, np.repeat(frames[-1:], missing, axis=0)])
    mean, std = np.array(image.mean, np.float32), np.array(image.std, np.float32)
    pixels = (frames.astype(np.float32) / np.float32(255.0) - mean) / std
    t, h, w = len(frames) // tp, frames.shape[1] // p, frames.shape[2] // p
    blocks = pixels.transpose(0, 3, 1, 2).reshape(t, tp, 3, h // m, m, p, w // m, m, p)
    flat = blocks.transpose(0, 3, 6, 4, 7, 2, 1, 5, 8).reshape(t * h * w, 3 * tp * p * p)
    return np.ascontiguousarray(flat, dtype=np.float32), (t, h, w)


@dataclass
class ClipInputs:
    """Prepares clips for one base model and one template.

    Attributes:
        tokenizer: the base model's, with the template's special tokens added.
        chat_template: the base model's.
    """

    tokenizer: Any
    chat_template: str
    template: PromptTemplate
    image: ImageSettings
    spec: FrameSpec
    _frames: OrderedDict[tuple[str, str | None], np.ndarray] = field(default_factory=OrderedDict)
    _cached: int = 0

    def prepare(self, clip: Clip) -> Prepared:
        """``input_ids`` int64 (L,), ``pixel_values_videos`` float32 (N, P), ``video_grid_thw`` int64 (3,).

        Raises:
            ClipError: the clip cannot be read.
            InputError: the prompt contains a special token.
        """
        values, grid = patches(self._read(clip), self.image)
        n_tokens = grid[0] * grid[1] * grid[2] // self.image.merge_size**2
        return {
            "input_ids": np.array(self._ids(clip, n_tokens), dtype=np.int64),
            "pixel_values_videos": values,
            "video_grid_thw": np.array(grid, dtype=np.int64),
        }

    def _read(self, clip: Clip) -> np.ndarray:
        from rewardbench.video import read_frames

        key = (clip.video, None)
        if key in self._frames:
            self._frames.move_to_end(key)
            return self._frames[key]
        rgb = read_frames(clip.video, [self.spec], threads=1)[self.spec].rgb
        self._frames[key] = rgb
        self._cached += rgb.nbytes
        while self._cached > CACHE_BYTES and len(self._frames) > 1:
            self._cached -= self._frames.popitem(last=False)[1].nbytes
        return rgb

    def _ids(self, clip: Clip, n_tokens: int) -> list[int]:
        content = [{"type": "video"}, {"type": "text", "text": self.template.fill(clip.prompt, clip.clip_id)}]
        text = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}],
            chat_template=self.chat_template,
            tokenize=False,
            add_generation_prompt=True,
        )
        if text.count(VIDEO_PAD) != 1:
            raise InputError(
                f"{clip.clip_id}: the chat template gives {text.count(VIDEO_PAD)} videos where one is shown"
            )
        ids: list[int] = self.tokenizer(text.replace(VIDEO_PAD, VIDEO_PAD * n_tokens), add_special_tokens=False)[
            "input_ids"
        ]
        return ids


def stack(prepared: Sequence[Prepared], pad_id: int) -> dict[str, Tensor]:
    """One batch of N prepared clips: token ids and attention mask int64 (N, L), padded on the right; all patches."""
    import torch

    length = max(len(p["input_ids"]) for p in prepared)
    ids = np.full((len(prepared), length), pad_id, dtype=np.int64)
    mask = np.zeros((len(prepared), length), dtype=np.int64)
    for row, p in enumerate(prepared):
        ids[row, : len(p["input_ids"])] = p["input_ids"]
        mask[row, : len(p["input_ids"])] = 1
    return {
        "input_ids": torch.from_numpy(ids),
        "attention_mask": torch.from_numpy(mask),
        "pixel_values_videos": torch.from_numpy(np.concatenate([p["pixel_values_videos"] for p in prepared])),
        "video_grid_thw": torch.from_numpy(np.stack([p["video_grid_thw"] for p in prepared])),
    }


def read_chat_template(base: Path) -> str:
    """The chat template of a model folder, in any of the three places it may stand.

    Raises:
        InputError: none is there.
    """
    jinja = base / "chat_template.jinja"
    if jinja.is_file():
        return jinja.read_text(encoding="utf-8")
    for name in ("chat_template.json", "tokenizer_config.json"):
        path = base / name
        if path.is_file():
            text = json.loads(path.read_text(encoding="utf-8")).get("chat_template")
            if isinstance(text, str):
                return text
    raise InputError(f"{base} has no chat template (chat_template.json, chat_template.jinja or tokenizer_config.json)")
