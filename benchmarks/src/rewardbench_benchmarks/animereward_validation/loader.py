"""AnimeReward's validation set, given out by agreement only: a table of rated clips that its holder brings.

Its published layout was never seen. What is read is ``ratings.csv`` (or ``.parquet``, ``.jsonl``): ``video``,
``prompt``, ``prompt_id?``, ``image?``, ``system``, and one column per dimension, or ``<dimension>_r0``, ``_r1`` … for
several raters; empty cells are missing ratings. Several clips of one system for one prompt are takes of it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from rewardbench.aliases import canonical
from rewardbench.benchmark import Benchmark
from rewardbench.catalogue.building import build_benchmark
from rewardbench.catalogue.card import read_card
from rewardbench.catalogue.folders import data_folder, need_file
from rewardbench.catalogue.ratings import RatedClip, RaterViews, check_scale, rated_pairs, rater_views
from rewardbench.catalogue.reading import columns_of
from rewardbench.errors import InputError
from rewardbench.tables import Row, read_table

DIMENSIONS = ("smoothness", "motion", "appeal", "text_video", "image_video", "character")


def load(
    name: str = "animereward-validation",
    variant: str | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Benchmark:
    """Same-prompt pairs of the systems in the table; the label is that of the mean rating.

    Raises:
        InputError: the table is not at hand or not what it should be.
    """
    if variant:
        raise InputError(f"benchmark {name} has no variant {variant!r}")
    folder = data_folder(name, data_dir)
    clips = read_clips(folder)
    return build_benchmark(name, "1", rated_pairs(clips, _systems(clips), "mean"), folder)


def rater_tables(folder: Path, variant: str | None = None) -> dict[str, RaterViews]:
    """What each rater said, by dimension; empty where there is one rating a clip."""
    clips = read_clips(folder)
    known = [d for d in DIMENSIONS if any(len(clip.ratings.get(d, ())) > 1 for clip in clips)]
    return {dimension: rater_views(clips, _systems(clips), dimension, "mean") for dimension in known}


def _systems(clips: list[RatedClip]) -> list[str]:
    return sorted({clip.system for clip in clips})


def read_clips(folder: Path) -> list[RatedClip]:
    """The rated clips of the table."""
    path = need_file("animereward-validation", folder, "ratings.csv", "ratings.parquet", "ratings.jsonl")
    columns, rows = read_table(path)
    columns_of(columns, ("video", "prompt", "system"), path)
    own = {
        column: canonical(column.rpartition("_r")[0] if _is_rater(column) else column, DIMENSIONS) for column in columns
    }
    by_dimension: dict[str, list[str]] = {}
    for column, dimension in own.items():
        if dimension in DIMENSIONS:
            by_dimension.setdefault(dimension, []).append(column)
    if not by_dimension:
        raise InputError(f"{path} has no rating column ({', '.join(DIMENSIONS)}, or with _r0, _r1 … behind)")
    clips = [_clip(row, by_dimension, f"{path}, row {number}") for number, row in enumerate(rows, start=1)]
    check_scale(clips, read_card(Path(__file__).parent), path)
    return clips


def _is_rater(column: str) -> bool:
    head, mark, tail = column.rpartition("_r")
    return bool(head and mark) and tail.isdigit()


def _clip(row: Row, by_dimension: dict[str, list[str]], where: str) -> RatedClip:
    try:
        ratings = {
            dimension: tuple(Fraction(row[column]) if row[column].strip() else None for column in columns)
            for dimension, columns in by_dimension.items()
        }
    except (ValueError, ZeroDivisionError) as error:
        raise InputError(f"{where}: {error}") from None
    return RatedClip(row.get("prompt_id") or row["prompt"], row["prompt"], row["system"], row["video"], ratings)
