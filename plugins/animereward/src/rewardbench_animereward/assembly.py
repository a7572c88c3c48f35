"""Six scorers put together to one reward model: what the presets ``released`` and ``paper`` have in common."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from rewardbench_animereward import published
from rewardbench_animereward.frames import DECODED, REGRESSOR_SAMPLERS, SAMPLING
from rewardbench_animereward.rating import Rating, Scorer
from rewardbench_animereward.residency import CHOICES, Residence
from rewardbench_plugin import Clip, Frames, FrameSpec, Item, RewardModel, Scores
from rewardbench_plugin.options import choice, whole
from rewardbench_plugin.reward import Prepared, fingerprint

DIMENSIONS = ("smoothness", "motion", "appeal", "text_video", "image_video", "character")
OVERALL = "overall"
DEFAULT_DIGITS = 3
MOST_FRAMES = 768


class AssembledReward(RewardModel):
    """One scorer per dimension, loaded only where that dimension (or ``overall``) is asked for.

    Options: ``sampling`` (``anime``, ``example``, ``benchmark``) and ``max_frames`` (1..768, default 24) of the two
    Idefics2 regressors, ``round_digits`` (0..12 or ``none``, default 3: decimals the regressors' outputs are rounded
    to before they are divided by 100) and ``residency`` (``auto``, ``together``, ``one_by_one``).
    """

    option_names: ClassVar[tuple[str, ...]] = ("sampling", "max_frames", "round_digits", "residency")
    parts: ClassVar[Mapping[str, tuple[str, ...]]]
    """Weights parts of each dimension; parts that belong to others (``bert``, ``templates``) stand last."""

    def make(self, dimension: str, paths: Mapping[str, Path]) -> Scorer:
        """The scorer of one dimension; opens no weights."""
        raise NotImplementedError

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
        card = type(self).card
        unknown = sorted(set(self.weights) - {"", *card.weights_parts})
        if unknown:
            raise ValueError(
                f"animereward:{preset} has no weights part {unknown[0]!r}; it has {', '.join(card.weights_parts)}"
            )
        self.read_options(self.options)
        self._wanted = (
            DIMENSIONS if OVERALL in self.dimensions else tuple(d for d in DIMENSIONS if d in self.dimensions)
        )
        self._scorers: dict[str, Scorer] = {}
        self._residence: Residence | None = None
        self._missing = self._resolve()
        if self._missing is None:
            paths = {part: Path(path) for part, path in self.weights.items()}
            self._scorers = {dimension: self.make(dimension, paths) for dimension in self._wanted}
        scorers = self._scorers.values()
        self.card = replace(
            card,
            inputs={**card.inputs, **{scorer.dimension: scorer.frames for scorer in scorers}},
            needs_prompt=bool(scorers) and all(scorer.needs_prompt for scorer in scorers),
            needs_image=bool(scorers) and all(scorer.needs_image for scorer in scorers),
        )

    def read_options(self, options: Mapping[str, str]) -> None:
        """Check and take the options.

        Raises:
            ValueError: naming the option.
        """
        sampler = choice(options, "sampling", "anime", tuple(REGRESSOR_SAMPLERS))
        count = whole(options, "max_frames", SAMPLING.count, 1, MOST_FRAMES)
        self.regressor_frames = replace(DECODED, sampling=replace(REGRESSOR_SAMPLERS[sampler], count=count))
        unrounded = options.get("round_digits") == "none"
        self.digits = None if unrounded else whole(options, "round_digits", DEFAULT_DIGITS, 0, 12)
        self.residency = choice(options, "residency", "auto", CHOICES)

    def _resolve(self) -> str | None:
        """Complete ``self.weights`` with every part that will be read; the first sentence on what is missing."""
        given, found, missing = dict(self.weights), {}, None
        wanted = list(dict.fromkeys(part for d in self._wanted for part in self.parts[d]))
        for part in sorted(wanted, key=lambda p: p in ("bert", "templates")):
            try:
                path = published.find(given, part, [Path(p) for p in found.values()])
            except ValueError as error:
                missing = missing or str(error)
                continue
            inner = path / "templates"
            found[part] = str(inner if part == "templates" and inner.is_dir() else path)
        self.weights = found
        return missing

    def fingerprint(self) -> str:
        """Name, version, preset, options but ``residency``, and the content of every part that is read.

        Raises:
            ValueError: where a part is missing.
        """
        self._complete()
        options = {name: text for name, text in self.options.items() if name != "residency"}
        return fingerprint(self.card, self.preset, self.weights, options)

    def load(self, device: str, dtype: str | None, weights: Mapping[str, str], options: Mapping[str, str]) -> None:
        """Load the scorers of the dimensions asked for.

        Raises:
            ValueError: with one sentence, where a part is missing, faulty, or does not fit the GPU.
        """
        self._complete()
        self._residence = Residence(list(self._scorers.values()), device, dtype, self.residency)
        self.load_message = self._residence.message
        try:
            self._residence.load()
        except BaseException:
            self._residence.clear()
            raise

    def _complete(self) -> None:
        if self._missing is not None:
            raise ValueError(self._missing)

    def prepare(self, clip: Clip, frames: Mapping[FrameSpec, Frames]) -> Prepared:
        """Arrays of all scorers; ``frames`` (uint8, T x 224 x 224 x 3) is shared by motion and the BLIP regressors."""
        found: Prepared = {}
        for scorer in self._scorers.values():
            found.update(scorer.prepare(clip, frames[scorer.frames]))
        return found

    def score(self, batch: Sequence[Item]) -> Scores:
        """Scores (N, D) in the order of ``self.dimensions``; every clip is scored by itself."""
        if self._residence is None:
            raise ValueError("animereward was not loaded")
        ratings: list[dict[str, Rating]] = [{} for _ in batch]
        errors: list[str | None] = [None] * len(batch)
        for scorer in self._residence.in_turn():
            for number, item in enumerate(batch):
                try:
                    ratings[number][scorer.dimension] = _checked(scorer.score(item.clip, item.data), scorer.dimension)
                except ValueError as error:
                    errors[number] = errors[number] or str(error)
        rows, raws, notes = [], [], []
        for found in ratings:
            if OVERALL in self.dimensions:
                found[OVERALL] = overall(found)
            rows.append([found[d].value if d in found else math.nan for d in self.dimensions])
            raws.append([_raw(found[d]) if d in found else math.nan for d in self.dimensions])
            notes.append(_note(found, self._wanted, OVERALL in self.dimensions))
        shape = (len(batch), len(self.dimensions))
        values, raw = (np.array(table, dtype=np.float64).reshape(shape) for table in (rows, raws))
        return Scores(values, raw, notes, errors)

    def close(self) -> None:
        if self._residence is not None:
            self._residence.clear()


def overall(ratings: Mapping[str, Rating]) -> Rating:
    """Eq. 11: the plain mean of the six dimensions; abstains where one of them does."""
    values = [ratings[d].value for d in DIMENSIONS if d in ratings]
    lacking = [d for d in DIMENSIONS if d not in ratings or math.isnan(ratings[d].value)]
    if lacking:
        return Rating.abstain(f"it is the mean of all six, and there is no {', '.join(lacking)}")
    return Rating(math.fsum(values) / len(values))


def _checked(rating: Rating, dimension: str) -> Rating:
    """A rating that is a number, or says why it is none."""
    if math.isfinite(rating.value) or (math.isnan(rating.value) and rating.note):
        return rating
    raise ValueError(f"{dimension} came out as {rating.value}; compute in --dtype float32")


def _raw(rating: Rating) -> float:
    return rating.value if rating.raw is None else rating.raw


def _note(ratings: Mapping[str, Rating], wanted: Sequence[str], with_overall: bool) -> str:
    said: list[Any] = []
    for dimension in (*wanted, *((OVERALL,) if with_overall else ())):
        rating = ratings.get(dimension)
        if rating is not None and rating.note:
            verb = " abstains" if math.isnan(rating.value) else ""
            said.append(f"{dimension}{verb}: {rating.note}")
    return "; ".join(said)
