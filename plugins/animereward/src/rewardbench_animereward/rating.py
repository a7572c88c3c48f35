"""One dimension's scorer, as the presets ``released`` and ``paper`` put them together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from rewardbench_plugin import Clip, Frames, FrameSpec
from rewardbench_plugin.reward import Prepared


@dataclass(frozen=True)
class Rating:
    """Score of one clip in one dimension.

    Attributes:
        value: NaN where the scorer abstains.
        raw: before rounding and scaling; ``value`` where None.
        note: why it abstains, or what a reader must know of the value.
    """

    value: float
    raw: float | None = None
    note: str = ""

    @classmethod
    def abstain(cls, reason: str) -> Rating:
        return cls(math.nan, note=reason)


class Scorer:
    """Scores one dimension. ``prepare`` may be called where ``load`` never was (in a decode process)."""

    dimension: str
    frames: FrameSpec
    needs_prompt: ClassVar[bool] = False
    preferred: ClassVar[str] = "float32"
    """Precision on a GPU where none is asked for; what the released code runs in."""
    needs_image: ClassVar[bool] = False
    working_memory: ClassVar[int] = 512 << 20
    """Bytes of GPU memory beside the weights (an estimate)."""

    def weight_paths(self) -> Sequence[Path]:
        """Files and folders whose tensors are moved to the device."""
        raise NotImplementedError

    def prepare(self, clip: Clip, frames: Frames) -> Prepared:
        """Arrays for :meth:`score`. Arrays of one name are the same for all scorers (``frames``).

        Raises:
            ValueError: with one sentence, where this clip cannot be scored.
        """
        raise NotImplementedError

    def load(self, device: str, dtype: str | None) -> None:
        """Load weights; ``dtype`` None is the scorer's own choice.

        Raises:
            ValueError: with one sentence, where they are not those of this model.
        """
        raise NotImplementedError

    def score(self, clip: Clip, data: Prepared) -> Rating:
        """Score one clip."""
        raise NotImplementedError

    def unload(self) -> None:
        """Let go of what :meth:`load` took."""
