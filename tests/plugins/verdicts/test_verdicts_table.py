"""Recorded verdicts: found by id or by order, and kept apart judge by judge in the run folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from rewardbench_verdicts.table import TabulatedVerdicts

from rewardbench.scoring.scorer import PairVerdict
from rewardbench.scoring.table import read_failures, write_comparisons
from rewardbench_plugin import Clip, Item


def judge(path: Path, *lines: str, **options: str) -> TabulatedVerdicts:
    path.write_text("\n".join(lines) + "\n")
    model = TabulatedVerdicts()
    model.configure(options={"table": str(path), "judge": "gpt", **options})
    return model


def pair(**metadata: str) -> tuple[Item, Item]:
    first, second = (Item(Clip(side, "", None, None, {"side": side, **metadata}), {}) for side in "AB")
    return first, second


def test_verdicts_become_probabilities_of_one(tmp_path: Path) -> None:
    model = judge(tmp_path / "v.csv", "gpt,other", "A,B", "same,A", "b,A", "who knows,A")
    assert (model.matches_by, model.rows_by_order) == ("order", 4)
    said = model.compare([pair(row=str(i)) for i in range(4)])
    assert said.p[:3].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert np.isnan(said.p[3]).all()
    assert list(said.text) == ["A", "same", "b", "who knows"]
    assert list(said.errors) == [None] * 4


def test_rows_are_found_by_pair_id(tmp_path: Path) -> None:
    model = judge(tmp_path / "v.csv", "pair_id,gpt", "1,[[A>B]]", "0,[[A=B=Bad]]", format="genai")
    said = model.compare([pair(pair_id="0", row="0"), pair(pair_id="1", row="1"), pair(pair_id="2", row="2")])
    assert said.p[:2].tolist() == [[0, 1, 0], [1, 0, 0]]
    assert "has no row for pair '2'" in str(said.errors[2])


@pytest.mark.parametrize(
    ("header", "metadata", "sentence"),
    [
        ("pair_id,gpt", {"row": "0"}, "has a pair_id column and the benchmark has none"),
        ("other,gpt", {"row": "0", "pair_id": "0"}, "has no pair_id column and the benchmark has one"),
    ],
)
def test_an_id_never_meets_a_row_number(tmp_path: Path, header: str, metadata: dict[str, str], sentence: str) -> None:
    said = judge(tmp_path / "v.csv", header, "0,A").compare([pair(**metadata)])
    assert np.isnan(said.p).all()
    assert sentence in str(said.errors[0])


def test_bad_tables_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="row 3: pair_id '1' stands twice"):
        judge(tmp_path / "v.csv", "pair_id,gpt", "1,A", "2,B", "1,B")
    with pytest.raises(ValueError, match="row 2 has 1 cells"):
        judge(tmp_path / "v.csv", "pair_id,gpt", "1,A", "2")
    with pytest.raises(ValueError, match="has no column 'gpt'"):
        judge(tmp_path / "v.csv", "pair_id,llava", "1,A")


def test_comparisons_and_failures_say_which_judge(tmp_path: Path) -> None:
    right = PairVerdict("p0", "AB", (1.0, 0.0, 0.0), "A", None)
    failed = [PairVerdict("p0", order, None, "", "no answer") for order in ("AB", "BA")]
    path = tmp_path / "comparisons.parquet"
    write_comparisons(path, ["verdicts"] * 3, [[right], failed, failed], ["gpt", "llava", "gemini"])
    rows = pq.read_table(path).to_pylist()
    assert [(row["score"], row["order"], row["error"]) for row in rows] == [
        ("gpt", "AB", None),
        ("llava", "AB", "no answer"),
        ("llava", "BA", "no answer"),
        ("gemini", "AB", "no answer"),
        ("gemini", "BA", "no answer"),
    ]
    assert [(f.plugin, f.clip_id, f.error) for f in read_failures(tmp_path)] == [("verdicts", "p0", "no answer")] * 2


def test_failures_of_a_folder_written_before_the_judge_was_named(tmp_path: Path) -> None:
    path = tmp_path / "comparisons.parquet"
    write_comparisons(path, ["verdicts"], [[PairVerdict("p0", "AB", None, "", "no answer")]])
    pq.write_table(pq.read_table(path).drop_columns(["score"]), path)
    assert [failure.clip_id for failure in read_failures(tmp_path)] == ["p0"]
