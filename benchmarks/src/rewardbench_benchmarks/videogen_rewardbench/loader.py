"""VideoGen-RewardBench: 26.5k pairs in VideoAlign's layout, ``videogen-rewardbench.csv`` beside ``videos/``."""

from __future__ import annotations

import os
from collections.abc import Callable

from rewardbench.benchmark import VIDEOALIGN_LABELS, Benchmark, parse_label
from rewardbench.catalogue.building import PairRow, Side, build_benchmark
from rewardbench.catalogue.folders import data_folder, need_file
from rewardbench.catalogue.reading import columns_of
from rewardbench.errors import InputError
from rewardbench.tables import read_table


def load(
    name: str = "videogen-rewardbench",
    variant: str | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Benchmark:
    """All pairs. A pair's id is made of its clips' names, with ``#2`` … where two clips are compared again.

    Raises:
        InputError: files that are not at hand or not what they should be.
    """
    if variant:
        raise InputError(f"benchmark {name} has no variant {variant!r}")
    folder = data_folder(name, data_dir)
    path = need_file(name, folder, "videogen-rewardbench.csv")
    columns, table = read_table(path)
    columns_of(columns, ("path_A", "path_B", "prompt", "VQ", "MQ", "TA"), path)
    labels = [label for label in VIDEOALIGN_LABELS if label in columns]
    models = {new: old for new, old in (("model_a", "A_model"), ("model_b", "B_model")) if old in columns}
    seen: dict[str, int] = {}
    rows = []
    for number, row in enumerate(table, start=1):
        a, b = (os.path.normpath(row[column]) for column in ("path_A", "path_B"))
        pair = f"{_stem(a)}--{_stem(b)}"
        seen[pair] = seen.get(pair, 0) + 1
        rows.append(
            PairRow(
                pair if seen[pair] == 1 else f"{pair}#{seen[pair]}",
                Side(a, row["prompt"]),
                Side(b, row["prompt"]),
                {label: parse_label(row[label], "plain", label, number, str(path)) for label in labels},
                {**{new: row[old] for new, old in models.items()}, **{label: row[label] for label in labels}},
            )
        )
    return build_benchmark(name, "1", rows, folder)


def _stem(path: str) -> str:
    return os.path.splitext(path.removeprefix("videos/"))[0].replace("/", "_")
