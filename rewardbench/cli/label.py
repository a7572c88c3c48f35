"""``rewardbench label``: a local page to label one's own pairs, and the table that comes of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rewardbench.cli import options, output
from rewardbench.errors import InputError

if TYPE_CHECKING:
    from rewardbench.labelling.export import Exported
    from rewardbench.labelling.pairs import LabelPair
    from rewardbench.labelling.settings import Settings


def label(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="DIR|TABLE",
            help="Folder with a subfolder of clips a system, a pairs file, or a clips table (video, prompt, model?).",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the answers; the same folder goes on.")],
    dimension: Annotated[
        list[str] | None,
        typer.Option("--dimension", metavar="NAME", help="What to ask of each pair (repeatable); overall if left out."),
    ] = None,
    rater: Annotated[
        str | None, typer.Option("--rater", metavar="NAME", help="Who labels; the page asks if left out.")
    ] = None,
    both_orders: Annotated[
        bool | None,
        typer.Option("--both-orders/--one-order", help="Show every pair a second time, the other way round."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, metavar="N", help="N pairs only, drawn with the seed.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of sides, order and --limit; 0 if left out.")] = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes any free one.")] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the page's address.")] = False,
    export: Annotated[bool, typer.Option("--export", help="Only write the table of what was answered so far.")] = False,
    output_format: options.FormatOption = "table",
    debug: options.DebugOption = False,
) -> int:
    """Label pairs of clips on a local page: blind, sides drawn, by keyboard; Ctrl-C ends it and writes the table."""
    from rewardbench.labelling.pairs import read_label_pairs
    from rewardbench.labelling.settings import open_settings, read_settings

    given: dict[str, Any] = {"dimensions": dimension, "both_orders": both_orders, "seed": seed, "limit": limit}
    if export:
        read_settings(out)  # nothing is begun by an export
    if not source.exists():
        raise InputError(f"{source} does not exist; name a folder of clips or a table")
    if source.resolve() == (out / "labels.csv").resolve():
        raise InputError(f"--out {out}: the labels would be written over {source}; name another folder")
    read_label_pairs(source)  # a wrong source begins nothing either
    settings = open_settings(out, **given)
    pairs = read_label_pairs(source, limit=settings.limit, seed=settings.seed)
    if not export and not _serve(pairs, out, settings, rater, port, browser=not no_browser):
        return 0
    from rewardbench.labelling.export import export as write_table

    exported = write_table(pairs, out)
    if output_format == "json":
        from dataclasses import asdict

        dimensions = [asdict(one) for one in exported.agreement]
        facts = {"file": str(exported.table), "pairs": exported.n_pairs, "stale_answers": exported.n_stale}
        output.print_json({**facts, "agreement": dimensions})
    else:
        _print(exported)
    return 0


def _serve(
    pairs: list[LabelPair], out: Path, settings: Settings, rater: str | None, port: int, *, browser: bool
) -> bool:
    """Run the page until Ctrl-C; whether anybody ever answered."""
    import webbrowser

    from rewardbench.labelling.room import Room
    from rewardbench.labelling.server import LabelServer
    from rewardbench.labelling.session import all_answers

    room = Room(pairs, out, settings, rater)
    try:
        with LabelServer(room, port) as server:
            views = len(pairs) * (2 if settings.both_orders else 1)
            output.error_line(f"rewardbench: {len(pairs)} pairs, {views} views; end with Ctrl-C, answers are kept")
            output.error_line(f"rewardbench: the page is {server.url}")
            if browser:
                webbrowser.open(server.url)
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                output.error_line("")
    finally:
        room.close()
    if any(all_answers(out).values()):
        return True
    output.error_line("rewardbench: nothing was answered, so no table is written")
    return False


def _print(exported: Exported) -> None:
    rows = [["dimension", "rater", "pairs", "ties", "first place", "both orders same", "against others"]]
    for one in exported.agreement:
        for figures in one.raters:
            shares = (figures.tie_share, figures.first_share, figures.same_in_both_orders, figures.against_others)
            rows.append([one.dimension, figures.rater, str(figures.n), *(_number(value) for value in shares)])
    output.print_columns(rows)
    for one in exported.agreement:
        counts = ", ".join(f"{n} {word}" for word, n in one.labels.items())
        line = f"{one.dimension}: {one.n_pairs} pairs ({counts})"
        if one.n_shared:
            line += (
                f"; of {one.n_shared} with two raters or more {one.n_unanimous} unanimous, {one.n_no_majority} without "
                f"a majority; alpha {_number(one.alpha)}, one rater against the others {_number(one.ceiling_with_ties)}"
                f" with ties, {_number(one.ceiling_without_ties)} without"
            )
        output.write(line)
    if exported.n_stale:
        output.error_line(
            f"rewardbench: {exported.n_stale} answers are left out: their pairs are not in the source as they were"
        )
    output.write(f"{exported.table}: {exported.n_pairs} pairs")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
