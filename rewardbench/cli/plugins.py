"""``rewardbench plugins``: what can be named with ``--plugin``."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rewardbench.cli import options, output
from rewardbench.cli.plugins_check import check
from rewardbench.cli.plugins_new import new

if TYPE_CHECKING:
    from rewardbench_plugin import RewardCard

app = typer.Typer(rich_markup_mode=None, help="List reward models, show what they are, write and check your own.")


@app.callback(invoke_without_command=True)
def _group(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("list", short_help="List what is installed, and what could not be loaded.")
def list_plugins(output_format: options.FormatOption = "table", debug: options.DebugOption = False) -> int:
    """List the reward models that are installed, and the plugins that could not be loaded."""
    from rewardbench.registry import load_registry

    registry = load_registry()
    manifests = [manifest for _, manifest in sorted(registry.rewards.items())]
    if output_format == "json":
        plugins = [
            {
                "name": manifest.name,
                "version": manifest.version,
                "presets": list(manifest.presets),
                "default_preset": manifest.default_preset,
                "source": registry.sources.get(manifest.name, ""),
                "summary": manifest.summary,
            }
            for manifest in manifests
        ]
        failures = [{"name": f.name, "source": f.source, "reason": f.reason} for f in registry.failures]
        output.print_json({"plugins": plugins, "failures": failures})
        return 0
    header = ["plugin", "version", "presets", "from", "what it is"]
    lines = [
        [m.name, m.version, ", ".join(m.presets) or "-", registry.sources.get(m.name, ""), m.summary] for m in manifests
    ]
    output.print_columns([header, *lines])
    for failure in registry.failures:
        origin = f" of {failure.source}" if failure.source else ""
        output.error_line(f"rewardbench: warning: plugin {failure.name}{origin} could not be loaded: {failure.reason}")
    return 0


@app.command("show", short_help="Show the card of a reward model.")
def show_plugin(
    name: Annotated[str, typer.Argument(metavar="NAME[:PRESET]", autocompletion=options.complete_plugin)],
    output_format: options.FormatOption = "table",
    debug: options.DebugOption = False,
) -> int:
    """Show a reward model's card: dimensions, inputs, weights, licences, training data, limits."""
    from rewardbench.registry import find_reward, instantiate, resolve_spec

    manifest = find_reward(name.partition(":")[0])
    with output.own_stdout() as stdout:
        plugin, preset, target = resolve_spec(name)
        model = instantiate(plugin, target)
        with contextlib.suppress(ValueError):  # a recorded table cannot be configured without its file
            model.configure(preset=preset)
        facts = {
            **_card_facts(model.card),
            "preset": preset,
            "presets": list(manifest.presets),
            "options": list(model.option_names),
        }
        if output_format == "json":
            output.print_json(facts, stdout)
            return 0
        for key, value in facts.items():
            for line in _describe(key, value):
                output.write(line, stdout)
    return 0


@app.command("fetch", short_help="Bring a reward model's weights and prompt templates.")
def fetch_plugin(
    name: Annotated[str, typer.Argument(metavar="NAME[:PRESET]", autocompletion=options.complete_plugin)],
    to: Annotated[
        Path | None, typer.Option("--to", metavar="DIR", help="Folder for the files (a cache folder if left out).")
    ] = None,
    part: Annotated[
        list[str] | None,
        typer.Option("--part", metavar="PART", help="Only this: templates, weights, or a part's name (repeatable)."),
    ] = None,
    output_format: options.FormatOption = "table",
    debug: options.DebugOption = False,
) -> int:
    """Bring weights and prompt templates from where they are published, at a pinned revision, and check every file.

    What was interrupted goes on where it stopped. Without a connection it says what to download and where to put it.
    """
    from rewardbench.fetching import fetch

    with output.own_stdout() as stdout:
        fetched = fetch(name, to, part or (), lambda line: output.error_line(f"rewardbench: {line}"))
        if output_format == "json":
            facts = {**asdict(fetched), "folder": str(fetched.folder)}
            output.print_json(facts, stdout)
            return 0
        for repository, commit in fetched.commits.items():
            output.write(f"{repository} at {commit}", stdout)
        words = " ".join(f"--weights {shlex.quote(one)}" for one in fetched.weights)
        output.write(f"{len(fetched.files)} files checked; use them with: --plugin {name} {words}", stdout)
        if fetched.remaining:
            output.write(fetched.remaining, stdout)
    return 0


app.command("new", short_help="Write a complete package for a reward model of your own.")(new)
app.command("check", short_help="Hold a plugin against the plugin API, check by check.")(check)


def _card_facts(card: RewardCard) -> dict[str, Any]:
    """The card as JSON: unbounded ranges become null, frame specs become what they ask for."""
    facts = {
        key: value
        for key, value in asdict(card).items()
        if key not in ("dimensions", "inputs", "native_tie_rule")  # rewritten below
    }
    head = {"name": facts.pop("name"), "version": facts.pop("version"), "summary": facts.pop("summary")}
    dimensions = [
        {
            "name": d.name,
            "low": _finite(d.low),
            "high": _finite(d.high),
            "higher_is_better": d.higher_is_better,
            "description": d.description,
        }
        for d in card.dimensions
    ]
    inputs: dict[str, Any] = {}
    for dimension, spec in card.inputs.items():
        to_json = getattr(spec, "to_json", None)
        inputs[dimension] = dict(to_json()) if to_json is not None else "path"
    rule = card.native_tie_rule
    tie_rule = None if rule is None else {"thresholds": dict(rule.thresholds), "source": rule.source}
    return {**head, "dimensions": dimensions, "inputs": inputs, "native_tie_rule": tie_rule, **facts}


def _finite(value: float) -> float | None:
    return value if abs(value) != float("inf") else None


def _describe(key: str, value: Any) -> list[str]:
    """Lines of one fact: a block for dimensions, inputs and tables, else one line."""
    title = f"{key.replace('_', ' ')}:"
    if key == "native_tie_rule" and value is None:
        value = "none is published"
    if key == "dimensions":
        return [title, *(f"  {_describe_dimension(d)}" for d in value)]
    if key == "inputs":
        value = {name: _describe_input(spec) for name, spec in value.items()}
    if isinstance(value, Mapping) and value:
        return [title, *(f"  {name}: {text}" for name, text in value.items())]
    if isinstance(value, bool):
        text = "yes" if value else "no"
    elif isinstance(value, list | tuple):
        text = ", ".join(str(v) for v in value)
    else:
        text = "" if value is None or isinstance(value, Mapping) else str(value)
    return [f"{title:<18}{text or '-'}"]


def _describe_dimension(dimension: Mapping[str, Any]) -> str:
    low = "-inf" if dimension["low"] is None else f"{dimension['low']:g}"
    high = "inf" if dimension["high"] is None else f"{dimension['high']:g}"
    better = "higher is better" if dimension["higher_is_better"] else "lower is better"
    text = f"{dimension['name']} [{low}, {high}], {better}"
    return f"{text}: {dimension['description']}" if dimension["description"] else text


def _describe_input(spec: Any) -> str:
    if spec == "path":
        return "the file itself (the plugin decodes)"
    sampling = ", ".join(f"{k}={v}" for k, v in spec["sampling"].items() if v is not None)
    size = ", ".join(f"{k}={v}" for k, v in (spec["size"] or {}).items() if v)
    return f"{spec['reader']}; {sampling}; {size or 'decoded size'}; filter {spec['filter']}"
