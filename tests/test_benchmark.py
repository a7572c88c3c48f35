"""Pairs files in every layout that is read, and what is refused in them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from rewardbench.benchmark import (
    Benchmark,
    Comparison,
    check_matching,
    load_benchmark,
    read_pairs,
    slice_columns,
)
from rewardbench.errors import InputError
from rewardbench.metrics.evaluation import MAX_SLICES
from rewardbench_plugin.clip import Clip

HEADER = "pair_id,prompt,video_a,video_b,label_VQ,label_MQ"


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_own_layout(tmp_path: Path) -> None:
    file = write(tmp_path / "p.csv", HEADER, "x,a cat,a.mp4,sub/b.mp4,A,tie", "y,a cat,a.mp4,c.mp4,b,")
    benchmark = read_pairs(file)
    assert benchmark.labels == ("VQ", "MQ")
    assert [dict(c.labels) for c in benchmark.comparisons] == [{"VQ": 1, "MQ": 0}, {"VQ": -1}]
    assert [c.pair_id for c in benchmark.comparisons] == ["x", "y"]
    assert list(benchmark.clips) == ["a.mp4", "sub/b.mp4", "c.mp4"], "a clip of two pairs stands once"
    assert benchmark.clips["sub/b.mp4"].video == str(tmp_path / "sub" / "b.mp4")
    assert benchmark.has_clips


@pytest.mark.shared
def test_videoalign_layout_is_read_as_it_is(shared: Path) -> None:
    benchmark = read_pairs(shared / "data" / "videoalign" / "pairs.csv")
    assert benchmark.labels == ("VQ", "MQ", "TA")
    assert [dict(c.labels) for c in benchmark.comparisons] == [
        {"VQ": -1, "MQ": -1, "TA": 1},
        {"VQ": 0, "MQ": 0, "TA": 1},
    ]
    assert all(Path(clip.video).is_file() for clip in benchmark.clips.values())


def test_the_same_file_under_two_prompts_is_two_clips(tmp_path: Path) -> None:
    file = write(tmp_path / "p.csv", "prompt,video_a,video_b,label_X", "one,a.mp4,b.mp4,A", "two,a.mp4,./b.mp4,B")
    benchmark = read_pairs(file)
    assert [(c.prompt, Path(c.video).name) for c in benchmark.clips.values()] == [
        ("one", "a.mp4"),
        ("one", "b.mp4"),
        ("two", "a.mp4"),
        ("two", "b.mp4"),
    ]


def test_a_file_without_clips_has_a_side_for_every_pair(tmp_path: Path) -> None:
    file = write(tmp_path / "p.csv", "prompt,vote,m_A,m_B", "a,A,1,2", "b,same,3,4")
    benchmark = read_pairs(file, labels=["vote"])
    assert not benchmark.has_clips
    assert list(benchmark.clips) == ["0#A", "0#B", "1#A", "1#B"]
    assert [c.labels["vote"] for c in benchmark.comparisons] == [1, 0]


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_other_formats_give_the_same_pairs(tmp_path: Path, kind: str) -> None:
    rows = [{"prompt": "p", "video_a": "a.mp4", "video_b": "b.mp4", "label_X": "A", "seed": 3}]
    rows.append({"prompt": "q", "video_a": "a.mp4", "video_b": "c.mp4", "label_X": None, "seed": None})
    file = tmp_path / f"p.{kind}"
    if kind == "jsonl":
        file.write_text("\n".join(map(json.dumps, rows)))
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), file)
    benchmark = read_pairs(file)
    assert [dict(c.labels) for c in benchmark.comparisons] == [{"X": 1}, {}]
    assert benchmark.comparisons[0].row["seed"] == "3"


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        ([HEADER], "holds no pairs"),
        (["prompt,video_a,label_X", "p,a.mp4,A"], "has the column 'video_a' but not 'video_b'"),
        (["prompt,video_a,video_b", "p,a.mp4,b.mp4"], "has no label_<DIMENSION> column"),
        ([HEADER, "x,p,a.mp4,b.mp4,A,A", "x,p,a.mp4,c.mp4,A,A"], "pair_id 'x' stands 2 times"),
        ([HEADER, ",p,a.mp4,b.mp4,A,A"], "row 1: pair_id is empty"),
        ([HEADER, "x,p,a.mp4,b.mp4,better,A"], "row 1: label 'better' in column 'label_VQ' is not A, B, tie or same"),
        ([HEADER, "x,p,a.mp4,b.mp4,leftvote,A"], "--label-format genai"),
        ([HEADER, "x,p,../../etc/passwd,b.mp4,A,A"], "leads out of the folder"),
        ([HEADER, "x,p,/etc/passwd,b.mp4,A,A"], "leads out of the folder"),
        ([HEADER, "x,p,file:///etc/passwd,b.mp4,A,A"], "leads out of the folder"),
        ([HEADER, "x,p,,b.mp4,A,A"], "row 1: the clip's path is empty"),
        ([HEADER, "x,p,a.mp4"], "row 1 has 3 cells where the header has 6"),
        (["prompt,prompt,video_a,video_b,label_X", "p,p,a,b,A"], "has the column 'prompt' twice"),
    ],
)
def test_bad_files_end_in_one_sentence(tmp_path: Path, lines: list[str], sentence: str) -> None:
    file = write(tmp_path / "p.csv", *lines)
    with pytest.raises(InputError) as caught:
        read_pairs(file)
    assert sentence in str(caught.value)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_benchmarks_name_the_nearest() -> None:
    with pytest.raises(InputError, match="did you mean 'anime-probe'"):
        load_benchmark("anime-prob")
    with pytest.raises(InputError, match="nowhere.csv"):
        load_benchmark("nowhere.csv")


def test_label_that_is_not_there_names_the_nearest(tmp_path: Path) -> None:
    file = write(tmp_path / "p.csv", HEADER, "x,p,a.mp4,b.mp4,A,A")
    with pytest.raises(InputError, match="has no label column 'VG'.*did you mean 'VQ'"):
        read_pairs(file, labels=["VG"])


def test_a_folder_does_not_hide_a_registered_benchmark(
    install_plugin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_plugin("drawn-pairs", MEMORY_LOADER)
    (tmp_path / "here" / "drawn-pairs").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    assert load_benchmark("drawn-pairs").labels == ("X",)
    (tmp_path / "here" / "drawn-pairs").rmdir()
    write(tmp_path / "here" / "drawn-pairs", "a file, but no table")
    with pytest.raises(InputError, match=r"not a \.csv"):
        load_benchmark("drawn-pairs")


MEMORY_LOADER = """
from rewardbench_plugin import BenchmarkManifest, hookimpl

@hookimpl
def rewardbench_benchmarks():
    return [BenchmarkManifest(name="drawn-pairs", version="1", target=f"{__name__}:load")]

def load(**_):
    from rewardbench.benchmark import Benchmark, Comparison
    from rewardbench_plugin import Clip
    pair = Comparison("p0", "a cat", "a", "b", {"X": 1}, {})
    clips = {name: Clip(name, f"{name}.mp4", "a cat") for name in "ab"}
    return Benchmark("drawn-pairs", "1", "memory", "0", ("X",), (pair,), clips, True)
"""


def test_pair_ids_reach_the_clips_only_where_the_file_has_them(tmp_path: Path) -> None:
    with_ids = read_pairs(write(tmp_path / "i.csv", "pair_id,prompt,vote", "7,a,A", "3,b,B"), labels=["vote"])
    without = read_pairs(write(tmp_path / "n.csv", "prompt,vote", "a,A", "b,B"), labels=["vote"])
    assert sides(with_ids) == [("7", "0", "A"), ("7", "0", "B"), ("3", "1", "A"), ("3", "1", "B")]
    assert sides(without) == [(None, "0", "A"), (None, "0", "B"), (None, "1", "A"), (None, "1", "B")]


def sides(benchmark: Benchmark) -> list[tuple[str | None, str, str]]:
    metadata = [clip.metadata for clip in benchmark.by_side().clips.values()]
    return [(one.get("pair_id"), one["row"], one["side"]) for one in metadata]


def test_a_table_and_a_benchmark_have_pair_ids_both_or_neither(tmp_path: Path) -> None:
    with_ids = read_pairs(write(tmp_path / "i.csv", "pair_id,vote", "7,A"), labels=["vote"])
    without = read_pairs(write(tmp_path / "n.csv", "prompt,vote", "a,A"), labels=["vote"])
    for benchmark, matches_by in ((with_ids, "pair_id"), (without, "order"), (with_ids, None), (without, None)):
        check_matching(benchmark, "scores", matches_by)
    with pytest.raises(InputError, match="^the table of plugin 'scores' has a pair_id column and .*n.csv has none"):
        check_matching(without, "scores", "pair_id")
    with pytest.raises(InputError, match="i.csv has a pair_id column and the table of plugin 'scores' has none"):
        check_matching(with_ids, "scores", "order")


def test_slices_have_at_most_so_many_values_among_a_labels_pairs(tmp_path: Path) -> None:
    lines = [f"{number},A,{'A' if number < MAX_SLICES else ''}" for number in range(MAX_SLICES + 1)]
    file = write(tmp_path / "p.csv", "seed,label_X,label_Y", *lines)
    with pytest.raises(InputError, match="--slice seed: .* 1,001 values among the pairs with the label 'X'"):
        slice_columns(read_pairs(file), ["seed"])
    only = read_pairs(file, labels=["Y"])
    assert len(set(slice_columns(only, ["seed"])["seed"])) == MAX_SLICES + 1


def test_slices_of_pairs_made_in_memory_are_refused_with_a_sentence() -> None:
    clips = {name: Clip(name, name) for name in "ab"}
    made = Benchmark("m", "1", "memory", "0", ("X",), (Comparison("p0", "q", "a", "b", {"X": 1}, {}),), clips, True)
    with pytest.raises(InputError, match="memory has no column 'kind' to slice by; it names no columns at all"):
        slice_columns(made, ["kind"])
    with pytest.raises(InputError, match="memory: pair 'p0' has no 'kind' to slice by"):
        slice_columns(replace(made, columns=("kind",)), ["kind"])


def test_limit_keeps_the_first_pairs_and_their_clips(tmp_path: Path) -> None:
    file = write(tmp_path / "p.csv", HEADER, "x,p,a.mp4,b.mp4,A,A", "y,p,c.mp4,d.mp4,A,A")
    limited = read_pairs(file).limited(1)
    assert [c.pair_id for c in limited.comparisons] == ["x"]
    assert list(limited.clips) == ["a.mp4", "b.mp4"]
