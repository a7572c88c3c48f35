"""``rewardbench benchmarks``: what can be named with ``--benchmark``, and making one from one's own clips."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from rewardbench.cli import options, output
from rewardbench.cli.progress import phase_callback, terminal_progress

app = typer.Typer(rich_markup_mode=None, help="List, show and make benchmarks.")


@app.callback(invoke_without_command=True)
def _group(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("list")
def list_benchmarks(output_format: options.FormatOption = "table", debug: options.DebugOption = False) -> int:
    """List the benchmarks that are installed."""
    from rewardbench.registry import load_registry

    registry = load_registry()
    manifests = [manifest for _, manifest in sorted(registry.benchmarks.items())]
    if output_format == "json":
        output.print_json([{**asdict(m), "source": registry.sources.get(m.name, "")} for m in manifests])
        return 0
    header = ["benchmark", "version", "variants", "from", "what it is"]
    lines = [
        [m.name, m.version, ", ".join(filter(None, m.variants)) or "-", registry.sources.get(m.name, ""), m.summary]
        for m in manifests
    ]
    output.print_columns([header, *lines])
    return 0


@app.command("show", short_help="Show what a benchmark or a pairs file holds.")
def show_benchmark(
    name: Annotated[
        str, typer.Argument(metavar="NAME|PATH", autocompletion=options.complete_benchmark, help="Or a pairs file.")
    ],
    label_format: Annotated[
        str | None, typer.Option("--label-format", help="Spelling of the labels, e.g. genai.")
    ] = None,
    output_format: options.FormatOption = "table",
    debug: options.DebugOption = False,
) -> int:
    """Show what a benchmark holds. A registered one is described, not downloaded or drawn; a pairs file is read."""
    from rewardbench.registry import load_registry

    registered = load_registry().benchmarks.get(name.partition(":")[0])
    facts = _facts_of_file(name, label_format) if registered is None or Path(name).exists() else asdict(registered)
    if output_format == "json":
        output.print_json(facts)
        return 0
    for key, value in facts.items():
        if isinstance(value, dict):
            output.write(f"{key}:" if value else f"{key}: -")
            for inner, text in value.items():
                shown = ", ".join(f"{k} {v}" for k, v in text.items()) if isinstance(text, dict) else text
                output.write(f"  {inner}: {shown}")
        else:
            output.write(f"{key}: {value}")
    return 0


def _facts_of_file(name: str, label_format: str | None) -> dict[str, Any]:
    """Size of a pairs file and, per label, how often A, tie, B and nothing was decided."""
    from rewardbench.benchmark import load_benchmark

    found = load_benchmark(name, label_format=label_format) if label_format else load_benchmark(name)
    spelling = {1: "A", 0: "tie", -1: "B", None: "undecided"}
    labels = {}
    for label in found.labels:
        counts = dict.fromkeys(spelling.values(), 0)
        for comparison in found.comparisons:
            counts[spelling[comparison.labels.get(label)]] += 1
        labels[label] = counts
    return {
        "name": found.name,
        "version": found.version,
        "source": found.source,
        "sha256": found.sha256,
        "pairs": len(found.comparisons),
        "clips": len(found.clips) if found.has_clips else 0,
        "prompts": len({comparison.prompt for comparison in found.comparisons}),
        "labels": labels,
    }


@app.command("make", short_help="Make a benchmark with known answers from your own clips.")
def make_benchmark(
    clips: Annotated[Path, typer.Argument(metavar="CLIPS", help="Folder of clips; clips.csv there gives prompts.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="New folder for the benchmark.")],
    pairs: Annotated[int, typer.Option("--pairs", min=1, metavar="N", help="About so many pairs a dimension.")] = 30,
    dimension: Annotated[
        list[str] | None, typer.Option("--dimension", metavar="NAME", help="Make this dimension only (repeatable).")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option("--seconds", min=0.1, metavar="S", help="Cut longer clips to their first S seconds.")
    ] = None,
    seed: options.SeedOption = 0,
    debug: options.DebugOption = False,
) -> int:
    """Write pairs with known answers and known ties: your clips and controlled degradations of them."""
    from rewardbench.synth.make import make_probe

    given: dict[str, Any] = {}
    if dimension:
        given["dimensions"] = tuple(dimension)
    if seconds is not None:
        given["seconds"] = seconds
    with output.own_stdout() as stdout:
        with terminal_progress() as progress:
            table = make_probe(
                clips, out, seed=seed, pairs_per_dimension=pairs, progress=phase_callback(progress), **given
            )
        output.write(str(table), stdout)
    return 0
