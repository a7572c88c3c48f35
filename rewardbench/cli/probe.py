"""``rewardbench probe``: what a reward model reacts to, and what it should ignore."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from rewardbench.cli import options, output
from rewardbench.cli.progress import terminal_progress
from rewardbench.errors import InputError

if TYPE_CHECKING:
    from rewardbench.probing.probes import ProbeOutcome
    from rewardbench.probing.record import ProbeCell, ProbeRecord

MOST_FAILURES = 10
MOST_REASONS = 20
WORDS = {"as expected": "ok", "wrong way": "wrong", "open": "?"}
"""Verdicts that are printed shorter than they are called."""


def probe(
    context: typer.Context,
    plugin: options.PluginsOption,
    videos: Annotated[
        Path | None, typer.Option("--videos", metavar="DIR", help="Folder of clips (its subfolders are not searched).")
    ] = None,
    clips: Annotated[
        Path | None,
        typer.Option("--clips", metavar="TABLE", help="Clip table instead: video, prompt?, image?, clip_id?."),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="FAMILY",
            help="degradations, invariances, time, prompts, images, order, batching, or one treatment (repeatable).",
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, metavar="N", help="Probe the first N clips only.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Two doses and fewer levels.")] = False,
    meaning: Annotated[
        list[str] | None,
        typer.Option(
            "--meaning",
            metavar="DIM=MEANING",
            help="What a dimension means (smoothness, motion, appeal, text_video, image_video, character, overall), "
            "where its name does not say it (repeatable).",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Output folder; under rewardbench-runs/ if left out.")
    ] = None,
    weights: options.WeightsOption = None,
    option: options.OptionsOption = None,
    trust_remote_code: options.TrustOption = False,
    dimension: options.DimensionsOption = None,
    device: options.DeviceOption = "auto",
    dtype: options.DtypeOption = None,
    batch_size: options.BatchSizeOption = None,
    workers: options.WorkersOption = None,
    decode_timeout: options.DecodeTimeoutOption = None,
    score_timeout: options.ScoreTimeoutOption = None,
    seed: options.SeedOption = 0,
    output_format: options.FormatOption = "table",
    debug: options.DebugOption = False,
) -> int:
    """Probe one reward model on clips without labels: sensitivity to faults, and what should not move a score."""
    if len(plugin) > 1:
        raise InputError(f"--plugin is given {len(plugin)} times: probe takes one reward model at a time")
    if (videos is None) == (clips is None):
        raise InputError("name either a folder with --videos DIR or a table with --clips TABLE")
    weights_read = options.read_weights(weights)
    options_read = options.read_options(option, trust_remote_code=trust_remote_code)
    meanings = dict(options.split_pairs("--meaning", meaning, "DIM=MEANING"))

    from rewardbench.clip_tables import read_clip_table
    from rewardbench.probing.probes import probe as run_probe
    from rewardbench.probing.settings import ProbeOptions
    from rewardbench.probing.sources import clips_of_folder

    limits = {"decode_timeout": decode_timeout, "score_timeout": score_timeout}
    given: dict[str, Any] = {name: value for name, value in limits.items() if value is not None}
    settings = ProbeOptions(
        clips=read_clip_table(clips) if clips is not None else clips_of_folder(videos or Path()),
        plugin=plugin[0],
        only=tuple(only or ()),
        quick=quick,
        limit=limit,
        meanings=meanings,
        out=out,
        weights=weights_read,
        options=options_read,
        dimensions=tuple(dimension) if dimension else None,
        device=device,
        dtype=dtype,
        batch_size=batch_size,
        workers=workers,
        seed=seed,
        command=context.obj,
        **given,
    )
    with output.own_stdout() as stdout:
        with terminal_progress() as progress:
            outcome = run_probe(settings, progress=progress)
        if output_format == "json":
            output.print_json(outcome.record.model_dump(by_alias=True), stdout)
        else:
            print_cells(outcome.record, stdout)
    _say_rest(outcome)
    return outcome.exit_code


def print_cells(record: ProbeRecord, stdout: TextIO) -> None:
    """Write one line a treatment and level: the effect on each dimension, with a word where something was expected."""
    names = [dimension.name for dimension in record.dimensions]
    lines = [["treatment", "level", *names]]
    for treatment in record.treatments:
        levels = treatment.levels[-1:] if treatment.family == "degradations" else treatment.levels
        for level in levels:
            cells = {c.dimension: c for c in record.cells if (c.treatment, c.level) == (treatment.name, level)}
            if cells:
                lines.append([treatment.name, level, *(_cell(cells[name], record.clips.n) for name in names)])
    if len(lines) == 1:
        lines = [["nothing to show: every treatment that was asked for is left out"]]
    output.print_columns(lines, stdout)


def _say_left_out(outcome: ProbeOutcome) -> None:
    """One line a reason, with all treatments and the number of clips that it is about."""
    reasons: dict[tuple[str, int], list[str]] = {}
    for one in outcome.record.left_out:
        reasons.setdefault((one.reason, one.n_clips), []).append(one.treatment)
    for (reason, n), treatments in list(reasons.items())[:MOST_REASONS]:
        clips = f"{n:,} clip{'' if n == 1 else 's'}"
        output.error_line(f"rewardbench: left out: {', '.join(dict.fromkeys(treatments))} ({clips}): {reason}")
    if len(reasons) > MOST_REASONS:
        more = len(reasons) - MOST_REASONS
        output.error_line(f"rewardbench: left out: {more:,} more, listed in {outcome.folder / 'probe.json'}")


def _cell(cell: ProbeCell, n_clips: int) -> str:
    value = cell.change if n_clips == 1 else cell.effect
    word = WORDS.get(cell.verdict or "", cell.verdict or "")
    return "-" if value is None else f"{value:+.2f} {word}".rstrip()


def _say_rest(outcome: ProbeOutcome) -> None:
    record = outcome.record
    unit = "the model's own units" if record.clips.n == 1 else "probability" if record.is_judge else "SD between clips"
    output.error_line(f"rewardbench: changes in {unit}; ? is open; the page is {outcome.folder / 'report.html'}")
    _say_left_out(outcome)
    for note in record.notes:
        output.error_line(f"rewardbench: note: {note}")
    for failure in record.failures[:MOST_FAILURES]:
        output.failure_line(failure.video, failure.error)
    if len(record.failures) > MOST_FAILURES:
        more = len(record.failures) - MOST_FAILURES
        output.error_line(f"rewardbench: failed: {more:,} more, listed in {outcome.folder / 'probe.json'}")
