"""Which score answers which label, and when a table gives its own labels away."""

from __future__ import annotations

from pathlib import Path

import pytest

from rewardbench.benchmark import Benchmark, read_pairs
from rewardbench.errors import InputError
from rewardbench.evaluation import clusters_of, pick_rows
from rewardbench_plugin import Dimension, NativeTieRule, RewardCard


def card(*names: str, **fields) -> tuple[str, RewardCard, tuple[str, ...]]:
    made = RewardCard(name="p", version="1", dimensions=tuple(Dimension(name) for name in names), **fields)
    return "p", made, names


@pytest.fixture
def benchmark(tmp_path: Path) -> Benchmark:
    file = tmp_path / "b.csv"
    file.write_text("prompt,video_a,video_b,label_VQ,label_smoothness\np,a.mp4,b.mp4,A,B\n")
    return read_pairs(file)


def chosen(rows) -> list[tuple[str, str]]:
    return [(row.label, row.score) for row in rows]


def test_labels_are_answered_by_the_score_of_their_name(benchmark: Benchmark) -> None:
    assert chosen(pick_rows(benchmark, [card("smoothness", "VQ")], ())) == [("VQ", "VQ"), ("smoothness", "smoothness")]
    assert chosen(pick_rows(benchmark, [card("smoothness", "motion")], ())) == [("smoothness", "smoothness")]


def test_a_default_score_answers_what_no_other_does(benchmark: Benchmark) -> None:
    cards = [card("smoothness", "overall", default_score="overall")]
    assert chosen(pick_rows(benchmark, cards, ())) == [("VQ", "overall"), ("smoothness", "smoothness")]


def test_the_map_decides_alone(benchmark: Benchmark) -> None:
    rows = pick_rows(benchmark, [card("smoothness", "appeal")], (("VQ", "appeal"), ("VQ", "smoothness")))
    assert chosen(rows) == [("VQ", "appeal"), ("VQ", "smoothness")]
    assert chosen(pick_rows(benchmark, [card("appeal")], (("VQ", "visual_quality"),))) == [("VQ", "appeal")]


def test_refusals(benchmark: Benchmark) -> None:
    with pytest.raises(InputError, match=r"no score named like a label of b \(VQ, smoothness\).*--map LABEL=SCORE"):
        pick_rows(benchmark, [card("motion")], ())
    with pytest.raises(InputError, match="--map VQ=apeal: no plugin of this run has a score.*did you mean 'appeal'"):
        pick_rows(benchmark, [card("appeal")], (("VQ", "apeal"),))


def test_orientation_and_native_rule_come_from_the_card(benchmark: Benchmark) -> None:
    dimension = Dimension("VQ", higher_is_better=False)
    made = RewardCard("p", "1", (dimension,), native_tie_rule=NativeTieRule({"VQ": 0.25}, "the paper, Eq. 1"))
    (row,) = pick_rows(benchmark, [("p", made, ("VQ",))], ())
    assert (row.higher_is_better, row.native_threshold) == (False, 0.25)


def test_clusters(tmp_path: Path, benchmark: Benchmark) -> None:
    warnings: list[str] = []
    assert clusters_of(benchmark, "prompt", warnings) == ["p"]
    assert clusters_of(benchmark, "video_a", warnings) == ["a.mp4"]
    assert warnings == []
    with pytest.raises(InputError, match="no column 'promt' to cluster by; did you mean 'prompt'"):
        clusters_of(benchmark, "promt", warnings)
    file = tmp_path / "n.csv"
    file.write_text("video_a,video_b,label_X\na.mp4,b.mp4,A\nb.mp4,a.mp4,B\n")
    assert clusters_of(read_pairs(file), "prompt", warnings) == ["0", "1"]
    assert "every pair is its own cluster" in warnings[0]
