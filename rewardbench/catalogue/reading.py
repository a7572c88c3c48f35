"""Files of other people, read with one sentence for everything that may be wrong with them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rewardbench.errors import InputError


def read_json(path: Path) -> Any:
    """A JSON document.

    Raises:
        InputError: if it cannot be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is not readable JSON: {' '.join(str(error).split())}") from None


def read_json_lines(path: Path) -> list[Any]:
    """One JSON value a line; empty lines do not count.

    Raises:
        InputError: if a line cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    found = []
    for number, line in enumerate(lines, start=1):
        try:
            found += [json.loads(line)] if line.strip() else []
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}, line {number}: {' '.join(str(error).split())}") from None
    return found


def as_list(value: Any, path: Path) -> list[Any]:
    """``value``, which must be a list with something in it.

    Raises:
        InputError: if it is not.
    """
    if not isinstance(value, list) or not value:
        raise InputError(f"{path} must hold a list of records, and at least one")
    return value


def field(record: Any, name: str, where: str) -> Any:
    """A field of a record.

    Raises:
        InputError: if the record has none of that name, naming those it has.
    """
    if not isinstance(record, Mapping):
        raise InputError(f"{where} is not a record with fields")
    if name not in record:
        raise InputError(f"{where} has no field {name!r} (fields: {', '.join(map(str, record))})")
    return record[name]


def text(record: Any, name: str, where: str) -> str:
    """A field that must be text (a number is written out)."""
    value = field(record, name, where)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise InputError(f"{where}: field {name!r} must be text")
    return str(value)


def columns_of(columns: Sequence[str], wanted: Sequence[str], path: Path) -> None:
    """Refuse a table without one of the columns ``wanted``.

    Raises:
        InputError: naming the first that is missing and those that are there.
    """
    missing = [column for column in wanted if column not in columns]
    if missing:
        raise InputError(f"{path} has no column {missing[0]!r} (columns: {', '.join(columns)})")
