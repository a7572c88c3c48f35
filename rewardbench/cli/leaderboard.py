"""``rewardbench leaderboard``: bundles from runs, and a board made of bundles."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from rewardbench.cli import options, output
from rewardbench.errors import InputError

app = typer.Typer(rich_markup_mode=None, help="Submit runs, verify bundles, build and publish a board.")
DECLARATIONS = ("clean", "overlaps", "unknown")

BoardOption = Annotated[
    Path, typer.Option("--board", metavar="DIR", help="The board's folder, with results/ in it.", show_default=True)
]


@app.callback(invoke_without_command=True)
def _group(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("submit", short_help="Make a bundle from a run.")
def submit(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.")],
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE|DIR", help="Bundle to write, or a folder for it (default: .).")
    ] = None,
    training_data: Annotated[
        str | None,
        typer.Option(
            "--training-data",
            metavar="clean|overlaps|unknown",
            help="Were the models trained on this benchmark's data?",
        ),
    ] = None,
    facts: Annotated[
        Path | None,
        typer.Option("--facts", metavar="FILE", help="JSON: {model: {name, parameters, weights_licence, …}}."),
    ] = None,
    submitted_by: Annotated[str, typer.Option("--submitted-by", metavar="TEXT", help="Shown as provenance.")] = "",
    output_format: options.FormatOption = "table",
    debug: options.DebugOption = False,
) -> int:
    """Make a bundle from a finished run: every item its numbers follow from. The same run gives the same bytes.

    It is verified as a board would; what a board would refuse is said, and the bundle is written all the same.
    """
    from rewardbench.leaderboard.submission import bundle_name, make_bundle, read_facts, write_bundle
    from rewardbench.leaderboard.trial import try_bundle

    if training_data is not None and training_data not in DECLARATIONS:
        raise InputError(f"--training-data {training_data} is none of {', '.join(DECLARATIONS)}")
    with output.own_stdout() as stdout:
        content = make_bundle(
            run,
            training_data=training_data,  # type: ignore[arg-type]
            facts=None if facts is None else read_facts(facts),
            submitted_by=submitted_by,
        )
        path = out if out is not None and out.suffix == ".zip" else (out or Path()) / bundle_name(run, content)
        write_bundle(path, content)
        faults = try_bundle(path, run)
        if output_format == "json":
            output.print_json({"file": str(path), "bytes": len(content), "faults": faults}, stdout)
        else:
            how = "a board would refuse it" if faults else "every number recomputed"
            output.write(f"{path}: {len(content):,} bytes, {how}", stdout)
        for fault in faults:
            output.error_line(f"rewardbench: warning: {fault}")
    return 0


@app.command("verify", short_help="Recompute every number of bundles from their items.")
def verify(
    bundles: Annotated[list[Path], typer.Argument(metavar="BUNDLE…", help="Bundles, or folders of them.")],
    board: Annotated[
        Path | None, typer.Option("--board", metavar="DIR", help="Board whose benchmarks.json is known too.")
    ] = None,
    benchmark: Annotated[
        list[str] | None,
        typer.Option("--benchmark", metavar="NAME|PATH", help="A benchmark at hand that is known too (repeatable)."),
    ] = None,
    output_format: options.FormatOption = "table",
    debug: options.DebugOption = False,
) -> int:
    """Recompute every number of bundles from their items, and list all that is wrong; exit code 1 if anything is."""
    from rewardbench.leaderboard.folder import bundle_files
    from rewardbench.leaderboard.known import fingerprint, known_benchmarks
    from rewardbench.leaderboard.verification import verify_bundles

    for path in bundles:
        if not path.exists():
            raise InputError(f"{path} does not exist; name a bundle (.zip) or a folder of them")
    files = [file for path in bundles for file in (bundle_files(path) if path.is_dir() else [path])]
    if not files:
        raise InputError(f"no bundle (.zip) in {', '.join(map(str, bundles))}")
    found = verify_bundles(files, known_benchmarks(board, [fingerprint(name) for name in benchmark or ()]))
    if output_format == "json":
        output.print_json([{"file": one.source, "sound": one.sound, "faults": list(one.faults)} for one in found])
    else:
        for one in found:
            numbers = "" if not one.sound else f" ({len(one.rows)} rows recomputed)"
            output.write(f"{one.source}: {'sound' if one.sound else 'refused'}{numbers}")
            for fault in one.faults:
                output.write(f"  {fault}")
    return 0 if all(one.sound for one in found) else 1


@app.command("admit", short_help="Let a board know a version of a benchmark.")
def admit(
    benchmark: Annotated[
        str, typer.Argument(metavar="NAME|PATH", autocompletion=options.complete_benchmark, help="The benchmark.")
    ],
    board: BoardOption = Path("leaderboard"),
    label: Annotated[
        list[str] | None,
        typer.Option("--label", metavar="LABEL", help="Label column (repeatable; default: all label_*)."),
    ] = None,
    label_format: Annotated[str, typer.Option("--label-format", help="Spelling of the labels.")] = "plain",
    cluster: Annotated[
        str, typer.Option("--cluster", metavar="COLUMN", help="What intervals are drawn over.")
    ] = "prompt",
    licence: Annotated[
        str, typer.Option("--licence", help="Licence of labels and prompts, shown on the page.")
    ] = "unknown",
    citation: Annotated[str, typer.Option("--citation", help="Where the benchmark is described.")] = "",
    frames: Annotated[
        bool, typer.Option("--frames", help="The licence lets frames of the clips be shown on the page.")
    ] = False,
    output_format: options.FormatOption = "table",
    debug: options.DebugOption = False,
) -> int:
    """Write the fingerprint of a benchmark's labels into the board's list; bundles for it are then accepted."""
    from rewardbench.leaderboard.known import admit as write_known
    from rewardbench.leaderboard.known import fingerprint

    found = fingerprint(
        benchmark,
        labels=label,
        label_format=label_format,
        cluster=cluster,
        licence=licence,
        citation=citation,
        frames=frames,
    )
    path = write_known(board, found)
    if output_format == "json":
        output.print_json(found.model_dump())
    else:
        output.write(f"{path}: {found.name} {found.version}, {found.n_pairs:,} pairs, labels {', '.join(found.labels)}")
    return 0


@app.command("build", short_help="Make the static site of a board.")
def build(
    board: BoardOption = Path("leaderboard"),
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Folder of the site (default: site in the board's).")
    ] = None,
    title: Annotated[str, typer.Option("--title", help="Title of the site.")] = "Video reward models",
    no_frames: Annotated[bool, typer.Option("--no-frames", help="Show no frames of clips.")] = False,
    output_format: options.FormatOption = "table",
    debug: options.DebugOption = False,
) -> int:
    """Verify every bundle under results/ and make the site: pages that need no server and no network."""
    from rewardbench.leaderboard.folder import build_site

    with output.own_stdout() as stdout:
        page, verified = build_site(board, out, title=title, frames=not no_frames)
        if output_format == "json":
            output.print_json({"page": str(page), "bundles": [one.source for one in verified]}, stdout)
        else:
            count = len(verified)
            output.write(f"{page}: {count} {'bundle' if count == 1 else 'bundles'}, every number recomputed", stdout)
    return 0


@app.command("serve", short_help="Look at a site on this machine.")
def serve(
    board: BoardOption = Path("leaderboard"),
    site: Annotated[
        Path | None, typer.Option("--site", metavar="DIR", help="The site (default: site in the board's folder).")
    ] = None,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0 takes any free one.")] = 8000,
    debug: options.DebugOption = False,
) -> int:
    """Serve a site to this machine only, until interrupted. The pages also open from the disk as they are."""
    from rewardbench.leaderboard.folder import SITE
    from rewardbench.leaderboard.serving import HOST, open_server

    with open_server(site or board / SITE, port) as server:
        output.write(f"http://{HOST}:{server.server_port}/ (end with Ctrl-C)")
        output.flush()
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            return 0
    return 0


@app.command("publish", short_help="Bring site and results to a branch or the hub.")
def publish(
    board: BoardOption = Path("leaderboard"),
    site: Annotated[
        Path | None, typer.Option("--site", metavar="DIR", help="The site (default: site in the board's folder).")
    ] = None,
    remote: Annotated[
        str | None, typer.Option("--remote", metavar="URL|PATH", help="Git repository to push to.")
    ] = None,
    branch: Annotated[str, typer.Option("--branch", help="Branch of that repository.")] = "leaderboard",
    dataset: Annotated[
        str | None, typer.Option("--dataset", metavar="OWNER/NAME", help="Hub dataset for the results.")
    ] = None,
    space: Annotated[
        str | None, typer.Option("--space", metavar="OWNER/NAME", help="Static hub Space for the site.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make new repositories of the hub private.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    output_format: options.FormatOption = "table",
    debug: options.DebugOption = False,
) -> int:
    """Push the site and the results to a git branch, to a hub dataset and to a static Space."""
    from rewardbench.leaderboard.publishing import publish_to_branch, publish_to_hub

    if remote is None and dataset is None and space is None:
        raise InputError("nothing to publish to: name --remote, --dataset or --space")
    with output.own_stdout() as stdout:
        steps = []
        if remote is not None:
            steps += publish_to_branch(board, remote=remote, branch=branch, site=site, dry_run=dry_run)
        if dataset is not None or space is not None:
            steps += publish_to_hub(board, dataset=dataset, space=space, site=site, private=private, dry_run=dry_run)
        if output_format == "json":
            output.print_json({"dry_run": dry_run, "steps": [asdict(step) for step in steps]}, stdout)
            return 0
        for step in steps:
            output.write(f"{'would ' if dry_run else ''}{step.sentence}", stdout)
            if dry_run:
                for name in step.files:
                    output.write(f"  {name}", stdout)
                for name in step.deletes:
                    output.write(f"  {name} would be deleted", stdout)
    return 0
