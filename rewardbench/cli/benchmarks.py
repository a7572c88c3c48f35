"""``rewardbench benchmarks``: what can be named with ``--benchmark``, bringing, checking and making it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rewardbench.cli import options, output
from rewardbench.cli.progress import phase_callback, terminal_progress

if TYPE_CHECKING:
    from rewardbench.catalogue.fetching import FetchedBenchmark
    from rewardbench.catalogue.verification import Verification
    from rewardbench_plugin.hooks import BenchmarkManifest

ALL = "all"
_NameArgument = Annotated[
    str, typer.Argument(metavar="NAME|all", autocompletion=options.complete_benchmark, help="Or all of them.")
]
_DataDirOption = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        metavar="DIR",
        help="Folder of the benchmark's files (with all: one subfolder each); later commands find it there.",
    ),
]

app = typer.Typer(rich_markup_mode=None, help="List, show, fetch, verify and make benchmarks.")


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
    data_dir: _DataDirOption = None,
    output_format: options.FormatOption = "table",
    debug: options.DebugOption = False,
) -> int:
    """Show what a benchmark holds. A registered one is described, not downloaded or drawn; a pairs file is read."""
    from rewardbench.registry import load_registry

    registered = load_registry().benchmarks.get(name.partition(":")[0])
    if registered is not None and not Path(name).exists():
        from rewardbench.catalogue.card import find_card
        from rewardbench.catalogue.description import card_facts, card_lines

        _refuse_variant(name, registered)
        card = find_card(name)
        if card is not None:
            known = card_facts(name, registered, card, data_dir)
            if output_format == "json":
                output.print_json(known)
            else:
                for line in card_lines(card, known):
                    output.write(line)
            return 0
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


def _refuse_variant(name: str, manifest: BenchmarkManifest) -> None:
    from rewardbench.errors import InputError
    from rewardbench.registry import nearest

    base, _, variant = name.partition(":")
    known = [one for one in manifest.variants if one]
    if variant and variant not in known:
        hint = nearest(variant, known) or "; it has none"
        raise InputError(f"benchmark {base!r} has no variant {variant!r}{hint}")


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


@app.command("fetch", short_help="Bring a benchmark's files from where they are published.")
def fetch_benchmarks(
    name: _NameArgument,
    data_dir: _DataDirOption = None,
    part: Annotated[
        list[str] | None,
        typer.Option("--part", metavar="PART", help="Only this: labels, scores, prompts or media (repeatable)."),
    ] = None,
    media: Annotated[bool, typer.Option("--media", help="Bring clips and images too, which may be many GB.")] = False,
    output_format: options.FormatOption = "table",
    debug: options.DebugOption = False,
) -> int:
    """Bring what a benchmark's card names, at pinned revisions, and check every file.

    What is there already stays, and what was interrupted goes on where it stopped. Without a connection it says what to
    download and where to put it. A folder of your own always works: name it with --data-dir.
    """
    from rewardbench.catalogue.fetching import fetch_benchmark
    from rewardbench.errors import RewardbenchError

    done: list[FetchedBenchmark] = []
    failed: dict[str, str] = {}
    for one, folder in _chosen(name, data_dir):
        try:
            done.append(
                fetch_benchmark(
                    one,
                    data_dir=folder,
                    parts=part or (),
                    media=media,
                    tell=lambda line: output.error_line(f"rewardbench: {line}"),
                )
            )
        except RewardbenchError as error:
            if name != ALL:
                raise
            failed[one] = str(error)
    if output_format == "json":
        facts = [{**asdict(one), "folder": str(one.folder)} for one in done]
        output.print_json(
            {"fetched": facts, "failed": [{"name": one, "reason": reason} for one, reason in failed.items()]}
        )
    else:
        for one_done in done:
            _print_fetched(one_done)
    for one, reason in failed.items():
        output.error_line(f"rewardbench: {one} was not fetched: {reason}")
    return 2 if failed else 0


def _print_fetched(fetched: FetchedBenchmark) -> None:
    files = "1 file" if fetched.files == 1 else f"{fetched.files} files"
    done = f"{files} checked ({', '.join(fetched.parts)}) in" if fetched.parts else "nothing fetched, found in"
    output.write(f"{fetched.name}: {done} {fetched.folder}")
    for repository, commit in fetched.commits.items():
        output.write(f"  {repository} at {commit}")
    for sentence in fetched.remaining:
        output.write(f"  {sentence}")


@app.command("verify", short_help="Check that the files at hand are the published ones.")
def verify_benchmarks(
    name: _NameArgument,
    data_dir: _DataDirOption = None,
    output_format: options.FormatOption = "table",
    debug: options.DebugOption = False,
) -> int:
    """Compare files with their checksums, and their pairs with the card. Exit code 1 where a fault was found."""
    from rewardbench.catalogue.verification import verify_benchmark

    found = [verify_benchmark(one, data_dir=folder) for one, folder in _chosen(name, data_dir)]
    if output_format == "json":
        output.print_json([{**asdict(one), "folder": str(one.folder), "ok": not one.faults} for one in found])
    else:
        for one in found:
            _print_verified(one)
    return 1 if any(one.faults for one in found) else 0


def _print_verified(one: Verification) -> None:
    published = "as published" if one.files[0] == one.files[1] else "pairs as published"
    state = published if not one.faults else "1 fault" if len(one.faults) == 1 else f"{len(one.faults)} faults"
    clips = f", {one.media[0]:,} of {one.media[1]:,} clips at hand" if one.media[1] else ""
    output.write(f"{one.name}: {state} ({one.files[0]} of {one.files[1]} files{clips}) in {one.folder}")
    for variant, digest in one.fingerprints.items():
        named = f"{one.name}:{variant}" if variant else one.name
        output.write(f"  pairs of {named}: {digest}")
    for fault in one.faults:
        output.write(f"  fault: {fault}")
    for note in one.notes:
        output.write(f"  note: {note}")


def _chosen(name: str, data_dir: Path | None) -> list[tuple[str, Path | None]]:
    """Each benchmark asked for and its folder; ``all`` means those that have a card."""
    if name != ALL:
        return [(name.partition(":")[0], data_dir)]
    from rewardbench.catalogue.card import cards

    return [(one, None if data_dir is None else data_dir / one) for one in cards()]


@app.command("prompts", short_help="Write the table of a prompt suite, for generators.")
def write_prompt_table(
    name: Annotated[str, typer.Argument(metavar="NAME", autocompletion=options.complete_benchmark, help="A suite.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="The table (.csv); in the suite's folder if left out.")
    ] = None,
    language: Annotated[
        str, typer.Option("--language", metavar="L", help="en, zh, …; the suite's first if left out.")
    ] = "",
    data_dir: _DataDirOption = None,
    debug: options.DebugOption = False,
) -> int:
    """Write prompt_id, prompt and, where they are at hand, images: what `rewardbench align --prompts` takes."""
    from rewardbench.catalogue.folders import data_folder
    from rewardbench.catalogue.prompts import PROMPTS_FILE, write_prompts

    table = out or data_folder(name, data_dir) / PROMPTS_FILE
    count = write_prompts(name, table, language=language, data_dir=data_dir)
    output.write(str(table))
    output.error_line(f"rewardbench: {count:,} prompts")
    return 0


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
                clips,
                out,
                seed=seed,
                pairs_per_dimension=pairs,
                progress=phase_callback(progress),
                tell=lambda line: output.error_line(f"rewardbench: {line}"),
                **given,
            )
        output.write(str(table), stdout)
    output.error_line("rewardbench: the labels are known by construction, nobody was asked; results of it say so")
    return 0
