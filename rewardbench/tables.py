"""Tables on the disk: columns and rows of text from ``.csv``, ``.parquet`` and ``.jsonl`` files."""

from __future__ import annotations

import csv
import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rewardbench.errors import InputError

Row = dict[str, str]


def read_table(path: Path) -> tuple[list[str], list[Row]]:
    """Columns and rows (as text) of a ``.csv``, ``.parquet`` or ``.jsonl`` file.

    Raises:
        InputError: if the file is missing, empty, of another kind, or not readable as what its name says.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist")
    if path.is_dir():
        raise InputError(f"{path} is a folder; name the table in it (.csv, .parquet or .jsonl)")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty")
    readers: dict[str, Callable[[Path], tuple[list[str], list[Row]]]] = {
        ".csv": _read_csv,
        ".parquet": _read_parquet,
        ".jsonl": _read_jsonl,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path} is not a .csv, .parquet or .jsonl file")
    try:
        columns, rows = reader(path)
    except (OSError, UnicodeDecodeError, ValueError, csv.Error) as error:
        raise InputError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    repeated = [column for column, count in Counter(columns).items() if count > 1]
    if repeated:
        raise InputError(f"{path} has the column {repeated[0]!r} twice")
    return columns, rows


def _read_csv(path: Path) -> tuple[list[str], list[Row]]:
    csv.field_size_limit(1 << 24)
    with open(path, newline="", encoding="utf-8-sig") as stream:
        reader = csv.reader(stream)
        columns = [column.strip() for column in next(reader, [])]
        rows = []
        for number, cells in enumerate(reader, start=1):
            if not cells:
                continue
            if len(cells) != len(columns):
                raise ValueError(f"row {number} has {len(cells)} cells where the header has {len(columns)}")
            rows.append(dict(zip(columns, cells, strict=True)))
    return columns, rows


def _read_parquet(path: Path) -> tuple[list[str], list[Row]]:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    return list(table.column_names), [{k: text_of_cell(v) for k, v in row.items()} for row in table.to_pylist()]


def _read_jsonl(path: Path) -> tuple[list[str], list[Row]]:
    columns: dict[str, None] = {}
    records: list[dict[str, Any]] = []
    with open(path, encoding="utf-8") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            record = json.loads(line)
            if not isinstance(record, dict):
                raise ValueError(f"line {number} is not a JSON object")
            records.append(record)
            columns.update(dict.fromkeys(record))
    return list(columns), [{k: text_of_cell(record.get(k)) for k in columns} for record in records]


def text_of_cell(value: Any) -> str:
    """A cell as text; missing values and NaN are empty."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return value if isinstance(value, str) else str(value)
