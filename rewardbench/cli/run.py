"""``rewardbench run``: score the clips of a benchmark and hold the scores against its labels."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rewardbench.cli import options, output
from rewardbench.cli.progress import terminal_progress

if TYPE_CHECKING:
    from rewardbench.runs import RunOutcome

SHOWN_FAILURES = 10


def run(
    context: typer.Context,
    plugin: options.PluginsOption,
    benchmark: Annotated[
        list[str] | None,
        typer.Option(
            "--benchmark",
            metavar="NAME|PATH",
            help="Benchmark or pairs file (repeatable); the embedded anime-probe if left out.",
            autocompletion=options.complete_benchmark,
        ),
    ] = None,
    score_map: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="LABEL=SCORE", help="Hold this label against this score (repeatable)."),
    ] = None,
    weights: options.WeightsOption = None,
    option: options.OptionsOption = None,
    trust_remote_code: options.TrustOption = False,
    dimension: options.DimensionsOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Run folder; under rewardbench-runs/ if left out.")
    ] = None,
    scores: Annotated[
        Path | None, typer.Option("--scores", metavar="FILE", help="Score table for --plugin scores.")
    ] = None,
    verdicts: Annotated[
        Path | None, typer.Option("--verdicts", metavar="FILE", help="Verdict table for --plugin verdicts.")
    ] = None,
    label_format: Annotated[
        str | None, typer.Option("--label-format", help="Spelling of labels and verdicts, e.g. genai.")
    ] = None,
    tie_threshold: Annotated[
        float | None,
        typer.Option("--tie-threshold", min=0.0, metavar="X", help="Also report accuracy with this fixed threshold."),
    ] = None,
    cluster: Annotated[
        str, typer.Option("--cluster", metavar="COLUMN", help="Column that folds and intervals are drawn over.")
    ] = "prompt",
    bootstrap: Annotated[
        int, typer.Option("--bootstrap", min=0, metavar="N", help="Bootstrap draws behind each interval.")
    ] = 1000,
    slices: Annotated[
        list[str] | None,
        typer.Option("--slice", metavar="COLUMN", help="Also report each value of this column (repeatable)."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, metavar="N", help="Use the first N pairs only.")
    ] = None,
    device: options.DeviceOption = "auto",
    dtype: options.DtypeOption = None,
    engine: Annotated[str, typer.Option("--engine", help="Where batches run.")] = "local",
    batch_size: options.BatchSizeOption = None,
    workers: options.WorkersOption = None,
    decode_timeout: options.DecodeTimeoutOption = None,
    score_timeout: options.ScoreTimeoutOption = None,
    seed: options.SeedOption = 0,
    output_format: options.FormatOption = "table",
    debug: options.DebugOption = False,
) -> int:
    """Run reward models on benchmarks and report how well they agree with people.

    Stop it at any time: the same command goes on where it was.
    """
    score_map_read = options.split_pairs("--map", score_map, "LABEL=SCORE")
    weights_read = options.read_weights(weights)
    options_read = options.read_options(option, trust_remote_code=trust_remote_code)
    limits = {"decode_timeout": decode_timeout, "score_timeout": score_timeout}

    # Arrow's own allocators keep what they once took: 36 MB more resident at 10,000 clips than the system's.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    from rewardbench.runs import RunSettings, run_benchmark

    given: dict[str, Any] = {name: value for name, value in limits.items() if value is not None}
    if benchmark:
        given["benchmarks"] = tuple(benchmark)
    settings = RunSettings(
        plugins=tuple(plugin),
        score_map=score_map_read,
        weights=weights_read,
        options=options_read,
        dimensions=tuple(dimension) if dimension else None,
        out=out,
        device=device,
        dtype=dtype,
        engine=engine,
        limit=limit,
        slices=tuple(slices or ()),
        seed=seed,
        scores=scores,
        verdicts=verdicts,
        label_format=label_format,
        tie_threshold=tie_threshold,
        cluster=cluster,
        bootstrap=bootstrap,
        batch_size=batch_size,
        workers=workers,
        command=context.obj,
        **given,
    )
    with output.own_stdout() as stdout:
        with terminal_progress() as progress:
            outcomes = run_benchmark(settings, progress=progress)
        print_outcomes(outcomes, output_format, stdout)
    return max(outcome.exit_code for outcome in outcomes)


def print_outcomes(outcomes: list[RunOutcome], output_format: str, stdout: Any) -> None:
    """Write results to ``stdout`` (JSON: one object, or a list where several benchmarks ran), the rest to stderr."""
    if output_format == "json":
        results = [outcome.result.model_dump(by_alias=True) for outcome in outcomes]
        output.print_json(results[0] if len(results) == 1 else results, stdout)
    else:
        from rich.console import Console

        from rewardbench.report import print_table

        for outcome in outcomes:
            # A file or a pipe has no width: a table folded at 80 columns would be unreadable there.
            console = Console(file=stdout, width=None if stdout.isatty() else 200)
            try:
                print_table(outcome.result, console)
            except BrokenPipeError:
                output.silence(stdout)
    for outcome in outcomes:
        _print_notes(outcome)


def _print_notes(outcome: RunOutcome) -> None:
    """Warnings, failures (clips that failed alike are one line) and where everything is, on standard error."""
    for warning in outcome.result.warnings:
        output.error_line(f"rewardbench: warning: {warning}")
    alike: dict[tuple[str, str], list[str]] = {}
    for failure in outcome.result.failures:
        alike.setdefault((failure.plugin, failure.error), []).append(failure.video or failure.clip_id)
    for (plugin, error), videos in list(alike.items())[:SHOWN_FAILURES]:
        also = f" and {len(videos) - 1:,} more" if len(videos) > 1 else ""
        output.failure_line(f"{videos[0]}{also}", f"{error} ({plugin})")
    if len(alike) > SHOWN_FAILURES:
        rest = sum(len(videos) for videos in list(alike.values())[SHOWN_FAILURES:])
        output.error_line(f"rewardbench: failed: {rest:,} more, listed in {outcome.folder / 'result.json'}")
    output.error_line(f"{outcome.benchmark}: result.json and report.html are in {outcome.folder}")
