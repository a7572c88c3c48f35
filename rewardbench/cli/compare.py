"""``rewardbench compare``: paired tests between the models of finished runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rewardbench.cli import options, output
from rewardbench.errors import InputError


def compare(
    results: Annotated[
        list[Path], typer.Argument(metavar="RUN...", help="Folders of finished runs (or their result.json).")
    ],
    label: Annotated[
        list[str] | None, typer.Option("--label", metavar="NAME", help="Compare on this label only (repeatable).")
    ] = None,
    rule: Annotated[
        list[str] | None,
        typer.Option(
            "--rule", metavar="crossfit|without-ties", help="How a pair counts (repeatable); both if left out."
        ),
    ] = None,
    permutations: Annotated[
        int, typer.Option("--permutations", metavar="N", help="Random sign flips behind each p value.")
    ] = 9999,
    bootstrap: Annotated[
        int, typer.Option("--bootstrap", min=0, metavar="N", help="Bootstrap draws behind each interval.")
    ] = 1000,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Seed of folds, flips and draws; that of the runs if left out.")
    ] = None,
    generators: Annotated[
        bool, typer.Option("--generators", help="Also hold the models' ranking of generators against people's.")
    ] = False,
    generator_columns: Annotated[
        str | None,
        typer.Option("--generator-columns", metavar="A,B", help="Columns that name the generators; model_a,model_b."),
    ] = None,
    output_format: options.FormatOption = "table",
    debug: options.DebugOption = False,
) -> int:
    """Compare models that answered the same pairs: difference, interval, p value, effect size, prompts needed."""
    from rewardbench.comparing.comparison import RULES, compare_runs
    from rewardbench.evaluation import GENERATOR_COLUMNS

    columns: tuple[str, str] | None = GENERATOR_COLUMNS if generators else None
    if generator_columns is not None:
        parts = [part.strip() for part in generator_columns.split(",")]
        if len(parts) != 2 or not all(parts):
            raise InputError(f"--generator-columns {generator_columns} is not of the form A,B: name two columns")
        columns = parts[0], parts[1]
    found = compare_runs(
        results,
        labels=label,
        rules=tuple(rule or RULES),
        n_permutations=permutations,
        n_bootstrap=bootstrap,
        seed=seed,
        generator_columns=columns,
    )
    if output_format == "json":
        output.print_json(found.model_dump(by_alias=True))
    else:
        import sys

        from rich.console import Console

        from rewardbench.comparing.terminal import print_comparison

        # A file or a pipe has no width: a table folded at 80 columns would be unreadable there.
        console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 200)
        try:
            print_comparison(found, console)
        except BrokenPipeError:
            output.silence(sys.stdout)
    for warning in found.warnings:
        output.error_line(f"rewardbench: warning: {warning}")
    return 0
