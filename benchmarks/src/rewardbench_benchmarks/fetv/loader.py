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
from rewardbench.catalogue.card import read_card
from rewardbench.catalogue.folders import data_folder, first_file, need_file
from rewardbench.catalogue.ratings import RatedClip, RaterViews, Rule, check_scale, rated_pairs, rater_views
from rewardbench.catalogue.reading import (
    columns_of,
    field,
    json_of_line,
    numbered_lines,
    read_json,
    read_json_lines,
    text,
    whole,
)
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
    from_table = table is not None and not (folder / "manual_eval_results").is_dir()
    clips = _from_table(table, folder) if table is not None and from_table else _from_published(folder)
    check_scale(clips, read_card(Path(__file__).parent), table if table is not None and from_table else folder)
    return clips


def _from_published(folder: Path) -> list[RatedClip]:
    need_file("fetv", folder, "manual_eval_results/human0/manual_eval_results_cogvideo.json", "fetv_ratings*.csv")
    prompts = _prompts(folder)
    clips = []
    for system in (*SYSTEMS, REAL):
        raters = [_manual(folder, system, rater) for rater in range(RATERS)]
        scores = {metric: _automatic(folder, system, metric) for metric in METRICS}
        for prompt_id in sorted(raters[0], key=int):
            where = f"prompt {prompt_id} of {system}"
            ratings = {
                d: tuple(whole(field(field(r, prompt_id, where), d, where), where) for r in raters) for d in DIMENSIONS
            }
            own = {metric: values[prompt_id] for metric, values in scores.items() if prompt_id in values}
            prompt = _prompt_of(prompts, prompt_id, system, folder)
            clips.append(RatedClip(prompt_id, prompt, system, f"{system}/{int(prompt_id):04d}.mp4", ratings, own))
    return sorted(clips, key=lambda clip: int(clip.prompt_id))


def _prompts(folder: Path) -> dict[str, str]:
    """Prompt id (the number of its line, from 0) to prompt; empty where no prompts are at hand."""
    path = first_file(folder, "fetv_data.json")
    if path is not None:
        records = (json_of_line(line, path, n) for n, line in enumerate(numbered_lines(path, "prompts"), start=1))
        return {str(i): text(record, "prompt", f"{path}, line {i + 1}") for i, record in enumerate(records)}
    pairs = first_file(folder, "fetv_pairs*.csv")
    if pairs is None:
        return {}
    columns, rows = read_table(pairs)
    columns_of(columns, ("prompt_id", "prompt"), pairs)
    return {row["prompt_id"]: row["prompt"] for row in rows}


def _prompt_of(prompts: dict[str, str], prompt_id: str, system: str, folder: Path) -> str:
    """The prompt of a rated clip; only real clips, which stand in no pair, may lack one among those at hand."""
    if prompts and prompt_id not in prompts and system != REAL:
        raise InputError(f"{folder} has ratings of prompt {prompt_id} of {system} and no prompt of that number")
    return prompts.get(prompt_id, "")


def _manual(folder: Path, system: str, rater: int) -> dict[str, dict[str, int]]:
    """Prompt id to one rater's record."""
    name = _MANUAL_NAME.get(system, system)
    path = need_file("fetv", folder, f"manual_eval_results/human{rater}/manual_eval_results_{name}.json")
    found: dict[str, dict[str, int]] = {}
    for line in read_json_lines(path):
        if not isinstance(line, dict) or not all(key.isascii() and key.isdigit() for key in line):
            raise InputError(f"{path} must hold one record a line, by the number of its prompt")
        repeated = [key for key in line if key in found and found[key] != line[key]]
        if repeated:
            raise InputError(f"{path} has prompt {repeated[0]} twice, and with other ratings; keep one of the lines")
        found.update(line)
    return found


def _automatic(folder: Path, system: str, metric: str) -> dict[str, float]:
    """Prompt id to a metric's score; empty where it was not fetched."""
    path = first_file(folder, f"auto_eval_results/{metric}/auto_eval_results_{system}.json")
    if path is None:
        return {}
    scores = read_json(path)
    if not isinstance(scores, dict) or not all(isinstance(value, int | float) for value in scores.values()):
        raise InputError(f"{path} must hold one number per prompt")
    return {key: float(value) for key, value in scores.items()}


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
        prompt = _prompt_of(prompts, row["prompt_id"], row["system"], folder)
        clips.append(RatedClip(row["prompt_id"], prompt, row["system"], place, ratings, scores))
    return clips
