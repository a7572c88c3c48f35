"""Brings a store up to date: scores every clip, or compares every pair, that has no stored result yet."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace

import numpy as np

from rewardbench.environments import ensure, recipe_of
from rewardbench.registry import Listeners
from rewardbench.scoring.engine import EngineSettings, Session
from rewardbench.scoring.engines import engine_class
from rewardbench.scoring.plan import Contents, Failures, Job, Work, missing_requirement, pending_clips
from rewardbench.scoring.process import Interpreter
from rewardbench.scoring.progress import Progress
from rewardbench.scoring.store import Judgement, Score, ScoreStore
from rewardbench_plugin.clip import Clip

ORDERS = ("AB", "BA")


@dataclass(frozen=True)
class Pair:
    """Two clips to compare."""

    pair_id: str
    first: Clip
    second: Clip

    def ordered(self, order: str) -> tuple[Clip, Clip]:
        return (self.first, self.second) if order == "AB" else (self.second, self.first)


@dataclass(frozen=True)
class PairVerdict:
    """What a judge said of a pair in one order; ``p`` is for A, tie, B of the pair, whatever the order asked."""

    pair_id: str
    order: str
    p: tuple[float, float, float] | None
    text: str
    error: str | None


class Scorer:
    """Jobs, their store, and how to run them. ``listeners`` hear of every score."""

    def __init__(
        self, jobs: Sequence[Job], store: ScoreStore, settings: EngineSettings, progress: Progress, listeners: Listeners
    ) -> None:
        self.jobs = jobs
        self.store = store
        self.settings = settings
        self.progress = progress
        self.listeners = listeners
        self.contents = Contents(store)
        self.failures = Failures.none()

    def score_clips(self, clips: Mapping[str, Clip]) -> list[Session | None]:
        """Score what lacks a score; one session per job, None where nothing had to be done."""
        self.progress.start_phase("checking clips", len(clips))
        sink = _ClipSink(self)
        todo = list(
            pending_clips(self.jobs, clips, self.contents, self.store, self.failures, self.progress, sink.refused)
        )
        self.store.flush()
        self.progress.end_phase()
        return self._run(todo, "scoring clips", sink)

    def compare_pairs(self, pairs: Sequence[Pair]) -> list[Session | None]:
        """Ask the judges about every pair and order that has no verdict yet."""
        sink = _PairSink(self)
        self.progress.start_phase("checking pairs", len(pairs))
        todo = list(self._pending_pairs(pairs, sink))
        self.store.flush()
        self.progress.end_phase()
        return self._run(todo, "comparing pairs", sink)

    def verdicts(self, position: int, pairs: Sequence[Pair]) -> Iterator[PairVerdict]:
        """Stored verdicts of the judge at ``position``, in pair order, with p turned to the pair's own A and B."""
        for pair in pairs:
            for order in self._orders(position):
                key = self._pair_key(position, pair, order)
                stored = self.store.judgement(key) if key is not None else None
                if stored is None:
                    error = self.failures.of(position, f"{pair.pair_id}/{order}") or "not compared"
                    yield PairVerdict(pair.pair_id, order, None, "", error)
                    continue
                p = stored.p
                if p is not None and order == "BA":
                    p = (p[2], p[1], p[0])
                yield PairVerdict(pair.pair_id, order, p, stored.text, None)

    def _orders(self, position: int) -> tuple[str, ...]:
        both = getattr(self.jobs[position].model, "both_orders", True)
        return ORDERS if both else ORDERS[:1]

    def _pair_key(self, position: int, pair: Pair, order: str) -> str | None:
        job = self.jobs[position]
        found = [self.contents.of(clip, job) for clip in pair.ordered(order)]
        if found[0] is None or found[1] is None:
            return None
        return job.pair_key("/".join(found[0]), "/".join(found[1]), pair.first.prompt)

    def _pending_pairs(self, pairs: Sequence[Pair], sink: _PairSink) -> Iterator[Work]:
        number = 0
        for pair in pairs:
            self.progress.advance(1)
            for position, job in enumerate(self.jobs):
                for order in self._orders(position):
                    name = f"{pair.pair_id}/{order}"
                    key = self._pair_key(position, pair, order)
                    reason = missing_requirement(job, pair.first) or missing_requirement(job, pair.second)
                    if key is None:
                        bad = next(c for c in pair.ordered("AB") if self.contents.of(c, job) is None)
                        reason = self.contents.error(bad)
                    if reason is not None:
                        self.failures.add(position, name, reason)
                    elif key is not None and self.store.judgement(key) is None:
                        sink.names[number] = (key, name)
                        yield Work(number, pair.ordered(order), (position,))
                        number += 1

    def _run(self, todo: list[Work], phase: str, sink: _ClipSink | _PairSink) -> list[Session | None]:
        if not todo:
            return [None] * len(self.jobs)
        asked = {position for work in todo for position in work.jobs}
        interpreters = self._interpreters(asked)
        self.progress.start_phase(phase, sum(len(work.jobs) for work in todo))
        make = engine_class(self.settings.engine)
        with make(self.jobs, self.settings, self.progress, sink, interpreters) as engine:
            sessions = engine.run(self._marked(work) for work in todo)
            decode_peak = engine.decode_peak
        self.progress.end_phase()
        for session in sessions:
            if decode_peak:
                session.peak_memory["decode_resident"] = decode_peak
        return [session if position in asked else None for position, session in enumerate(sessions)]

    def _interpreters(self, asked: Set[int]) -> dict[int, Interpreter]:
        """By position, the interpreters of the plugins with an environment of their own, built now where missing."""
        recipes = {p: recipe_of(self.jobs[p].model.card, self.jobs[p].choice.target) for p in sorted(asked)}
        return {p: ensure(recipe, self.progress) for p, recipe in recipes.items() if recipe is not None}

    def _marked(self, work: Work) -> Work:
        """The work as plugins see it: clips carry their content hash (made when it is their turn, to stay small)."""
        return replace(work, clips=tuple(self.contents.marked(clip) for clip in work.clips))


class _ClipSink:
    """Makes each scored batch durable, then tells the hooks."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer

    def scored(self, job: int, batch: Sequence[Work], values: np.ndarray, raw: np.ndarray, notes: list[str]) -> None:
        scorer, dimensions = self.scorer, self.scorer.jobs[job].dimensions
        scores = []
        for work, row, raw_row, note in zip(batch, values.tolist(), raw.tolist(), notes, strict=True):
            clip = work.clips[0]
            content = scorer.contents.of(clip, scorer.jobs[job])
            assert content is not None, "planned work has a content"
            for dimension, value, raw_value in zip(dimensions, row, raw_row, strict=True):
                key = scorer.jobs[job].score_key(dimension, content[0], clip, content[1])
                scores.append(Score(key, _stored(value), _stored(raw_value), note))
        scorer.store.put_scores(scores)
        for work, row in zip(batch, values.tolist(), strict=True):
            named = dict(zip(dimensions, row, strict=True))
            scorer.listeners.tell(
                "rewardbench_item_scored", plugin=scorer.jobs[job].label, clip=work.clips[0], scores=named
            )

    def failed(self, job: int, work: Work, error: str) -> None:
        self.refused(job, work.clips[0], error)

    def refused(self, job: int, clip: Clip, error: str) -> None:
        """A clip has no score, whether it was tried or not."""
        self.scorer.failures.add(job, clip.clip_id, error)
        self.scorer.listeners.tell(
            "rewardbench_item_failed", plugin=self.scorer.jobs[job].label, clip=clip, error=error
        )


class _PairSink:
    """The same for verdicts; ``names`` maps a work's number to (key, pair id and order)."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer
        self.names: dict[int, tuple[str, str]] = {}

    def scored(self, job: int, batch: Sequence[Work], values: np.ndarray, raw: np.ndarray, notes: list[str]) -> None:
        judgements = []
        for work, (p_a, p_tie, p_b), text in zip(batch, values.tolist(), notes, strict=True):
            p = None if math.isnan(p_a) else (p_a, p_tie, p_b)
            judgements.append(Judgement(self.names[work.number][0], p, text))
        self.scorer.store.put_judgements(judgements)

    def failed(self, job: int, work: Work, error: str) -> None:
        self.scorer.failures.add(job, self.names[work.number][1], error)
        plugin = self.scorer.jobs[job].label
        self.scorer.listeners.tell("rewardbench_item_failed", plugin=plugin, clip=work.clips[0], error=error)


def _stored(value: float) -> float | None:
    return None if math.isnan(value) else value
