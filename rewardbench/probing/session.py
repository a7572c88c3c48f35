"""One probe under way: the clips that can be used, their scores, and every row of the table."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from rewardbench.errors import ClipError, InputError
from rewardbench.jobs import model_jobs
from rewardbench.probing import analysis
from rewardbench.probing.analysis import Point
from rewardbench.probing.measuring import JUDGED, Measured, compare, measure, measure_apart
from rewardbench.probing.record import LeftOut
from rewardbench.probing.settings import ProbeOptions
from rewardbench.probing.sources import Source, name_of
from rewardbench.probing.table import Row
from rewardbench.probing.takes import Take, file_levels, plan_takes, references
from rewardbench.probing.treatments import ORDER_OF_PAIR, Treatment
from rewardbench.probing.workshop import Copies, make_copies
from rewardbench.registry import Listeners, load_registry
from rewardbench.results import FailureRecord, PluginCost
from rewardbench.scoring.plan import Job, missing_requirement
from rewardbench.scoring.progress import Progress
from rewardbench.scoring.scorer import Pair
from rewardbench.scoring.store import ScoreStore
from rewardbench_plugin.clip import Clip

MOST_BATCHED = 16
"""Clips that are scored again for the questions on batches, for which the model is loaded four or five times."""
Rated = Mapping[str, float] | None


def job_of(options: ProbeOptions, seed: int) -> Job:
    """The plugin as it was asked for, with this seed."""
    (job,) = model_jobs(
        [options.plugin],
        weights=options.weights,
        options=options.options,
        dimensions=options.dimensions,
        dtype=options.dtype,
        seed=seed,
    )
    return job


class ProbeSession:
    """Clips and scores of one probe.

    Attributes:
        rows: every score of every form of every clip.
        base, kept: scores of the working copies, and the copies, by source.
        names: dimensions.
        left_out, failures: what could not be had, and why.
        n_failed: clips that could not be used at all.
        n_first_frames: clips that came without an image, whose own first frame stands for it.
    """

    def __init__(
        self,
        options: ProbeOptions,
        job: Job,
        treatments: Sequence[Treatment],
        folder: Path,
        store: ScoreStore,
        progress: Progress,
    ) -> None:
        self.options, self.job, self.treatments = options, job, treatments
        self.folder, self.store, self.progress = folder, store, progress
        self.ears = Listeners(load_registry().manager, progress.message)
        self.left_out: list[LeftOut] = []
        self.failures: list[FailureRecord] = []
        self.rows: list[Row] = []
        self.n_first_frames = 0
        self.n_failed = 0
        self.base: dict[int, Rated] = {}
        self.kept: dict[int, Clip] = {}
        self.names = (JUDGED,) if job.is_judge else job.dimensions

    # -- clips -------------------------------------------------------------------------------------------------------

    def prepare(self, clips: Sequence[Clip]) -> tuple[list[Source], dict[int, Copies]]:
        """Working copies and treated copies of the clips that can be read.

        Raises:
            InputError: no clip can be used.
        """
        hashed = self._distinct(clips)
        videos = {sha: clip.video for sha, clip in hashed}
        made, failed = make_copies(
            videos,
            file_levels(self.treatments),
            seed=self.options.seed,
            workers=self.options.workers or min(os.cpu_count() or 1, 16),
            progress=self.progress,
            short_side=self.options.short_side,
            most_frames=self.options.most_frames,
        )
        sources: list[Source] = []
        copies: dict[int, Copies] = {}
        for sha, clip in hashed:
            if sha in failed:
                self._fail(clip, failed[sha])
                continue
            shown = clip
            if clip.image is None and self.job.uses_image:
                self.n_first_frames += 1
                shown = replace(clip, image=made[sha].first_frame)
            reason = missing_requirement(self.job, replace(shown, clip_id=name_of(clip)))
            if reason is not None:
                self._fail(clip, reason)
                continue
            own = made[sha]
            number = len(sources)
            sources.append(Source(number, name_of(clip), shown, own.reference, own.frames, own.shrunk))
            copies[number] = own
        if not sources:
            raise InputError(f"none of the {len(clips)} clips can be probed: {self.failures[0].error}")
        return sources, copies

    def _distinct(self, clips: Sequence[Clip]) -> list[tuple[str, Clip]]:
        """(content hash, clip), each content once for every prompt and image."""
        found: dict[tuple[str, str | None, str | None], Clip] = {}
        twins = 0
        for clip in clips:
            try:
                if "://" in clip.video:
                    raise ClipError(f"{clip.video} is not on this machine; download it first")
                sha = self.store.content_hash(clip.video)
                if clip.image and self.job.uses_image:
                    self.store.content_hash(clip.image)
            except ClipError as error:
                self._fail(clip, str(error))
                continue
            key = (sha, clip.prompt, clip.image)
            twins += key in found
            found.setdefault(key, clip)
        self.store.flush()
        if twins:
            self.left_out.append(LeftOut(treatment="all", n_clips=twins, reason="stands twice; counted once"))
        return [(key[0], clip) for key, clip in found.items()]

    def _fail(self, clip: Clip, error: str) -> None:
        self.n_failed += 1
        self.failures.append(
            FailureRecord(plugin=self.job.label, clip_id=clip.clip_id, video=name_of(clip), error=error)
        )

    # -- scores ------------------------------------------------------------------------------------------------------

    def measure(self, sources: Sequence[Source], copies: Mapping[int, Copies]) -> list[Point]:
        """Score everything; the points to analyse.

        Raises:
            InputError: the model scored none of the clips.
            PluginError: it cannot be used.
        """
        takes, left = plan_takes(
            sources,
            copies,
            self.treatments,
            uses_image=self.job.uses_image,
            is_judge=self.job.is_judge,
            content_of=self.store.content_hash,
        )
        self.left_out += left
        self.kept = references(sources)
        if self.job.is_judge:
            return self._judged(sources, takes)
        clips = [*self.kept.values(), *(take.clip for take in takes if take.clip is not None)]
        found = self._noted(measure(self.job, clips, self.store, self.options, self._logs, self.progress, self.ears))
        self.base = {number: found.values.get(clip.clip_id) for number, clip in self.kept.items()}
        if not any(self.base.values()):
            error = next(iter(found.errors.values()), "not scored")
            raise InputError(f"{self.job.label} scored none of the {len(sources)} clips: {error}")
        for source in sources:
            self._row(source, None, "", self.kept[source.number], found)
        return [*self._points(sources, takes, found), *self._batched(sources)]

    @property
    def _logs(self) -> Path:
        return self.folder / "logs"

    def _noted(self, found: Measured) -> Measured:
        if found.session is not None:
            self.store.add_session(self.job.label, asdict(found.session))
        return found

    def _points(self, sources: Sequence[Source], takes: Sequence[Take], found: Measured) -> list[Point]:
        grouped: dict[tuple[str, str], list[Take]] = {}
        for take in takes:
            grouped.setdefault((take.treatment, take.level), []).append(take)
        points = []
        for treatment in self.treatments:
            for level in treatment.levels:
                group = grouped.get((treatment.name, level), [])
                after: list[Rated] = []
                for take in group:
                    if take.clip is None:
                        after.append(self.base[take.source])
                        self._unchanged(sources[take.source], treatment, level)
                        continue
                    self._row(sources[take.source], treatment, level, take.clip, found)
                    after.append(found.values.get(take.clip.clip_id))
                if group:
                    shown = {take.source: take.clip for take in group}
                    points.append(self._point(treatment, level, shown, [self.base[n] for n in shown], after))
        return points

    def _point(
        self,
        treatment: Treatment,
        level: str,
        shown: Mapping[int, Clip | None],
        before: Sequence[Rated],
        after: Sequence[Rated],
    ) -> Point:
        rows = ({name: analysis.column(rated, name) for name in self.names} for rated in (before, after))
        return Point(treatment, level, tuple(shown), tuple(shown.values()), *rows)

    def _judged(self, sources: Sequence[Source], takes: Sequence[Take]) -> list[Point]:
        pairs = [Pair(t.clip.clip_id, t.clip, self.kept[t.source]) for t in takes if t.clip is not None]
        found, first = compare(self.job, pairs, self.store, self.options, self._logs, self.progress, self.ears)
        self._noted(found)
        if pairs and not found.values:
            why = next(iter(found.errors.values()))
            raise InputError(f"{self.job.label} judged none of the {len(pairs)} pairs: {why}")
        self.base = {source.number: {JUDGED: 0.0} for source in sources}
        points = self._points(sources, takes, found)
        for treatment in self.treatments:
            if treatment.name == ORDER_OF_PAIR:
                favour: dict[int, list[float]] = {}
                for take in takes:
                    if take.clip is not None and take.clip.clip_id in first:
                        favour.setdefault(take.source, []).append(first[take.clip.clip_id])
                rows: list[Rated] = [{JUDGED: math.fsum(values) / len(values)} for values in favour.values()]
                if rows:
                    before = [self.base[n] for n in favour]
                    points.append(self._point(treatment, treatment.levels[0], dict.fromkeys(favour), before, rows))
            elif treatment.family == "batching":
                self._leave_out(treatment, sources, "not asked of judges")
        return points

    def _leave_out(self, treatment: Treatment, sources: Sequence[Source], reason: str) -> None:
        self.left_out.append(LeftOut(treatment=treatment.name, n_clips=len(sources), reason=reason))

    def _batched(self, sources: Sequence[Source]) -> list[Point]:
        """The working copies of the first clips again, apart: alone, one by one, from the end, with the next seed."""
        for treatment in self.treatments:
            if treatment.name == ORDER_OF_PAIR:
                self._leave_out(treatment, sources, "asked of judges only, which see two clips")
        asked = [t for t in self.treatments if t.family == "batching"]
        if not asked:
            return []
        shown = {n: clip for n, clip in self.kept.items() if self.base[n] is not None}
        shown = dict(list(shown.items())[:MOST_BATCHED])
        clips = list(shown.values())
        alone = self._apart("alone", clips)
        points = []
        for treatment in asked:
            level = treatment.levels[0]
            if treatment.name == "seed":
                found = self._apart("seed", clips, job=job_of(self.options, self.options.seed + 1))
            elif treatment.name == "batch_size":
                found = self._apart("one-by-one", clips, batch_size=1)
            else:
                turned = clips[::-1] if treatment.name == "batch_position" else clips
                found = self._apart(treatment.name, turned)
            for n, clip in shown.items():
                self._row(sources[n], treatment, level, clip, found)
            before, after = ([m.values.get(clip.clip_id) for clip in clips] for m in (alone, found))
            points.append(self._point(treatment, level, dict.fromkeys(shown), before, after))
        return points

    def _apart(
        self, name: str, clips: Sequence[Clip], *, job: Job | None = None, batch_size: int | None = None
    ) -> Measured:
        """Scores in a store of their own, named by what can change the batches."""
        limits = self.options if batch_size is None else replace(self.options, batch_size=batch_size)
        state = [self.store.content_hash(clip.video) for clip in clips]
        state += [str(clip.prompt) for clip in clips] + [str(limits.batch_size)]
        digest = hashlib.sha256(json.dumps(state).encode()).hexdigest()[:12]
        path = self.folder / f"batching-{name}-{digest}.sqlite"
        return measure_apart(job or self.job, clips, path, limits, self._logs, self.progress, self.ears)

    def _row(self, source: Source, treatment: Treatment | None, level: str, clip: Clip, found: Measured) -> None:
        """One line of the table, and of the failures where there is no score; no treatment is the working copy."""
        error = found.errors.get(clip.clip_id, "")
        family, name = ("", "working copy") if treatment is None else (treatment.family, treatment.name)
        scores, note = found.values.get(clip.clip_id, {}), found.notes.get(clip.clip_id, "")
        self.rows.append(Row(source.number, source.name, family, name, level, clip, scores, note, error))
        if error:
            shown = str(clip.metadata.get("name", clip.video))
            self.failures.append(FailureRecord(plugin=self.job.label, clip_id=clip.clip_id, video=shown, error=error))

    def _unchanged(self, source: Source, treatment: Treatment, level: str) -> None:
        """The line of a dose that changes nothing on this clip: the working copy's score stands."""
        note = "changes nothing on this clip; the working copy's score"
        scores, clip = self.base[source.number] or {}, self.kept[source.number]
        row = Row(source.number, source.name, treatment.family, treatment.name, level, clip, scores, note, "")
        self.rows.append(row)

    def cost(self) -> PluginCost:
        """Over all sessions that scored for this folder, those for the questions on batches left out."""
        stored = list(self.store.sessions(self.job.label))
        if not stored:
            return PluginCost()
        scored, seconds = sum(s["n_scored"] for s in stored), sum(s["seconds"] for s in stored)
        peaks: dict[str, int] = {}
        for one in stored:
            peaks |= {kind: max(size, peaks.get(kind, 0)) for kind, size in one["peak_memory"].items()}
        return PluginCost(
            n_scored=scored,
            seconds=seconds,
            clips_per_s=scored / seconds if seconds else None,
            peak_memory=peaks,
            device=stored[-1]["device"],
            batch_size=stored[-1]["batch_size"],
        )
