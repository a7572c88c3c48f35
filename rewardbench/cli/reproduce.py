"""``rewardbench reproduce``: a published row, computed again: paper, ours, difference."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rewardbench.cli import options, output
from rewardbench.errors import InputError

if TYPE_CHECKING:
    from rewardbench.reproduction import Reproduction
    from rewardbench.reproduction.comparing import Compared

ALL = "all"


def _complete_row(incomplete: str) -> list[str]:
    from rewardbench.reproduction import manifests

    return [name for name in manifests() if name.startswith(incomplete)]


def reproduce(
    row: Annotated[
        str | None,
        typer.Argument(metavar="MODEL@BENCHMARK", help="Or `all`.", autocompletion=_complete_row),
    ] = None,
    list_rows: Annotated[bool, typer.Option("--list", help="List the published rows that can be asked for.")] = False,
    fetch: Annotated[
        bool, typer.Option("--fetch", help="Bring what is missing; weights and clips may be many GB.")
    ] = False,
    data_dir: Annotated[
        Path | None, typer.Option("--data-dir", metavar="DIR", help="Folder of the benchmark's files.")
    ] = None,
    weights: options.WeightsOption = None,
    device: options.DeviceOption = "auto",
    dtype: options.DtypeOption = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, metavar="N", help="The first N pairs only, to try it out.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Run folder of a model's row.")] = None,
    output_format: options.FormatOption = "table",
    debug: options.DebugOption = False,
) -> int:
    """Compute a published row again and print paper, ours and difference.

    Runs as far as weights and data are at hand and lists what is missing. Exit codes: 0 no number that was compared
    differs (or --limit was given, and none was compared), 1 a number differs beyond the printed digits or is not there,
    2 nothing could be run or compared.
    """
    if list_rows:
        return _list(output_format)
    if row is None:
        raise InputError("name a row as MODEL@BENCHMARK, or see them with --list")
    from rewardbench.reproduction import manifests
    from rewardbench.reproduction import reproduce as run_row

    names = list(manifests()) if row == ALL else [row]
    found: list[Reproduction] = []
    with output.own_stdout() as stdout:
        for name in names:
            found.append(
                run_row(
                    name,
                    data_dir=data_dir,
                    weights=options.read_weights(weights),
                    device=device,
                    dtype=dtype,
                    limit=limit,
                    out=out,
                    fetch=fetch,
                    tell=lambda line: output.error_line(f"rewardbench: {line}"),
                )
            )
        if output_format == "json":
            facts = [_facts(one) for one in found]
            output.print_json(facts if row == ALL else facts[0], stdout)
        elif row == ALL:
            output.print_columns([_HEADER, *(line for one in found for line in _rows(one))], stdout)
        else:
            _print(found[0], stdout)
    if row == ALL:
        return max((one.exit_code for one in found if one.exit_code != 2), default=2)
    return found[0].exit_code


_HEADER = ["row", "number", "paper", "elsewhere", "ours", "difference", "n", "state"]
"""``elsewhere``: what others computed from the same files; it stands in no paper."""


def _rows(one: Reproduction) -> list[list[str]]:
    """Every printed number; what others recomputed only where it was held against ours."""
    lines = []
    for cell in one.cells:
        if cell.origin == "recomputed" and cell.ours is None:
            continue
        state: str = "not run" if one.missing else cell.state
        if state == "not compared":
            state = f"{state} ({'limited' if one.limited else 'other pairs'})"
        if state == "not computed" and cell.why:
            state = f"{state} (other part of the data)"
        lines.append([one.manifest.id, cell.name, *_numbers(cell), f"{one.n:,}", state])
    return lines


def _numbers(cell: Compared) -> list[str]:
    """Paper, elsewhere, ours, difference."""
    difference = "-" if cell.difference is None else f"{cell.difference:+.4f}"
    printed = [cell.paper, "-"] if cell.origin == "paper" else ["-", cell.paper]
    return [*printed, cell.shown, difference]


def _print(one: Reproduction, stdout: Any) -> None:
    from rewardbench.reproduction.sources import data_words, weights_words

    manifest = one.manifest
    output.write(f"{manifest.id}: {manifest.title}", stdout)
    output.write(f"source: {manifest.source}", stdout)
    output.write(f"rule: {manifest.rule}", stdout)
    output.write(f"data: {data_words(manifest)}", stdout)
    if manifest.run is not None:
        run = manifest.run
        told = [f"plugin {run.plugin}", f"weights {weights_words(run)}"]
        told += [f"{run.fps:g} fps"] if run.fps else []
        told += [f"size {run.size}"] if run.size else []
        output.write(f"run: {', '.join(told)}", stdout)
    for note in filter(None, [manifest.note, *one.notes]):
        output.write(f"note: {note}", stdout)
    rows = [["number", "paper", "elsewhere", "ours", "difference", "state"]]
    for cell in one.cells:
        why = f" ({cell.why})" if cell.state == "not compared" and one.limited else f": {cell.why}" if cell.why else ""
        rows.append([cell.name, *_numbers(cell), f"{cell.state}{why}"])
    output.print_columns(rows, stdout)
    if one.missing:
        output.write("missing:", stdout)
        for sentence in one.missing:
            output.write(f"  {sentence}", stdout)
    else:
        output.write(f"{one.state} (n = {one.n:,})", stdout)


def _facts(one: Reproduction) -> dict[str, Any]:
    from rewardbench.reproduction.sources import data_words, weights_words

    run = one.manifest.run
    return {
        "row": one.manifest.id,
        "source": one.manifest.source,
        "rule": one.manifest.rule,
        "data": data_words(one.manifest),
        "weights": None if run is None else weights_words(run),
        "state": one.state,
        "n": one.n,
        "cells": [asdict(cell) for cell in one.cells],
        "notes": list(one.notes),
        "missing": list(one.missing),
    }


def _list(output_format: str) -> int:
    from rewardbench.reproduction import manifests

    rows = list(manifests().values())
    if output_format == "json":
        output.print_json([row.model_dump(mode="json") for row in rows])
        return 0
    header = ["row", "numbers", "needs a model", "source"]
    lines = [[row.id, str(len(row.cells)), row.run.plugin if row.run else "-", row.source] for row in rows]
    output.print_columns([header, *lines])
    return 0
