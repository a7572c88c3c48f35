"""Numbers from papers and READMEs, each with its source, protocol and tie rule; never mixed with measured ones."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass, fields
from decimal import Decimal, InvalidOperation
from pathlib import Path

from rewardbench.errors import InputError


@dataclass(frozen=True)
class PublishedNumber:
    """One printed number.

    Attributes:
        benchmark: a name of the catalogue, or the source's own where the catalogue has none.
        metric: ``accuracy_with_ties``, ``accuracy_without_ties``, ``tau_c`` …
        value: as printed.
        unit: ``percent`` or ``1``.
        row: the ``MODEL@BENCHMARK`` of `rewardbench reproduce` that computes it again; empty where there is none.
    """

    benchmark: str
    dimension: str
    model: str
    metric: str
    value: str
    unit: str
    source: str
    protocol: str
    tie_rule: str
    row: str
    note: str

    @property
    def number(self) -> float:
        return float(self.value)


def published_folder() -> Path:
    """The folder of the tables that are shipped, one per benchmark."""
    import rewardbench_benchmarks

    return Path(rewardbench_benchmarks.__file__).parent / "published"


def read_published(paths: Iterable[Path] | None = None) -> list[PublishedNumber]:
    """All published numbers that are shipped (or those of ``paths``), in the order of files and rows.

    Raises:
        InputError: a table without one of the columns, or with a cell that may not be empty or is no number.
    """
    columns = [field.name for field in fields(PublishedNumber)]
    found = []
    for path in sorted(published_folder().glob("*.csv")) if paths is None else paths:
        try:
            with open(path, newline="", encoding="utf-8") as stream:
                reader = csv.DictReader(stream)
                if list(reader.fieldnames or ()) != columns:
                    raise InputError(f"{path} must have the columns {', '.join(columns)}")
                rows = list(reader)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise InputError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
        found += [_number(row, f"{path}, row {number}") for number, row in enumerate(rows, start=1)]
    return found


def _number(row: dict[str, str], where: str) -> PublishedNumber:
    empty = [key for key, value in row.items() if value is None or (not value and key not in ("row", "note"))]
    if empty:
        raise InputError(f"{where}: {empty[0]} is empty; a published number needs its source, protocol and tie rule")
    try:
        finite = Decimal(row["value"]).is_finite()
    except InvalidOperation:
        finite = False
    if not finite or row["unit"] not in ("percent", "1"):
        raise InputError(f"{where}: {row['value']!r} in unit {row['unit']!r} is not a number in percent or 1")
    return PublishedNumber(**row)
