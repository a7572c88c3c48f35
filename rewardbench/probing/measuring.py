"""Scores of clips and their treated forms, by the ordinary engine into a store that stays: nothing is scored twice."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rewardbench.clip_scores import Limits, engine_settings
from rewardbench.registry import Listeners
from rewardbench.scoring.engine import Session
from rewardbench.scoring.plan import Job
from rewardbench.scoring.progress import Progress
from rewardbench.scoring.scorer import Pair, Scorer
from rewardbench.scoring.store import ScoreStore
from rewardbench_plugin.clip import Clip

JUDGED = "preference"
"""A judge's only dimension: p(the treated clip is better) - p(the working copy is better), mean over both orders."""


@dataclass(frozen=True)
class Measured:
    """Scores of clips by id.

    Attributes:
        values: dimension to score; NaN where the model abstains. Clips without any score are missing.
        notes: what the model says of its scores.
        errors: sentence by clip id.
        session: how they were computed; None where all were stored before.
    """

    values: Mapping[str, Mapping[str, float]]
    notes: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    session: Session | None = None


def measure(
    job: Job, clips: Sequence[Clip], store: ScoreStore, limits: Limits, logs: Path, progress: Progress, ears: Listeners
) -> Measured:
    """Score every clip that has no score in the store."""
    scorer = Scorer([job], store, engine_settings(limits, logs), progress, ears)
    (session,) = scorer.score_clips({clip.clip_id: clip for clip in clips})
    values: dict[str, dict[str, float]] = {}
    notes: dict[str, str] = {}
    errors: dict[str, str] = {}
    for clip in clips:
        content = scorer.contents.of(clip, job)
        keys = {} if content is None else {d: job.score_key(d, content[0], clip, content[1]) for d in job.dimensions}
        found = {d: score for d, key in keys.items() if (score := store.score(key)) is not None}
        if len(found) < len(job.dimensions):
            errors[clip.clip_id] = scorer.failures.of(0, clip.clip_id) or "not scored"
            continue
        values[clip.clip_id] = {d: math.nan if s.value is None else s.value for d, s in found.items()}
        notes[clip.clip_id] = next((s.note for s in found.values() if s.note), "")
    return Measured(values, notes, errors, session)


def measure_apart(
    job: Job,
    clips: Sequence[Clip],
    path: Path,
    limits: Limits,
    logs: Path,
    progress: Progress,
    ears: Listeners,
) -> Measured:
    """Score all clips anew in a store of their own: how they are put into batches is what is asked.

    A store left half full by an interruption is begun again, because its batches would be others.
    """
    if path.is_file():
        with ScoreStore(path) as store:
            begun = 0 < store.count() < len(clips) * len(job.dimensions)
        if begun:
            path.unlink()
    with ScoreStore(path) as store:
        return measure(job, clips, store, limits, logs, progress, ears)


def compare(
    job: Job, pairs: Sequence[Pair], store: ScoreStore, limits: Limits, logs: Path, progress: Progress, ears: Listeners
) -> tuple[Measured, dict[str, float]]:
    """A judge's view of pairs (treated, working copy), named by the treated clip's id.

    Returns:
        The preference for the treated clip in [-1, 1], and for each pair that was judged in both orders how much more
        a clip is favoured for being shown first, in [-1, 1].
    """
    scorer = Scorer([job], store, engine_settings(limits, logs), progress, ears)
    (session,) = scorer.compare_pairs(pairs)
    margins: dict[str, dict[str, float]] = {}
    notes: dict[str, str] = {}
    errors: dict[str, str] = {}
    for verdict in scorer.verdicts(0, pairs):
        if verdict.error is not None:
            errors[verdict.pair_id] = verdict.error
            continue
        p = verdict.p
        margins.setdefault(verdict.pair_id, {})[verdict.order] = math.nan if p is None else p[0] - p[2]
        notes.setdefault(verdict.pair_id, verdict.text)
    values = {
        pair: {JUDGED: math.fsum(by_order.values()) / len(by_order)}
        for pair, by_order in margins.items()
        if pair not in errors
    }
    # The pair's own A is shown first in the order AB, second in BA.
    first = {pair: (m["AB"] - m["BA"]) / 2 for pair, m in margins.items() if len(m) == 2 and pair not in errors}
    return Measured(values, notes, errors, session), first


def with_batch_size(limits: Limits, size: int) -> Limits:
    """The same limits with another batch size."""
    return replace(limits, batch_size=size)  # type: ignore[type-var]
