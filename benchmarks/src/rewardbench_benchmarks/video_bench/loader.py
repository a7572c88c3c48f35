"""Video-Bench: four raters, seven generators, nine dimensions with prompts of their own; 0 means no rating."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from rewardbench.benchmark import Benchmark
from rewardbench.catalogue.building import PairRow, build_benchmark
from rewardbench.catalogue.card import read_card
from rewardbench.catalogue.folders import data_folder, first_file, need_file
from rewardbench.catalogue.ratings import RatedClip, RaterViews, check_scale, rated_pairs, rater_views
from rewardbench.catalogue.reading import as_list, field, read_json, text
from rewardbench.errors import InputError

SYSTEMS = ("cogvideox5b", "gen3", "kling", "lavie", "pika", "show1", "videocrafter2")
DIMENSIONS = (
    "action",
    "aesthetic_quality",
    "color",
    "imaging_quality",
    "motion_effects",
    "object_class",
    "scene",
    "temporal_consistency",
    "video_text_consistency",
)
RATERS = 4
MISSING = 0


def load(
    name: str = "video-bench",
    variant: str | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Benchmark:
    """Same-prompt pairs of every dimension whose file is at hand, or of the dimension that ``variant`` names.

    The label is that of the mean over the raters who rated.

    Raises:
        InputError: unknown variant, or files that are not at hand or not what they should be.
    """
    folder = data_folder(name, data_dir)
    rows: list[PairRow] = []
    for dimension in _chosen(folder, name, variant):
        rows += rated_pairs(read_clips(folder, dimension), SYSTEMS, "mean", f"{dimension}-")
    return build_benchmark(f"{name}:{variant}" if variant else name, "1", rows, folder)


def rater_tables(folder: Path, variant: str | None = None) -> dict[str, RaterViews]:
    """What each rater said, by dimension."""
    return {
        dimension: rater_views(read_clips(folder, dimension), SYSTEMS, dimension, "mean")
        for dimension in _chosen(folder, "video-bench", variant)
    }


def _chosen(folder: Path, name: str, variant: str | None) -> tuple[str, ...]:
    if variant and variant not in DIMENSIONS:
        raise InputError(f"unknown variant {variant!r} of benchmark {name}; use one of {', '.join(DIMENSIONS)}")
    if variant:
        return (variant,)
    there = tuple(dimension for dimension in DIMENSIONS if first_file(folder, *_names(dimension)) is not None)
    if not there:
        need_file(name, folder, "action.json")
    return there


def _names(dimension: str) -> tuple[str, ...]:
    spaced = "video-text consistency" if dimension == "video_text_consistency" else dimension
    places = ("", "human_anno/", "video_bench_human/")
    return tuple(dict.fromkeys(f"{place}{name}.json" for place in places for name in (dimension, spaced)))


def read_clips(folder: Path, dimension: str) -> list[RatedClip]:
    """The rated clips of one dimension. An entry of the file is one prompt and take, so its number is the prompt id.

    Raises:
        InputError: the file is not at hand or not what it should be.
    """
    path = need_file("video-bench", folder, *_names(dimension))
    clips = []
    for number, record in enumerate(as_list(read_json(path), path)):
        where = f"{path}, record {number}"
        videos, raters = field(record, "videos", where), field(record, "human_anno", where)
        prompt = text(record, "prompt_en", where)
        for system, given in raters.items():
            if system not in SYSTEMS:
                raise InputError(f"{where}: unknown generator {system!r}")
            if not isinstance(given, list) or len(given) != RATERS or not all(type(v) is int for v in given):
                raise InputError(f"{where}: {system} must have {RATERS} whole numbers, one per rater")
            ratings = {dimension: tuple(None if value == MISSING else value for value in given)}
            clips.append(RatedClip(f"{number:04d}", prompt, system, text(videos, system, where), ratings))
    check_scale(clips, read_card(Path(__file__).parent), path)
    return clips
