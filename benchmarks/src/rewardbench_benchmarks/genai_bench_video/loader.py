"""GenAI-Bench video, the version with clip ids: 1,889 pairs (the list that UnifiedReward publishes)."""

from __future__ import annotations

import os
from collections.abc import Callable

from rewardbench.benchmark import LABEL_FORMATS, Benchmark
from rewardbench.catalogue.building import PairRow, Side, build_benchmark
from rewardbench.catalogue.folders import data_folder, need_file
from rewardbench.catalogue.reading import as_list, read_json, text
from rewardbench.errors import InputError

LABEL = "human_vote"


def load(
    name: str = "genai-bench-video",
    variant: str | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Benchmark:
    """All pairs; clips are looked for by their id, in ``videos/`` too.

    Raises:
        InputError: files that are not at hand or not what they should be.
    """
    if variant:
        raise InputError(f"benchmark {name} has no variant {variant!r}")
    folder = data_folder(name, data_dir)
    path = need_file(name, folder, "data.json", "genai_bench_video_pairs.json")
    spelled = LABEL_FORMATS["genai"]
    rows = []
    for number, record in enumerate(as_list(read_json(path), path)):
        where = f"{path}, record {number}"
        prompt, vote = text(record, "prompt", where), text(record, "vote_type", where)
        if vote not in spelled:
            raise InputError(f"{where}: vote {vote!r} is not one of {', '.join(spelled)}")
        a, b = (Side(text(record, side, where), prompt) for side in ("video_left", "video_right"))
        rows.append(PairRow(text(record, "id", where), a, b, {LABEL: spelled[vote]}, {LABEL: vote}))
    return build_benchmark(name, "1", rows, folder, label_format="genai")
