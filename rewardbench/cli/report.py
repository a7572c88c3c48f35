"""``rewardbench report``: rebuild result and page from the stored scores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rewardbench.cli import options, output
from rewardbench.cli.progress import terminal_progress
from rewardbench.cli.run import print_outcomes


def report(
    folder: Annotated[Path, typer.Argument(metavar="OUT", help="Folder of a run.")],
    reporter: Annotated[
        list[str] | None,
        typer.Option("--reporter", metavar="NAME", help="Also have this registered reporter write (repeatable)."),
    ] = None,
    output_format: options.FormatOption = "table",
    debug: options.DebugOption = False,
) -> int:
    """Rebuild result.json and report.html of a run from its stored scores, without scoring anything."""
    from rewardbench.report.reporters import find_reporter, render_with
    from rewardbench.runs import rebuild_report

    for name in reporter or ():
        find_reporter(name)  # refuses an unknown one now
    with output.own_stdout() as stdout:
        with terminal_progress() as progress:
            outcome = rebuild_report(folder, progress=progress)
            for name in reporter or ():
                render_with(name, outcome.result, folder)
        print_outcomes([outcome], output_format, stdout)
    return outcome.exit_code
