"""VideoFeedback's test split: single clips rated 1 to 4 in five dimensions (one consolidated rating each).

The source ranks clips across prompts. Here every clip stands in one pair: clips are ordered by the SHA-256 of their
ids and taken two by two, so the pairs are independent and the same everywhere.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable

from rewardbench.benchmark import Benchmark
from rewardbench.catalogue.building import PairRow, Side, build_benchmark
from rewardbench.catalogue.folders import data_folder, need_file
from rewardbench.catalogue.ratings import label_of
from rewardbench.catalogue.reading import columns_of
from rewardbench.errors import InputError
from rewardbench.tables import Row, read_table

DIMENSIONS = {
    "visual quality": "visual_quality",
    "temporal consistency": "temporal_consistency",
    "dynamic degree": "dynamic_degree",
    "text-to-video alignment": "text_alignment",
    "factual consistency": "factual_consistency",
}


def load(
    name: str = "videofeedback-test",
    variant: str | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Benchmark:
    """Disjoint pairs of the rated clips; the label is that of the ratings, equal ratings are a tie.

    Raises:
        InputError: files that are not at hand or not what they should be.
    """
    if variant:
        raise InputError(f"benchmark {name} has no variant {variant!r}")
    folder = data_folder(name, data_dir)
    path = need_file(name, folder, "annotated/test-*.parquet", "videofeedback_test.csv", "videofeedback_test.jsonl")
    columns, table = read_table(path)
    columns_of(columns, ("id", "text prompt", *DIMENSIONS), path)
    ordered = sorted(table, key=lambda row: hashlib.sha256(row["id"].encode()).hexdigest())
    rows = []
    for first, second in zip(ordered[::2], ordered[1::2], strict=False):
        labels = {own: _label(first, second, column, str(path)) for column, own in DIMENSIONS.items()}
        a, b = (Side(f"{row['id']}.mp4", row["text prompt"]) for row in (first, second))
        rows.append(PairRow(f"{first['id']}--{second['id']}", a, b, labels))
    return build_benchmark(name, "1", rows, folder)


def _label(a: Row, b: Row, column: str, source: str) -> int | None:
    try:
        return label_of((int(a[column]),), (int(b[column]),), "mean")
    except ValueError:
        raise InputError(f"{source}: {column!r} of {a['id']!r} or {b['id']!r} is not a whole number") from None
