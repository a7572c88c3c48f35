"""``rewardbench plugins new``: a complete package for a reward model of one's own."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from rewardbench.cli import options, output


def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the plugin: small letters, digits, hyphens.")],
    judge: Annotated[bool, typer.Option("--judge", help="A judge that compares two clips.")] = False,
    folder: Annotated[
        Path | None, typer.Option("--dir", metavar="DIR", help="The package's folder; rewardbench-NAME if left out.")
    ] = None,
    licence: Annotated[
        str, typer.Option("--licence", metavar="SPDX", help="Apache-2.0, MIT, BSD-3-Clause or none.")
    ] = "Apache-2.0",
    debug: options.DebugOption = False,
) -> int:
    """Write a package with model, card, entry point, tests, CI, README and licence. It installs and passes at once."""
    from rewardbench.scaffold.package import write_package

    written = write_package(name, folder, is_judge=judge, licence=licence)
    output.write(str(written))
    place = shlex.quote(str(written))
    output.error_line(f"next: pip install -e {place} && rewardbench plugins check {name} && pytest {place}")
    return 0
