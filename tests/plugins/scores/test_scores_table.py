"""Recorded scores: what a table must be, and that ids meet ids and row numbers meet row numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rewardbench_scores.table import TabulatedScores, read_rows

from rewardbench_plugin import Clip, Item


def table(path: Path, *lines: str) -> TabulatedScores:
    path.write_text("\n".join(lines) + "\n")
    model = TabulatedScores()
    model.configure(options={"table": str(path)})
    return model


def side(letter: str, **metadata: str) -> Item:
    return Item(Clip(f"c#{letter}", "", None, None, {"side": letter, **metadata}), {})


def test_rows_are_found_by_pair_id(tmp_path: Path) -> None:
    model = table(tmp_path / "t.csv", "pair_id,m_A,m_B", "1,10,11", "0,20,21")
    assert (model.matches_by, model.rows_by_order) == ("pair_id", None)
    scores = model.score([side("A", pair_id="0", row="0"), side("B", pair_id="1", row="1"), side("A", pair_id="9")])
    assert scores.values[:2, 0].tolist() == [20, 11]
    assert list(scores.errors[:2]) == [None, None]
    assert "has no row for pair '9'" in str(scores.errors[2])


def test_rows_are_found_by_order_where_nobody_has_ids(tmp_path: Path) -> None:
    model = table(tmp_path / "t.csv", "m_A,m_B", "10,11", "20,21")
    assert (model.matches_by, model.rows_by_order) == ("order", 2)
    assert model.score([side("B", row="1"), side("A", row="0")]).values[:, 0].tolist() == [21, 10]


@pytest.mark.parametrize(
    ("header", "metadata", "sentence"),
    [
        ("pair_id,m_A,m_B", {"row": "0"}, "has a pair_id column and the benchmark has none"),
        ("other,m_A,m_B", {"row": "0", "pair_id": "0"}, "has no pair_id column and the benchmark has one"),
    ],
)
def test_an_id_never_meets_a_row_number(tmp_path: Path, header: str, metadata: dict[str, str], sentence: str) -> None:
    scores = table(tmp_path / "t.csv", header, "0,10,11").score([side("A", **metadata)])
    assert np.isnan(scores.values).all()
    assert sentence in str(scores.errors[0])


def test_rows_per_clip_are_found_by_name_and_prompt(tmp_path: Path) -> None:
    model = table(tmp_path / "t.csv", "video,prompt,m", "a.mp4,cat,1", "a.mp4,dog,2", "b.mp4,cat,")
    assert (model.matches_by, model.per_pair) == (None, False)
    clips = [("a.mp4", "dog"), ("a.mp4", "cat"), ("b.mp4", "cat")]
    scores = model.score([Item(Clip(v + p, f"/data/{v}", p, None, {"name": v}), {}) for v, p in clips])
    assert scores.values[:2, 0].tolist() == [2, 1]
    assert np.isnan(scores.values[2, 0]), "an empty cell abstains"
    assert list(scores.errors) == [None] * 3


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("t.csv", b"", "t.csv is empty"),
        ("t.csv", b"video,m\n", "t.csv has no rows"),
        ("t.csv", b"video,m\na.mp4,1\nb.mp4\n", "t.csv cannot be read: row 2 has 1 cells where the header has 2"),
        ("t.csv", b"video,m\na.mp4,1,2\n", "row 1 has 3 cells where the header has 2"),
        ("t.csv", b"video,m,m\na.mp4,1,2\n", "t.csv has the column 'm' twice"),
        ("t.csv", b"video,m, m\na.mp4,1,2\n", "t.csv has the column 'm' twice"),
        ("t.csv", b"video,m\n\xff\xfea.mp4,1\n", "t.csv cannot be read: 'utf-8' codec"),
        ("t.csv", b'video,m\n"a.mp4,1\n', "t.csv cannot be read"),
        ("t.jsonl", b'{"video": "a.mp4"\n', "t.jsonl cannot be read: line 1: "),
        ("t.jsonl", b'{"video": "a.mp4", "m": 1}\n[1]\n', "line 2 is not a JSON object"),
        ("t.jsonl", b'{"video": "a.mp4", "m": 1, "m": 2}\n', "line 1: a name stands twice"),
        ("t.jsonl", b"\n\n", "t.jsonl has no rows"),
        ("t.parquet", b"no parquet", "t.parquet cannot be read"),
        ("t.xlsx", b"PK", "t.xlsx is not a .csv, .parquet or .jsonl table"),
    ],
)
def test_what_is_no_table_ends_in_one_sentence(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match="^" + str(tmp_path)) as caught:
        read_rows(tmp_path / name)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_and_a_missing_file_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a folder"):
        read_rows(tmp_path)
    with pytest.raises(ValueError, match="does not exist"):
        read_rows(tmp_path / "t.csv")


def test_every_layout_gives_the_same_rows(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    records = [{"video": "a.mp4", "m": 0.5, "n": None}, {"video": "b.mp4", "m": float("nan"), "n": "x"}]
    (tmp_path / "t.csv").write_bytes(b"\xef\xbb\xbfvideo, m,n\r\na.mp4,0.5,\r\n\r\nb.mp4,,x\r\n")
    (tmp_path / "t.jsonl").write_text('{"video": "a.mp4", "m": 0.5}\n\n{"video": "b.mp4", "m": NaN, "n": "x"}\n')
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "t.parquet")
    expected = [{"video": "a.mp4", "m": "0.5", "n": ""}, {"video": "b.mp4", "m": "", "n": "x"}]
    for kind in ("csv", "jsonl", "parquet"):
        assert read_rows(tmp_path / f"t.{kind}") == (["video", "m", "n"], expected)
