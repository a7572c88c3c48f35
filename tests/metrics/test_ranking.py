"""Ranks and their intervals against a loop over the same draws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from rewardbench.errors import InputError
from rewardbench.metrics.ranking import rank_intervals, standings


def simulated(seed: int, n_models: int = 4, n_clusters: int = 12, n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    cluster = np.concatenate([np.arange(n_clusters), rng.integers(n_clusters, size=n - n_clusters)])
    chance = 0.5 + 0.06 * np.arange(n_models)[:, None] + 0.1 * rng.normal(size=n_clusters)[cluster]
    correct = (rng.random((n_models, n)) < chance).astype(float)
    correct[rng.random((n_models, n)) < 0.1] = np.nan
    return correct, cluster


@pytest.mark.parametrize("seed", range(3))
def test_intervals_equal_a_loop_over_the_same_draws(seed: int) -> None:
    correct, cluster = simulated(seed)
    names = sorted(set(cluster.tolist()), key=str)  # clusters are ordered by their text
    taken = np.random.default_rng(5).integers(12, size=(200, 12))
    best, worst, means = [], [], []
    for draw in taken:
        rows = np.concatenate([np.flatnonzero(cluster == names[c]) for c in draw])
        mean = np.nanmean(correct[:, rows], axis=1)
        means.append(mean)
        best.append(rankdata(-np.round(mean, 12), method="min"))
        worst.append(rankdata(-np.round(mean, 12), method="max"))
    observed = rankdata(-np.nanmean(correct, axis=1), method="min")
    found = standings(correct, cluster, n_bootstrap=200, seed=5)
    for k, one in enumerate(found):
        low, high = np.sort(np.array(best)[:, k]), np.sort(np.array(worst)[:, k])
        # The 2.5 and 97.5 percentiles of 200 draws lie between order statistics; outwards is the cautious side.
        assert one.rank == (observed[k], min(observed[k], low[int(0.025 * 199)]), max(observed[k], high[195]))
        np.testing.assert_allclose(one.ci95, np.percentile(np.array(means)[:, k], [2.5, 97.5]), atol=1e-12)
        np.testing.assert_allclose(one.mean, np.nanmean(correct[k]))
    assert rank_intervals(correct, cluster, n_bootstrap=200, seed=5) == [one.rank for one in found]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.permutations(range(4)), st.randoms(use_true_random=False))
def test_neither_the_order_of_models_nor_of_pairs_matters(seed: int, models: list[int], random: object) -> None:
    correct, cluster = simulated(seed)
    rows = list(range(cluster.size))
    random.shuffle(rows)  # type: ignore[attr-defined]
    found = rank_intervals(correct, cluster, n_bootstrap=50)
    shuffled = rank_intervals(correct[models][:, rows], cluster[rows], n_bootstrap=50)
    assert shuffled == [found[k] for k in models]
    assert all(low <= rank <= high for rank, low, high in found)


def test_models_that_are_alike_share_their_places() -> None:
    correct = np.array([[1, 0, 1, 0, 1, 1], [1, 0, 1, 0, 1, 1], [0, 0, 0, 0, 0, 0]], dtype=float)
    assert rank_intervals(correct, list("abcdef")) == [(1, 1, 2), (1, 1, 2), (3, 3, 3)]


def test_a_model_that_is_better_everywhere_is_first_in_every_draw() -> None:
    correct = np.array([[0.0] * 20, [1.0] * 20])
    assert rank_intervals(correct, range(20)) == [(2, 2, 2), (1, 1, 1)]


def test_one_cluster_or_no_draws_leave_every_rank_possible() -> None:
    correct = np.array([[0.0, 1.0], [1.0, 1.0]])
    assert rank_intervals(correct, ["p", "p"]) == [(2, 1, 2), (1, 1, 2)]
    assert rank_intervals(correct, ["p", "q"], n_bootstrap=0) == [(2, 1, 2), (1, 1, 2)]


def test_prompts_without_a_pair_that_counts_are_drawn_like_the_others() -> None:
    correct = np.array([[1.0, 0, 1, 1, np.nan, np.nan, 0], [0.0, 0, 1, 0, np.nan, np.nan, 1]])
    cluster = list("aabcded")
    taken = np.random.default_rng(3).integers(5, size=(300, 5))
    means = np.array(
        [
            np.nanmean(
                correct[:, np.concatenate([np.flatnonzero(np.array(cluster) == "abcde"[c]) for c in draw])], axis=1
            )
            for draw in taken
            if set(draw) - {4}  # e holds no pair that counts
        ]
    )
    found = standings(correct, cluster, n_bootstrap=300, seed=3)
    for k, one in enumerate(found):
        np.testing.assert_allclose(one.ci95, np.percentile(means[:, k], [2.5, 97.5]), atol=1e-12)


def test_values_in_one_cluster_alone_have_no_interval_though_others_are_drawn() -> None:
    found = standings([[1, 0, np.nan], [1, 1, np.nan]], ["p", "p", "q"])
    assert np.isnan([one.ci95 for one in found]).all()
    assert [one.rank for one in found] == [(2, 1, 2), (1, 1, 2)]


def test_a_thousand_models_take_no_table_of_models_by_models() -> None:
    correct = np.random.default_rng(0).random((1000, 40))
    found = rank_intervals(correct, range(40), n_bootstrap=50)
    assert sorted(rank for rank, _, _ in found) == list(range(1, 1001))


def test_bad_tables_are_refused_in_a_sentence() -> None:
    with pytest.raises(InputError, match="one row per model"):
        rank_intervals([1, 0], ["p", "q"])
    with pytest.raises(InputError, match="no value in row 1"):
        rank_intervals([[1, 0], [np.nan, np.nan]], ["p", "q"])
    with pytest.raises(InputError, match="infinite in row 0"):
        rank_intervals([[np.inf, 0]], ["p", "q"])
    with pytest.raises(InputError, match="groups has 1 entries"):
        rank_intervals([[1, 0]], ["p"])
    with pytest.raises(InputError, match="n_bootstrap is -1"):
        rank_intervals([[1, 0]], ["p", "q"], n_bootstrap=-1)
