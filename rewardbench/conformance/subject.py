"""A reward model under examination: what is asked of it, and how its answers are compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from rewardbench.conformance.checks import Fault
from rewardbench.conformance.clips import Clips
from rewardbench.conformance.registered import Registered
from rewardbench.conformance.session import Answer, Asked, Model, Refused, Sessions
from rewardbench.doctor.references import TOLERANCE
from rewardbench.jobs import make_job
from rewardbench.scoring.plan import Job
from rewardbench_plugin.clip import Clip

EXACT = 1e-6
"""Largest difference of two equal requests on the CPU, relative as :data:`TOLERANCE` is: room for threads that add up
in another order, far below what decides a pair."""


class RewardSubject:
    """One configured reward model or judge, its processes and the clips it is examined on."""

    def __init__(self, registered: Registered, spec: str, job: Job, sessions: Sessions, clips: Clips) -> None:
        self.registered = registered
        self.spec = spec
        self.job = job
        self.sessions = sessions
        self.clips = clips

    @property
    def card_name(self) -> str:
        return self.job.model.card.name

    @cached_property
    def asked(self) -> list[Asked]:
        """Three ordinary questions: the bundled clips, or their three pairs for a judge."""
        first, second, third = self.clips.ordinary
        if self.job.is_judge:
            return [(first, second), (second, third), (third, first)]
        return [(first,), (second,), (third,)]

    def about(self, clip: Clip) -> Asked:
        """A question about one clip; a judge is shown it beside an ordinary one."""
        return (clip, self.clips.ordinary[1]) if self.job.is_judge else (clip,)

    @cached_property
    def model(self) -> Model:
        """The process that questions are asked in."""
        return self.sessions.start()

    @cached_property
    def device(self) -> str:
        """Where the model computes, as it says itself."""
        return self.model.device

    @cached_property
    def ordinary(self) -> Answer:
        """The first answer to the three ordinary questions."""
        return self.ask(self.asked)

    def drop(self) -> None:
        """End the process; the next question starts another. So at most one copy of the model is in memory."""
        if "model" in self.__dict__:
            self.model.kill()
            del self.model

    def ask(self, batch: Sequence[Asked]) -> Answer:
        """One batch, in a new process where the last one died or was dropped.

        Raises:
            Refused: where there is no answer.
        """
        try:
            return self.model.ask(batch)
        except Refused as refusal:
            if refusal.kind == "process" and refusal.stage == "score":
                self.drop()
            raise

    @property
    def columns(self) -> tuple[str, ...]:
        return ("A", "tie", "B") if self.job.is_judge else self.job.dimensions

    @property
    def tolerance(self) -> float:
        """What the doctor allows between two ways to compute a score, by precision."""
        half = self.job.dtype in ("float16", "bfloat16") or (self.job.dtype is None and self.device != "cpu")
        return TOLERANCE["bfloat16" if half else "float32"]

    @property
    def exact(self) -> float:
        """What is allowed between two equal requests: next to nothing on the CPU."""
        return EXACT if self.device == "cpu" else self.tolerance

    def other_choice(self, *, seed: int | None = None, dimensions: tuple[str, ...] | None = None) -> Job:
        """The same model with another seed, or asked for fewer dimensions."""
        choice = self.job.choice
        return make_job(
            self.spec,
            choice.weights,
            choice.options,
            dimensions or choice.dimensions,
            self.job.dtype,
            choice.seed if seed is None else seed,
        )

    def compare(self, expected: np.ndarray, given: np.ndarray, rows: Sequence[Asked]) -> tuple[float, str]:
        """Largest |expected - given| of two (N, W), each relative to its column's unit, and where it is.

        The unit is the width of the declared range where that is below 1, else max(1, |expected|). NaN on one side only
        is infinitely far.
        """
        worst, where = 0.0, ""
        for row, asked in enumerate(rows):
            for column, name in enumerate(self.columns):
                a, b = float(expected[row, column]), float(given[row, column])
                if math.isnan(a) and math.isnan(b):
                    continue
                off = math.inf if math.isnan(a) or math.isnan(b) else abs(a - b) / self._unit(name, a)
                if off > worst:
                    worst, where = off, f"{name} of {title(asked)}: {a:.6g} and {b:.6g}"
        return worst, where

    def _unit(self, column: str, value: float) -> float:
        if self.job.is_judge:
            return 1.0
        dimension = self.job.model.card.dimension(column)
        width = dimension.high - dimension.low
        return width if 0 < width < 1 else max(1.0, abs(value))


def title(asked: Asked) -> str:
    """A question in words."""
    return " beside ".join(str(clip.metadata.get("name", clip.clip_id)) for clip in asked)


def ask_or_fault(model: Model | RewardSubject, batch: Sequence[Asked], advice: str) -> Answer:
    """The answer.

    Raises:
        Fault: where there is none.
    """
    try:
        return model.ask(batch)
    except Refused as refusal:
        raise Fault(f"{', '.join(title(asked) for asked in batch)}: {refusal}", advice) from None
