"""TVGE, the ratings behind T2VScore: 2,543 clips of 5 generators for 512 prompts, rated for alignment and quality.

Read as ``t2v_metrics`` publishes them (``t2vscore_alignment_score.json``, ``t2vscore_quality_score.json``, scores of
metrics in ``t2vscore_results.csv``), or from a table of pairs ``tvge_pairs*.csv``
(``<rating>_A``, ``<rating>_B``).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

from rewardbench.benchmark import Benchmark
from rewardbench.catalogue.building import build_benchmark
from rewardbench.catalogue.card import read_card
from rewardbench.catalogue.folders import data_folder, first_file, need_file
from rewardbench.catalogue.ratings import RatedClip, check_scale, rated_pairs
from rewardbench.catalogue.reading import columns_of, field, read_json
from rewardbench.errors import InputError
from rewardbench.tables import read_table

SYSTEMS = ("floor33", "gen2", "modelscope", "pika", "zeroscope")
DIMENSIONS = ("alignment", "quality")
METRICS = ("CLIP Score", "X-CLIP Score", "BLIP-BLEU", "T2VScore-A (GPT-4V)")


def load(
    name: str = "tvge",
    variant: str | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Benchmark:
    """Same-prompt pairs of the five generators; the label is that of the published mean ratings.

    Raises:
        InputError: files that are not at hand or not what they should be.
    """
    if variant:
        raise InputError(f"benchmark {name} has no variant {variant!r}")
    folder = data_folder(name, data_dir)
    return build_benchmark(name, "1", rated_pairs(read_clips(folder), SYSTEMS, "mean"), folder)


def read_clips(folder: Path) -> list[RatedClip]:
    """All rated clips, with the published metric scores that are at hand.

    Raises:
        InputError: neither layout is in ``folder``, or a file is not what it should be.
    """
    table = first_file(folder, "tvge_pairs*.csv")
    clips = _from_published(folder) if table is None else _from_pairs(table)
    check_scale(clips, read_card(Path(__file__).parent), table or folder)
    return clips


def _from_published(folder: Path) -> list[RatedClip]:
    paths = {d: need_file("tvge", folder, f"t2vscore_{d}_score.json", "tvge_pairs*.csv") for d in DIMENSIONS}
    data: dict[str, Any] = {dimension: read_json(path) for dimension, path in paths.items()}
    scores = _scores(folder)
    clips = []
    for prompt_id, record in data["alignment"].items():
        prompt = str(field(record, "prompt", f"prompt {prompt_id}"))
        for system in field(record, "models", f"prompt {prompt_id}"):
            where = f"prompt {prompt_id} of {system}"
            ratings = {
                d: tuple(_exact(v, where) for v in field(field(data[d], prompt_id, where)["models"], system, where))
                for d in DIMENSIONS
            }
            own = scores.get((prompt_id, system), {})
            clips.append(RatedClip(prompt_id, prompt, system, f"{system}/{int(prompt_id):04d}.mp4", ratings, own))
    return clips


def _scores(folder: Path) -> dict[tuple[str, str], dict[str, float]]:
    path = first_file(folder, "t2vscore_results.csv")
    if path is None:
        return {}
    columns, rows = read_table(path)
    columns_of(columns, ("model_name", "video_id", *METRICS), path)
    return {
        (row["video_id"], row["model_name"]): {metric: float(row[metric]) for metric in METRICS if row[metric]}
        for row in rows
    }


def _from_pairs(path: Path) -> list[RatedClip]:
    columns, rows = read_table(path)
    columns_of(columns, ("prompt_id", "prompt", "system_A", "system_B", "alignment_A", "quality_B"), path)
    metrics = [metric for metric in METRICS if f"{metric}_A" in columns]
    found: dict[tuple[str, str], RatedClip] = {}
    for number, row in enumerate(rows, start=1):
        for side in ("A", "B"):
            key = (row["prompt_id"], row[f"system_{side}"])
            try:
                ratings = {d: (_exact(row[f"{d}_{side}"], f"{path}, row {number}"),) for d in DIMENSIONS}
                scores = {metric: float(row[f"{metric}_{side}"]) for metric in metrics}
                video = f"{key[1]}/{int(key[0]):04d}.mp4"
            except ValueError as error:
                raise InputError(f"{path}, row {number}: {error}") from None
            clip = RatedClip(key[0], row["prompt"], key[1], video, ratings, scores)
            if found.setdefault(key, clip) != clip:
                raise InputError(f"{path}, row {number}: {video} has other ratings or scores than in an earlier row")
    return list(found.values())


def _exact(value: Any, where: str) -> Fraction:
    """A printed number as the fraction it stands for: 1.3 is 13/10, whatever a float makes of it."""
    try:
        return Fraction(str(value))
    except (ValueError, ZeroDivisionError):
        raise InputError(f"{where}: rating {value!r} is not a number") from None
