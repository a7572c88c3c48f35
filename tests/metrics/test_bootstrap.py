"""The cluster bootstrap against a naive one with the same draws, and its coverage in a small simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardbench.metrics import bootstrap as module
from rewardbench.metrics import evaluate_pairs, pairwise_accuracy
from rewardbench.metrics.bootstrap import cluster_draws, percentile_interval, refitted_gains
from rewardbench.metrics.ties import correct_without_new_ties, gain_of_tie, sort_margins


def drawn_rows(cluster: np.ndarray, taken: np.ndarray) -> np.ndarray:
    """Rows of the drawn clusters, a cluster drawn twice giving its rows twice."""
    return np.concatenate([np.flatnonzero(cluster == c) for c in taken])


def simulated(seed: int, n: int = 120, n_clusters: int = 15) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, coarse margins (many equal ones) and clusters, every cluster present."""
    rng = np.random.default_rng(seed)
    cluster = np.concatenate([np.arange(n_clusters), rng.integers(n_clusters, size=n - n_clusters)])
    margin = np.round(rng.normal(size=n) * 4) / 4
    noisy = margin + rng.normal(size=n)
    return np.where(np.abs(noisy) < 0.5, 0, np.sign(noisy)).astype(np.int8), margin, cluster


@pytest.mark.parametrize("seed", range(4))
def test_refitted_threshold_equals_a_naive_loop_over_draws(seed: int) -> None:
    human, margin, cluster = simulated(seed)
    pairs = sort_margins(margin)
    taken = np.random.default_rng(7).integers(15, size=(60, 15))
    counts = np.stack([np.bincount(row, minlength=15) for row in taken])
    gains = refitted_gains(gain_of_tie(human, pairs), pairs, cluster, counts)
    at_zero = correct_without_new_ties(human, pairs)
    for row, gain in zip(taken, gains, strict=True):
        rows = drawn_rows(cluster, row)
        expected = pairwise_accuracy(human[rows], margin[rows]).with_ties
        assert (at_zero[rows].sum() + gain) / rows.size == expected


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from([-1, 0, 1]), st.integers(-6, 6), st.integers(0, 3)), min_size=1, max_size=25),
    st.lists(st.integers(0, 5), min_size=4, max_size=4),
)
def test_refitted_gain_equals_repeating_the_pairs(pairs: list[tuple[int, int, int]], counts: list[int]) -> None:
    human = np.array([h for h, _, _ in pairs], dtype=np.int8)
    margin, cluster = np.array([float(m) for _, m, _ in pairs]), np.array([c for _, _, c in pairs])
    ordered = sort_margins(margin)
    gain = int(refitted_gains(gain_of_tie(human, ordered), ordered, cluster, np.array([counts]))[0])
    rows = np.repeat(np.arange(human.size), np.array(counts)[cluster])
    if rows.size:
        best = pairwise_accuracy(human[rows], margin[rows]).with_ties
        at_zero = pairwise_accuracy(human[rows], margin[rows], tie_rule=0.0).with_ties
        assert gain == round((best - at_zero) * rows.size)
    else:
        assert gain == 0


def test_totals_beyond_32_bits_are_exact() -> None:
    human, margin = np.zeros(3, dtype=np.int8), np.array([1.0, 2.0, 3.0])
    pairs = sort_margins(margin)
    counts = np.array([[2**30]])
    assert refitted_gains(gain_of_tie(human, pairs), pairs, np.zeros(3, dtype=np.int64), counts).tolist() == [3 * 2**30]


def test_draws_are_the_documented_ones_in_any_block_size(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = np.random.default_rng(3).integers(7, size=(50, 7))
    expected = np.stack([np.bincount(row, minlength=7) for row in taken])
    for cells in (1, 70, 4_000_000):
        monkeypatch.setattr(module, "_BLOCK_CELLS", cells)
        np.testing.assert_array_equal(np.concatenate(list(cluster_draws(7, 50, 3))), expected)


def test_percentile_interval_leaves_undefined_draws_out() -> None:
    assert percentile_interval(np.array([np.nan, *range(101)], dtype=float)) == (2.5, 97.5)
    assert np.isnan(percentile_interval(np.full(3, np.nan))).all()


@pytest.mark.parametrize("seed", range(3))
def test_intervals_equal_a_naive_bootstrap_with_the_same_draws(seed: int) -> None:
    """Every interval of `evaluate_pairs` again, by taking rows and averaging."""
    human, margin, cluster = simulated(seed + 10)
    names = np.array([f"prompt {c:02d}" for c in cluster])  # in ascending order as the cluster numbers are
    kind = np.where(np.arange(human.size) % 3 == 0, "x", "y")
    found = evaluate_pairs(
        human, margin, groups=names, slices={"kind": kind}, native_threshold=0.6, n_bootstrap=200, seed=seed
    )
    draws: dict[str, list[float]] = {
        name: [] for name in ("cross", "fit", "native", "strict", "half", "slice", "decided")
    }
    for taken in np.random.default_rng(seed).integers(15, size=(200, 15)):
        rows = drawn_rows(cluster, taken)
        h, m = human[rows], margin[rows]
        draws["cross"].append(float((found.predicted[rows] == h).mean()))
        draws["fit"].append(pairwise_accuracy(h, m).with_ties)
        draws["native"].append(pairwise_accuracy(h, m, tie_rule=0.6).with_ties)
        draws["strict"].append(pairwise_accuracy(h, m).without_ties)
        draws["half"].append(pairwise_accuracy(h, m).without_ties_half_credit)
        inside = kind[rows] == "x"
        draws["slice"].append(float((found.predicted[rows] == h)[inside].mean()))
        draws["decided"].append(pairwise_accuracy(h[inside], m[inside]).without_ties)
    with_ties, without = found.accuracy_with_ties, found.accuracy_without_ties
    assert with_ties.native is not None
    for name, interval in (
        ("cross", with_ties.crossfit.ci95),
        ("fit", with_ties.threshold.ci95),
        ("native", with_ties.native.ci95),
        ("strict", without.ci95),
        ("half", without.half_credit_ci95),
        ("slice", found.slices["kind"]["x"].with_ties_crossfit.ci95),
        ("decided", found.slices["kind"]["x"].without_ties.ci95),
    ):
        np.testing.assert_allclose(interval, np.percentile(draws[name], [2.5, 97.5]), rtol=0, atol=1e-12, err_msg=name)


def test_cluster_intervals_cover_where_pair_intervals_do_not() -> None:
    """60 prompts x 8 pairs whose difficulty is shared: loose bounds around the nominal 95 %."""
    rng = np.random.default_rng(2)
    truth = float(np.mean(rng.beta(2, 1, size=200_000)))
    covered = {"prompt": 0, "pair": 0}
    trials = 120
    for trial in range(trials):
        right = rng.random((60, 8)) < rng.beta(2, 1, size=60)[:, None]
        human = np.ones(480, dtype=int)
        margin = np.where(right.ravel(), 1.0, -1.0)
        for name, groups in (("prompt", np.repeat(np.arange(60), 8)), ("pair", np.arange(480))):
            low, high = evaluate_pairs(
                human, margin, groups=groups, n_bootstrap=200, seed=trial
            ).accuracy_without_ties.ci95
            covered[name] += low <= truth <= high
    assert covered["prompt"] / trials > 0.87
    assert covered["pair"] / trials < covered["prompt"] / trials - 0.05
