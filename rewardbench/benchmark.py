"""Benchmarks: comparisons that people (or a construction) decided, and the file layouts they are read from."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rewardbench.clip_tables import ClipTable
from rewardbench.errors import InputError
from rewardbench.tables import Row, read_table, text_of_cell
from rewardbench_plugin.clip import Clip

Label = int
"""+1: A is better, -1: B is better, 0: a tie."""

LABEL_FORMATS: Mapping[str, Mapping[str, Label]] = {
    "plain": {"a": 1, "b": -1, "tie": 0, "same": 0},
    "genai": {"leftvote": 1, "rightvote": -1, "tievote": 0, "bothbad_vote": 0},
}
VIDEOALIGN_LABELS = ("VQ", "MQ", "TA", "Overall")
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(@[\w.-]+)?")


@dataclass(frozen=True, slots=True)
class Comparison:
    """One pair. ``labels`` holds the decided dimensions only; ``row`` the source row's text columns."""

    pair_id: str
    prompt: str
    clip_a: str
    clip_b: str
    labels: Mapping[str, Label]
    row: Mapping[str, str]


@dataclass(frozen=True)
class Benchmark:
    """Pairs, the clips they stand on, and where they came from.

    Attributes:
        clips: clip id to clip; the same file under another prompt or image is another clip.
        has_clips: False where the file names no clips (ids, labels and scores only).
        sha256: of the source file.
        labels_by: ``people``, or ``construction`` where answers are known because the clips were made that way.
        columns: all columns of the source, in order; empty for pairs made in memory.
        has_pair_ids: whether the pairs have ids of their own; False where the row number stands in for one.
        answers: plugin to (label to the score that answers it), where the benchmark's card says so; ``none`` for no
            score of that plugin.
        warnings: one sentence each on what a reader of its numbers has to know, such as pairs that are not the card's.
    """

    name: str
    version: str
    source: str
    sha256: str
    labels: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    clips: Mapping[str, Clip]
    has_clips: bool
    columns: tuple[str, ...] = ()
    label_format: str = "plain"
    labels_by: str = "people"
    has_pair_ids: bool = True
    answers: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def by_side(self) -> Benchmark:
        """The same pairs with a clip of its own for every pair and side, for scores recorded per pair.

        The clips' metadata holds ``row`` and ``side``, and ``pair_id`` only where the pairs have ids of their own.
        """
        clips: dict[str, Clip] = {}
        comparisons = []
        for number, c in enumerate(self.comparisons):
            ids = []
            for side, clip_id in (("A", c.clip_a), ("B", c.clip_b)):
                old = self.clips[clip_id]
                own = f"{c.pair_id}#{side}"
                meta = {**old.metadata, "row": str(number), "side": side}
                if self.has_pair_ids:
                    meta["pair_id"] = c.pair_id
                clips[own] = replace(old, clip_id=own, metadata=meta)
                ids.append(own)
            comparisons.append(replace(c, clip_a=ids[0], clip_b=ids[1]))
        return replace(self, comparisons=tuple(comparisons), clips=clips)

    def limited(self, n: int | None) -> Benchmark:
        """The first ``n`` pairs (file order) and their clips."""
        if n is None or n >= len(self.comparisons):
            return self
        kept = self.comparisons[:n]
        used = {clip for c in kept for clip in (c.clip_a, c.clip_b)}
        return replace(self, comparisons=kept, clips={k: v for k, v in self.clips.items() if k in used})


def load_benchmark(
    name_or_path: str | os.PathLike[str],
    *,
    labels: Sequence[str] | None = None,
    label_format: str = "plain",
    progress: Callable[[str, int, int], None] | None = None,
) -> Benchmark:
    """Load a registered benchmark by name (``NAME`` or ``NAME:VARIANT``) or a pairs file by path or hub id.

    ``labels`` names the label columns; None takes every ``label_*`` column, or VideoAlign's.

    Raises:
        InputError: if it is unknown or its file cannot be used.
    """
    text = os.fspath(name_or_path)
    name, _, variant = text.partition(":")
    from rewardbench.catalogue.card import find_card
    from rewardbench.registry import find_benchmark, load_registry

    registry = load_registry()
    if not Path(text).is_file() and (name in registry.benchmarks or name in registry.conflicts):
        import importlib

        manifest = find_benchmark(name)
        module, _, attribute = manifest.target.partition(":")
        loader = getattr(importlib.import_module(module), attribute)
        loaded = loader(name=name, variant=variant or None, progress=progress)
        if not isinstance(loaded, Benchmark):
            loaded = read_pairs(Path(loaded), name=text, version=manifest.version, labels=labels)
        card = find_card(name)
        if card is None:
            return replace(loaded, labels_by=manifest.labels_by)
        from rewardbench.catalogue.identity import identify

        warnings = tuple(filter(None, [identify(card, variant, loaded).sentence]))
        return replace(loaded, labels_by=manifest.labels_by, answers=card.answers, warnings=warnings)
    path = Path(text)
    if not path.exists() and _HUB_ID.fullmatch(text) and not path.suffix:
        return _read_hub(text, labels, label_format)
    if not path.exists():
        from rewardbench.registry import nearest

        hint = "" if path.suffix else nearest(text, registry.benchmarks)
        raise InputError(f"benchmark {text!r} is neither a file nor a registered name{hint}")
    return read_pairs(path, labels=labels, label_format=label_format)


def read_pairs(
    path: Path,
    *,
    name: str | None = None,
    version: str = "1",
    labels: Sequence[str] | None = None,
    label_format: str = "plain",
) -> Benchmark:
    """Read a pairs file (``.csv``, ``.parquet``, ``.jsonl``) in this project's or VideoAlign's layout.

    Raises:
        InputError: missing columns, unknown label spelling, duplicate pair ids, a path that leaves the folder.
    """
    columns, rows = read_table(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return _from_rows(
        columns,
        rows,
        name=name or path.stem,
        version=version,
        source=str(path),
        digest=digest,
        folder=path.parent,
        labels=labels,
        label_format=label_format,
    )


def _read_hub(text: str, labels: Sequence[str] | None, label_format: str) -> Benchmark:
    from datasets import load_dataset

    repository, _, revision = text.partition("@")
    try:
        data = load_dataset(repository, split="test", revision=revision or None)
    except Exception as error:
        reason = " ".join(str(error).split())
        raise InputError(f"benchmark {text!r} is no file here and could not be read from the hub: {reason}") from None
    rows = [{k: text_of_cell(v) for k, v in row.items()} for row in data]
    digest = hashlib.sha256(json.dumps(rows, sort_keys=True).encode()).hexdigest()
    return _from_rows(
        list(data.column_names),
        rows,
        name=repository.split("/")[-1],
        version=revision or "1",
        source=text,
        digest=digest,
        folder=Path.cwd(),
        labels=labels,
        label_format=label_format,
    )


def _from_rows(
    columns: list[str],
    rows: list[Row],
    *,
    name: str,
    version: str,
    source: str,
    digest: str,
    folder: Path,
    labels: Sequence[str] | None,
    label_format: str,
) -> Benchmark:
    if not rows:
        raise InputError(f"{source} holds no pairs; it needs a header and at least one row")
    if label_format not in LABEL_FORMATS:
        raise InputError(f"unknown label format {label_format!r}; use one of {', '.join(sorted(LABEL_FORMATS))}")
    video_a, video_b = _video_columns(columns, source)
    chosen = _label_columns(columns, labels, source, video_a)
    pair_ids = _pair_ids(columns, rows, source)
    clips = ClipTable(folder, source)
    comparisons = []
    for number, (row, pair_id) in enumerate(zip(rows, pair_ids, strict=True), start=1):
        prompt = row.get("prompt", "")
        if video_a is None or video_b is None:
            clip_a = clips.add_side(pair_id, "A", prompt)
            clip_b = clips.add_side(pair_id, "B", prompt)
        else:
            image = row.get("image", "")
            clip_a = clips.add(row[video_a], prompt, image, number)
            clip_b = clips.add(row[video_b], prompt, image, number)
        decided = {}
        for label, column in chosen.items():
            value = parse_label(row[column], label_format, column, number, source)
            if value is not None:
                decided[label] = value
        comparisons.append(Comparison(pair_id, prompt, clip_a, clip_b, decided, row))
    return Benchmark(
        name=name,
        version=version,
        source=source,
        sha256=digest,
        labels=tuple(chosen),
        comparisons=tuple(comparisons),
        clips=clips.clips,
        has_clips=video_a is not None,
        columns=tuple(columns),
        label_format=label_format,
        labels_by=_labels_by(columns, rows),
        has_pair_ids="pair_id" in columns,
    )


def _labels_by(columns: Sequence[str], rows: Sequence[Row]) -> str:
    """Who decided: ``construction`` only where the file's column ``labels_by`` says so of every pair."""
    made = "labels_by" in columns and all(row["labels_by"] == "construction" for row in rows)
    return "construction" if made else "people"


def check_matching(benchmark: Benchmark, plugin: str, matches_by: str | None) -> None:
    """Refuse a recorded table whose rows cannot be told apart the way the benchmark's pairs are.

    ``matches_by`` is ``"pair_id"`` or ``"order"`` (how the table's rows are found), None where neither applies.

    Raises:
        InputError: if only one of table and benchmark has pair ids.
    """
    if matches_by is None or (matches_by == "pair_id") == benchmark.has_pair_ids:
        return
    table = f"the table of plugin {plugin!r}"
    having, lacking = (benchmark.source, table) if benchmark.has_pair_ids else (table, benchmark.source)
    raise InputError(
        f"{having} has a pair_id column and {lacking} has none; give both files the column, or neither "
        "(rows are then matched by order)"
    )


def parse_label(text: str, label_format: str, column: str, row: int, source: str) -> Label | None:
    """+1, -1, 0, or None where the cell is empty.

    Raises:
        InputError: for any other spelling, naming column, row and what is understood.
    """
    spelling = text.strip().lower()
    if not spelling:
        return None
    known = LABEL_FORMATS[label_format]
    if spelling not in known:
        accepted = "A, B, tie or same" if label_format == "plain" else ", ".join(known)
        hint = " (or pass --label-format genai)" if spelling in LABEL_FORMATS["genai"] else ""
        raise InputError(f"{source}, row {row}: label {text!r} in column {column!r} is not {accepted}{hint}")
    return known[spelling]


def _video_columns(columns: Sequence[str], source: str) -> tuple[str, str] | tuple[None, None]:
    for a, b in (("video_a", "video_b"), ("path_A", "path_B")):
        present = [c for c in (a, b) if c in columns]
        if len(present) == 2:
            return a, b
        if present:
            missing = b if present[0] == a else a
            raise InputError(f"{source} has the column {present[0]!r} but not {missing!r}")
    return None, None


def _label_columns(
    columns: Sequence[str], labels: Sequence[str] | None, source: str, video_a: str | None
) -> dict[str, str]:
    """Label name to column."""
    if labels is not None:
        chosen = {}
        for label in labels:
            column = next((c for c in (f"label_{label}", label) if c in columns), None)
            if column is None:
                from rewardbench.registry import nearest

                hint = nearest(label, [c.removeprefix("label_") for c in columns])
                raise InputError(f"{source} has no label column {label!r}{hint}")
            chosen[label.removeprefix("label_")] = column
        return chosen
    named = {c.removeprefix("label_"): c for c in columns if c.startswith("label_")}
    if not named and video_a == "path_A":
        named = {c: c for c in VIDEOALIGN_LABELS if c in columns}
    if not named:
        raise InputError(
            f"{source} has no label_<DIMENSION> column; call the label columns so, or let run name them with --map "
            f"LABEL=SCORE (columns: {', '.join(columns)})"
        )
    return named


def _pair_ids(columns: Sequence[str], rows: Sequence[Row], source: str) -> list[str]:
    if "pair_id" not in columns:
        return [str(number) for number in range(len(rows))]
    ids = [row["pair_id"] for row in rows]
    repeated = [pair_id for pair_id, count in Counter(ids).items() if count > 1]
    if repeated:
        raise InputError(f"{source}: pair_id {repeated[0]!r} stands {ids.count(repeated[0])} times; ids must be unique")
    if "" in ids:
        raise InputError(f"{source}, row {ids.index('') + 1}: pair_id is empty")
    return ids


def slice_columns(benchmark: Benchmark, wanted: Iterable[str]) -> dict[str, list[str]]:
    """For each ``--slice`` column its value per pair.

    Raises:
        InputError: if the source has no such column, or it has too many values to slice a label's pairs by.
    """
    from rewardbench.metrics.evaluation import MAX_SLICES

    result = {}
    for column in wanted:
        values = column_values(benchmark, column, "slice by")
        for label in benchmark.labels:
            pairs = zip(values, benchmark.comparisons, strict=True)
            n = len({value for value, comparison in pairs if label in comparison.labels})
            if n > MAX_SLICES:
                raise InputError(
                    f"--slice {column}: the column has {n:,} values among the pairs with the label {label!r}, more "
                    f"than {MAX_SLICES:,}; slice by a column of groups"
                )
        result[column] = values
    return result


def column_values(benchmark: Benchmark, column: str, purpose: str) -> list[str]:
    """A column of the source as text, one value per pair; ``purpose`` completes "no column 'x' to …".

    Raises:
        InputError: if the source has no such column.
    """
    if column not in benchmark.columns:
        from rewardbench.registry import nearest

        hint = nearest(column, benchmark.columns) or "; it names no columns at all"
        raise InputError(f"{benchmark.source} has no column {column!r} to {purpose}{hint}")
    for comparison in benchmark.comparisons:
        if column not in comparison.row:
            raise InputError(f"{benchmark.source}: pair {comparison.pair_id!r} has no {column!r} to {purpose}")
    return [comparison.row[column] for comparison in benchmark.comparisons]
