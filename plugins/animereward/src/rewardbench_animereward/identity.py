"""Character consistency as one of the six scorers; detection, tracking and recognition are in ``character``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rewardbench_animereward.character import CharacterScorer, character_inputs
from rewardbench_animereward.rating import Rating, Scorer
from rewardbench_plugin import Clip, Frames
from rewardbench_plugin.reward import Prepared


class CharacterDimension(Scorer):
    """``cosine=False``: recognition confidence (released code); ``cosine=True``: mean cosine similarity (Eq. 10)."""

    dimension = "character"
    working_memory = 4 << 30

    def __init__(self, paths: Mapping[str, Path], cosine: bool) -> None:
        self.frames = character_inputs()
        self._paths = dict(paths)
        self._scorer = CharacterScorer(cosine=cosine)

    def weight_paths(self) -> Sequence[Path]:
        return (self._paths["character"],)

    def prepare(self, clip: Clip, frames: Frames) -> Prepared:
        return {f"character/{name}": array for name, array in self._scorer.prepare(clip, frames).items()}

    def load(self, device: str, dtype: str | None) -> None:
        self._scorer.load(self._paths, device, dtype)

    def score(self, clip: Clip, data: Prepared) -> Rating:
        prefix = "character/"
        own = {name[len(prefix) :]: array for name, array in data.items() if name.startswith(prefix)}
        value, note = self._scorer.score(own)
        return Rating(float(value), note=note.removeprefix("character abstains: "))

    def unload(self) -> None:
        self._scorer.close()
