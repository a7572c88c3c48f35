"""``rewardbench environments``: the environments that isolated plugins run in."""

from __future__ import annotations

from typing import Annotated

import typer

from rewardbench.cli import options, output
from rewardbench.cli.progress import terminal_progress
from rewardbench.errors import InputError

app = typer.Typer(rich_markup_mode=None, help="List, build and remove the environments of isolated plugins.")


@app.callback(invoke_without_command=True)
def _group(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("list", short_help="List what was built, and how large it is.")
def list_environments(output_format: options.FormatOption = "table", debug: options.DebugOption = False) -> int:
    """List the environments that were built on this machine."""
    from rewardbench.environments import installed

    found = installed()
    if output_format == "json":
        facts = [
            {
                "name": one.name,
                "plugin": one.plugin,
                "python": one.python,
                "requires": list(one.requires),
                "built": one.built,
                "bytes": one.bytes,
                "folder": str(one.folder),
            }
            for one in found
        ]
        output.print_json(facts)
        return 0
    header = ["environment", "plugin", "python", "size", "built"]
    lines = [[one.name, one.plugin, one.python, f"{one.bytes / 1e9:.1f} GB", one.built] for one in found]
    output.print_columns([header, *lines])
    return 0


@app.command("build", short_help="Build a plugin's environment now, to work offline later.")
def build_environment(
    name: Annotated[str, typer.Argument(metavar="NAME[:PRESET]", autocompletion=options.complete_plugin)],
    debug: options.DebugOption = False,
) -> int:
    """Build the environment of a plugin if it is not there; `run` and `score` do the same when they need it."""
    from rewardbench.environments import ensure, recipe_of
    from rewardbench.registry import choose_reward

    choice, model = choose_reward(name)
    recipe = recipe_of(model.card, choice.target)
    if recipe is None:
        raise InputError(f"plugin {choice.label!r} runs in rewardbench's own environment; there is nothing to build")
    with output.own_stdout() as stdout, terminal_progress() as progress:
        output.write(str(ensure(recipe, progress).python.parent.parent), stdout)
    return 0


@app.command("remove", short_help="Delete an environment, or all of a plugin.")
def remove_environment(
    name: Annotated[str, typer.Argument(metavar="NAME", help="An environment, or a plugin.")],
    debug: options.DebugOption = False,
) -> int:
    """Delete environments. The next run of the plugin builds one again."""
    from rewardbench.environments import remove

    for folder in remove(name):
        output.write(str(folder))
    return 0
