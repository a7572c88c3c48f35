"""What the figures are drawn from agrees with the pairs table and with brute force."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardbench.errors import InputError
from rewardbench.report.evidence import (
    Pairs,
    RowEvidence,
    VideoHashes,
    accuracy_curve,
    disagreements,
    margin_histogram,
)

PAIRS = st.lists(
    st.tuples(
        st.sampled_from([1, 0, -1]), st.sampled_from([-2.0, -0.5, 0.0, 0.25, 0.5, 1.0, 7.0, float("nan"), float("inf")])
    ),
    max_size=40,
)


def evidence(pairs: list[tuple[int, float]]) -> RowEvidence:
    human = np.array([h for h, _ in pairs], np.int8)
    return RowEvidence(np.arange(len(pairs)) + 100, human, np.array([m for _, m in pairs], np.float64))


@given(PAIRS)
def test_curve_is_the_accuracy_at_every_threshold(pairs: list[tuple[int, float]]) -> None:
    curve = accuracy_curve(evidence(pairs))
    known = [(h, m) for h, m in pairs if np.isfinite(m)]
    if curve is None:
        assert not known
        return
    assert curve.thresholds.tolist() == sorted({0.0, *(abs(m) for _, m in known)})
    for threshold, accuracy in zip(curve.thresholds, curve.accuracy, strict=True):
        right = sum((0 if abs(m) <= threshold else np.sign(m)) == h for h, m in known)
        assert accuracy == pytest.approx(right / len(known))


@given(PAIRS)
def test_histogram_counts_every_judged_pair_once(pairs: list[tuple[int, float]]) -> None:
    histogram = margin_histogram(evidence(pairs))
    known = [(h, m) for h, m in pairs if np.isfinite(m)]
    if histogram is None:
        assert not known
        return
    for label in (1, 0, -1):
        n = sum(h == label for h, _ in known)
        assert histogram.counts[label] == n
        assert histogram.share[label].sum() == pytest.approx(1.0 if n else 0.0)
    assert histogram.edges[0] == -histogram.edges[-1]
    assert histogram.clipped == sum(abs(m) > histogram.edges[-1] for _, m in known)


@given(PAIRS, st.sampled_from([None, 0.0, 0.5]), st.integers(1, 6))
def test_disagreements_are_the_largest_margins_against_people(
    pairs: list[tuple[int, float]], threshold: float | None, limit: int
) -> None:
    found = disagreements(evidence(pairs), threshold, limit)
    rows = [one.row for one in found]
    assert len(rows) == len(set(rows)) <= limit
    opposed = [abs(m) for h, m in pairs if np.isfinite(m) and h * m < 0]
    split = [abs(m) for h, m in pairs if np.isfinite(m) and h == 0 and abs(m) > (threshold or 0)]
    assert len(found) == min(limit, len(opposed) + len(split))
    for kind, possible in ((True, opposed), (False, split)):
        sizes = [abs(one.margin) for one in found if (one.human != 0) == kind]
        assert sizes == sorted(possible, reverse=True)[: len(sizes)]
    for one in found:
        assert pairs[one.row - 100] == (one.human, one.margin)


def test_room_that_one_kind_leaves_goes_to_the_other() -> None:
    ties, opposed = [(0, 1.0 + k) for k in range(9)], [(1, -1.0 - k) for k in range(9)]
    assert [one.human for one in disagreements(evidence(ties + opposed), 0.0, 6)] == [1, 1, 1, 1, 0, 0]
    assert len(disagreements(evidence(ties), 0.0, 6)) == 6
    assert len(disagreements(evidence(opposed), 0.0, 6)) == 6
    assert [one.human for one in disagreements(evidence(ties + opposed), 0.0, 1)] == [1]


def test_each_metrics_row_finds_its_own_pairs(make: Any, tmp_path: Path) -> None:
    metrics = [make.metric(p, label, s) for p in ("one", "two") for label in ("VQ", "TA") for s in ("a", "b")]
    rows = [row for k, metric in enumerate(metrics) for row in make.pairs(metric, 10 + k, seed=k)]
    rows = [rows[k] for k in np.random.default_rng(0).permutation(len(rows))]
    pairs = Pairs(make.folder(tmp_path, make.result(metrics), rows) / "pairs.parquet")
    for k, metric in enumerate(metrics):
        found = pairs.of(metric)
        assert found is not None
        assert len(found.rows) == 10 + k
        texts = [pairs.texts(int(row)) for row in found.rows]
        assert {(t["plugin"], t["label"], t["score"]) for t in texts} == {(metric.plugin, metric.label, metric.score)}
        assert [t["margin"] for t in texts] == found.margin.tolist()
        assert [t["human"] for t in texts] == found.human.tolist()
    assert pairs.of(make.metric("three")) is None


def test_a_judge_without_a_score_name_is_found(make: Any, tmp_path: Path) -> None:
    metric = make.metric(score="verdict")
    rows = [row | {"score": None, "score_a": None, "margin": None} for row in make.pairs(metric, 5)]
    found = Pairs(make.folder(tmp_path, make.result([metric]), rows) / "pairs.parquet").of(metric)
    assert found is not None
    assert np.isnan(found.margin).all()
    assert accuracy_curve(found) is None
    assert margin_histogram(found) is None


def test_a_missing_margin_abstains_and_a_missing_label_is_no_pair(make: Any, tmp_path: Path) -> None:
    metric = make.metric()
    rows = make.pairs(metric, 40)
    for k in (0, 7, 8, 39):
        rows[k]["margin"] = None
    rows[20]["human"] = None
    found = Pairs(make.folder(tmp_path, make.result([metric]), rows) / "pairs.parquet").of(metric)
    assert found is not None
    assert found.rows.tolist() == [k for k in range(40) if k != 20]
    assert found.rows[np.isnan(found.margin)].tolist() == [0, 7, 8, 39]
    kept = [rows[k]["margin"] for k in found.rows if rows[k]["margin"] is not None]
    assert found.margin[np.isfinite(found.margin)].tolist() == kept


def test_an_empty_table_has_no_rows(make: Any, tmp_path: Path) -> None:
    metric = make.metric()
    assert Pairs(make.folder(tmp_path, make.result([metric]), []) / "pairs.parquet").of(metric) is None


def test_a_damaged_or_foreign_table_is_named(make: Any, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    damaged = tmp_path / "pairs.parquet"
    damaged.write_bytes(b"PAR1 not really")
    with pytest.raises(InputError, match=r"pairs\.parquet is not a readable parquet file"):
        Pairs(damaged)
    pq.write_table(pa.table({"plugin": ["x"]}), damaged)
    with pytest.raises(InputError, match="lacks the column 'label'"):
        Pairs(damaged)


def test_hashes_are_by_scorer_and_clip(make: Any, tmp_path: Path) -> None:
    folder = make.folder(tmp_path, make.result([make.metric()]), None, {"a0": "5" * 64})
    hashes = VideoHashes(folder / "scores.parquet")
    assert hashes.of("scores", "a0") == "5" * 64
    assert hashes.of("scores", "a1") is None
    assert hashes.of("another", "a0") is None
    assert VideoHashes(folder / "absent.parquet").of("scores", "a0") is None
