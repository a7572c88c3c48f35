"""VideoScore as reward models: one class for the Idefics2 presets, one for Qwen2-VL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from rewardbench_plugin.assets import find_part, read_template
from rewardbench_plugin.card import RewardCard
from rewardbench_plugin.clip import Clip, Frames, FrameSpec
from rewardbench_plugin.options import choice, number, whole
from rewardbench_plugin.reward import Item, Prepared, RewardModel, Scores
from rewardbench_videoscore import card as cards
from rewardbench_videoscore.idefics2 import Idefics2Regressor
from rewardbench_videoscore.qwen2_vl import Qwen2VLRegressor
from rewardbench_videoscore.saved import read_json

TRAINED_LENGTH = 4096
MOST_FRAMES = 768
MOST_DIGITS = 12


class _VideoScore(RewardModel):
    """What both architectures share: weights, template, rounding, the mean.

    Option ``round_digits``: decimals of the reported scores (default 3, as in the published scripts), or ``none``.
    """

    architecture: ClassVar[str]
    """``model_type`` of the config.json."""
    _folder: Path | None = None
    _digits: int | None = 3
    _template: str | None = None

    def configure(
        self,
        *,
        preset: str | None = None,
        weights: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
        dimensions: Sequence[str] | None = None,
        seed: int = 0,
    ) -> None:
        super().configure(preset=preset, weights=weights, options=options, dimensions=dimensions, seed=seed)
        digits = self.options.get("round_digits")
        self._digits = None if digits == "none" else whole(self.options, "round_digits", 3, 0, MOST_DIGITS)
        self.card = self._chosen_card()
        if "" not in self.weights:
            return  # enough for showing the card
        self._folder = Path(self.weights[""])
        if not self._folder.is_dir():
            raise ValueError(f"--weights {self._folder} is not a folder with a VideoScore checkpoint")
        kind = read_json(self._folder / "config.json").get("model_type")
        if kind != self.architecture:
            other = "; add its preset: videoscore:qwen2-vl" if kind == "qwen2_vl" else ""
            raise ValueError(f"{self._folder} holds a model of type {kind!r}, not {self.architecture!r}{other}")
        templates = find_part("videoscore", self.weights, "templates", "templates", "its prompt template")
        self.weights = {**self.weights, "templates": str(templates)}

    def fingerprint(self) -> str:
        """Also fails, with a sentence, where no weights are named: such a model has no identity."""
        self._named_folder()
        return super().fingerprint()

    def load(self, device: str, dtype: str | None, weights: Mapping[str, str], options: Mapping[str, str]) -> None:
        """Load the network; bfloat16 on a GPU unless told otherwise, as published.

        Raises:
            ValueError: where no weights are named, or they are not a whole VideoScore checkpoint.
        """
        self._prompt_template()
        self._regressor.load(device, dtype, advice=self._advice)
        outputs = self._regressor.outputs
        if outputs != len(cards.ASPECTS):
            self._regressor.close()
            other = (
                "; regressors of one number are smoothness and appeal of animereward:released" if outputs == 1 else ""
            )
            raise ValueError(
                f"{self._named_folder()} scores {outputs} dimension{'s' * (outputs != 1)}; VideoScore has "
                f"{len(cards.ASPECTS)}{other}"
            )

    def prepare(self, clip: Clip, frames: Mapping[FrameSpec, Frames]) -> Prepared:
        """Resized frames and token ids, without torch (Qwen2-VL: with, for its resize).

        Raises:
            ValueError: a prompt with a special token, or longer than the model's positions.
        """
        (sampled,) = frames.values()
        text = self._prompt_template().replace("{text_prompt}", clip.prompt or "")
        prepared: Prepared = self._regressor.prepare(sampled.rgb, text)
        return prepared

    def score(self, batch: Sequence[Item]) -> Scores:
        """One forward pass per clip, so that no padding can move the token that is scored."""
        raw = np.array([self._regressor.logits(item.data) for item in batch], dtype=np.float64)
        values = raw if self._digits is None else np.array([[round(v, self._digits) for v in row] for row in raw])
        finite = np.isfinite(raw).all(axis=1)
        columns = [cards.IDEFICS2.dimension_names.index(name) for name in self.dimensions]
        return Scores(
            values=_with_mean(values)[:, columns],
            raw=_with_mean(raw)[:, columns],
            notes=[_length_note(len(item.data["input_ids"])) for item in batch],
            errors=[None if fine else "the model returned values that are not finite" for fine in finite],
        )

    def close(self) -> None:
        if self._folder is not None:
            self._regressor.close()

    _advice: ClassVar[str] = "use a larger GPU, or --device cpu"

    def _chosen_card(self) -> RewardCard:
        raise NotImplementedError

    @property
    def _regressor(self) -> Any:
        raise NotImplementedError

    def _named_folder(self) -> Path:
        if self._folder is None:
            raise ValueError(
                "videoscore needs weights: add --weights DIR with the published checkpoint and its templates/"
                f"{cards.TEMPLATE.name}; `rewardbench plugins fetch videoscore` brings both"
            )
        return self._folder

    def _prompt_template(self) -> str:
        if self._template is None:
            self._named_folder()
            self._template = read_template(Path(self.weights["templates"]), cards.TEMPLATE)
        return self._template


class VideoScore(_VideoScore):
    """Presets ``v1``, ``v1.1`` and ``anno-only``.

    Options: ``sampling`` (``example``: truncated steps from frame 0; ``benchmark``: first to last frame, repeating
    where the clip is shorter; ``anime``: AnimeReward's, truncated steps over at most the first 144 frames),
    ``num_frames`` or ``max_frames`` (two names of one number: frames that the model is shown at most) and
    ``round_digits``.
    """

    architecture = "idefics2"
    option_names: ClassVar[tuple[str, ...]] = ("sampling", "num_frames", "max_frames", "round_digits")
    card = cards.idefics2_card("v1", "example", 16)
    _host: Idefics2Regressor | None = None

    def _chosen_card(self) -> RewardCard:
        preset = self.preset or "v1"
        sampling = choice(self.options, "sampling", cards.SAMPLING[preset], tuple(cards.SAMPLERS))
        count = whole(self.options, "num_frames", None, 1, MOST_FRAMES)
        most = whole(self.options, "max_frames", count, 1, MOST_FRAMES)
        if count is not None and most != count:
            raise ValueError(
                f"--option num_frames={count} and max_frames={most} are two names of one number here; drop one"
            )
        default = cards.COUNTS.get(sampling, cards.FRAMES[preset])
        return cards.idefics2_card(preset, sampling, default if most is None else most)

    @property
    def _regressor(self) -> Idefics2Regressor:
        if self._host is None:
            self._host = Idefics2Regressor(self._named_folder())
        return self._host


class VideoScoreQwen2VL(_VideoScore):
    """Preset ``qwen2-vl``.

    Options: ``fps`` (default 8), ``max_pixels`` and ``min_pixels`` of one frame (qwen-vl-utils' 602,112 and 100,352)
    and ``round_digits``.
    """

    architecture = "qwen2_vl"
    option_names: ClassVar[tuple[str, ...]] = ("fps", "max_pixels", "min_pixels", "round_digits")
    card = cards.qwen2_vl_card(8.0)
    _advice = "use a larger GPU, fewer frames (--option fps=4), or --device cpu"
    _host: Qwen2VLRegressor | None = None

    def _chosen_card(self) -> RewardCard:
        least = whole(self.options, "min_pixels", cards.VIDEO_MIN_PIXELS, 28 * 28) or 0
        most = whole(self.options, "max_pixels", cards.VIDEO_MAX_PIXELS, 28 * 28) or 0
        if least > most:
            raise ValueError(f"--option min_pixels={least} is above max_pixels={most}")
        self._budget = (least, most)
        return cards.qwen2_vl_card(number(self.options, "fps", 8.0, 0.01, 240.0))

    @property
    def _regressor(self) -> Qwen2VLRegressor:
        if self._host is None:
            self._host = Qwen2VLRegressor(self._named_folder(), *self._budget)
        return self._host


def _with_mean(scores: np.ndarray) -> np.ndarray:
    """(N, 6): the five scores (N, 5) and their mean."""
    return np.concatenate([scores, scores.mean(axis=1, keepdims=True)], axis=1)


def _length_note(tokens: int) -> str:
    if tokens <= TRAINED_LENGTH:
        return ""
    return f"{tokens} tokens; the model was trained on at most {TRAINED_LENGTH}"
