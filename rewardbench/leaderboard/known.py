"""The benchmark versions a board accepts: fingerprints of their labels, so that a bundle is checked without the data.

A bundle brings labels and clusters of its own; that they are the benchmark's is what the fingerprints decide. Known are
the benchmarks embedded in this package (``known_benchmarks.json``) and those that a board's maintainer admitted
(``benchmarks.json`` in the board's folder).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rewardbench.errors import InputError
from rewardbench.leaderboard.archive import read_json
from rewardbench.results import RaterRecord
from rewardbench.schemas import first_fault, schema_fault

if TYPE_CHECKING:
    from rewardbench.benchmark import Benchmark

SCHEMA: Literal["rewardbench.known-benchmarks/1"] = "rewardbench.known-benchmarks/1"
EMBEDDED = Path(__file__).parent / "known_benchmarks.json"
FILE_NAME = "benchmarks.json"


class KnownLabel(BaseModel):
    """One label: how many pairs have it, and :func:`labels_digest` and :func:`clips_digest` of them.

    ``raters`` is what one rater scores on it, where the benchmark tells its raters apart.
    """

    model_config = ConfigDict(extra="forbid")
    n: int
    sha256: str
    clips_sha256: str
    raters: RaterRecord | None = None


class KnownBenchmark(BaseModel):
    """One version of a benchmark. ``sha256`` is that of its source; ``cluster`` what intervals are drawn over.

    ``source`` names what a page's frames are read from (a registered name), empty where frames may not be shown.
    """

    model_config = ConfigDict(extra="forbid")
    name: str
    version: str
    sha256: str
    n_pairs: int
    n_clips: int
    cluster: str
    labels_by: str = "people"
    labels: dict[str, KnownLabel]
    licence: str = "unknown"
    citation: str = ""
    frames: str = ""


class KnownBenchmarks(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)
    schema_name: Literal["rewardbench.known-benchmarks/1"] = Field(default=SCHEMA, alias="schema")
    benchmarks: list[KnownBenchmark]


def labels_digest(rows: Iterable[tuple[str, str, str, int]]) -> str:
    """SHA-256 over (pair id, prompt, cluster, human label) in the benchmark's order, one JSON list a line."""
    return _digest(rows)


def clips_digest(rows: Iterable[tuple[str, str, str]]) -> str:
    """SHA-256 over (pair id, clip A, clip B) in the benchmark's order, one JSON list a line."""
    return _digest(rows)


def _digest(rows: Iterable[tuple[str | int, ...]]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update((json.dumps(list(row), ensure_ascii=True) + "\n").encode())
    return digest.hexdigest()


def label_fingerprint(benchmark: Benchmark, label: str, clusters: Sequence[str]) -> KnownLabel:
    """The fingerprint of one label; ``clusters`` has one per pair of the benchmark."""
    pairs = [(c, group) for c, group in zip(benchmark.comparisons, clusters, strict=True) if label in c.labels]
    return KnownLabel(
        n=len(pairs),
        sha256=labels_digest((c.pair_id, c.prompt, group, c.labels[label]) for c, group in pairs),
        clips_sha256=clips_digest((c.pair_id, c.clip_a, c.clip_b) for c, _ in pairs),
    )


def fingerprint(
    name_or_path: str,
    *,
    labels: Sequence[str] | None = None,
    label_format: str = "plain",
    cluster: str = "prompt",
    licence: str = "unknown",
    citation: str = "",
    frames: bool = False,
) -> KnownBenchmark:
    """The fingerprint of a benchmark that is at hand.

    Raises:
        InputError: if it cannot be loaded, or has no such label or column.
    """
    from rewardbench.benchmark import load_benchmark
    from rewardbench.catalogue.raters import rater_records
    from rewardbench.evaluation import cluster_column, clusters_of

    benchmark = load_benchmark(name_or_path, labels=labels, label_format=label_format)
    column = cluster_column(benchmark, cluster)
    clusters = clusters_of(benchmark, column, [])
    raters = rater_records(benchmark.name, benchmark.source) if Path(benchmark.source).is_dir() else {}
    return KnownBenchmark(
        name=benchmark.name,
        version=benchmark.version,
        sha256=benchmark.sha256,
        n_pairs=len(benchmark.comparisons),
        n_clips=len(benchmark.clips),
        cluster=column,
        labels_by=benchmark.labels_by,
        labels={
            label: label_fingerprint(benchmark, label, clusters).model_copy(update={"raters": raters.get(label)})
            for label in benchmark.labels
        },
        licence=licence,
        citation=citation,
        frames=name_or_path if frames else "",
    )


def known_benchmarks(board: Path | None = None, more: Iterable[KnownBenchmark] = ()) -> dict[str, KnownBenchmark]:
    """Known benchmarks by the SHA-256 of their source: the embedded ones, the board's, and ``more``.

    Raises:
        InputError: if the board's file is not such a file.
    """
    found = {one.sha256: one for one in _read(EMBEDDED)}
    if board is not None and (board / FILE_NAME).exists():
        found |= {one.sha256: one for one in _read(board / FILE_NAME)}
    return found | {one.sha256: one for one in more}


def admit(board: Path, benchmark: KnownBenchmark) -> Path:
    """Write a benchmark into the board's list, in place of an earlier entry for the same source.

    Raises:
        InputError: if the list cannot be read or written.
    """
    from rewardbench.runfolder import write_text

    path = board / FILE_NAME
    others = [one for one in (_read(path) if path.exists() else []) if one.sha256 != benchmark.sha256]
    listed = sorted([*others, benchmark], key=lambda one: (one.name, one.version, one.sha256))
    value: Any = KnownBenchmarks(benchmarks=listed).model_dump(by_alias=True)
    board.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")
    return path


def _read(path: Path) -> list[KnownBenchmark]:
    try:
        value = read_json(path.read_bytes(), str(path))
        found = value.get("schema") if isinstance(value, dict) else None
        fault = schema_fault(found, SCHEMA, path, remedy="admit the benchmarks again")
        if fault is not None:
            raise InputError(fault)
        return KnownBenchmarks.model_validate(value).benchmarks
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from None
    except ValidationError as error:
        raise InputError(f"{path} does not follow {SCHEMA}: {first_fault(error)}") from None
    except ValueError as error:
        raise InputError(str(error)) from None
