"""How one labelling is done: the same for all its raters and all its days, kept beside the answers."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rewardbench.errors import InputError
from rewardbench.schemas import schema_fault

SCHEMA = "rewardbench.labelling/1"
FILE = "labelling.json"
_DIMENSION = re.compile(r"[A-Za-z][\w-]{0,63}")


@dataclass(frozen=True)
class Settings:
    """What is asked, and how.

    Attributes:
        dimensions: asked one after the other for each pair.
        both_orders: every pair is shown a second time with its sides exchanged, after all pairs were shown once.
        seed: of the sides, of the order of pairs, and of the pairs that ``limit`` draws.
        limit: how many pairs; None for all.
    """

    dimensions: tuple[str, ...] = ("overall",)
    both_orders: bool = False
    seed: int = 0
    limit: int | None = None


OPTIONS = {"dimensions": "--dimension", "both_orders": "--both-orders", "seed": "--seed", "limit": "--limit"}


def open_settings(
    folder: Path,
    *,
    dimensions: Sequence[str] | None = None,
    both_orders: bool | None = None,
    seed: int | None = None,
    limit: int | None = None,
) -> Settings:
    """The settings of a labelling folder: those it was begun with, or those given here (None: the default), written.

    Raises:
        InputError: a dimension's name cannot be a label's, or something given differs from how it was begun.
    """
    given: dict[str, Any] = {
        "dimensions": tuple(dimensions) if dimensions else None,
        "both_orders": both_orders,
        "seed": seed,
        "limit": limit,
    }
    given = {name: value for name, value in given.items() if value is not None}
    _check_dimensions(given.get("dimensions", ()))
    path = folder / FILE
    if path.exists():
        begun = read_settings(folder)
        for name, value in given.items():
            if getattr(begun, name) != value:
                raise InputError(
                    f"{folder} was begun with another {OPTIONS[name]} ({_said(getattr(begun, name))}): leave the "
                    "option out to go on, or name another --out"
                )
        return begun
    settings = Settings(**given)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps({"schema": SCHEMA, **asdict(settings)}, indent=1, ensure_ascii=False) + "\n")
    return settings


def read_settings(folder: Path) -> Settings:
    """The settings a folder was begun with.

    Raises:
        InputError: there are none, or the file is not ours.
    """
    path = folder / FILE
    if not path.is_file():
        raise InputError(f"{folder} holds no labels yet; run the command without --export first")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        fault = schema_fault(found["schema"], SCHEMA, path, remedy="label in a new folder")
        if fault is not None:
            raise InputError(fault)
        settings = Settings(
            tuple(str(one) for one in found["dimensions"]),
            bool(found["both_orders"]),
            int(found["seed"]),
            None if found["limit"] is None else int(found["limit"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} cannot be read as the settings of a labelling: {error!r}") from None
    _check_dimensions(settings.dimensions)
    return settings


def write_whole(path: Path, text: str) -> None:
    """Write a file under another name and put it in place, so that no reader sees half of it."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(text, encoding="utf-8", newline="")
    os.replace(partial, path)


def _check_dimensions(dimensions: Sequence[str]) -> None:
    for name in dimensions:
        if not _DIMENSION.fullmatch(name):
            raise InputError(f"--dimension {name!r}: use a letter, then letters, digits, _ or - (at most 64)")
    if len({name.lower() for name in dimensions}) < len(dimensions):
        raise InputError(f"--dimension names one dimension twice: {', '.join(dimensions)}")


def _said(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "all" if value is None else str(value)
