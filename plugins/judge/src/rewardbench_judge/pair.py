"""Preset ``pair``: which of two clips is better. The host asks in both orders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np

from rewardbench_judge.answers import parse_verdict
from rewardbench_judge.chat import Answerer, Question, VideoChat
from rewardbench_judge.rating import CARD as RATING_CARD
from rewardbench_judge.viewing import OPTIONS, Viewing, footage, named_folder
from rewardbench_judge.wording import ASPECTS, WHOLE, pair_text
from rewardbench_plugin import (
    Clip,
    Dimension,
    Frames,
    FrameSpec,
    Item,
    Judgements,
    NativeTieRule,
    PairwiseJudge,
    Prepared,
)
from rewardbench_plugin.options import choice

ABOUT = ("overall", *ASPECTS)
_P = {1: (1.0, 0.0, 0.0), 0: (0.0, 1.0, 0.0), -1: (0.0, 0.0, 1.0)}

CARD = replace(
    RATING_CARD,
    summary="a chat-tuned video model says which of two clips is better, in both orders",
    dimensions=(Dimension("verdict", -1.0, 1.0, description="mean over both orders: 1 first clip, 0 tie, -1 second"),),
    inputs={"verdict": Viewing.of({}).spec},
    overall_rule="the only score",
    default_score="verdict",
    native_tie_rule=NativeTieRule({"verdict": 0.0}, "the judge says tie in both orders, or takes its verdict back"),
    evaluation_rules={"GenAI-Bench": "three-way accuracy of the mean verdict over both orders"},
    citation="scheme: Wang et al. 2025, UnifiedReward; models: Wang et al. 2024, Qwen2-VL; Bai et al. 2025, Qwen2.5-VL",
    deviations=(
        "Order: the published script shows the clips in one random order; here both orders are asked and the result "
        "says how often they agree.",
        "Ties: the published script drops human ties but keeps them in the denominator; here the metrics decide.",
        "Wording: our own sentences.",
    ),
)


class PairJudge(PairwiseJudge):
    """Verdicts as probabilities 0 or 1 for first, tie, second; NaN where the answer cannot be read.

    Options: those of :class:`rewardbench_judge.viewing.Viewing`, and ``about`` (``overall`` or one aspect).
    """

    option_names: ClassVar[tuple[str, ...]] = (*OPTIONS, "about")
    card = CARD
    answer: Answerer | None = None

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
        self._viewing = Viewing.of(self.options)
        if self._viewing.first_frame == "clip":
            raise ValueError("--option first_frame=clip: a pair has no one first frame; use auto, image or none")
        about = choice(self.options, "about", "overall", ABOUT)
        part = ASPECTS.get(about)
        self._about = WHOLE if part is None else f"which of the two is better in this respect: {part.about}"
        self.card = replace(
            CARD,
            inputs={"verdict": self._viewing.spec},
            needs_prompt=part is not None and part.uses_prompt,
            needs_image=self._viewing.first_frame == "image",
            uses_image=self._viewing.first_frame in ("auto", "image"),
        )

    def fingerprint(self) -> str:
        """Also fails, with a sentence, where no model is named."""
        named_folder(self.weights)
        return super().fingerprint()

    def load(self, device: str, dtype: str | None, weights: Mapping[str, str], options: Mapping[str, str]) -> None:
        self.answer = VideoChat(named_folder(self.weights), device, dtype, self._viewing.max_new_tokens)

    def prepare(self, clip: Clip, frames: Mapping[FrameSpec, Frames]) -> Prepared:
        data = self._viewing.prepare(clip, frames)
        if data["own"][0]:  # a clip's own first frame is no picture both were made from
            del data["first"]
        return data

    def compare(self, batch: Sequence[tuple[Item, Item]]) -> Judgements:
        """Verdicts (N, 3) on pairs in the order shown; text: the answer, and why where it is unreadable."""
        p = np.full((len(batch), 3), np.nan)
        texts: list[str] = []
        errors: list[str | None] = []
        for row, (first, second) in zip(p, batch):  # noqa: B905 (Python 3.9)
            text, error = "", None
            try:
                text = self._ask(first, second)
            except ValueError as problem:
                error = str(problem)
            else:
                try:
                    row[:] = _P[parse_verdict(text)]
                except ValueError as reason:
                    text = f"unreadable ({reason}): {text}"
            texts.append(text)
            errors.append(error)
        return Judgements(p, texts, errors)

    def _ask(self, first: Item, second: Item) -> str:
        """The judge's answer.

        Raises:
            ValueError: the clips do not start from the same picture, or the question cannot be asked.
        """
        picture = _shared_picture(first, second)
        prompt = (first.clip.prompt or "").strip()
        text = pair_text(self._about, prompt, first_frame=picture is not None)
        shown = ("Video 1:", footage(first.data), "Video 2:", footage(second.data), text)
        assert self.answer is not None, "loaded"
        return self.answer(Question(shown if picture is None else (picture, *shown), prompt))

    def close(self) -> None:
        if isinstance(self.answer, VideoChat):
            self.answer.close()


def _shared_picture(first: Item, second: Item) -> np.ndarray | None:
    """The picture both clips were made from, None where neither has one.

    Raises:
        ValueError: where they differ.
    """
    pictures = [item.data.get("first") for item in (first, second)]
    if pictures[0] is None and pictures[1] is None:
        return None
    if pictures[0] is None or pictures[1] is None or not np.array_equal(pictures[0], pictures[1]):
        raise ValueError(
            f"{first.clip.clip_id} and {second.clip.clip_id} have different first-frame images, so one question cannot "
            "show both; use --option first_frame=none"
        )
    return pictures[0]
