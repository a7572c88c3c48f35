"""VideoFeedback's test split: single clips rated 1 to 4 in five dimensions (one consolidated rating each).

The source ranks clips across prompts. Here every clip stands in one pair: clips are ordered by the SHA-256 of their
ids and taken two by two, so the pairs are independent and the same everywhere.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from rewardbench.benchmark import Benchmark
from rewardbench.catalogue.building import PairRow, Side, build_benchmark
from rewardbench.catalogue.card import read_card
from rewardbench.catalogue.folders import data_folder, need_file
from rewardbench.catalogue.ratings import RatedClip, check_scale, label_of
from rewardbench.catalogue.reading import columns_of, whole
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
    clips = [_clip(row, path) for row in table]
    check_scale(clips, read_card(Path(__file__).parent), path)
    ordered = sorted(clips, key=lambda clip: hashlib.sha256(clip.prompt_id.encode()).hexdigest())
    rows = []
    for first, second in zip(ordered[::2], ordered[1::2], strict=False):
        labels = {d: label_of(first.ratings[d], second.ratings[d], "mean") for d in DIMENSIONS.values()}
        a, b = (Side(clip.video, clip.prompt) for clip in (first, second))
        rows.append(PairRow(f"{first.prompt_id}--{second.prompt_id}", a, b, labels))
    return build_benchmark(name, "1", rows, folder)


def _clip(row: Row, path: Path) -> RatedClip:
    """One rated clip; its id stands for the prompt's, because no two clips of this set belong together."""
    ratings = {own: (whole(row[column], f"{path}: {column!r} of {row['id']!r}"),) for column, own in DIMENSIONS.items()}
    return RatedClip(row["id"], row["text prompt"], "", f"{row['id']}.mp4", ratings)
