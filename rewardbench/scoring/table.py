"""The score table of a run: every clip's scores in benchmark order, in memory as arrays and on disk as parquet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from rewardbench.errors import InputError
from rewardbench.results import FailureRecord
from rewardbench.scoring.plan import Contents, Failures, Job
from rewardbench.scoring.scorer import ORDERS, PairVerdict
from rewardbench.scoring.store import ScoreStore
from rewardbench_plugin.clip import Clip

ROWS_PER_GROUP = 2_000


@dataclass(frozen=True)
class ClipScores:
    """Scores of one job: ``values`` float64 (clips, D), NaN where the model abstained or the clip failed."""

    rows: Mapping[str, int]
    values: np.ndarray
    failed: frozenset[str]


def _fields() -> Any:
    import pyarrow as pa

    text, number = pa.string(), pa.float64()
    return pa.schema(
        [
            ("plugin", text),
            ("clip_id", text),
            ("video", text),
            ("prompt", text),
            ("image", text),
            ("video_sha256", text),
            ("key", text),
            ("dimension", text),
            ("value", number),
            ("raw", number),
            ("note", text),
            ("error", text),
        ]
    )


def write_scores(
    path: Path,
    jobs: Sequence[Job],
    clips: Mapping[str, Clip],
    contents: Contents,
    store: ScoreStore,
    failures: Failures,
) -> list[ClipScores]:
    """Write ``scores.parquet`` (plugin, clip, dimension order) and return the values of each job as arrays."""
    rows = {clip_id: number for number, clip_id in enumerate(clips)}
    tables = []

    def records() -> Iterator[dict[str, Any]]:
        for position, job in enumerate(jobs):
            values = np.full((len(clips), len(job.dimensions)), np.nan)
            failed = set()
            for number, clip in enumerate(clips.values()):
                content = contents.of(clip, job)
                for column, dimension in enumerate(job.dimensions):
                    key = "" if content is None else job.score_key(dimension, content[0], clip, content[1])
                    score = store.score(key) if key else None
                    error = None
                    if score is None:
                        error = failures.of(position, clip.clip_id) or "not scored"
                        failed.add(clip.clip_id)
                    elif score.value is not None:
                        values[number, column] = score.value
                    yield {
                        "plugin": job.label,
                        "clip_id": clip.clip_id,
                        "video": clip.metadata.get("name", clip.video),
                        "prompt": clip.prompt,
                        "image": clip.image,
                        "video_sha256": contents.sha256(clip),
                        "key": key or None,
                        "dimension": dimension,
                        "value": None if score is None else score.value,
                        "raw": None if score is None else score.raw,
                        "note": "" if score is None else score.note,
                        "error": error,
                    }
            tables.append(ClipScores(rows, values, frozenset(failed)))

    write_parquet(path, _fields(), records())
    return tables


def write_comparisons(
    path: Path,
    labels: Sequence[str],
    verdicts: Sequence[Sequence[PairVerdict]],
    scores: Sequence[str] | None = None,
) -> None:
    """Write ``comparisons.parquet``: what each judge said of each pair in each order.

    ``labels`` names each judge's plugin and ``scores`` its dimension, which tells judges of one plugin apart.
    """
    import pyarrow as pa

    text, number = pa.string(), pa.float64()
    names = [("plugin", text), ("score", text), ("pair_id", text), ("order", text)]
    fields = [*names, ("p_a", number), ("p_tie", number), ("p_b", number), ("text", text), ("error", text)]

    judges: Sequence[str | None] = [None] * len(labels) if scores is None else scores

    def records() -> Iterator[dict[str, Any]]:
        for label, score, said in zip(labels, judges, verdicts, strict=True):
            for one in said:
                p_a, p_tie, p_b = one.p or (None, None, None)
                yield {
                    "plugin": label,
                    "score": score,
                    "pair_id": one.pair_id,
                    "order": one.order,
                    "p_a": p_a,
                    "p_tie": p_tie,
                    "p_b": p_b,
                    "text": one.text,
                    "error": one.error,
                }

    write_parquet(path, pa.schema(fields), records())


class PairMargin(NamedTuple):
    """What a judge said of one pair.

    margin: mean over orders of p(A) - p(B), NaN where an order is missing or abstained.
    text: the recorded text, None where the judge was asked in both orders: what a model writes is no recorded
        verdict, and is not to be parsed as one.
    p_ab, p_ba: what it said in each order (A, tie, B of the pair), None where it said nothing or was not asked.
    """

    margin: float
    text: str | None
    p_ab: tuple[float, float, float] | None
    p_ba: tuple[float, float, float] | None


def mean_margins(verdicts: Sequence[PairVerdict]) -> dict[str, PairMargin]:
    """Pair id to what the judge said of it."""
    margins: dict[str, list[float]] = {}
    texts: dict[str, str] = {}
    said: dict[tuple[str, str], tuple[float, float, float] | None] = {}
    for one in verdicts:
        said[one.pair_id, one.order] = one.p
        margins.setdefault(one.pair_id, []).append(float("nan") if one.p is None else one.p[0] - one.p[2])
        texts.setdefault(one.pair_id, one.text)
    recorded = all(one.order == ORDERS[0] for one in verdicts)
    return {
        pair: PairMargin(
            sum(m) / len(m),
            texts[pair] if recorded else None,
            *(said.get((pair, order)) for order in ORDERS),
        )
        for pair, m in margins.items()
    }


def read_failures(folder: Path) -> list[FailureRecord]:
    """Clips and pairs without a score, from the tables of a run folder: one line per plugin and clip, or judge and
    pair."""
    import pyarrow.parquet as pq

    failures: dict[tuple[str, str | None, str], FailureRecord] = {}
    scores, comparisons = folder / "scores.parquet", folder / "comparisons.parquet"
    for path, name, shown in ((scores, "clip_id", "video"), (comparisons, "pair_id", "pair_id")):
        if not path.exists():
            continue
        wanted = {"plugin", name, shown, "error"} | ({"score"} if path == comparisons else set())
        table = pq.read_table(path, columns=[c for c in pq.read_schema(path).names if c in wanted])
        table = table.filter(table["error"].is_valid())
        for row in table.to_pylist():
            record = FailureRecord(plugin=row["plugin"], clip_id=row[name], video=row[shown], error=row["error"])
            failures.setdefault((row["plugin"], row.get("score"), row[name]), record)
    return list(failures.values())


def write_parquet(path: Path, schema: Any, records: Iterator[dict[str, Any]]) -> None:
    """Write records in groups (memory stays flat) and put the file in place only when it is whole.

    Raises:
        InputError: if the folder cannot be written.
    """
    import itertools

    import pyarrow as pa
    import pyarrow.parquet as pq

    partial = path.with_name(path.name + ".partial")
    try:
        with pq.ParquetWriter(partial, schema, compression="zstd") as writer:
            while group := list(itertools.islice(records, ROWS_PER_GROUP)):
                writer.write_table(pa.Table.from_pylist(group, schema=schema))
        partial.replace(path)
    except OSError as error:
        raise InputError(
            f"{path} cannot be written: {error}; the scores are kept, and the same command goes on"
        ) from None
