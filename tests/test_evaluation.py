"""Which score answers which label, and when a table gives its own labels away."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rewardbench.benchmark import Benchmark, Comparison, read_pairs
from rewardbench.errors import InputError
from rewardbench.evaluation import (
    Row,
    cluster_column,
    clusters_of,
    label_scores,
    label_verdicts,
    measure,
    pick_rows,
    read_pairs_table,
    too_few_clusters,
    write_pairs,
)
from rewardbench.runs import RunSettings, rebuild_report, run_benchmark
from rewardbench.scoring.scorer import PairVerdict
from rewardbench.scoring.table import ClipScores, mean_margins
from rewardbench_plugin import Clip, Dimension, NativeTieRule, RewardCard


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


def test_the_benchmarks_card_says_what_answers_a_label(benchmark: Benchmark) -> None:
    given = replace(benchmark, answers={"p": {"VQ": "appeal", "smoothness": "none"}, "other": {"VQ": "motion"}})
    cards = [card("smoothness", "appeal", default_score="smoothness")]
    assert chosen(pick_rows(given, cards, ())) == [("VQ", "appeal")]
    assert chosen(pick_rows(given, cards, (("VQ", "smoothness"),))) == [("VQ", "smoothness")]
    unasked = [("p:preset", cards[0][1], ("smoothness",))]  # the card's answer was not asked for
    with pytest.raises(InputError, match="no score named like a label"):
        pick_rows(given, unasked, ())


def test_the_map_decides_alone(benchmark: Benchmark) -> None:
    rows = pick_rows(benchmark, [card("smoothness", "appeal")], (("VQ", "appeal"), ("VQ", "smoothness")))
    assert chosen(rows) == [("VQ", "appeal"), ("VQ", "smoothness")]
    assert chosen(pick_rows(benchmark, [card("appeal")], (("VQ", "visual_quality"),))) == [("VQ", "appeal")]


def test_mappings_that_mean_the_same_are_one_row(benchmark: Benchmark) -> None:
    same = (("VQ", "appeal"), ("label_VQ", "appeal"), ("VQ", "visual_appeal"), ("VQ", "appeal"), ("VQ", "motion"))
    assert chosen(pick_rows(benchmark, [card("appeal", "motion")], same)) == [("VQ", "appeal"), ("VQ", "motion")]
    two = [card("appeal"), card("appeal")]
    assert [row.job for row in pick_rows(benchmark, two, same[:2])] == [0, 1], "another plugin is another row"


def test_a_rebuild_has_the_rows_of_the_run(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("prompt,label_VQ,m_A,m_B\n" + "".join(f"p{i},{'AB'[i % 2]},{i},{3 * i % 5}\n" for i in range(8)))
    maps = (("VQ", "m"), ("VQ", "m"), ("label_VQ", "m"))
    settings = RunSettings(("scores",), (str(file),), maps, scores=file, out=tmp_path / "out", bootstrap=20)
    (outcome,) = run_benchmark(settings)
    assert [metric.n for metric in outcome.result.metrics] == [8]
    assert rebuild_report(tmp_path / "out").result.metrics == outcome.result.metrics


def test_a_label_that_pairs_made_in_memory_lack_is_refused(benchmark: Benchmark) -> None:
    with pytest.raises(InputError, match="has no label 'TA'"):
        pick_rows(benchmark, [card("appeal")], (("TA", "appeal"),))


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
    assert len(warnings) == 1


def test_pairs_without_prompts_go_by_their_cluster_column(tmp_path: Path, benchmark: Benchmark) -> None:
    file = tmp_path / "made.csv"
    file.write_text("video_a,video_b,cluster,label_X\na.mp4,b.mp4,c0,A\nb.mp4,a.mp4,c0,B\nc.mp4,d.mp4,c1,B\n")
    made = read_pairs(file)
    assert cluster_column(made, "prompt") == "cluster"
    assert clusters_of(made, "cluster", []) == ["c0", "c0", "c1"]
    assert cluster_column(made, "video_a") == "video_a"
    assert cluster_column(benchmark, "prompt") == "prompt"


@pytest.mark.parametrize(("count", "warns"), [(1, True), (9, True), (10, False)])
def test_few_clusters_are_warned_of(count: int, warns: bool) -> None:
    warning = too_few_clusters([str(i % count) for i in range(40)], "prompt")
    assert (warning is not None) == warns
    assert warning is None or warning.startswith("1 cluster by" if count == 1 else "9 clusters by")


def test_pairs_without_a_prompt_are_no_cluster_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    file.write_text("pair_id,prompt,kind,label_X\nu,one,k,A\nv,,k,B\nw, ,,A\nx,one,k,B\n")
    warnings: list[str] = []
    assert clusters_of(read_pairs(file), "prompt", warnings) == ["one", "v", "w", "one"]
    assert warnings == ["2 pairs have no prompt: each its own cluster, so intervals may be too narrow"]
    assert clusters_of(read_pairs(file), "kind", warnings) == ["k", "k", "w", "k"]
    assert warnings[1:] == ["1 pair has no kind: its own cluster, so intervals may be too narrow"]


@pytest.fixture
def made() -> Benchmark:
    """Pairs made in memory: no columns, no rows."""
    pairs = tuple(Comparison(f"p{i}", "q", "a", "b", {"X": label}, {}) for i, label in enumerate((1, 0, -1)))
    clips = {name: Clip(name, f"{name}.mp4", "q") for name in "ab"}
    return Benchmark("m", "1", "memory", "0", ("X",), pairs, clips, True)


def test_pairs_made_in_memory_can_be_held_against_scores(made: Benchmark) -> None:
    row = Row(0, "p", "X", "s", True, None)
    scores = ClipScores({"a": 0, "b": 1}, np.array([[2.0], [1.0]]), frozenset())
    labelled = label_scores(row, made, scores, 0, ["q"] * 3, {})
    assert labelled.human_text == ["A", "tie", "B"]
    assert labelled.margin.tolist() == [1.0, 1.0, 1.0]
    genai = label_scores(row, replace(made, label_format="genai"), scores, 0, ["q"] * 3, {})
    assert genai.human_text == ["leftvote", "tievote", "rightvote"]
    with pytest.raises(InputError, match="memory has no column 'kind' to cluster by"):
        clusters_of(made, "kind", [])


def said(pair: str, order: str, p: tuple[float, float, float] | None, text: str) -> PairVerdict:
    return PairVerdict(pair, order, p, text, None)


def test_only_recorded_verdicts_are_parsed(made: Benchmark) -> None:
    row = Row(0, "j", "X", "verdict", True, 0.0)
    texts = {"p0": "A", "p1": "same", "p2": ""}
    recorded = [said("p0", "AB", (1, 0, 0), "A"), said("p1", "AB", (0, 1, 0), "same"), said("p2", "AB", None, "")]
    assert {pair: one.text for pair, one in mean_margins(recorded).items()} == texts
    labelled = label_verdicts(row, made, mean_margins(recorded), ["q"] * 3, {})
    assert labelled.verdict == list(texts.values())
    metric, _ = measure(row, labelled, label_format="plain", tie_threshold=None, bootstrap=0, seed=0)
    assert metric.verdict_accuracy is not None
    assert (metric.verdict_accuracy.three_way, metric.verdict_accuracy.n_unparsed) == (pytest.approx(2 / 3), 1)


def test_what_a_judge_writes_is_no_recorded_verdict(made: Benchmark) -> None:
    row = Row(0, "j", "X", "verdict", True, 0.0)
    asked = [
        said(pair, order, p, "A")
        for pair, p in (("p0", (0.5, 0.5, 0.0)), ("p1", (0.0, 1.0, 0.0)), ("p2", (0.0, 0.25, 0.75)))
        for order in ("AB", "BA")
    ]
    asked[-1] = said("p2", "BA", None, "")
    margins = mean_margins(asked)
    assert [one.margin for one in margins.values()][:2] == [0.5, 0.0]
    assert math.isnan(margins["p2"][0])
    labelled = label_verdicts(row, made, margins, ["q"] * 3, {})
    assert labelled.verdict == [None, None, None]
    metric, _ = measure(row, labelled, label_format="plain", tie_threshold=None, bootstrap=0, seed=0)
    assert metric.verdict_accuracy is None
    assert metric.position_consistency is not None
    assert metric.position_consistency.n == 2, "p2 has no verdict in the other order"


def test_a_judge_that_follows_the_place_is_seen(made: Benchmark, tmp_path: Path) -> None:
    """Both orders are about the pair's own A and B: always-first says A, then B."""
    row = Row(0, "j", "X", "verdict", True, 0.0)
    a, tie, b = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)
    sayings = {"p0": (a, b), "p1": (a, a), "p2": (tie, a)}
    asked = [
        said(p, order, one, "") for p, both in sayings.items() for order, one in zip(("AB", "BA"), both, strict=True)
    ]
    labelled = label_verdicts(row, made, mean_margins(asked), ["q"] * 3, {})
    metric, found = measure(row, labelled, label_format="plain", tie_threshold=None, bootstrap=0, seed=0)
    position = metric.position_consistency
    assert position is not None
    assert (position.consistency, position.favours_first, position.favours_second, position.n) == (
        pytest.approx(1 / 3),
        pytest.approx(1 / 3),
        pytest.approx(1 / 3),
        3,
    )
    write_pairs(tmp_path / "pairs.parquet", [(row, labelled, found)])
    (again,) = read_pairs_table(tmp_path / "pairs.parquet", [row])
    metric_again, _ = measure(row, again, label_format="plain", tie_threshold=None, bootstrap=0, seed=0)
    assert metric_again == metric


def test_a_pairs_table_without_the_orders_is_still_read(made: Benchmark, tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    row = Row(0, "j", "X", "verdict", True, 0.0)
    asked = [said(p, order, (1.0, 0.0, 0.0), "") for p in ("p0", "p1", "p2") for order in ("AB", "BA")]
    labelled = label_verdicts(row, made, mean_margins(asked), ["q"] * 3, {})
    metric, found = measure(row, labelled, label_format="plain", tie_threshold=None, bootstrap=0, seed=0)
    assert metric.position_consistency is not None
    path = tmp_path / "pairs.parquet"
    write_pairs(path, [(row, labelled, found)])
    pq.write_table(pq.read_table(path).drop_columns(["said_ab", "said_ba"]), path)
    (again,) = read_pairs_table(path, [row])
    assert (
        measure(row, again, label_format="plain", tie_threshold=None, bootstrap=0, seed=0)[0].position_consistency
        is None
    )
