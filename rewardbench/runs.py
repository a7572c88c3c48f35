"""One run: benchmarks × reward models → a folder of tables, a result and a page.

Scores are computed once and stored (``scoring``); everything else is derived from the stored scores, so the same
command goes on where it was stopped and ``rebuild_report`` needs no GPU.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rewardbench.benchmark import Benchmark, check_matching, load_benchmark, slice_columns
from rewardbench.clip_scores import engine_settings
from rewardbench.errors import InputError, PluginError
from rewardbench.evaluation import (
    Labelled,
    Row,
    cluster_column,
    clusters_of,
    label_scores,
    label_verdicts,
    leaks,
    measure,
    pick_rows,
    read_pairs_table,
    too_few_clusters,
    write_pairs,
)
from rewardbench.jobs import TABLE_PLUGINS, model_jobs, table_jobs
from rewardbench.registry import Listeners, load_registry
from rewardbench.results import (
    BenchmarkRecord,
    BootstrapRecord,
    ClusterRecord,
    CostRecord,
    PluginCost,
    RaterRecord,
    Result,
    write_result,
)
from rewardbench.runfolder import (
    RUN_FILE,
    STORE_FILE,
    RowRecord,
    RunRecord,
    open_folder,
    plugin_record,
    provenance,
    read_run,
    write_run,
)
from rewardbench.scoring.engine import Session
from rewardbench.scoring.engines import engine_class
from rewardbench.scoring.plan import Job, check_inputs
from rewardbench.scoring.progress import Progress, Silent
from rewardbench.scoring.scorer import Pair, Scorer
from rewardbench.scoring.store import ScoreStore
from rewardbench.scoring.table import (
    ClipScores,
    PairMargin,
    mean_margins,
    read_failures,
    write_comparisons,
    write_scores,
)

SCORES_FILE = "scores.parquet"
COMPARISONS_FILE = "comparisons.parquet"
PAIRS_FILE = "pairs.parquet"
RESULT_FILE = "result.json"
DEFAULT_BENCHMARK = "anime-probe"
SOME_FAILED = 3

ScoreMap = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class RunSettings:
    """Everything ``rewardbench run`` can be told. Times are seconds.

    Attributes:
        plugins: ``NAME[:PRESET]`` each.
        benchmarks: registered names or pairs files.
        score_map: (label, score) pairs; one label may be held against several scores.
        out: run folder (one subfolder per benchmark where there are several); None: under ``rewardbench-runs/``.
        cluster: column that folds and bootstrap draw over.
        bootstrap: number of draws.
    """

    plugins: tuple[str, ...]
    benchmarks: tuple[str, ...] = (DEFAULT_BENCHMARK,)
    score_map: ScoreMap = ()
    weights: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    dimensions: tuple[str, ...] | None = None
    out: Path | None = None
    device: str = "auto"
    dtype: str | None = None
    engine: str = "local"
    limit: int | None = None
    slices: tuple[str, ...] = ()
    seed: int = 0
    scores: Path | None = None
    verdicts: Path | None = None
    label_format: str | None = None
    tie_threshold: float | None = None
    cluster: str = "prompt"
    bootstrap: int = 1000
    decode_timeout: float = 120.0
    score_timeout: float = 600.0
    batch_size: int | None = None
    workers: int | None = None
    command: str = ""


@dataclass(frozen=True)
class RunOutcome:
    """What one benchmark's run left: its folder, its result, and 0 or 3 (some clips failed)."""

    benchmark: str
    folder: Path
    result: Result
    exit_code: int


def run(plugin: str | Sequence[str], benchmark: str | Sequence[str] = DEFAULT_BENCHMARK, **settings: Any) -> Result:
    """Score a benchmark and evaluate: the library's form of ``rewardbench run`` for one benchmark.

    ``settings`` are the fields of :class:`RunSettings`; ``score_map`` may be a mapping.

    Raises:
        InputError, PluginError: one sentence saying what is wrong.
    """
    for name in ("out", "scores", "verdicts"):
        if settings.get(name) is not None:
            settings[name] = Path(settings[name])
    if isinstance(settings.get("weights"), str | os.PathLike):
        settings["weights"] = {"": os.fspath(settings["weights"])}
    plugins = (plugin,) if isinstance(plugin, str) else tuple(plugin)
    benchmarks = (os.fspath(benchmark),) if isinstance(benchmark, str | os.PathLike) else tuple(benchmark)
    if len(benchmarks) != 1:
        raise InputError("run takes one benchmark; call it once for each, or use run_benchmark")
    if isinstance(settings.get("score_map"), Mapping):
        settings["score_map"] = tuple(settings["score_map"].items())
    return run_benchmark(RunSettings(plugins, benchmarks, **settings))[0].result


def run_benchmark(settings: RunSettings, progress: Progress | None = None) -> list[RunOutcome]:
    """Run every plugin on every benchmark.

    Raises:
        InputError: the command or its input is wrong.
        PluginError: a plugin cannot be used; what was scored before is kept.
    """
    progress = progress or Silent()
    engine_class(settings.engine)  # refuses an unknown one now
    _refuse_unfit_tables(settings)
    jobs = _jobs(settings)
    todo: dict[Path, Benchmark] = {}
    for name in settings.benchmarks:
        benchmark = _load(name, settings, jobs, progress)
        folder = _folder(settings, benchmark, jobs)
        if folder in todo:
            raise InputError(
                f"benchmarks {todo[folder].source} and {benchmark.source} would share the folder {folder}; "
                "run them one by one with an --out each"
            )
        todo[folder] = benchmark
    return [_run_one(benchmark, jobs, folder, settings, progress) for folder, benchmark in todo.items()]


def _refuse_unfit_tables(settings: RunSettings) -> None:
    for name, file, option in (("scores", settings.scores, "--scores"), ("verdicts", settings.verdicts, "--verdicts")):
        if name in settings.plugins and file is None:
            raise InputError(f"--plugin {name} needs a table: pass {option} FILE")
        if name in settings.plugins and not settings.score_map:
            raise InputError(
                f"--plugin {name} needs --map LABEL={'SCORE' if name == 'scores' else 'JUDGE'}: "
                "in a table of your own nothing is matched by name"
            )
        if file is not None and name not in settings.plugins:
            raise InputError(f"{option} goes with --plugin {name}")


def _jobs(settings: RunSettings) -> list[Job]:
    """Configured plugins in the order asked for."""
    models = [spec for spec in settings.plugins if spec not in TABLE_PLUGINS]
    made = model_jobs(
        models,
        weights=settings.weights,
        options=settings.options,
        dimensions=settings.dimensions,
        dtype=settings.dtype,
        seed=settings.seed,
    )
    if not models and (settings.options or settings.weights or settings.dimensions):
        raise InputError("--option, --weights and --dimension do not go with recorded tables; choose with --map")
    jobs = []
    for spec in settings.plugins:
        if spec in TABLE_PLUGINS:
            table = settings.scores if spec == "scores" else settings.verdicts
            assert table is not None, "checked before"
            scores = [score for _, score in settings.score_map]
            jobs.extend(table_jobs(spec, table, scores, settings.label_format or "plain", settings.seed))
        else:
            jobs.append(made.pop(0))
    return jobs


def _load(name: str, settings: RunSettings, jobs: Sequence[Job], progress: Progress) -> Benchmark:
    """The benchmark with the labels that are asked for, clips per side where a table wants them."""
    labels = list(dict.fromkeys(label for label, _ in settings.score_map)) or None

    def building(phase: str, done: int, total: int) -> None:
        if done == 0:
            progress.start_phase(phase, total)
        else:
            progress.advance(1)
            if done == total:
                progress.end_phase()

    benchmark = load_benchmark(name, labels=labels, label_format=settings.label_format or "plain", progress=building)
    for job in jobs:
        check_matching(benchmark, job.label, job.model.matches_by)
        expected = job.model.rows_by_order
        if expected is not None and expected != len(benchmark.comparisons):
            raise InputError(
                f"the table of plugin {job.label!r} has {expected} rows and {benchmark.source} has "
                f"{len(benchmark.comparisons)} pairs; without a pair_id column rows are matched by order, so the "
                "numbers must be equal"
            )
    if any(job.model.per_pair for job in jobs):
        benchmark = benchmark.by_side()
    benchmark = benchmark.limited(settings.limit)
    if not any(c.labels for c in benchmark.comparisons):
        raise InputError(f"{benchmark.source} has no label in any row for {', '.join(benchmark.labels)}")
    _refuse_absent_clips(name, benchmark, jobs)
    check_inputs(jobs, benchmark.clips.values(), benchmark.source)
    slice_columns(benchmark, settings.slices)  # refuses now what could not be reported after scoring
    return benchmark


def _refuse_absent_clips(name: str, benchmark: Benchmark, jobs: Sequence[Job]) -> None:
    """A benchmark of the catalogue without its clips is told how they come; a pairs file, which columns it lacks."""
    from rewardbench.catalogue.card import find_card
    from rewardbench.catalogue.fetching import bringing_clips

    if benchmark.has_clips or not Path(benchmark.source).is_dir():
        return
    card, readers = find_card(name), [job.label for job in jobs if job.reads_clips]
    if readers and card is not None:
        raise InputError(
            f"plugin {readers[0]!r} has to read the clips of benchmark {name!r}, and none of them is in "
            f"{benchmark.source}: {bringing_clips(card)}"
        )


def _identity(benchmark: Benchmark, jobs: Sequence[Job]) -> dict[str, Any]:
    return {
        "plugins": [[job.label, job.fingerprint] for job in jobs],
        "benchmark": [benchmark.name, benchmark.version, benchmark.sha256],
    }


def _folder(settings: RunSettings, benchmark: Benchmark, jobs: Sequence[Job]) -> Path:
    """The run folder; the same command always gets the same one."""
    plain = re.sub(r"[^\w.-]+", "-", benchmark.name)
    if settings.out is not None:
        return settings.out if len(settings.benchmarks) == 1 else settings.out / plain
    digest = hashlib.sha256(json.dumps(_identity(benchmark, jobs)).encode()).hexdigest()[:8]
    names = re.sub(r"[^\w.-]+", "-", "+".join(dict.fromkeys(job.label for job in jobs)))
    return Path("rewardbench-runs") / f"{plain}--{names}--{digest}"


def _run_one(
    benchmark: Benchmark, jobs: Sequence[Job], folder: Path, settings: RunSettings, progress: Progress
) -> RunOutcome:
    started = datetime.now(UTC)
    warnings: list[str] = list(benchmark.warnings)
    cards = [(job.label, job.model.card, job.dimensions) for job in jobs]
    rows = pick_rows(benchmark, cards, settings.score_map)
    cluster = cluster_column(benchmark, settings.cluster)
    clusters = clusters_of(benchmark, cluster, warnings)
    warnings += filter(None, [too_few_clusters(clusters, cluster)])
    slices = slice_columns(benchmark, settings.slices)
    listeners = Listeners(load_registry().manager, progress.message)
    with open_folder(folder, _identity(benchmark, jobs)), ScoreStore(folder / STORE_FILE) as store:
        labels = "+".join(job.label for job in jobs)
        n_clips = len(benchmark.clips)
        listeners.tell("rewardbench_run_start", plugin=labels, benchmark=benchmark.name, n_clips=n_clips)
        try:
            labelled, sessions = _score(benchmark, jobs, rows, clusters, slices, folder, store, settings, progress)
        except PluginError as error:
            kept = f"{store.count():,} scores are kept in {folder}, and the same command goes on from them"
            raise PluginError(f"{error}; {kept}") from error
        for row, part in zip(rows, labelled, strict=True):
            leak = leaks(row, part) if row.plugin == "scores" else None
            if leak is not None:
                warnings.append(leak)
        cost, where = _cost(jobs, sessions, store)
        record = RunRecord(
            identity=_identity(benchmark, jobs),
            plugins=[plugin_record(job) for job in jobs],
            benchmark=BenchmarkRecord(
                name=benchmark.name,
                version=benchmark.version,
                sha256=benchmark.sha256,
                n_pairs=len(benchmark.comparisons),
                n_clips=len(benchmark.clips),
                source=benchmark.source,
                labels_by=benchmark.labels_by,
            ),
            rows=[RowRecord(**asdict(row)) for row in rows],
            cluster=cluster,
            bootstrap=settings.bootstrap,
            seed=settings.seed,
            tie_threshold=settings.tie_threshold,
            label_format=benchmark.label_format,
            cost=cost,
            warnings=warnings,
            raters=_raters(benchmark, rows, settings),
            provenance=provenance(jobs, seed=settings.seed, command=settings.command, started=started).model_copy(
                update={**where, "dtype": settings.dtype}
            ),
        )
        _say_what_is_replaced(folder, record, progress)
        write_run(folder, record)
        outcome = _derive(folder, record, labelled, progress)
        listeners.tell("rewardbench_run_end", result=outcome.result)
    return outcome


def _raters(benchmark: Benchmark, rows: Sequence[Row], settings: RunSettings) -> dict[str, RaterRecord]:
    """What one rater scores on each label of the result; empty for a part of the pairs, which the raters saw whole."""
    if settings.limit is not None or not Path(benchmark.source).is_dir():
        return {}
    from rewardbench.catalogue.raters import rater_records

    return rater_records(benchmark.name, benchmark.source, [row.label for row in rows])


def _say_what_is_replaced(folder: Path, record: RunRecord, progress: Progress) -> None:
    """One folder holds one result; another map in the same folder takes the place of the earlier one."""
    if not (folder / RUN_FILE).is_file():
        return
    earlier = read_run(folder)
    if earlier.rows != record.rows:
        rows = ", ".join(f"{row.label}={row.score}" for row in earlier.rows)
        progress.message(f"the earlier result in {folder} ({rows}) is replaced; pass --out to keep both")


def _score(
    benchmark: Benchmark,
    jobs: Sequence[Job],
    rows: Sequence[Row],
    clusters: Sequence[str],
    slices: Mapping[str, Sequence[str]],
    folder: Path,
    store: ScoreStore,
    settings: RunSettings,
    progress: Progress,
) -> tuple[list[Labelled], list[Session | None]]:
    """Bring the store up to date, write the score tables, and join scores and labels."""
    engine = engine_settings(settings, folder / "logs")
    listeners = Listeners(load_registry().manager, progress.message)
    models = [i for i, job in enumerate(jobs) if not job.is_judge]
    judges = [i for i, job in enumerate(jobs) if job.is_judge]
    sessions: list[Session | None] = [None] * len(jobs)
    scores: dict[int, ClipScores] = {}
    verdicts: dict[int, dict[str, PairMargin]] = {}
    if models:
        scorer = Scorer([jobs[i] for i in models], store, engine, progress, listeners)
        for i, session in zip(models, scorer.score_clips(benchmark.clips), strict=True):
            sessions[i] = session
        tables = write_scores(
            folder / SCORES_FILE, scorer.jobs, benchmark.clips, scorer.contents, store, scorer.failures
        )
        scores = dict(zip(models, tables, strict=True))
    if judges:
        scorer = Scorer([jobs[i] for i in judges], store, engine, progress, listeners)
        pairs = [Pair(c.pair_id, benchmark.clips[c.clip_a], benchmark.clips[c.clip_b]) for c in benchmark.comparisons]
        for i, session in zip(judges, scorer.compare_pairs(pairs), strict=True):
            sessions[i] = session
        said = [list(scorer.verdicts(position, pairs)) for position in range(len(judges))]
        names = [jobs[i].dimensions[0] for i in judges]
        write_comparisons(folder / COMPARISONS_FILE, [jobs[i].label for i in judges], said, names)
        verdicts = {i: mean_margins(one) for i, one in zip(judges, said, strict=True)}
    labelled = []
    for row in rows:
        if row.job in verdicts:
            labelled.append(label_verdicts(row, benchmark, verdicts[row.job], clusters, slices))
        else:
            column = jobs[row.job].dimensions.index(row.score)
            labelled.append(label_scores(row, benchmark, scores[row.job], column, clusters, slices))
    return labelled, sessions


def _cost(
    jobs: Sequence[Job], sessions: Sequence[Session | None], store: ScoreStore
) -> tuple[CostRecord, dict[str, Any]]:
    """Cost of each plugin over all sessions that scored for this folder, and the device of the first one."""
    cost: dict[str, PluginCost] = {}
    for job, session in zip(jobs, sessions, strict=True):
        name = f"{job.label}/{job.dimensions[0]}" if job.is_judge else job.label
        if session is not None:
            store.add_session(name, asdict(session))
        stored = list(store.sessions(name))
        if not stored:
            continue
        scored, seconds = sum(s["n_scored"] for s in stored), sum(s["seconds"] for s in stored)
        peaks: dict[str, int] = {}
        for one in stored:
            peaks |= {kind: max(size, peaks.get(kind, 0)) for kind, size in one["peak_memory"].items()}
        cost[name] = PluginCost(
            n_scored=scored,
            seconds=seconds,
            clips_per_s=scored / seconds if seconds else None,
            peak_memory=peaks,
            device=stored[-1]["device"],
            batch_size=stored[-1]["batch_size"],
        )
    first = next(iter(cost.values()), PluginCost())
    return CostRecord.of(cost), {"device": first.device, "batch_size": first.batch_size}


def _derive(folder: Path, record: RunRecord, labelled: Sequence[Labelled], progress: Progress) -> RunOutcome:
    """Metrics, ``pairs.parquet``, ``result.json`` and ``report.html`` from joined scores and labels."""
    rows = [Row(**row.model_dump()) for row in record.rows]
    progress.start_phase("evaluating", len(rows))
    metrics, parts = [], []
    n_clusters = 0
    for row, part in zip(rows, labelled, strict=True):
        metric, found = measure(
            row,
            part,
            label_format=record.label_format,
            tie_threshold=record.tie_threshold,
            bootstrap=record.bootstrap,
            seed=record.seed,
        )
        metrics.append(metric)
        parts.append((row, part, found))
        n_clusters = max(n_clusters, found.n_clusters)
        progress.advance()
    progress.end_phase()
    write_pairs(folder / PAIRS_FILE, parts)
    failures = read_failures(folder)
    result = Result(
        plugins=record.plugins,
        benchmark=record.benchmark,
        metrics=metrics,
        raters=record.raters,
        cluster=ClusterRecord(column=record.cluster, n=n_clusters),
        bootstrap=BootstrapRecord(n=record.bootstrap, seed=record.seed, refit="threshold"),
        cost=record.cost,
        failures=failures,
        warnings=record.warnings,
        provenance=record.provenance,
    )
    write_result(result, folder / RESULT_FILE)
    progress.start_phase("writing the report", None)
    from rewardbench.report import write_report

    write_report(folder)
    progress.end_phase()
    return RunOutcome(record.benchmark.name, folder, result, SOME_FAILED if failures else 0)


def rebuild_report(folder: Path, progress: Progress | None = None) -> RunOutcome:
    """Rebuild result and page from the stored tables: no clip is opened for scoring, no model is loaded.

    Raises:
        InputError: if the folder holds no finished run.
    """
    record = read_run(folder)
    rows = [Row(**row.model_dump()) for row in record.rows]
    return _derive(folder, record, read_pairs_table(folder / PAIRS_FILE, rows), progress or Silent())
