"""``rewardbench score``: score clips that have no labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from rewardbench.cli import options, output
from rewardbench.cli.progress import terminal_progress
from rewardbench.errors import InputError

if TYPE_CHECKING:
    from rewardbench_plugin import Clip

EXIT_SOME_FAILED = 3


def score(
    context: typer.Context,
    plugin: options.PluginsOption,
    files: Annotated[list[Path] | None, typer.Argument(metavar="FILE…", help="Video files.")] = None,
    clips: Annotated[
        Path | None,
        typer.Option("--clips", metavar="TABLE", help="Clip table instead of FILE: video, prompt?, image?, clip_id?."),
    ] = None,
    prompt: Annotated[str | None, typer.Option("--prompt", metavar="TEXT", help="Prompt of every FILE.")] = None,
    image: Annotated[
        Path | None, typer.Option("--image", metavar="FILE", help="First-frame image of every FILE.")
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
    """Score video files, or the clips of a table, with one reward model."""
    if len(plugin) > 1:
        raise InputError(f"--plugin is given {len(plugin)} times: score takes one reward model at a time")
    if bool(files) == (clips is not None):
        raise InputError("name either video files or a table with --clips TABLE")
    if clips is not None and (prompt is not None or image is not None):
        raise InputError("--prompt and --image go with video files; a clip table has its own columns for them")
    weights_read = options.read_weights(weights)
    options_read = options.read_options(option, trust_remote_code=trust_remote_code)
    wanted = _read_clips(clips) if clips is not None else clips_of_files(files or [], prompt, image)

    from rewardbench.clip_scores import ScoreSettings, score_clips

    limits = {"decode_timeout": decode_timeout, "score_timeout": score_timeout}
    given: dict[str, Any] = {name: value for name, value in limits.items() if value is not None}
    settings = ScoreSettings(
        clips=wanted,
        plugin=plugin[0],
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
            rows = score_clips(settings, progress=progress)
        if output_format == "json":
            output.print_json(rows, stdout)
        else:
            print_scores(rows, stdout)
    return EXIT_SOME_FAILED if any(row["error"] for row in rows) else 0


def clips_of_files(files: Sequence[Path], prompt: str | None, image: Path | None) -> list[Clip]:
    """Clips of files named on the command line; a file named twice gets two ids.

    Raises:
        InputError: naming the first file that does not exist or is a folder.
    """
    from rewardbench_plugin import Clip

    for file in [*files, *([image] if image is not None else [])]:
        if file.is_dir():
            raise InputError(f"{file} is a folder: name video files, or a table of them with --clips TABLE")
        if not file.exists():
            raise InputError(f"{file} does not exist")
    seen: Counter[str] = Counter()
    found = []
    for file in files:
        name = str(file)
        seen[name] += 1
        clip_id = name if seen[name] == 1 else f"{name}#{seen[name]}"
        found.append(Clip(clip_id, name, prompt, None if image is None else str(image)))
    return found


def _read_clips(table: Path) -> list[Clip]:
    from rewardbench.clip_tables import read_clip_table

    return read_clip_table(table)


def print_scores(rows: Sequence[Mapping[str, Any]], stdout: TextIO) -> None:
    """Write one line per clip; a dash is a score the model abstains from."""
    dimensions = list(dict.fromkeys(name for row in rows for name in row["scores"]))
    lines = [["video", *dimensions]]
    for row in rows:
        values = [row["scores"].get(name) for name in dimensions]
        lines.append([str(row["video"]), *("-" if value is None else f"{value:.4f}" for value in values)])
    output.print_columns(lines, stdout)
    for row in rows:
        if row["error"]:
            output.failure_line(str(row["video"]), str(row["error"]))
