"""``rewardbench pairs``: scored clips to preference pairs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rewardbench.cli import options, output
from rewardbench.errors import InputError

app = typer.Typer(rich_markup_mode=None, help="Make preference pairs from scored clips.")


@app.callback(invoke_without_command=True)
def _group(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("build", short_help="Pair the best clip of each prompt with its worst.")
def build(
    table: Annotated[
        Path,
        typer.Argument(metavar="TABLE", help="Scored clips: video, prompt, image?, prompt_id?, and a score column."),
    ],
    score: Annotated[str, typer.Option("--score", metavar="COLUMN", help="Column that decides; higher is better.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Pairs file to write (.csv).")],
    winners: Annotated[
        Path | None, typer.Option("--winners", metavar="TABLE", help="Real clips that win; the scored ones lose.")
    ] = None,
    losers: Annotated[int, typer.Option("--losers", help="Losers a winner.")] = 1,
    min_gap: Annotated[float, typer.Option("--min-gap", help="Smallest difference that makes a pair.")] = 0.0,
    generator: Annotated[str, typer.Option("--generator", help="Who made the clips, for the record.")] = "unknown",
    output_format: options.FormatOption = "table",
    debug: options.DebugOption = False,
) -> int:
    """Pair the best clip of each prompt with its worst, or real clips with generated ones, as ``align`` does."""
    from rewardbench.align.pairs import best_against_worst, real_against_generated, write_pairs
    from rewardbench.align.scored_table import read_scored_clips

    if losers < 1:
        raise InputError(f"--losers is at least 1, not {losers}")
    if winners is not None and min_gap:
        raise InputError("--min-gap is between scored clips, and real winners have no score; leave it out")
    samples, rewards = read_scored_clips(table, score, generator)
    if winners is not None:
        pairs = real_against_generated(winners, samples, rewards, losers=losers)
    else:
        pairs = best_against_worst(samples, rewards, f"{table.name}:{score}", losers=losers, min_gap=min_gap)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        write_pairs(pairs, out)
    except OSError as error:
        raise InputError(f"--out {out} cannot be written: {error.strerror or error}; name another file") from None
    facts = {"pairs": len(pairs.pairs), "clips": len(samples), "left_out": list(pairs.left_out), "file": str(out)}
    if output_format == "json":
        output.print_json(facts)
        return 0
    for sentence in pairs.left_out:
        output.error_line(f"rewardbench: {sentence}")
    output.write(f"{out}: {len(pairs.pairs)} pairs from {len(samples)} clips")
    return 0
