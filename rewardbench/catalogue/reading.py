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


def read_lines(path: Path) -> list[str]:
    """The lines of a text file, without the empty ones at its end.

    Only a line feed (with or without a carriage return before it) ends a line: other characters that Python's
    ``splitlines`` splits at, such as U+2028, may stand in a text.

    Raises:
        InputError: if it cannot be read.
    """
    try:
        lines = path.read_bytes().decode("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    while lines and not lines[-1].strip():
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def numbered_lines(path: Path, what: str) -> list[str]:
    """The lines of a file whose line numbers are ids of ``what``, so that an empty line would shift the rest.

    Raises:
        InputError: if it cannot be read, or has an empty line.
    """
    lines = read_lines(path)
    empty = [number for number, line in enumerate(lines, start=1) if not line.strip()]
    if empty:
        raise InputError(f"{path}, line {empty[0]} is empty, but {what} go by the number of their line; take it out")
    return lines


def json_of_line(line: str, path: Path, number: int) -> Any:
    """The JSON value of line ``number``, counted from 1.

    Raises:
        InputError: if it is none.
    """
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}, line {number}: {' '.join(str(error).split())}") from None


def read_json_lines(path: Path) -> list[Any]:
    """One JSON value a line; empty lines do not count.

    Raises:
        InputError: if a line cannot be read.
    """
    return [json_of_line(line, path, n) for n, line in enumerate(read_lines(path), start=1) if line.strip()]


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


def whole(value: Any, where: str) -> int:
    """A whole number, also where it is written as text or as ``3.0``.

    Raises:
        InputError: for anything else, true and false among it.
    """
    try:
        number = None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = None
    if number is None or not number.is_integer():
        raise InputError(f"{where}: {value!r} is not a whole number")
    return int(number)


def columns_of(columns: Sequence[str], wanted: Sequence[str], path: Path) -> None:
    """Refuse a table without one of the columns ``wanted``.

    Raises:
        InputError: naming the first that is missing and those that are there.
    """
    missing = [column for column in wanted if column not in columns]
    if missing:
        raise InputError(f"{path} has no column {missing[0]!r} (columns: {', '.join(columns)})")
