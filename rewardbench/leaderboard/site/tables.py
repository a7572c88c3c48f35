"""The board beside its pages: one JSON, one CSV, and the literature's numbers as they were printed."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rewardbench.errors import InputError
from rewardbench.leaderboard.board import Accuracy, Board
from rewardbench.report.notation import plain
from rewardbench.tables import read_table

COLUMNS = (
    *(
        "benchmark",
        "benchmark_version",
        "label",
        "rank",
        "rank_low",
        "rank_high",
        "model",
        "plugin",
        "version",
        "score",
    ),
    *("kind", "n", "n_abstained", "coverage", "majority_floor", "human_tie_rate"),
    *("with_ties_crossfit", "with_ties_crossfit_low", "with_ties_crossfit_high"),
    *("with_ties_oracle", "with_ties_oracle_low", "with_ties_oracle_high", "oracle_tie_threshold"),
    *("with_ties_videoalign", "with_ties_native", "without_ties", "without_ties_low", "without_ties_high"),
    *(
        "half_credit",
        "kendall_tau_b",
        "rater_with_ties",
        "rater_half_credit",
        "clips_per_s",
        "host_memory_bytes",
        "gpu_memory_bytes",
        "device",
    ),
    *("parameters", "code_licence", "weights_licence", "training_data", "as_stated", "bundle", "bundle_sha256"),
)
NEEDED = ("benchmark", "model", "value", "source", "protocol", "tie_rule")
"""No number is shown without who printed it, on which pairs, and what it does with ties."""
FACTS = ("benchmark", "source", "protocol", "unit", "tie_rule")
NOT_SHOWN = ("row",)
"""Names a line for ``rewardbench reproduce``; says nothing to a reader."""


@dataclass(frozen=True)
class Literature:
    """Published numbers of one source and protocol: ``facts`` hold for all of them, ``rows`` differ in ``columns``."""

    benchmark: str
    facts: tuple[tuple[str, str], ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Published:
    """Numbers from papers, as printed: columns and rows of text, from one file."""

    file: str
    columns: tuple[str, ...]
    rows: tuple[Mapping[str, str], ...]

    def of(self, benchmark: str) -> Published:
        """The rows of one benchmark, its name taken without case and punctuation."""
        wanted = _bare(benchmark)
        return Published(self.file, self.columns, tuple(row for row in self.rows if _bare(row["benchmark"]) == wanted))


def literature(tables: Iterable[Published]) -> list[Literature]:
    """Published numbers by benchmark, source and protocol; what all of a group share is said once."""
    groups: dict[tuple[str, ...], tuple[tuple[str, ...], list[Mapping[str, str]]]] = {}
    for table in tables:
        for row in table.rows:
            key = tuple(row.get(name, "") for name in ("benchmark", "source", "protocol"))
            groups.setdefault(key, (table.columns, []))[1].append(row)
    found = []
    for (benchmark, *_), (columns, rows) in groups.items():
        values = {name: list(dict.fromkeys(row.get(name, "") for row in rows)) for name in columns}
        shared = [name for name in columns if len(values[name]) == 1 and (len(rows) > 1 or name in FACTS)]
        facts = [(_spoken(name), values[name][0]) for name in shared if name != "benchmark" and values[name][0]]
        differ = [name for name in columns if name not in shared]
        cells = tuple(tuple(row.get(name, "") for name in differ) for row in rows)
        found.append(Literature(benchmark, tuple(facts), tuple(map(_spoken, differ)), cells))
    return found


def _spoken(column: str) -> str:
    return column.replace("_", " ")


def board_json(board: Board) -> str:
    return json.dumps(board.to_data(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def board_csv(board: Board) -> str:
    """One line per benchmark, label and model; numbers in full."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(COLUMNS)
    for benchmark in board.benchmarks:
        for dimension in benchmark.dimensions:
            for row in dimension.rows:
                rank = row.rank
                bundle = benchmark.submissions[row.submission]
                native = row.native.value if row.native else None
                rater = dimension.raters or {}
                cells = [
                    *(benchmark.name, benchmark.version, dimension.label),
                    *((rank.rank, rank.low, rank.high) if rank else (None, None, None)),
                    *(row.model, row.plugin, row.version, row.score, row.kind, row.n, row.n_abstained, row.coverage),
                    *(dimension.floor, dimension.tie_rate, *_cells(row.with_ties), *_cells(row.oracle)),
                    *(row.oracle.tie_threshold, row.videoalign, native, *_cells(row.without_ties), row.half_credit),
                    *(
                        row.kendall_tau_b,
                        rater.get("with_ties"),
                        rater.get("half_credit"),
                        row.cost.clips_per_s,
                        row.cost.host_memory,
                        row.cost.gpu_memory,
                        row.cost.device,
                    ),
                    *(row.parameters, row.code_licence, row.weights_licence, row.training_data, row.as_stated),
                    *(bundle.file, bundle.sha256),
                ]
                writer.writerow([harmless(cell) if isinstance(cell, str) else cell for cell in cells])
    return stream.getvalue()


def harmless(text: str) -> str:
    """A cell that no spreadsheet takes for a formula: foreign text that begins like one gets an apostrophe."""
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def read_published(folder: Path) -> list[Published]:
    """Every table of the literature's numbers in ``folder``, by name; none where there is no such folder.

    Raises:
        InputError: a table without one of the columns of :data:`NEEDED`, or a row where one is empty.
    """
    found = []
    for path in sorted(folder.glob("*.csv")) if folder.is_dir() else []:
        columns, rows = read_table(path)
        missing = [name for name in NEEDED if name not in columns]
        if missing:
            raise InputError(f"{path} has no column {missing[0]!r}; a published number needs {', '.join(NEEDED)}")
        for number, row in enumerate(rows, start=1):
            empty = [name for name in NEEDED if not row[name].strip()]
            if empty:
                raise InputError(
                    f"{path}, row {number}: {empty[0]} is empty; a published number needs {', '.join(NEEDED)}"
                )
        cleaned = tuple({plain(k, 60): plain(v, 1000) for k, v in row.items()} for row in rows)
        shown = tuple(plain(column, 60) for column in columns if column not in NOT_SHOWN)
        found.append(Published(path.name, shown, cleaned))
    return found


def published_benchmarks(tables: Iterable[Published]) -> list[str]:
    """Names of the benchmarks that published numbers exist for, in order of appearance."""
    return list(dict.fromkeys(row["benchmark"] for table in tables for row in table.rows))


def _cells(accuracy: Accuracy) -> Sequence[float | None]:
    low, high = accuracy.ci95 or (None, None)
    return accuracy.value, low, high


def _bare(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
