"""GenAI-Bench video v1: 1,069 votes of visitors of GenAI-Arena, and what 18 judges said about the same pairs.

Published with the judges' results (``results/video_generation/<judge>/pairwise.json``), which all hold the same votes
in the same order. A table ``genai_bench_v1_video_votes*.csv`` (``idx``, ``prompt``, ``human_vote``, a column per judge)
is read as well. The clips are not named in either.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rewardbench.benchmark import LABEL_FORMATS, Benchmark
from rewardbench.catalogue.building import PairRow, Side, build_benchmark
from rewardbench.catalogue.folders import data_folder, first_file, need_file
from rewardbench.catalogue.reading import as_list, columns_of, read_json, text
from rewardbench.errors import InputError
from rewardbench.tables import read_table

LABEL = "human_vote"
_RESULTS = "results/video_generation"


@dataclass(frozen=True)
class Vote:
    """One pair: what people said, and what each judge wrote."""

    idx: str
    prompt: str
    human: str
    judges: dict[str, str]


def load(
    name: str = "genai-bench-video-v1",
    variant: str | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Benchmark:
    """The votes as pairs without clips; the pair's id is its number.

    Raises:
        InputError: files that are not at hand or not what they should be.
    """
    if variant:
        raise InputError(f"benchmark {name} has no variant {variant!r}")
    folder = data_folder(name, data_dir)
    spelled = LABEL_FORMATS["genai"]
    rows = []
    for vote in read_votes(folder):
        if vote.human not in spelled:
            raise InputError(f"{folder}: vote {vote.human!r} of pair {vote.idx} is not one of {', '.join(spelled)}")
        a, b = (Side(f"{vote.idx}-{side}", vote.prompt) for side in ("left", "right"))
        rows.append(PairRow(vote.idx, a, b, {LABEL: spelled[vote.human]}, {LABEL: vote.human}))
    return build_benchmark(name, "1", rows, folder, label_format="genai", has_pair_ids=False)


def read_votes(folder: Path) -> list[Vote]:
    """All votes in their order, with the verdicts that are at hand.

    Raises:
        InputError: no votes in ``folder``, or files that contradict each other.
    """
    table = first_file(folder, "genai_bench_v1_video_votes*.csv")
    if table is not None:
        return _from_table(table)
    need_file("genai-bench-video-v1", folder, f"{_RESULTS}/*/pairwise.json", "genai_bench_v1_video_votes*.csv")
    votes: list[Vote] = []
    for path in sorted(folder.glob(f"{_RESULTS}/*/pairwise.json")):
        judge = path.parent.name
        records = as_list(read_json(path), path)
        found = []
        for number, record in enumerate(records):
            where = f"{path}, record {number}"
            said = record.get("model_vote") if isinstance(record, dict) else None
            found.append((text(record, "prompt", where), text(record, "human_vote", where), str(said or "")))
        if not votes:
            votes = [Vote(str(i), prompt, human, {}) for i, (prompt, human, _) in enumerate(found)]
        if [(vote.prompt, vote.human) for vote in votes] != [(prompt, human) for prompt, human, _ in found]:
            raise InputError(f"{path} has other pairs or votes than the files of the other judges")
        for vote, (_, _, verdict) in zip(votes, found, strict=True):
            vote.judges[judge] = verdict
    return votes


def _from_table(path: Path) -> list[Vote]:
    columns, rows = read_table(path)
    columns_of(columns, ("idx", "prompt", LABEL), path)
    judges = [column for column in columns if column not in ("idx", "prompt", LABEL)]
    ordered = [row["idx"] for row in rows] == [str(number) for number in range(len(rows))]
    if not ordered:
        raise InputError(f"{path}: column 'idx' must count the rows from 0")
    return [Vote(row["idx"], row["prompt"], row[LABEL], {judge: row[judge] for judge in judges}) for row in rows]
