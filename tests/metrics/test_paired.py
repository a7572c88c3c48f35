"""The paired test against enumeration, scipy, McNemar's exact test and published sample sizes."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from rewardbench.errors import InputError
from rewardbench.metrics.paired import clustered_error, clusters_needed, holm, paired_test, sign_flip_p, smallest_p

NAN = float("nan")


def simulated(seed: int, n_clusters: int, per_cluster: int, gap: float = 0.15) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    cluster = np.repeat(np.arange(n_clusters), per_cluster)
    a = (rng.random(cluster.size) < 0.6 + gap / 2).astype(float)
    b = (rng.random(cluster.size) < 0.6 - gap / 2).astype(float)
    return a, b, cluster


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-4, 4), min_size=1, max_size=9))
def test_p_is_the_share_of_sign_assignments_at_least_as_extreme(sums: list[int]) -> None:
    values = np.array(sums, dtype=float)
    totals = [abs(sum(s * v for s, v in zip(signs, sums, strict=True))) for signs in product((1, -1), repeat=len(sums))]
    p, exact, visited = sign_flip_p(values, n_permutations=999, seed=0)
    assert exact
    assert visited == 2 ** np.count_nonzero(values)
    assert p == np.mean([total >= abs(sum(sums)) for total in totals])


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-4, 4), min_size=1, max_size=8))
def test_one_sided_p_is_the_share_of_sign_assignments_with_a_sum_as_large(sums: list[int]) -> None:
    totals = [sum(s * v for s, v in zip(signs, sums, strict=True)) for signs in product((1, -1), repeat=len(sums))]
    p, exact, _ = sign_flip_p(np.array(sums, dtype=float), n_permutations=999, seed=0, one_sided=True)
    assert exact
    assert p == np.mean([total >= sum(sums) for total in totals])


@pytest.mark.parametrize("n", [1, 2, 6, 16, 40])
def test_the_smallest_p_is_reached_by_clusters_that_all_say_the_same(n: int) -> None:
    assert sign_flip_p(np.ones(n), n_permutations=999, seed=0)[0] == smallest_p(n, 999)
    assert smallest_p(0, 999) == 1.0


def test_p_equals_scipy_s_permutation_of_paired_samples() -> None:
    a, b, cluster = simulated(3, 11, 4)
    sums = [np.array([values[cluster == c].sum() for c in range(11)]) for values in (a, b)]
    expected = stats.permutation_test(
        sums, lambda x, y: np.sum(x - y), permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    )
    assert paired_test(a, b, cluster, n_bootstrap=0).p == pytest.approx(expected.pvalue, abs=1e-12)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10), st.integers(0, 40))
def test_one_pair_per_prompt_is_mcnemar_s_exact_test(wins: int, both: int) -> None:
    losses = 10 - wins
    a = [1.0] * wins + [0.0] * losses + [1.0] * both
    b = [0.0] * wins + [1.0] * losses + [1.0] * both
    found = paired_test(a, b, range(10 + both), n_bootstrap=0)
    assert (found.only_a, found.only_b, found.exact, found.n_permutations) == (wins, losses, True, 2**10)
    assert found.p == pytest.approx(stats.binomtest(wins, 10).pvalue, abs=1e-12)


def test_drawn_p_is_near_the_enumerated_one_and_never_zero() -> None:
    sums = np.random.default_rng(1).integers(1, 5, size=18) * np.where(np.arange(18) < 12, 1.0, -1.0)
    signs = np.array(list(product((1, -1), repeat=18)), dtype=np.int8)
    exact = float((np.abs(signs @ sums) >= abs(sums.sum())).mean())
    p, enumerated, visited = sign_flip_p(sums, n_permutations=9999, seed=0)
    assert (enumerated, visited) == (False, 9999)
    assert abs(p - exact) < 4 * np.sqrt(exact * (1 - exact) / 9999)
    assert sign_flip_p(np.ones(60), n_permutations=9999, seed=0)[0] == 1 / 10_000


def test_the_test_keeps_its_level_where_models_are_alike() -> None:
    p = [paired_test(*simulated(seed, 25, 3, gap=0.0), n_permutations=999, n_bootstrap=0).p for seed in range(100)]
    # 100 trials at 5 %: three standard deviations above it is .115.
    assert np.mean(np.array(p) <= 0.05) < 0.115


def test_interval_equals_a_loop_over_the_same_draws() -> None:
    rng = np.random.default_rng(2)
    cluster = np.concatenate([np.arange(10), rng.integers(10, size=50)])
    a, b = rng.random((2, 60)).round(1)
    taken = np.random.default_rng(7).integers(10, size=(300, 10))
    draws = []
    for draw in taken:
        rows = np.concatenate([np.flatnonzero(cluster == c) for c in draw])
        draws.append(a[rows].mean() - b[rows].mean())
    found = paired_test(a, b, [f"{c:02d}" for c in cluster], n_bootstrap=300, seed=7)
    np.testing.assert_allclose(found.ci95, np.percentile(draws, [2.5, 97.5]), atol=1e-12)
    assert found.difference == pytest.approx(a.mean() - b.mean())


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 25))
def test_exchanging_the_models_mirrors_everything(seed: int, n_clusters: int) -> None:
    a, b, cluster = simulated(seed, n_clusters, 3)
    one = paired_test(a, b, cluster, n_permutations=999, n_bootstrap=100)
    other = paired_test(b, a, cluster, n_permutations=999, n_bootstrap=100)
    assert other.p == one.p
    assert (other.only_a, other.only_b) == (one.only_b, one.only_a)
    np.testing.assert_allclose(
        [other.difference, *other.ci95, other.effect_size],
        [-one.difference, -one.ci95[1], -one.ci95[0], -one.effect_size],
        atol=1e-12,
    )
    assert other.clusters_needed == one.clusters_needed


def test_effect_size_is_t_over_the_root_of_n_for_prompts_of_one_size() -> None:
    a, b, cluster = simulated(5, 20, 4)
    means = [values.reshape(20, 4).mean(axis=1) for values in (a, b)]
    assert paired_test(a, b, cluster).effect_size == pytest.approx(stats.ttest_rel(*means).statistic / np.sqrt(20))


def test_pairs_that_one_model_leaves_out_are_left_out_of_the_comparison() -> None:
    a, b = [1, 1, NAN, 0, 1], [0, NAN, 1, 0, 1]
    found = paired_test(a, b, list("abcde"), n_bootstrap=0)
    same = paired_test([1, 0, 1], [0, 0, 1], list("ade"), n_bootstrap=0)
    assert (found.n, found.n_left_out, found.n_clusters) == (3, 2, 3)
    assert (found.value_a, found.value_b, found.difference, found.p) == (
        same.value_a,
        same.value_b,
        same.difference,
        same.p,
    )


def test_nothing_in_common_leaves_everything_undefined() -> None:
    found = paired_test([1, NAN], [NAN, 1], ["p", "q"])
    assert (found.n, found.n_left_out, found.clusters_needed) == (0, 2, None)
    assert np.isnan([found.difference, found.p, found.effect_size, *found.ci95]).all()


def test_models_that_are_alike_have_p_one_and_nothing_to_tell() -> None:
    found = paired_test([1, 0, 1], [1, 0, 1], list("abc"))
    assert (found.difference, found.p, found.effect_size, found.clusters_needed) == (0, 1, 0, None)


@pytest.mark.parametrize(("effect", "published"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_sample_sizes_are_the_published_ones_of_the_paired_t_test(effect: float, published: int) -> None:
    # G*Power, two-sided difference of two dependent means, alpha .05, power .80: Cohen's small, medium and large d.
    assert clusters_needed(effect) == clusters_needed(-effect) == published


def test_no_sample_is_too_small_for_the_permutation_test_to_reach_five_per_cent() -> None:
    assert clusters_needed(50.0) == clusters_needed(float("inf")) == 6
    assert sign_flip_p(np.ones(6), n_permutations=999, seed=0)[0] == 2 / 2**6 < 0.05
    assert sign_flip_p(np.ones(5), n_permutations=999, seed=0)[0] == 2 / 2**5 > 0.05


@pytest.mark.parametrize(
    ("per_prompt", "differing"), [(23, 13), (22, 15), (25, 7), (25, 14), (26, 15), (29, 15), (7, 3)]
)
def test_prompts_that_all_say_the_same_have_no_error_and_end_the_search_at_once(
    per_prompt: int, differing: int
) -> None:
    b = np.tile(np.arange(per_prompt) >= differing, 3).astype(float)
    found = paired_test(np.ones(b.size), b, np.repeat(np.arange(3), per_prompt), n_bootstrap=0)
    assert found.difference == pytest.approx(differing / per_prompt)
    assert found.p == 2 / 2**3
    assert (found.effect_size, found.clusters_needed, found.smallest_detectable) == (np.inf, 6, 0)
    mirrored = paired_test(b, np.ones(b.size), np.repeat(np.arange(3), per_prompt), n_bootstrap=0)
    assert mirrored.effect_size == -np.inf


def test_what_rounding_leaves_of_a_difference_is_no_difference() -> None:
    found = paired_test([0.1, 0.2, -0.3] * 4, [0.0] * 12, np.repeat(np.arange(4), 3), n_bootstrap=0)
    assert sum([0.1, 0.2, -0.3]) != 0
    assert (found.difference, found.effect_size, found.p, found.clusters_needed) == (0, 0, 1, None)
    across = paired_test([0.1, 0.2, -0.3], [0.0] * 3, list("abc"), n_bootstrap=0)
    assert (across.difference, across.effect_size, across.clusters_needed) == (0, 0, None)


def test_a_small_error_that_is_none_of_rounding_stays() -> None:
    sums, sizes = np.array([1.0, 1.0, 1.0 + 3e-9]), np.ones(3)
    assert clustered_error(sums, sizes) == pytest.approx(np.std(sums, ddof=1) / np.sqrt(3), rel=1e-6)


def power_of_the_paired_t_test(effect: float, n: int) -> float:
    """P(|t| > limit) by integrating the normal distribution over that of the sample's standard deviation."""
    limit, freedom = stats.t.ppf(0.975, n - 1), n - 1

    def rejected(deviation: float) -> float:
        shift, bound = effect * np.sqrt(n), limit * deviation
        density = stats.chi.pdf(deviation * np.sqrt(freedom), freedom) * np.sqrt(freedom)
        return float((stats.norm.sf(bound - shift) + stats.norm.cdf(-bound - shift)) * density)

    return float(integrate.quad(rejected, 0, 6, points=[1], limit=200)[0])


@pytest.mark.parametrize("effect", [0.35, 0.8, 1.2, 1.5, 1.8, 2.5, 4.5, 5.0, 16.0])
def test_sample_sizes_are_the_smallest_with_the_power_by_integration(effect: float) -> None:
    needed = clusters_needed(effect)
    assert needed is not None
    assert power_of_the_paired_t_test(effect, needed) >= 0.8
    assert needed == 6 or power_of_the_paired_t_test(effect, needed - 1) < 0.8


def test_a_larger_effect_never_needs_more_clusters() -> None:
    grid = [*np.geomspace(0.05, 30, 150), 1e3, 1e8, 1e16, np.inf]
    needed = [clusters_needed(float(effect)) for effect in grid]
    assert needed == sorted(needed, reverse=True)
    assert {n for effect, n in zip(grid, needed, strict=True) if effect >= 4} == {6}


def test_large_samples_follow_the_normal_formula_without_a_jump() -> None:
    z = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    for effect in (0.0279, 0.0281, 0.001):
        assert clusters_needed(effect) == pytest.approx((z / effect) ** 2, rel=1e-3)
    assert clusters_needed(0.0) is None
    assert clusters_needed(NAN) is None


def test_the_smallest_detectable_difference_is_the_one_that_needs_the_prompts_there_are() -> None:
    a, b, cluster = simulated(5, 80, 4)
    found = paired_test(a, b, cluster)
    deviation = found.difference / found.effect_size
    assert clusters_needed(found.smallest_detectable / deviation) == pytest.approx(80, abs=1)


def test_a_sample_of_the_needed_size_finds_the_difference_four_times_in_five() -> None:
    rng = np.random.default_rng(0)
    needed = clusters_needed(0.5)
    found = [
        sign_flip_p(rng.normal(0.5, 1, size=needed), n_permutations=999, seed=trial)[0] <= 0.05 for trial in range(300)
    ]
    assert abs(np.mean(found) - 0.8) < 3 * np.sqrt(0.8 * 0.2 / 300) + 0.01


def test_holm_by_hand() -> None:
    np.testing.assert_allclose(holm([0.01, 0.04, NAN, 0.03, 0.005]), [0.03, 0.06, NAN, 0.06, 0.02])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.001, 0.5))
def test_holm_rejects_what_its_step_down_procedure_rejects(p: list[float], alpha: float) -> None:
    rejected = set()
    for step, k in enumerate(sorted(range(len(p)), key=lambda k: p[k])):
        if p[k] * (len(p) - step) > alpha:
            break
        rejected.add(k)
    adjusted = holm(p)
    assert {k for k in range(len(p)) if adjusted[k] <= alpha} == rejected
    assert (adjusted >= np.array(p)).all()


def test_bad_input_is_refused_in_a_sentence() -> None:
    with pytest.raises(InputError, match="a has 2 entries but b has 1"):
        paired_test([1, 0], [1], ["p", "q"])
    with pytest.raises(InputError, match="at least 999"):
        paired_test([1], [0], ["p"], n_permutations=100)
    with pytest.raises(InputError, match="n_bootstrap is -1"):
        paired_test([1], [0], ["p"], n_bootstrap=-1)
    with pytest.raises(InputError, match="outside 0 to 1"):
        holm([0.5, 1.5])
