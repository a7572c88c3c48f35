"""mt-metrics-eval's own cases of ties (its unit tests' values): thresholds, accuracies and the best of them."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from rewardbench.metrics import pairwise_accuracy, row_mean_accuracy, tie_curve


def pairs(human: list[float | None], metric: list[float | None]) -> tuple[list[int], list[float]]:
    both = [(h, m) for h, m in zip(human, metric, strict=True) if h is not None and m is not None]
    two = list(combinations(both, 2))
    return [int(np.sign(a[0] - b[0])) for a, b in two], [a[1] - b[1] for a, b in two]


@pytest.mark.parametrize(
    ("human", "sixths", "best"),
    [([1, 2, 3, 4], [6, 4, 3, 1, 0], 0), ([1, 1, 1, 4], [3, 3, 4, 4, 3], 4)],
    ids=["zero is best", "four is best: the smallest of two thresholds that are as good"],
)
def test_one_row(human: list[float | None], sixths: list[int], best: float) -> None:
    labels, margins = pairs(human, [0, 2, 6, 8])
    curve = tie_curve(labels, margins)
    assert curve.thresholds.tolist() == [0, 2, 4, 6, 8]
    assert curve.accuracy.tolist() == [k / 6 for k in sixths]
    found = pairwise_accuracy(labels, margins)
    assert (found.with_ties, found.tie_threshold) == (max(sixths) / 6, best)


def test_five_rows_with_gaps_average_over_rows() -> None:
    """Nine thresholds; rows count alike whatever their number of pairs, and an empty row does not count."""
    metric = [[0, 5, 2, 3, 2], [None, 2, 1, 5, 3], [9, 1, 5, 3, 8], [9, 3, 4, 4, 1], [None] * 5]
    human = [[1, 5, 2, 1, 1], [4, 2, 2, 1, 4], [5, 9, 2, 8, 7], [7, 6, None, 3, 2], [None] * 5]
    expected = [0.46667, 0.49167, 0.38333, 0.29167, 0.26667, 0.2, 0.15833, 0.15833, 0.11667]
    rows = [pairs(h, m) for h, m in zip(human, metric, strict=True)]
    for threshold, value in enumerate(expected):
        each = []
        for labels, margins in rows:
            said = [0 if abs(m) <= threshold else np.sign(m) for m in margins]
            if labels:
                each.append(np.mean([s == label for s, label in zip(said, labels, strict=True)]))
                fixed = pairwise_accuracy(labels, margins, tie_rule=float(threshold))
                assert fixed.with_ties == pytest.approx(each[-1])
        assert np.mean(each) == pytest.approx(value, abs=1e-5)
    labels = [label for row, _ in rows for label in row]
    margins = [margin for _, row in rows for margin in row]
    groups = [number for number, (row, _) in enumerate(rows) for _ in row]
    found = row_mean_accuracy(labels, margins, groups=groups)
    assert (found.value, found.tie_threshold) == (pytest.approx(0.4916666666666668), 1.0)
