"""Options that several commands share: their types, their help, how ``KEY=VALUE`` is read, and name completion."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from rewardbench.cli.output import FORMATS
from rewardbench.errors import InputError

_PART = re.compile(r"[A-Za-z_][\w.-]*")


def complete_plugin(incomplete: str) -> list[str]:
    """Names of reward models, with ``NAME:PRESET`` for each preset."""
    from rewardbench.registry import load_registry

    names = []
    for name, manifest in load_registry().rewards.items():
        names += [name, *(f"{name}:{preset}" for preset in manifest.presets)]
    return [name for name in names if name.startswith(incomplete)]


def complete_benchmark(incomplete: str) -> list[str]:
    """Names of benchmarks, with ``NAME:VARIANT`` for each variant."""
    from rewardbench.registry import load_registry

    names = []
    for name, manifest in load_registry().benchmarks.items():
        names += [name, *(f"{name}:{variant}" for variant in manifest.variants if variant)]
    return [name for name in names if name.startswith(incomplete)]


def _known_format(value: str) -> str:
    if value not in FORMATS:
        raise typer.BadParameter(f"{value!r} is not one of {', '.join(FORMATS)}.")
    return value


def _complete_format(incomplete: str) -> list[str]:
    return [name for name in FORMATS if name.startswith(incomplete)]


PluginsOption = Annotated[
    list[str],
    typer.Option("--plugin", metavar="NAME[:PRESET]", help="Reward model.", autocompletion=complete_plugin),
]
WeightsOption = Annotated[
    list[str] | None,
    typer.Option("--weights", metavar="[PART=]PATH", help="Weights of the model, or of one part of it (repeatable)."),
]
OptionsOption = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="KEY=VALUE", help="An option of the plugin (repeatable)."),
]
TrustOption = Annotated[
    bool,
    typer.Option("--trust-remote-code", help="Let the plugin run Python code that comes with its weights."),
]
DimensionsOption = Annotated[
    list[str] | None,
    typer.Option("--dimension", metavar="NAME", help="Score this dimension only (repeatable)."),
]
DeviceOption = Annotated[str, typer.Option("--device", help="auto, cpu, cuda, cuda:1, mps.")]
DtypeOption = Annotated[
    str | None, typer.Option("--dtype", help="float32, float16 or bfloat16 instead of the model's own.")
]
SeedOption = Annotated[int, typer.Option("--seed", help="Seed of everything random.")]
DecodeTimeoutOption = Annotated[
    float | None, typer.Option("--decode-timeout", min=0.001, metavar="S", help="Seconds one clip may take to decode.")
]
ScoreTimeoutOption = Annotated[
    float | None, typer.Option("--score-timeout", min=0.001, metavar="S", help="Seconds one batch may take to score.")
]
BatchSizeOption = Annotated[
    int | None, typer.Option("--batch-size", min=1, metavar="N", help="Clips per batch; chosen by itself if left out.")
]
WorkersOption = Annotated[
    int | None, typer.Option("--workers", min=1, metavar="N", help="Decode processes; one per core if left out.")
]
FormatOption = Annotated[
    str,
    typer.Option(
        "--format",
        metavar="table|json",
        help="What goes to standard output.",
        callback=_known_format,
        autocompletion=_complete_format,
    ),
]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def split_pairs(option: str, texts: Sequence[str] | None, form: str) -> tuple[tuple[str, str], ...]:
    """Split repeated ``KEY=VALUE`` texts at their first ``=``.

    Raises:
        InputError: naming the option, where a text has another form.
    """
    pairs = []
    for text in texts or ():
        key, equals, value = text.partition("=")
        if not (key and equals and value):
            raise InputError(f"{option} {text} is not of the form {form}")
        pairs.append((key, value))
    return tuple(pairs)


def read_options(texts: Sequence[str] | None, *, trust_remote_code: bool = False) -> dict[str, str]:
    """Read ``--option KEY=VALUE`` texts; ``--trust-remote-code`` is the option ``trust_remote_code=true``.

    Raises:
        InputError: where a text has another form or a key stands twice.
    """
    found: dict[str, str] = {}
    for key, value in split_pairs("--option", texts, "KEY=VALUE"):
        if key in found:
            raise InputError(f"--option names {key} twice ({found[key]} and {value}): give it once")
        found[key] = value
    if trust_remote_code:
        found["trust_remote_code"] = "true"
    return found


def read_weights(texts: Sequence[str] | None) -> dict[str, str]:
    """Read ``[PART=]PATH`` texts into part -> path; the part of a bare path is ``""``.

    What stands before ``=`` is a part only if it looks like a name, so ``./a=b.pt`` is a path.

    Raises:
        InputError: where a part stands twice or the path is empty.
    """
    weights: dict[str, str] = {}
    for text in texts or ():
        part, equals, path = text.partition("=")
        if not equals or not _PART.fullmatch(part) or Path(text).exists():
            part, path = "", text
        if not path:
            raise InputError(f"--weights {text} names no path: use [PART=]PATH")
        if part in weights:
            raise InputError(f"--weights is given twice for {part or 'the whole model'}: give it once")
        weights[part] = path
    return weights
