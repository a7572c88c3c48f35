"""A whole probe, as the command and the library call it: clips and one reward model to a record and a page."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rewardbench.errors import InputError, PluginError
from rewardbench.jobs import TABLE_PLUGINS
from rewardbench.probing import analysis, expectations, statistics
from rewardbench.probing.analysis import Point
from rewardbench.probing.measuring import JUDGED
from rewardbench.probing.notes import notes_of
from rewardbench.probing.record import ProbeClips, ProbeRecord, ProbeTreatment, Settings
from rewardbench.probing.session import ProbeSession, job_of
from rewardbench.probing.settings import ProbeOptions
from rewardbench.probing.sources import Source
from rewardbench.probing.table import write_table
from rewardbench.probing.treatments import choose
from rewardbench.probing.worst import find_worst
from rewardbench.registry import resolve_spec
from rewardbench.runfolder import STORE_FILE, open_folder, plugin_record, provenance, write_text
from rewardbench.scoring.plan import Job, check_inputs
from rewardbench.scoring.progress import Progress, Silent
from rewardbench.scoring.store import ScoreStore
from rewardbench_plugin.card import Dimension

RECORD_FILE, TABLE_FILE, PAGE_FILE = "probe.json", "probe.csv", "report.html"
SOME_FAILED = 3


@dataclass(frozen=True)
class ProbeOutcome:
    """What a probe left: its folder, its record, and 0 or 3 (some clips failed)."""

    folder: Path
    record: ProbeRecord
    exit_code: int


def probe(options: ProbeOptions, progress: Progress | None = None) -> ProbeOutcome:
    """Probe one reward model; ``probe.json``, ``probe.csv`` and ``report.html`` in the output folder.

    Scores are kept there by content, so that the same command goes on where it was stopped, and a wider one begins
    with what is known.

    Raises:
        InputError: the command or its input is wrong.
        PluginError: the plugin cannot be used; what was scored before is kept.
    """
    progress = progress or Silent()
    started = datetime.now(UTC)
    treatments = choose(options.only, quick=options.quick)
    job = _checked_job(options)
    clips = list(options.clips)[: options.limit]
    # Where a model looks at an image, a clip's own first frame stands in for one that is missing.
    shown = [replace(clip, image=clip.image or clip.video) for clip in clips] if job.uses_image else clips
    check_inputs([job], shown, "the clips given")
    folder = options.out or _default_folder(job)
    with open_folder(folder, _identity(job)), ScoreStore(folder / STORE_FILE) as store:
        session = ProbeSession(options, job, treatments, folder, store, progress)
        sources, copies = session.prepare(clips)
        try:
            points = session.measure(sources, copies)
        except PluginError as error:
            kept = f"{store.count():,} scores are kept in {folder}, and the same command goes on from them"
            raise PluginError(f"{error}; {kept}") from error
        record = _record(session, sources, points, started)
        write_text(folder / RECORD_FILE, record.to_json())
        write_table(folder / TABLE_FILE, session.rows, session.names)
        progress.start_phase("writing the page", None)
        from rewardbench.probing.page import write_page

        videos = {
            (p.treatment.name, p.level, n): clip for p in points for n, clip in zip(p.sources, p.shown, strict=True)
        }
        write_page(folder, record, session.kept, videos)
        progress.end_phase()
    return ProbeOutcome(folder, record, SOME_FAILED if record.failures else 0)


def _checked_job(options: ProbeOptions) -> Job:
    if resolve_spec(options.plugin)[0] in TABLE_PLUGINS:
        raise InputError(
            f"plugin {options.plugin!r} reads recorded scores; a probe needs a model that can score new clips"
        )
    if options.limit is not None and options.limit < 1:
        raise InputError(f"--limit {options.limit} leaves no clip; give 1 or more")
    if not options.clips:
        raise InputError("there is no clip to probe: the table has no row")
    job = job_of(options, options.seed)
    expectations.check_meanings(options.meanings, (JUDGED,) if job.is_judge else job.dimensions)
    if not job.reads_clips:
        raise InputError(f"plugin {job.label!r} does not look at clips; there is nothing to probe")
    return job


def _identity(job: Job) -> dict[str, Any]:
    """Scores are kept by content, so other clips and treatments may join a folder; another model may not."""
    return {"plugins": [[job.label, job.fingerprint]], "benchmark": ["a probe"]}


def _default_folder(job: Job) -> Path:
    digest = hashlib.sha256(json.dumps(_identity(job)).encode()).hexdigest()[:8]
    plain = re.sub(r"[^\w.-]+", "-", job.label)
    return Path("rewardbench-runs") / f"probe--{plain}--{digest}"


def _record(
    session: ProbeSession, sources: Sequence[Source], points: Sequence[Point], started: datetime
) -> ProbeRecord:
    """Everything that was found, from the scores alone."""
    job, options = session.job, session.options
    known = {name: expectations.meaning(name, options.meanings) for name in session.names}
    if job.is_judge:
        known = {JUDGED: options.meanings.get(JUDGED, expectations.OVERALL)}
    base = [session.base[source.number] for source in sources]
    cards = [Dimension(JUDGED)] if job.is_judge else [job.model.card.dimension(name) for name in session.names]
    dimensions = analysis.describe_dimensions(cards, base, known)
    margin = statistics.MARGIN
    if job.is_judge:
        margin = statistics.JUDGE_MARGIN
        dimensions = [d.model_copy(update={"unit": 1.0}) for d in dimensions]
    uses_image = job.uses_image and "image_video" in known.values()
    cells = analysis.make_cells(points, dimensions, uses_image=uses_image, margin=margin, seed=options.seed)
    done = {cell.treatment for cell in cells}
    cost = session.cost()
    unit = (
        "probability"
        if job.is_judge
        else "standard deviations of the working copies’ scores between clips (at least 1 % of the declared range)"
    )
    rule = statistics.RULE.format(unit=unit, margin=margin, alpha=statistics.ALPHA, fewest=statistics.FEWEST_CLIPS)
    record = ProbeRecord(
        plugin=plugin_record(job),
        is_judge=job.is_judge,
        dimensions=dimensions,
        clips=_clips(session, sources),
        treatments=[
            ProbeTreatment(family=t.family, name=t.name, levels=list(t.levels), description=t.description)
            for t in session.treatments
            if t.name in done
        ],
        cells=cells,
        responses=analysis.make_responses(points, dimensions, uses_image=uses_image, seed=options.seed),
        worst=find_worst(points, dimensions, {s.number: s.name for s in sources}, uses_image=uses_image, margin=margin),
        left_out=session.left_out,
        failures=session.failures,
        settings=Settings(
            only=list(options.only),
            quick=options.quick,
            limit=options.limit,
            seed=options.seed,
            short_side=options.short_side,
            most_frames=options.most_frames,
            margin=margin,
            alpha=statistics.ALPHA,
            fewest_clips=statistics.FEWEST_CLIPS,
            bootstrap=statistics.DRAWS,
            rule=rule,
        ),
        cost=cost,
        provenance=provenance([job], seed=options.seed, command=options.command, started=started).model_copy(
            update={"device": cost.device, "batch_size": cost.batch_size, "dtype": options.dtype}
        ),
    )
    return record.model_copy(update={"notes": notes_of(record)})


def _clips(session: ProbeSession, sources: Sequence[Source]) -> ProbeClips:
    clips = [source.clip for source in sources]
    state = sorted(
        [
            session.store.content_hash(clip.video),
            clip.prompt or "",
            session.store.content_hash(clip.image) if clip.image and session.job.uses_image else "",
        ]
        for clip in clips
    )
    return ProbeClips(
        n=len(sources),
        n_failed=session.n_failed,
        n_prompts=len({clip.prompt for clip in clips if clip.prompt}),
        n_images=sum(bool(clip.image) for clip in clips),
        n_first_frames=session.n_first_frames,
        n_shrunk=sum(source.shrunk for source in sources),
        sha256=hashlib.sha256(json.dumps(state).encode()).hexdigest(),
    )
