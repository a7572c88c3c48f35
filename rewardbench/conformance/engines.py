"""Checks of a scoring engine against the local one, on a small job."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from rewardbench.conformance.checks import CheckList, Fault
from rewardbench.conformance.clips import Clips
from rewardbench.conformance.registered import Registered
from rewardbench.errors import RewardbenchError
from rewardbench.jobs import make_job
from rewardbench.scoring.engine import EngineSettings, Session
from rewardbench.scoring.engines import LOCAL, engine_class
from rewardbench.scoring.plan import Work
from rewardbench.scoring.progress import Silent

CHECKS = CheckList()


@dataclass
class Recorder:
    """A sink that remembers what ended, and how."""

    values: dict[str, float] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    ended: Counter[str] = field(default_factory=Counter)

    def scored(self, job: int, batch: Sequence[Work], values: np.ndarray, raw: np.ndarray, notes: list[str]) -> None:
        for work, row in zip(batch, values, strict=True):
            self.ended[work.clips[0].clip_id] += 1
            self.values[work.clips[0].clip_id] = float(row[0])

    def failed(self, job: int, work: Work, error: str) -> None:
        self.ended[work.clips[0].clip_id] += 1
        self.errors[work.clips[0].clip_id] = error


@dataclass
class EngineSubject:
    registered: Registered
    clips: Clips
    here: Recorder = field(default_factory=Recorder)
    there: Recorder = field(default_factory=Recorder)

    @property
    def asked(self) -> list[str]:
        return [work.clips[0].clip_id for work in self.work()]

    def work(self) -> list[Work]:
        """Three good clips, two awkward ones, and one that cannot be decoded in the middle."""
        c = self.clips
        clips = [*c.ordinary[:2], c.corrupt, c.ordinary[2], c.odd_size, c.one_frame]
        return [Work(number, (clip,), (0,)) for number, clip in enumerate(clips)]

    def run(self, name: str, sink: Recorder) -> list[Session]:
        job = make_job("random", {}, {}, None, None, 0)
        settings = EngineSettings(workers=1, device="cpu", batch_size=2, engine=name)
        with engine_class(name)([job], settings, Silent(), sink, {}) as engine:
            return engine.run(self.work())


@CHECKS.add("engine-runs", "Made and entered as the local engine is, run(work) gives one session for each job.")
def _runs(subject: EngineSubject) -> str:
    advice = "see rewardbench.scoring.engines.Engine for what an engine has, and rewardbench/scoring/local.py for one"
    subject.run(LOCAL, subject.here)
    try:
        sessions = subject.run(subject.registered.manifest.name, subject.there)
    except RewardbenchError as error:
        raise Fault(str(error), advice) from None
    except Exception as error:
        raise Fault(f"{type(error).__name__}: {error}", advice) from None
    if not isinstance(sessions, list) or len(sessions) != 1 or not isinstance(sessions[0], Session):
        raise Fault(f"run gave {type(sessions).__name__} where a list of one Session for the one job belongs", advice)
    return f"one job, {len(subject.there.ended)} clips"


@CHECKS.add("engine-accounts", "Each clip ends exactly once: it is scored, or it failed.", needs=["engine-runs"])
def _accounts(subject: EngineSubject) -> str:
    advice = "call sink.scored or sink.failed once for every clip of every job, also where a batch was split"
    off = [f"{clip} {subject.there.ended[clip]} times" for clip in subject.asked if subject.there.ended[clip] != 1]
    if off:
        raise Fault(f"ended: {', '.join(off)}", advice)
    return f"{len(subject.asked)} clips ended once"


@CHECKS.add(
    "engine-failures",
    "A clip that cannot be decoded fails with a sentence and costs only itself.",
    needs=["engine-accounts"],
)
def _failures(subject: EngineSubject) -> str:
    here, there = subject.here, subject.there
    advice = "decode and score so that one clip's failure is that clip's alone: split a batch that raises"
    if set(here.errors) != set(there.errors):
        raise Fault(f"{sorted(there.errors)} failed, {sorted(here.errors)} cannot be scored", advice)
    silent = [clip for clip, error in there.errors.items() if not error.strip()]
    if silent:
        raise Fault(f"{silent[0]} failed without a sentence", advice)
    return f"{len(there.errors)} failed, with its sentence"


@CHECKS.add("engine-agrees", "It gives the scores the local engine gives.", needs=["engine-accounts"])
def _agrees(subject: EngineSubject) -> str:
    here, there = subject.here.values, subject.there.values
    both = sorted(set(here) & set(there))
    off = [clip for clip in both if here[clip] != there[clip]]
    if off:
        raise Fault(
            f"{off[0]}: {here[off[0]]:.6g} by the local engine, {there[off[0]]:.6g} by this",
            "hand the rows of a batch to the sink in the batch's own order",
        )
    return f"{len(both)} equal scores"
