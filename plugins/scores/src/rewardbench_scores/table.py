"""A reward model that looks its scores up in a table.

Two layouts: one row per pair with ``<SCORE>_A`` and ``<SCORE>_B`` columns (rows found by ``pair_id`` where table and
benchmark have it, by order where neither has), or one row per clip with a ``video`` column and score columns.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rewardbench_plugin import Dimension, Item, RewardCard, RewardModel, Scores

_CARD = RewardCard(
    name="scores",
    version="1.0",
    dimensions=(Dimension("score"),),
    summary="scores looked up in a table",
    training_data="unknown (recorded scores)",
    code_licence="Apache-2.0",
    notes="Nothing is computed: the table's numbers are taken as they are; an empty cell abstains.",
)


class TabulatedScores(RewardModel):
    """Scores of option ``table``; every numeric score column is a dimension."""

    card = _CARD
    option_names = ("table",)
    matches_by: str | None = None
    """``pair_id`` or ``order``: how rows per pair are found; None for rows per clip."""

    def configure(
        self,
        *,
        preset: str | None = None,
        weights: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
        dimensions: Sequence[str] | None = None,
        seed: int = 0,
    ) -> None:
        path = (options or {}).get("table")
        if not path:
            raise ValueError("it needs a table of scores (--scores FILE)")
        columns, rows = read_rows(Path(path))
        self._path = path
        self.per_pair = any(f"{c[:-2]}_B" in columns for c in columns if c.endswith("_A") and _numeric(rows, c))
        if self.per_pair:
            names = [c[:-2] for c in columns if c.endswith("_A") and f"{c[:-2]}_B" in columns]
            used = {name: (f"{name}_A", f"{name}_B") for name in names}
        elif "video" in columns:
            used = {c: (c, c) for c in columns if c not in ("video", "prompt", "image", "clip_id")}
        else:
            raise ValueError(
                f"{path} has neither <SCORE>_A and <SCORE>_B columns (one row per pair) nor a video column "
                f"(one row per clip); columns: {', '.join(columns)}"
            )
        wanted = list(dimensions or [name for name, cs in used.items() if all(_numeric(rows, c) for c in cs)])
        for name in wanted:
            if name not in used:
                raise ValueError(f"{path} has no score {name!r}; scores: {', '.join(used)}")
        if not wanted:
            raise ValueError(f"{path} has no numeric score column")
        self.card = replace(_CARD, dimensions=tuple(Dimension(name) for name in wanted))
        super().configure(preset=preset, weights=weights, options=options, dimensions=wanted, seed=seed)
        self._index_rows(columns, rows, [used[name] for name in wanted])

    def _index_rows(self, columns: list[str], rows: list[dict[str, str]], used: list[tuple[str, str]]) -> None:
        self._values: dict[tuple[str, str], list[float]] = {}
        by_id = "pair_id" in columns
        self.matches_by = ("pair_id" if by_id else "order") if self.per_pair else None
        self.rows_by_order = len(rows) if self.matches_by == "order" else None
        for number, row in enumerate(rows):
            name = row["pair_id"] if by_id else str(number)
            for side, position in (("A", 0), ("B", 1)) if self.per_pair else (("", 0),):
                key = (name, side) if self.per_pair else (row["video"], row.get("prompt", ""))
                if key in self._values:
                    what = f"pair_id {name!r}" if self.per_pair else f"video {row['video']!r}"
                    raise ValueError(f"{self._path}, row {number + 1}: {what} stands twice")
                self._values[key] = [_number(row[cs[position]], cs[position], number, self._path) for cs in used]
        self._has_prompt = "prompt" in columns

    def score(self, batch: Sequence[Item]) -> Scores:
        values = np.full((len(batch), len(self.dimensions)), np.nan)
        errors: list[str | None] = [None] * len(batch)
        for i, item in enumerate(batch):
            meta = item.clip.metadata
            if self.matches_by is not None:
                name, errors[i] = row_name(meta, self.matches_by, self._path)
                if errors[i] is not None:
                    continue
                found = self._values.get((name, meta["side"]))
                what = f"pair {name!r}"
            else:
                prompt = (item.clip.prompt or "") if self._has_prompt else ""
                found = self._values.get((meta.get("name", item.clip.video), prompt))
                what = f"clip {meta.get('name', item.clip.video)!r}"
            if found is None:
                errors[i] = f"{self._path} has no row for {what}"
            else:
                values[i] = found
        return Scores(values, errors=errors)

    def fingerprint(self) -> str:
        """The values themselves: another table, or another copy of the same numbers, is told by its numbers."""
        import hashlib

        state = json.dumps([self.card.version, sorted((list(k), v) for k, v in self._values.items())])
        return hashlib.sha256(state.encode()).hexdigest()


def row_name(metadata: Mapping[str, str], matches_by: str, path: str) -> tuple[str, str | None]:
    """Name of the row that belongs to a pair's clip, and why there is none: an id never meets a row number."""
    if matches_by == "pair_id" and "pair_id" not in metadata:
        return "", f"{path} has a pair_id column and the benchmark has none, so its rows cannot be matched"
    if matches_by == "order" and "pair_id" in metadata:
        return "", f"{path} has no pair_id column and the benchmark has one, so its rows cannot be matched"
    return metadata["pair_id" if matches_by == "pair_id" else "row"], None


def read_rows(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """Columns and rows, as text, of a ``.csv`` (UTF-8), ``.jsonl`` or ``.parquet`` table.

    Raises:
        ValueError: one sentence, where the table cannot be read or has no rows.
    """
    if not path.is_file():
        raise ValueError(f"{path} is a folder; name the table in it" if path.is_dir() else f"{path} does not exist")
    readers = {".csv": _read_csv, ".jsonl": _read_jsonl, ".parquet": _read_parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ValueError(f"{path} is not a .csv, .parquet or .jsonl table")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty")
    try:
        columns, rows = reader(path)
    except (OSError, ValueError, csv.Error) as error:
        raise ValueError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    repeated = next((column for column in columns if columns.count(column) > 1), None)
    if repeated is not None:
        raise ValueError(f"{path} has the column {repeated!r} twice")
    if not rows:
        raise ValueError(f"{path} has no rows; it needs a header and at least one row")
    return columns, [dict(zip(columns, cells)) for cells in rows]  # noqa: B905 (every reader gives whole rows)


def _read_csv(path: Path) -> tuple[list[str], list[list[str]]]:
    csv.field_size_limit(1 << 24)
    with open(path, newline="", encoding="utf-8-sig") as stream:
        reader = csv.reader(stream, strict=True)
        columns = [column.strip() for column in next(reader, [])]
        rows = [cells for cells in reader if cells]
    for number, cells in enumerate(rows, start=1):
        if len(cells) != len(columns):
            raise ValueError(f"row {number} has {len(cells)} cells where the header has {len(columns)}")
    return columns, rows


def _read_jsonl(path: Path) -> tuple[list[str], list[list[str]]]:
    records: list[dict[str, Any]] = []
    with open(path, encoding="utf-8") as stream:
        for number, line in enumerate(stream, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line, object_pairs_hook=_unrepeated)
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from None
            if not isinstance(record, dict):
                raise ValueError(f"line {number} is not a JSON object")
            records.append(record)
    columns = list(dict.fromkeys(column for record in records for column in record))
    return columns, [[_text(record.get(column)) for column in columns] for record in records]


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise ValueError("a name stands twice in one object")
    return record


def _read_parquet(path: Path) -> tuple[list[str], list[list[str]]]:
    import pyarrow.parquet as pq

    table = pq.read_table(path)
    columns = [[_text(value) for value in table.column(i).to_pylist()] for i in range(table.num_columns)]
    return list(table.column_names), [list(cells) for cells in zip(*columns)]  # noqa: B905


def _text(value: Any) -> str:
    """A cell as text; missing values and NaN are empty."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return value if isinstance(value, str) else str(value)


def _numeric(rows: list[dict[str, str]], column: str) -> bool:
    """Whether the first filled cell of a column is a number."""
    first = next((row[column] for row in rows if row[column].strip()), None)
    if first is None:
        return False
    try:
        float(first)
    except ValueError:
        return False
    return True


def _number(text: str, column: str, row: int, path: str) -> float:
    if not text.strip():
        return math.nan
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"{path}, row {row + 1}: score {text!r} in column {column!r} is not a number") from None
