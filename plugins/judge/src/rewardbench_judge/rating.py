"""Preset ``rating``: four aspects of one clip, five questions each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np

from rewardbench_judge import VERSION
from rewardbench_judge.answers import parse_rating
from rewardbench_judge.chat import Answerer, Question, VideoChat
from rewardbench_judge.viewing import OPTIONS, Viewing, footage, named_folder
from rewardbench_judge.wording import ASPECTS, HIGHEST, N_QUESTIONS, rating_text
from rewardbench_plugin import (
    Clip,
    Dimension,
    Frames,
    FrameSpec,
    HubFiles,
    Item,
    Prepared,
    RewardCard,
    RewardModel,
    Scores,
)

SCALE = 100 / (N_QUESTIONS * HIGHEST)
"""From the sum of five answers to 0..100, the scale published tables use."""
SHOWN = 120
"""Characters of an unreadable answer that its note keeps."""

_VIEWING = Viewing.of({})
CARD = RewardCard(
    name="judge",
    version=VERSION,
    summary="a chat-tuned video model rates four aspects of a clip",
    dimensions=(
        *(Dimension(name, 0.0, 100.0, description=aspect.about) for name, aspect in ASPECTS.items()),
        Dimension("overall", 0.0, 100.0, description="mean of the four"),
    ),
    inputs=dict.fromkeys(ASPECTS, _VIEWING.spec),
    overall_rule="mean of the four aspects; abstains where one of them does",
    uses_image=True,
    default_score="overall",
    training_data="whatever the named model was trained on",
    code_licence="Apache-2.0",
    weights_licence="that of the named model (Qwen2.5-VL-7B-Instruct: Apache-2.0)",
    citation="scheme: RealDPO (2025); models: Wang et al. 2024, Qwen2-VL; Bai et al. 2025, Qwen2.5-VL",
    parameters=8_292_166_656,
    memory=22 << 30,
    evaluation_rules={
        "RealDPO's tables": "mean over clips of the aspect's score, 0..100; those were made with other sentences",
    },
    deviations=(
        "Wording: the published question sheets carry no licence, so these are our own sentences on the same points; "
        "scores are not comparable with the published ones digit by digit.",
        "First frame: the published sheet asks about a first frame that its code does not show; it is shown here.",
        "Text alignment: the published script repeats the visual-alignment score for it; here it is asked for.",
        "Unreadable answers: the published script scores them 0; here they abstain and are counted.",
        "Range: the published parser accepts any number; here an answer outside 0..10 makes the sheet unreadable.",
        "Answers: the paper speaks of yes and no, the code asks for 0..10; 0..10 is followed.",
        "Decoding: the published script leaves the model's sampling on; here it is greedy without repetition penalty.",
    ),
    sources=(HubFiles("Qwen/Qwen2.5-VL-7B-Instruct", patterns=("*.json", "*.txt", "*.safetensors")),),
    notes="An off-the-shelf model asked for numbers: scores crowd near the top, so read the accuracy with ties. "
    "Parameters and memory are those of Qwen2.5-VL-7B-Instruct in bfloat16.",
)


class RatingJudge(RewardModel):
    """Scores in 0..100: the sum of an aspect's five answers times 2. NaN where the answer cannot be read.

    Options: those of :class:`rewardbench_judge.viewing.Viewing`. ``answer`` may be set to any function from question
    to text in place of a loaded model.
    """

    option_names: ClassVar[tuple[str, ...]] = OPTIONS
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
        self.card = replace(
            CARD,
            inputs=dict.fromkeys(ASPECTS, self._viewing.spec),
            needs_image=self._viewing.first_frame == "image",
            uses_image=self._viewing.first_frame in ("auto", "image"),
        )

    def fingerprint(self) -> str:
        """Also fails, with a sentence, where no model is named: such a judge has no identity."""
        named_folder(self.weights)
        return super().fingerprint()

    def load(self, device: str, dtype: str | None, weights: Mapping[str, str], options: Mapping[str, str]) -> None:
        self.answer = VideoChat(named_folder(self.weights), device, dtype, self._viewing.max_new_tokens)

    def prepare(self, clip: Clip, frames: Mapping[FrameSpec, Frames]) -> Prepared:
        return self._viewing.prepare(clip, frames)

    def score(self, batch: Sequence[Item]) -> Scores:
        """Scores (N, D) in 0..100, raw sums of answers 0..50, and a note for each aspect that abstains."""
        asked = tuple(ASPECTS) if "overall" in self.dimensions else self.dimensions
        sums = np.full((len(batch), len(self.dimensions)), np.nan)
        notes: list[str] = []
        errors: list[str | None] = []
        for row, item in zip(sums, batch):  # noqa: B905 (Python 3.9)
            found: dict[str, float] = {}
            said: list[str] = ["the first frame shown is the clip's own"] if item.data["own"][0] else []
            error = None
            for aspect in asked:
                try:
                    found[aspect], note = self._rate(aspect, item)
                except ValueError as problem:
                    error = str(problem)
                    break
                said += [f"{aspect}: {note}"] if note else []
            found["overall"] = float(np.mean([found.get(aspect, np.nan) for aspect in ASPECTS]))
            row[:] = [found.get(dimension, np.nan) for dimension in self.dimensions]
            notes.append("; ".join(said))
            errors.append(error)
        return Scores(sums * SCALE, raw=sums, notes=notes, errors=errors)

    def _rate(self, aspect: str, item: Item) -> tuple[float, str]:
        """Sum of the five answers, or NaN and why."""
        sheet = ASPECTS[aspect]
        prompt = (item.clip.prompt or "").strip()
        if sheet.uses_prompt and not prompt:
            return float("nan"), "abstains, the clip has no prompt"
        first = item.data.get("first")
        text = rating_text(sheet, prompt, first_frame=first is not None)
        shown = (footage(item.data), text) if first is None else (first, footage(item.data), text)
        assert self.answer is not None, "loaded"
        answer = self.answer(Question(shown, prompt if sheet.uses_prompt else ""))
        try:
            return float(sum(parse_rating(answer))), ""
        except ValueError as reason:
            return float("nan"), f"unreadable answer ({reason}): {' '.join(answer.split())[:SHOWN]!r}"

    def close(self) -> None:
        if isinstance(self.answer, VideoChat):
            self.answer.close()
