"""Rows of a board against brute force over the pairs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from rewardbench.errors import CheckFailed
from rewardbench.evaluation import measure
from rewardbench.leaderboard.board import LEAST_RANKED_COVERAGE, Board, BoardRow, Dimension, make_board
from rewardbench.leaderboard.disagreement import SHOWN_PAIRS, sureness
from rewardbench.leaderboard.verification import Verification, verify_bundles


@pytest.fixture(scope="module")
def board(bundle: Path, verdicts_bundle: Path, known: dict[str, Any]) -> Board:
    return make_board(verify_bundles([bundle, verdicts_bundle], known))


def dimension(board: Board, label: str) -> Dimension:
    (benchmark,) = board.benchmarks
    return next(one for one in benchmark.dimensions if one.label == label)


def row(board: Board, label: str, model: str) -> BoardRow:
    return next(one for one in dimension(board, label).rows if one.model == model)


def pairs_of(run: Path, label: str, score: str) -> list[dict[str, Any]]:
    rows = pq.ParquetFile(run / "pairs.parquet").read().to_pylist()
    return [one for one in rows if (one["label"], one["score"]) == (label, score)]


@pytest.mark.parametrize(("label", "score"), [("VQ", "good"), ("VQ", "bad"), ("TA", "good")])
def test_sums_over_clusters_are_those_of_the_runs_own_pairs(
    board: Board, scores_run: Path, label: str, score: str
) -> None:
    found, from_ = row(board, label, score), dimension(board, label)
    pairs = pairs_of(scores_run, label, score)
    clusters = sorted({pair["cluster"] for pair in pairs})
    assert from_.cluster_sizes == [sum(pair["cluster"] == c for pair in pairs) for c in clusters]
    assert from_.cluster_decided == [
        sum(pair["cluster"] == c and pair["human"] != 0 for pair in pairs) for c in clusters
    ]
    assert found.right == [sum(p["cluster"] == c and p["predicted"] == p["human"] for p in pairs) for c in clusters]
    strict = [
        sum(p["cluster"] == c and p["human"] != 0 and (p["margin"] or 0) * p["human"] > 0 for p in pairs)
        for c in clusters
    ]
    assert found.right_decided == strict


def test_where_all_pairs_are_answered_the_sums_give_the_accuracies(board: Board) -> None:
    found, from_ = row(board, "VQ", "good"), dimension(board, "VQ")
    assert found.coverage == 1
    assert sum(found.right) / sum(from_.cluster_sizes) == pytest.approx(found.with_ties.value)
    assert sum(found.right_decided) / sum(from_.cluster_decided) == pytest.approx(found.without_ties.value)


def test_an_abstention_counts_as_wrong_in_the_sums_and_not_in_the_accuracy(board: Board) -> None:
    found, from_ = row(board, "VQ", "bad"), dimension(board, "VQ")
    assert (found.n, found.n_abstained) == (39, 1)
    assert found.coverage == pytest.approx(39 / 40)
    assert sum(found.right) / 39 == pytest.approx(found.with_ties.value)
    assert sum(from_.cluster_sizes) == 40


def test_ranks_follow_the_share_of_right_answers_and_hold_the_observed_rank(board: Board) -> None:
    rows = dimension(board, "VQ").rows
    accuracies = [sum(one.right) for one in rows]
    assert accuracies == sorted(accuracies, reverse=True)
    assert all(one.rank and one.rank.low <= one.rank.rank <= one.rank.high for one in rows)


@pytest.mark.parametrize(("silent", "ranked"), [(0, True), (1, True), (2, False)])
def test_a_model_that_answers_less_than_95_percent_has_no_rank(
    bundle: Path, known: dict[str, Any], silent: int, ranked: bool
) -> None:
    """Of 40 pairs 38 are exactly 95 %, and one is open already. Those left out it had wrong; its sums do not gain."""
    (verified,) = verify_bundles([bundle], known)
    first = next(row for row in verified.rows if row.facts.name == "bad")
    answered_wrong = ~np.isnan(first.found.predicted) & (first.found.predicted != first.labelled.human)
    wrong = np.flatnonzero(answered_wrong)[:silent]
    assert wrong.size == silent
    margin = first.labelled.margin.copy()
    margin[wrong] = np.nan
    labelled = replace(first.labelled, margin=margin)
    metric, found = measure(first.row, labelled, label_format="plain", tie_threshold=None, bootstrap=10, seed=0)
    changed = replace(verified, rows=(replace(first, labelled=labelled, metric=metric, found=found), verified.rows[0]))
    row_ = next(one for one in dimension(make_board([changed]), "VQ").rows if one.model == "bad")
    assert LEAST_RANKED_COVERAGE == 0.95
    assert row_.n_abstained == silent + 1
    assert (row_.rank is not None) == ranked
    assert sum(row_.right) == int((found.predicted == labelled.human).sum())


def test_the_json_of_a_board_has_no_nan(board: Board) -> None:
    assert json.loads(json.dumps(board.to_data(), allow_nan=False))["schema"] == "rewardbench.leaderboard/1"


def test_shown_pairs_are_few_and_say_what_each_model_said(board: Board, scores_run: Path) -> None:
    from_, found = dimension(board, "VQ"), row(board, "VQ", "good")
    assert 0 < len(from_.pairs) <= SHOWN_PAIRS
    assert all(len(one.said) == len(one.sure) == len(from_.pairs) for one in from_.rows)
    spoken = {1: "A", 0: "=", -1: "B", None: "-"}
    truth = {pair["pair_id"]: pair for pair in pairs_of(scores_run, "VQ", "good")}
    for pair, said in zip(from_.pairs, found.said, strict=True):
        assert pair.human == spoken[truth[pair.pair_id]["human"]]
        assert said == spoken[truth[pair.pair_id]["predicted"]]


def test_a_pair_on_which_all_agree_with_people_is_not_shown(board: Board) -> None:
    from_ = dimension(board, "VQ")
    for k, pair in enumerate(from_.pairs):
        assert any(one.said[k] != pair.human for one in from_.rows)


def test_the_share_of_wrong_answers_counts_all_models(board: Board) -> None:
    from_ = dimension(board, "VQ")
    for k, pair in enumerate(from_.pairs):
        silent = np.mean([one.said[k] == "-" for one in from_.rows])
        right = np.mean([one.said[k] == pair.human for one in from_.rows])
        assert (pair.wrong, pair.silent) == pytest.approx((1 - right - silent, silent), abs=1e-4)


def test_recorded_scores_have_no_speed_and_one_key_on_every_label(board: Board) -> None:
    found = row(board, "VQ", "good")
    assert (found.cost.clips_per_s, found.cost.host_memory, found.cost.gpu_memory) == (None, None, None)
    assert found.key == row(board, "TA", "good").key
    assert found.key != row(board, "VQ", "bad").key


def margins_of(verified: Verification, margin: list[float], name: str, fingerprint: str = "") -> Verification:
    """The first row of a verified bundle, as a model ``name`` would have answered with these margins."""
    first = verified.rows[0]
    labelled = replace(first.labelled, margin=np.resize(np.array(margin), first.labelled.margin.shape))
    metric, found = measure(first.row, labelled, label_format="plain", tie_threshold=None, bootstrap=10, seed=0)
    assert verified.bundle is not None
    facts = first.facts.model_copy(update={"name": name, "score": None, "kind": "model"})
    result = verified.bundle.result.model_copy(deep=True)
    result.plugins[0].fingerprint = fingerprint
    bundle = replace(verified.bundle, result=result, digest=name + fingerprint)
    row = replace(first, labelled=labelled, metric=metric, found=found, facts=facts)
    return replace(verified, rows=(row,), bundle=bundle)


@pytest.mark.parametrize(
    ("margin", "smaller"),
    [
        ([0.5], [0]),  # constant: surer than on none
        ([0.0, 1.0], [0, 50]),
        ([-1.0, 2.0, -3.0, 4.0], [0, 25, 50, 75]),
        ([1.0, 1.0, 2.0, 3.0], [0, 0, 50, 75]),
        ([float("nan"), 1.0, 2.0, 3.0], [0, 0, 33, 66]),  # of the answered pairs
    ],
)
def test_how_sure_a_model_is_counts_smaller_margins_only(
    bundle: Path, known: dict[str, Any], margin: list[float], smaller: list[int]
) -> None:
    (verified,) = verify_bundles([bundle], known)
    (row,) = margins_of(verified, margin, "mine").rows
    assert sureness(row).tolist() == np.resize(smaller, 40).tolist()


def test_models_that_share_a_name_and_digits_of_their_fingerprint_are_two_rows(
    bundle: Path, known: dict[str, Any]
) -> None:
    """The first six digits agree; one is right where the other is wrong."""
    (verified,) = verify_bundles([bundle], known)
    two = [
        margins_of(verified, margin, "mine", fingerprint)
        for margin, fingerprint in (([1.0], "a28707" + "0" * 58), ([-1.0], "a28707" + "1" * 58))
    ]
    rows = dimension(make_board(two), "VQ").rows
    assert len({one.key for one in rows}) == 2
    human = verified.rows[0].labelled.human
    assert sorted(sum(one.right_decided) for one in rows) == sorted([int((human == 1).sum()), int((human == -1).sum())])
    with pytest.raises(CheckFailed, match="label 'VQ' would have 'mine' twice"):
        make_board([two[0], replace(two[0], source="again")])


def test_the_number_of_clips_is_the_benchmarks_own(bundle: Path, known: dict[str, Any]) -> None:
    """Recorded tables count a clip for each pair and side (80); the file has as many rows as pairs, without videos."""
    (verified,) = verify_bundles([bundle], known)
    (benchmark,) = known.values()
    assert make_board([verified]).benchmarks[0].n_clips == benchmark.n_clips


def test_the_order_of_bundles_changes_nothing(bundle: Path, verdicts_bundle: Path, known: dict[str, Any]) -> None:
    one = make_board(verify_bundles([bundle, verdicts_bundle], known))
    other = make_board(verify_bundles([verdicts_bundle, bundle], known))
    assert one == other


def test_a_board_of_nothing_is_empty() -> None:
    assert make_board([]).to_data()["benchmarks"] == []
