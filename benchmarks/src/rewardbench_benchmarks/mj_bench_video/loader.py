"""MJ-Bench-Video's test split: 1,085 pairs labelled in five aspects and overall; most of them are ties."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from rewardbench.benchmark import Benchmark, Label
from rewardbench.catalogue.building import PairRow, Side, build_benchmark
from rewardbench.catalogue.folders import data_folder, need_file
from rewardbench.catalogue.reading import as_list, field, read_json, text
from rewardbench.errors import InputError

ASPECTS = {
    "Alignment": "alignment",
    "Safety": "safety",
    "Fineness": "fineness",
    "Coherence & Consistency": "consistency",
    "Bias": "bias",
}
OVERALL = "overall"
# Case and blanks vary in the file ("Video 1 better", "Video 1 Better").
_SPELLED: dict[str, Label | None] = {"video 1 better": 1, "video 2 better": -1, "same": 0, "hard to judge": None}


def load(
    name: str = "mj-bench-video",
    variant: str | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Benchmark:
    """All pairs that the file does not mark as discarded; "Hard to judge" is no decision.

    Raises:
        InputError: files that are not at hand or not what they should be.
    """
    if variant:
        raise InputError(f"benchmark {name} has no variant {variant!r}")
    folder = data_folder(name, data_dir)
    path = need_file(name, folder, "test.json")
    rows = []
    for number, record in enumerate(as_list(read_json(path), path)):
        where = f"{path}, record {number}"
        if field(record, "discard", where) in (True, "True", "true"):
            continue
        said = field(record, "category_preference", where)
        labels = {label: parse_preference(field(said, aspect, where), where) for aspect, label in ASPECTS.items()}
        labels[OVERALL] = parse_preference(field(record, "overall_preference", where), where)
        caption = text(record, "caption", where)
        a, b = (Side(text(record, f"video_{side}_path", where), caption) for side in (0, 1))
        rows.append(PairRow(f"{number:04d}", a, b, labels))
    return build_benchmark(name, "1", rows, folder)


def parse_preference(said: Any, where: str) -> Label | None:
    """+1, -1, 0, or None for "Hard to judge", whatever its case and blanks.

    Raises:
        InputError: for any other text.
    """
    key = " ".join(said.split()).lower() if isinstance(said, str) else said
    if key not in _SPELLED:
        raise InputError(f"{where}: preference {said!r} is not Video 1 better, Video 2 better, Same or Hard to judge")
    return _SPELLED[key]
