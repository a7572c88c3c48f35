"""Smoothness and appeal: two Idefics2 regressors that read the same query and differ in their weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rewardbench_animereward import published
from rewardbench_animereward.frames import DECODED
from rewardbench_animereward.rating import Rating, Scorer
from rewardbench_plugin import Clip, Frames, FrameSpec
from rewardbench_plugin.assets import read_template
from rewardbench_plugin.reward import Prepared

if TYPE_CHECKING:
    from rewardbench_videoscore.idefics2 import Idefics2Regressor

PLACEHOLDER = "{text_prompt}"
FULL = 100.0
"""The query asks for a number from 0 to 100; scores are hundredths of it. Nothing is clamped."""


class VlmScorer(Scorer):
    """First output of an Idefics2 regressor, rounded to ``digits`` decimals (None: not), over 100."""

    needs_prompt = True
    preferred = "bfloat16"
    working_memory = 3 << 30

    def __init__(
        self, dimension: str, folder: Path, templates: Path, digits: int | None, frames: FrameSpec = DECODED
    ) -> None:
        self.dimension, self.folder, self.templates, self.digits = dimension, folder, templates, digits
        self.frames = frames
        self._regressor: Idefics2Regressor | None = None
        self._query: str | None = None

    @property
    def regressor(self) -> Idefics2Regressor:
        """The host of the checkpoint; made at the first call in each process."""
        if self._regressor is None:
            from rewardbench_videoscore.idefics2 import Idefics2Regressor

            self._regressor = Idefics2Regressor(self.folder)
        return self._regressor

    @property
    def query(self) -> str:
        if self._query is None:
            self._query = read_template(self.templates, published.REGRESSION)
        return self._query

    def weight_paths(self) -> Sequence[Path]:
        return (self.folder,)

    def prepare(self, clip: Clip, frames: Frames) -> Prepared:
        if not (clip.prompt and clip.prompt.strip()):
            return {}
        made = self.regressor.prepare(frames.rgb, self.query.replace(PLACEHOLDER, clip.prompt))
        return {f"{self.dimension}/input_ids": made["input_ids"], self._frames_name(): made["frames"]}

    def _frames_name(self) -> str:
        """One name for all regressors that resize alike, so that their frames travel once."""
        rules = self.regressor.inputs.images
        size = rules.exact or (rules.longest, rules.shortest)
        return f"vlm_frames/{size if rules.resize else 'decoded'}/{rules.resample}"

    def load(self, device: str, dtype: str | None) -> None:
        self.query  # noqa: B018 (a missing template is found before 17 GB are read)
        self.regressor.load(
            device, dtype, advice="ask for other dimensions with --dimension, or use the preset mini, which needs none"
        )

    def score(self, clip: Clip, data: Prepared) -> Rating:
        if f"{self.dimension}/input_ids" not in data:
            return Rating.abstain("its query contains the prompt, and the clip has none")
        prepared = {"input_ids": data[f"{self.dimension}/input_ids"], "frames": data[self._frames_name()]}
        logit = float(self.regressor.logits(prepared)[0])
        return Rating((logit if self.digits is None else round(logit, self.digits)) / FULL, raw=logit)

    def unload(self) -> None:
        if self._regressor is not None:
            self._regressor.close()
