"""Finished runs read back and joined: the same labelled pairs, with every model's margin on them."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rewardbench.errors import InputError
from rewardbench.metrics.inputs import FloatArray, IntArray
from rewardbench.results import Result, read_result
from rewardbench.tables import read_table

PAIRS_FILE = "pairs.parquet"
RESULT_FILE = "result.json"
_COLUMNS = ("plugin", "label", "score", "pair_id", "cluster", "human", "margin")


@dataclass(frozen=True, eq=False)
class FinishedRun:
    """A run folder: its result and its table of pairs (one row per pair and line of the result)."""

    name: str
    folder: Path
    result: Result
    pairs: Any  # pyarrow.Table
    pairs_sha256: str


@dataclass(frozen=True, eq=False)
class Answers:
    """One score of one run on the pairs of a label; ``margin`` (n,) is NaN where it abstained."""

    model: str
    run: FinishedRun
    plugin: str
    score: str
    margin: FloatArray


@dataclass(frozen=True, eq=False)
class LabelledPairs:
    """The n pairs that carry a label, in the first run's order, and what each model says of them."""

    label: str
    pair_id: tuple[str, ...]
    cluster: tuple[str, ...]
    human: IntArray
    answers: tuple[Answers, ...]


def read_runs(paths: Sequence[Path]) -> list[FinishedRun]:
    """Read run folders (or the ``result.json`` in them) and check that they measured the same thing.

    Raises:
        InputError: a folder without a finished run, one given twice, or runs on different benchmarks or clusters.
    """
    runs: list[FinishedRun] = []
    folders = [path.parent if path.is_file() else path for path in paths]
    names = _distinct_names(folders)
    for folder, name in zip(folders, names, strict=True):
        twice = next((run for run in runs if run.folder.resolve() == folder.resolve()), None)
        if twice is not None:
            raise InputError(f"the run {folder} is given twice; name each run once")
        runs.append(_read(folder, name))
    for run in runs[1:]:
        _check_same(runs[0], run)
    return runs


def _read(folder: Path, name: str) -> FinishedRun:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / PAIRS_FILE
    result = read_result(folder / RESULT_FILE)
    if not path.is_file():
        raise InputError(f"{path} does not exist; a run is compared by its pairs, so name its whole folder")
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    lacking = [column for column in _COLUMNS if column not in table.column_names]
    if lacking:
        raise InputError(f"{path} has no column {lacking[0]!r}; rebuild it with `rewardbench report {folder}`")
    return FinishedRun(name, folder, result, table, hashlib.sha256(path.read_bytes()).hexdigest())


def _check_same(first: FinishedRun, other: FinishedRun) -> None:
    one, two = first.result.benchmark, other.result.benchmark
    if (one.name, one.version, one.sha256) != (two.name, two.version, two.sha256):
        shown = [f"{b.name} version {b.version} ({b.sha256[:12]})" for b in (one, two)]
        raise InputError(
            f"{first.folder} was measured on {shown[0]} and {other.folder} on {shown[1]}; "
            "only runs on the same benchmark can be compared"
        )
    columns = first.result.cluster.column, other.result.cluster.column
    if columns[0] != columns[1]:
        raise InputError(
            f"{first.folder} has the cluster {columns[0]!r} and {other.folder} {columns[1]!r}; "
            "run both with the same --cluster"
        )


def labels_of(runs: Sequence[FinishedRun]) -> list[str]:
    """Labels that the runs' results hold, in order of appearance."""
    return list(dict.fromkeys(metric.label for run in runs for metric in run.result.metrics))


def join(runs: Sequence[FinishedRun], label: str) -> LabelledPairs | None:
    """The pairs of a label with every score that the runs hold against it; None where no run has the label.

    Raises:
        InputError: runs that hold different pairs, or different answers of people to them.
    """
    found = [
        (run, metric.plugin, metric.score) for run in runs for metric in run.result.metrics if metric.label == label
    ]
    if not found:
        return None
    names = _model_names([(run.name, plugin, score) for run, plugin, score in found])
    base: _Part | None = None
    answers = []
    for (run, plugin, score), name in zip(found, names, strict=True):
        part = _part(run, plugin, label, score)
        if base is None:
            base = part
        order = _same_pairs(base, part, label)
        answers.append(Answers(name, run, plugin, score, part.margin[order]))
    assert base is not None
    return LabelledPairs(label, base.pair_id, base.cluster, base.human, tuple(answers))


@dataclass(frozen=True, eq=False)
class _Part:
    run: FinishedRun
    pair_id: tuple[str, ...]
    cluster: tuple[str, ...]
    human: IntArray
    margin: FloatArray


def _part(run: FinishedRun, plugin: str, label: str, score: str) -> _Part:
    import pyarrow.compute as pc

    chosen: Any = None
    for column, value in (("plugin", plugin), ("label", label), ("score", score)):
        same = pc.equal(run.pairs[column], value)
        chosen = same if chosen is None else pc.and_(chosen, same)
    part = run.pairs.filter(chosen)
    ids = part["pair_id"].to_pylist()
    path = run.folder / PAIRS_FILE
    if not ids:
        raise InputError(f"{path} has no pair of label {label!r} and score {score!r}; name the folder of a whole run")
    repeated = next((one for one, count in Counter(ids).items() if count > 1), None)
    if repeated is not None:
        raise InputError(f"{path} has pair {repeated!r} of label {label!r} and score {score!r} twice; it is damaged")
    human = part["human"].to_numpy(zero_copy_only=False)
    margin = part["margin"].to_numpy(zero_copy_only=False).astype(np.float64)
    clusters = part["cluster"].to_pylist()
    if not np.isin(human, (-1, 0, 1)).all() or np.isinf(margin).any() or None in clusters:
        raise InputError(f"{path} holds a label, margin or cluster that is none; it is damaged")
    return _Part(run, tuple(ids), tuple(clusters), human.astype(np.int64), margin)


def _same_pairs(base: _Part, other: _Part, label: str) -> IntArray:
    """Where each pair of ``base`` stands in ``other``; InputError unless both hold the same pairs."""
    both = f"{base.run.folder} and {other.run.folder}"
    if set(base.pair_id) != set(other.pair_id):
        raise InputError(
            f"{both} hold different pairs of label {label!r} ({len(base.pair_id):,} and {len(other.pair_id):,}); "
            "run both on all pairs, or with the same --limit"
        )
    position = {pair_id: i for i, pair_id in enumerate(other.pair_id)}
    order = np.array([position[pair_id] for pair_id in base.pair_id], dtype=np.int64)
    if (base.human != other.human[order]).any() or base.cluster != tuple(other.cluster[i] for i in order):
        raise InputError(
            f"{both} disagree about people's answers or the clusters of label {label!r}; rebuild both runs"
        )
    return order


def _distinct_names(folders: Sequence[Path]) -> list[str]:
    """The last part of each folder's name, or the whole path as given where that is not enough."""
    short = [folder.resolve().name for folder in folders]
    return [name if short.count(name) == 1 else str(folder) for name, folder in zip(short, folders, strict=True)]


def _model_names(keys: Sequence[tuple[str, str, str]]) -> list[str]:
    """Shortest names that tell (run, plugin, score) apart: plugin, plugin/score, or with the run in brackets."""
    plugins = [plugin for _, plugin, _ in keys]
    if len(set(plugins)) == len(plugins):
        return plugins
    scores = [f"{plugin}/{score}" for _, plugin, score in keys]
    if len(set(scores)) == len(scores):
        return scores
    runs = [f"{plugin} [{run}]" for run, plugin, _ in keys]
    return runs if len(set(runs)) == len(runs) else [f"{plugin}/{score} [{run}]" for run, plugin, score in keys]


def generator_names(run: FinishedRun, pair_ids: Sequence[str], columns: tuple[str, str]) -> tuple[list[str], list[str]]:
    """Generator of clip A and of clip B of every pair.

    Looked for in the run's table of pairs (its own columns, or slices), then in the benchmark's own file if it
    is still where the run found it and unchanged.

    Raises:
        InputError: nothing at hand names them.
    """
    table = run.pairs
    for prefix in ("", "slice:"):
        wanted = [f"{prefix}{column}" for column in columns]
        if all(c in table.column_names and table[c].null_count < table.num_rows for c in wanted):
            sides = [
                dict(zip(table["pair_id"].to_pylist(), table[column].to_pylist(), strict=True)) for column in wanted
            ]
            return [str(sides[0][i] or "") for i in pair_ids], [str(sides[1][i] or "") for i in pair_ids]
    found = _in_pairs_file(run, pair_ids, columns)
    if isinstance(found, str):
        raise InputError(
            f"{run.folder} does not say which generator made which clip: {PAIRS_FILE} there names none in "
            f"{columns[0]!r} and {columns[1]!r}, and {found}; name other columns with --generator-columns, or run "
            "again with --slice for both"
        )
    return found


def _in_pairs_file(
    run: FinishedRun, pair_ids: Sequence[str], columns: tuple[str, str]
) -> tuple[list[str], list[str]] | str:
    """The generators from the benchmark's own file, or why it does not have them."""
    benchmark = run.result.benchmark
    source = Path(benchmark.source)
    if benchmark.source and source.is_dir():
        return f"{benchmark.name} is read from a folder, not from a pairs file"
    if not source.is_file():
        return f"the pairs file of {benchmark.name} is no longer where the run found it"
    if hashlib.sha256(source.read_bytes()).hexdigest() != benchmark.sha256:
        return f"{source} has changed since the run"
    names, rows = read_table(source)
    if any(column not in names for column in columns):
        return f"{source} has no such columns"
    by_id = {row["pair_id"] if "pair_id" in names else str(i): row for i, row in enumerate(rows)}
    if any(pair_id not in by_id for pair_id in pair_ids):
        return f"{source} lacks some of the pairs"
    return [by_id[i][columns[0]] for i in pair_ids], [by_id[i][columns[1]] for i in pair_ids]
