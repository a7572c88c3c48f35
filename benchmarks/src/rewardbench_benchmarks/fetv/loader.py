"""FETV: ratings of three people (1 to 5) of 619 prompts × 4 generators, and of the 541 real clips behind the prompts.

Two layouts are read: the files as FETV and FETV-EVAL publish them, and a table of clips ``fetv_ratings*.csv``
(``prompt_id``, ``system``, ``<dimension>_r0`` …, one column per metric), with the prompts from ``fetv_data.json`` or
``fetv_pairs*.csv`` where one is beside it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from rewardbench.benchmark import Benchmark
from rewardbench.catalogue.building import build_benchmark
from rewardbench.catalogue.folders import data_folder, first_file, need_file
from rewardbench.catalogue.ratings import RatedClip, RaterViews, Rule, rated_pairs, rater_views
from rewardbench.catalogue.reading import columns_of, field, read_json, read_json_lines, text
from rewardbench.errors import InputError
from rewardbench.tables import read_table

SYSTEMS = ("cogvideo", "text2video-zero", "modelscope-t2v", "zeroscope")
REAL = "ground-truth"
DIMENSIONS = ("static_quality", "temporal_quality", "alignment")
METRICS = ("CLIPScore", "CLIPScore-ft", "BLIPScore", "Otter-VQA", "UMTScore")
RATERS = 3
# The manual files spell one generator differently from the automatic ones.
_MANUAL_NAME = {"modelscope-t2v": "damo-text2video"}


def load(
    name: str = "fetv",
    variant: str | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Benchmark:
    """Same-prompt pairs of the four generators; the label is that of the mean rating, or of the ``majority``.

    Raises:
        InputError: unknown variant, or files that are not at hand or not what they should be.
    """
    folder = data_folder(name, data_dir)
    rows = rated_pairs(read_clips(folder), SYSTEMS, _rule(name, variant))
    return build_benchmark(f"{name}:{variant}" if variant else name, "1", rows, folder)


def rater_tables(folder: Path, variant: str | None = None) -> dict[str, RaterViews]:
    """What each rater said, by dimension."""
    clips = read_clips(folder)
    rule = _rule("fetv", variant)
    return {dimension: rater_views(clips, SYSTEMS, dimension, rule) for dimension in DIMENSIONS}


def _rule(name: str, variant: str | None) -> Rule:
    if variant in (None, "", "mean"):
        return "mean"
    if variant == "majority":
        return "majority"
    raise InputError(f"unknown variant {variant!r} of benchmark {name}; use {name} or {name}:majority")


def read_clips(folder: Path) -> list[RatedClip]:
    """All rated clips, the real ones among them, with the published metric scores that are at hand.

    Raises:
        InputError: neither layout is in ``folder``, or a file is not what it should be.
    """
    table = first_file(folder, "fetv_ratings*.csv")
    if table is not None and not (folder / "manual_eval_results").is_dir():
        return _from_table(table, folder)
    need_file("fetv", folder, "manual_eval_results/human0/manual_eval_results_cogvideo.json", "fetv_ratings*.csv")
    prompts = _prompts(folder)
    clips = []
    for system in (*SYSTEMS, REAL):
        raters = [_manual(folder, system, rater) for rater in range(RATERS)]
        scores = {metric: _automatic(folder, system, metric) for metric in METRICS}
        for prompt_id in sorted(raters[0], key=int):
            where = f"prompt {prompt_id} of {system}"
            ratings = {d: tuple(int(field(field(r, prompt_id, where), d, where)) for r in raters) for d in DIMENSIONS}
            own = {metric: values[prompt_id] for metric, values in scores.items() if prompt_id in values}
            prompt = prompts.get(prompt_id, "")
            clips.append(RatedClip(prompt_id, prompt, system, f"{system}/{int(prompt_id):04d}.mp4", ratings, own))
    return sorted(clips, key=lambda clip: int(clip.prompt_id))


def _prompts(folder: Path) -> dict[str, str]:
    path = first_file(folder, "fetv_data.json")
    if path is not None:
        lines = enumerate(read_json_lines(path))
        return {str(number): text(record, "prompt", f"{path}, line {number + 1}") for number, record in lines}
    pairs = first_file(folder, "fetv_pairs*.csv")
    if pairs is None:
        return {}
    columns, rows = read_table(pairs)
    columns_of(columns, ("prompt_id", "prompt"), pairs)
    return {row["prompt_id"]: row["prompt"] for row in rows}


def _manual(folder: Path, system: str, rater: int) -> dict[str, dict[str, int]]:
    """Prompt id to one rater's record."""
    name = _MANUAL_NAME.get(system, system)
    path = need_file("fetv", folder, f"manual_eval_results/human{rater}/manual_eval_results_{name}.json")
    found: dict[str, dict[str, int]] = {}
    for line in read_json_lines(path):
        if not isinstance(line, dict):
            raise InputError(f"{path} must hold one record a line")
        found.update(line)
    return found


def _automatic(folder: Path, system: str, metric: str) -> dict[str, float]:
    """Prompt id to a metric's score; empty where it was not fetched."""
    path = first_file(folder, f"auto_eval_results/{metric}/auto_eval_results_{system}.json")
    return {} if path is None else {key: float(value) for key, value in read_json(path).items()}


def _from_table(path: Path, folder: Path) -> list[RatedClip]:
    columns, rows = read_table(path)
    wanted = [f"{dimension}_r{rater}" for dimension in DIMENSIONS for rater in range(RATERS)]
    columns_of(columns, ("prompt_id", "system", *wanted), path)
    prompts = _prompts(folder)
    clips = []
    for number, row in enumerate(rows, start=1):
        try:
            ratings = {d: tuple(int(row[f"{d}_r{rater}"]) for rater in range(RATERS)) for d in DIMENSIONS}
            scores = {metric: float(row[metric]) for metric in METRICS if row.get(metric)}
            place = f"{row['system']}/{int(row['prompt_id']):04d}.mp4"
        except ValueError as error:
            raise InputError(f"{path}, row {number}: {error}") from None
        prompt = prompts.get(row["prompt_id"], "")
        clips.append(RatedClip(row["prompt_id"], prompt, row["system"], place, ratings, scores))
    return clips
