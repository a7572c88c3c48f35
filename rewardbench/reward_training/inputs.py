"""A clip as a Qwen2-VL reward model takes it: frames and token ids, made as the plugin ``videoreward`` makes them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rewardbench_videoreward.prompts import PromptTemplate
from rewardbench_videoreward.settings import frame_spec as spec_of_checkpoint
from rewardbench_videoreward.tokens import TEMPLATE_FILES, VIDEO_PAD, Tokens

from rewardbench.errors import ClipError, InputError
from rewardbench.reward_training.frames import FrameCache
from rewardbench.reward_training.settings import TrainingSettings
from rewardbench_plugin.clip import Clip, FrameSpec


@dataclass(frozen=True)
class Prepared:
    """One clip: ``frames`` uint8 (T, h, w, 3) and ``ids`` int32 (L,)."""

    frames: np.ndarray
    ids: np.ndarray


def frame_spec(settings: TrainingSettings) -> FrameSpec:
    """The frames that the trained checkpoint will be scored with."""
    spec: FrameSpec = spec_of_checkpoint(settings.sampling(), {}, None, settings.base)
    return spec


@dataclass
class ClipInputs:
    """Prepares clips for one base model and one template.

    Attributes:
        vision: the vision encoder's configuration, which says how many patches become a token.
    """

    tokens: Tokens
    template: PromptTemplate
    frames: FrameCache
    vision: Any

    def prepare(self, clip: Clip) -> Prepared:
        """Frames and ids of a clip and its prompt.

        Raises:
            ClipError: the clip cannot be read, or has an odd number of frames at ``num_frames``.
            InputError: the prompt contains a special token, which would be read as a reward or the clip's place.
        """
        prompt = clip.prompt or ""
        found = [token for token in self.tokens.specials if token in prompt]
        if found:
            raise InputError(f"{clip.clip_id}: the prompt contains the special token {found[0]}; remove it there")
        frames = self.frames.read(clip.video).rgb
        depth, patch, merge = self.vision.temporal_patch_size, self.vision.patch_size, self.vision.spatial_merge_size
        if len(frames) % depth:
            raise ClipError(f"{clip.video}: {len(frames)} frames are no multiple of {depth}; use another --num-frames")
        n_tokens = len(frames) // depth * (frames.shape[1] // patch // merge) * (frames.shape[2] // patch // merge)
        return Prepared(frames, self.tokens.encode(self.template.fill(prompt), n_tokens))


def tokens_of(tokenizer: Any, base: Path, special_tokens: tuple[str, ...]) -> Tokens:
    """The plugin's view of a tokenizer of transformers that has the special tokens.

    Raises:
        InputError: it is not a Qwen2-VL tokenizer, or the base model has no chat template.
    """
    vocabulary = tokenizer.get_vocab()
    if VIDEO_PAD not in vocabulary:
        raise InputError(f"--base {base}: its tokenizer lacks {VIDEO_PAD}, so it is not Qwen2-VL's")
    rewards = tuple(vocabulary[token] for token in special_tokens)
    return Tokens(tokenizer.backend_tokenizer, read_chat_template(base), rewards, vocabulary[VIDEO_PAD])


def read_chat_template(base: Path) -> str:
    """The chat template of a model folder, in any of the places it may stand.

    Raises:
        InputError: none is there.
    """
    import json

    for name in TEMPLATE_FILES:
        path = base / name
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            found = text if path.suffix == ".jinja" else json.loads(text).get("chat_template")
            if isinstance(found, str):
                return found
    raise InputError(f"--base {base} has no chat template ({', '.join(TEMPLATE_FILES)})")
