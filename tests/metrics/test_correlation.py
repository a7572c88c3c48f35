"""Rank correlations against counting pairs by definition, and against FETV's ratings."""

from __future__ import annotations

import csv
import math
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardbench.errors import InputError
from rewardbench.metrics import kendall_tau, spearman

items = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 8)), min_size=2, max_size=30)


def tau_by_counting(x: list[int], y: list[int], variant: str) -> float:
    """Kendall's tau from concordant and discordant pairs (Kendall 1945; Stuart 1953)."""
    s = tied_x = tied_y = 0
    for (x1, y1), (x2, y2) in combinations(zip(x, y, strict=True), 2):
        s += int(np.sign(x1 - x2) * np.sign(y1 - y2))
        tied_x += x1 == x2
        tied_y += y1 == y2
    n = len(x)
    total = n * (n - 1) // 2
    if total in (tied_x, tied_y):
        return math.nan
    if variant == "b":
        return s / math.sqrt((total - tied_x) * (total - tied_y))
    m = min(len(set(x)), len(set(y)))
    return 2 * s / (n**2 * (m - 1) / m)


def mean_ranks(values: list[int]) -> np.ndarray:
    return np.array([sum(w < v for w in values) + (sum(w == v for w in values) + 1) / 2 for v in values])


@settings(deadline=None)
@given(items)
def test_kendall_equals_counting_pairs(pairs: list[tuple[int, int]]) -> None:
    x, y = [a for a, _ in pairs], [b for _, b in pairs]
    for variant in ("b", "c"):
        found = kendall_tau(x, y, variant)  # type: ignore[arg-type]
        assert found.value == pytest.approx(tau_by_counting(x, y, variant), abs=1e-12, nan_ok=True)
        assert (found.n, found.n_dropped) == (len(pairs), 0)


@settings(deadline=None)
@given(items)
def test_spearman_is_pearson_of_mean_ranks(pairs: list[tuple[int, int]]) -> None:
    x, y = [a for a, _ in pairs], [b for _, b in pairs]
    expected = math.nan
    if len(set(x)) > 1 and len(set(y)) > 1:
        expected = float(np.corrcoef(mean_ranks(x), mean_ranks(y))[0, 1])
    assert spearman(x, y).value == pytest.approx(expected, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("correlation", [kendall_tau, spearman])
def test_missing_values_are_dropped_and_counted(correlation: object) -> None:
    found = correlation([1, 2, np.nan, 3, 4], [1, 3, 2, np.nan, 5])  # type: ignore[operator]
    assert (found.value, found.n, found.n_dropped) == (pytest.approx(1.0), 3, 2)


@pytest.mark.parametrize("correlation", [kendall_tau, spearman])
@pytest.mark.parametrize(("x", "y"), [([], []), ([1], [2]), ([1, 1, 1], [1, 2, 3]), ([np.nan, 1], [1, 2])])
def test_undefined_is_nan(correlation: object, x: list[float], y: list[float]) -> None:
    assert math.isnan(correlation(x, y).value)  # type: ignore[operator]


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="x is infinite at row 1"):
        kendall_tau([0, np.inf], [0, 1])
    with pytest.raises(InputError, match="x has 1 entries but y has 2"):
        spearman([0], [0, 1])
    with pytest.raises(InputError, match='variant "a"'):
        kendall_tau([0, 1], [0, 1], "a")  # type: ignore[arg-type]


@pytest.mark.shared
@pytest.mark.parametrize(
    ("metric", "tau_c", "rho"),
    [
        ("CLIPScore", 0.1732, 0.2375),
        ("CLIPScore-ft", 0.2119, 0.2923),
        ("BLIPScore", 0.2278, 0.3116),
        ("Otter-VQA", 0.1208, 0.1681),
        ("UMTScore", 0.3189, 0.4364),
    ],
)
def test_fetv_alignment_ratings(shared: Path, metric: str, tau_c: float, rho: float) -> None:
    with (shared / "data" / "tables" / "fetv_ratings_even.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    rating = [sum(float(row[f"alignment_r{k}"]) for k in range(3)) / 3 for row in rows]
    score = [float(row[metric]) for row in rows]
    assert len(rows) == 1511
    assert round(kendall_tau(rating, score, "c").value, 4) == tau_c
    assert round(spearman(rating, score).value, 4) == rho
