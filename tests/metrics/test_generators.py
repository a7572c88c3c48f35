"""Ranking generators: soft pairwise accuracy by enumeration, its symmetries, and the cases without an answer."""

from __future__ import annotations

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from rewardbench.errors import InputError
from rewardbench.metrics.generators import _mid_p, _normal_p, compare_generators

Rows = tuple[list[str], list[str], np.ndarray, np.ndarray, list[int]]


def tournament(seed: int, n_prompts: int = 8, names: str = "uvwx", noise: float = 1.0) -> Rows:
    """Every two generators on every prompt; people see quality with noise, the model too."""
    rng = np.random.default_rng(seed)
    quality = dict(zip(names, 0.5 * rng.permutation(len(names)), strict=True))
    first, second, human, margin, prompt = [], [], [], [], []
    for q in range(n_prompts):
        for a, b in combinations(names, 2):
            x, y = (a, b) if rng.random() < 0.5 else (b, a)
            gap = quality[x] - quality[y]
            seen = gap + 1.5 * rng.normal()
            first.append(x)
            second.append(y)
            human.append(0 if abs(seen) < 0.4 else int(np.sign(seen)))
            margin.append(gap + noise * rng.normal())
            prompt.append(q)
    return first, second, np.array(human), np.array(margin), prompt


def naive_p(values: np.ndarray, rows: Rows, better: str, other: str) -> float:
    """Share of sign assignments whose sum is above the observed one, equal ones by half."""
    sums: dict[int, float] = {}
    for a, b, value, q in zip(rows[0], rows[1], values, rows[4], strict=True):
        if {a, b} == {better, other}:
            sums[q] = sums.get(q, 0.0) + (value if a == better else -value)
    observed = sum(sums.values())
    flips = product((1, -1), repeat=len(sums))
    totals = np.array([sum(s * v for s, v in zip(signs, sums.values(), strict=True)) for signs in flips])
    return float((totals > observed + 1e-9).mean() + (np.abs(totals - observed) <= 1e-9).mean() / 2)


@pytest.mark.parametrize("seed", range(3))
def test_soft_pairwise_accuracy_is_one_minus_the_mean_gap_of_enumerated_p_values(seed: int) -> None:
    rows = tournament(seed)
    found = compare_generators(*rows[:4], groups=rows[4], n_bootstrap=0)
    gaps = []
    for i, j in combinations(range(4), 2):
        names = "uvwx"[i], "uvwx"[j]
        p_human, p_model = (naive_p(values, rows, *names) for values in rows[2:4])
        assert (found.p_human[i, j], found.p_model[i, j]) == pytest.approx((p_human, p_model), abs=1e-12)
        gaps.append(abs(p_human - p_model))
    assert found.soft_pairwise_accuracy == pytest.approx(1 - np.mean(gaps), abs=1e-12)
    assert found.n_generator_pairs == 6
    np.testing.assert_allclose((found.p_model + found.p_model.T)[~np.eye(4, dtype=bool)], 1)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1000))
def test_neither_sides_nor_rows_nor_names_matter(seed: int) -> None:
    rows = tournament(seed, n_prompts=20)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(rows[0]))
    flip = rng.random(order.size) < 0.5
    renamed = dict(zip("uvwx", "zyxw", strict=True))  # the reverse order of names
    sides = [[renamed[name] for name in side] for side in rows[:2]]
    first = [sides[1][i] if flip[i] else sides[0][i] for i in order]
    second = [sides[0][i] if flip[i] else sides[1][i] for i in order]
    sign = np.where(flip, -1, 1)[order]
    one = compare_generators(*rows[:4], groups=rows[4], n_bootstrap=50)
    other = compare_generators(
        first, second, rows[2][order] * sign, rows[3][order] * sign, groups=[rows[4][i] for i in order], n_bootstrap=50
    )
    assert other.soft_pairwise_accuracy == pytest.approx(one.soft_pairwise_accuracy, abs=1e-9)
    assert other.soft_pairwise_accuracy_ci95 == pytest.approx(one.soft_pairwise_accuracy_ci95, abs=1e-9)
    np.testing.assert_equal(other.pair_agreement, one.pair_agreement)
    for a, b in zip(one.human, reversed(other.human), strict=True):
        assert (renamed[a.name], a.n_pairs, a.points) == (b.name, b.n_pairs, pytest.approx(b.points))
        np.testing.assert_allclose(a.strength, b.strength, atol=1e-8)


def test_a_model_that_says_what_people_say_agrees_fully() -> None:
    first, second, human, _, prompt = tournament(1, n_prompts=30)
    found = compare_generators(first, second, human, human * 2.5, groups=prompt, n_bootstrap=100)
    assert found.soft_pairwise_accuracy == 1
    assert found.soft_pairwise_accuracy_ci95 == (1, 1)
    assert (found.pair_agreement, found.kendall_tau_b) == (1, pytest.approx(1))
    opposite = compare_generators(first, second, human, -human, groups=prompt, n_bootstrap=0)
    assert opposite.kendall_tau_b == pytest.approx(-1)
    assert opposite.soft_pairwise_accuracy < 0.5


def equals_at_the_top(prompts: int) -> Rows:
    """In every prompt u and v beat each other once, and each beats w twice, loses to it once and ties it once."""
    meets = [("u", "v", 1), ("v", "u", 1)]
    meets += [(a, "w", label) for a in "uv" for label in (1, 1, -1, 0)]
    rows = [(a, b, label, q) for q in range(prompts) for a, b, label in meets]
    human = np.array([label for _, _, label, _ in rows])
    return [a for a, *_ in rows], [b for _, b, *_ in rows], human, human.astype(float), [q for *_, q in rows]


def test_generators_alike_in_every_draw_share_their_places_as_models_do() -> None:
    rows = equals_at_the_top(6)
    found = compare_generators(*rows[:4], groups=rows[4], n_bootstrap=100)
    for ranking in (found.human, found.model):
        assert {one.name: one.rank for one in ranking} == {"u": (1, 1, 2), "v": (1, 1, 2), "w": (3, 3, 3)}


def round_robin(outcomes: list[list[int]]) -> tuple[list[str], list[str], np.ndarray]:
    sides = [(a, b) for (a, b), meets in zip(combinations("xyz", 2), outcomes, strict=True) for _ in meets]
    return [a for a, _ in sides], [b for _, b in sides], np.array([value for meets in outcomes for value in meets])


@settings(max_examples=60, deadline=None)
@given(*[st.lists(st.lists(st.sampled_from((-1, 0, 1)), min_size=6, max_size=6), min_size=3, max_size=3)] * 2)
def test_with_everyone_meeting_everyone_tau_and_order_are_those_of_the_points(
    human: list[list[int]], model: list[list[int]]
) -> None:
    # Davidson's likelihood depends on points alone where all meet equally often, so equal points are equal strengths.
    first, second, labels = round_robin(human)
    margins = round_robin(model)[2].astype(float)
    found = compare_generators(first, second, labels, margins, groups=range(18), n_bootstrap=0, n_permutations=999)
    if np.isnan([one.strength for one in (*found.human, *found.model)]).any():
        return
    points = [[round(2 * one.points * one.n_pairs) for one in ranking] for ranking in (found.human, found.model)]
    expected = stats.kendalltau(*points, variant="b").statistic
    np.testing.assert_allclose(found.kendall_tau_b, expected, atol=1e-12)
    signs = [[np.sign(of[i] - of[j]) for i, j in combinations(range(3), 2)] for of in points]
    assert found.pair_agreement == pytest.approx(np.mean([a == b for a, b in zip(*signs, strict=True)]))


def test_points_ranks_and_intervals_of_a_clear_order() -> None:
    rows = tournament(0, n_prompts=60, noise=0.5)
    found = compare_generators(*rows[:4], groups=rows[4], n_bootstrap=200)
    for ranking in (found.human, found.model):
        assert [one.name for one in ranking] == list("uvwx")
        assert sum(one.points * one.n_pairs for one in ranking) == pytest.approx(len(rows[0]))
        by_strength = sorted(ranking, key=lambda one: -one.strength)
        assert [one.rank.rank for one in by_strength if one.rank] == [1, 2, 3, 4]
        assert all(one.ci95[0] < one.strength < one.ci95[1] for one in ranking)
        assert by_strength == sorted(ranking, key=lambda one: -one.points)


def test_p_of_the_interval_s_draws_is_near_the_permutation_s() -> None:
    sums = np.random.default_rng(0).integers(-2, 4, size=(80, 5)).astype(float)
    exact = _mid_p(sums, 20_000, 0)
    np.testing.assert_allclose(_normal_p(sums, np.ones((1, 80), dtype=np.int64))[0], exact, atol=0.01)


def test_generators_that_never_met_are_left_out_of_the_mean() -> None:
    rows = tournament(2)
    kept = [i for i in range(len(rows[0])) if {rows[0][i], rows[1][i]} != {"u", "x"}]
    first, second = ([side[i] for i in kept] for side in rows[:2])
    found = compare_generators(
        first, second, rows[2][kept], rows[3][kept], groups=[rows[4][i] for i in kept], n_bootstrap=0
    )
    assert found.n_generator_pairs == 5
    assert np.isnan(found.p_human[0, 3])
    assert np.isfinite([one.strength for one in found.human]).all()


def test_a_generator_that_never_took_a_point_leaves_strengths_undefined_but_not_soft_accuracy() -> None:
    found = compare_generators(["u", "u"], ["v", "v"], [1, 1], [1.0, 2.0], groups=["p", "q"], n_bootstrap=20)
    assert np.isnan([one.strength for one in found.human]).all()
    assert [one.rank for one in found.human] == [None, None]
    assert np.isnan(found.pair_agreement)
    assert found.soft_pairwise_accuracy == 1


def test_abstained_pairs_count_for_neither_side() -> None:
    rows = tournament(3, n_prompts=30)
    margin = rows[3].copy()
    margin[:6] = np.nan
    found = compare_generators(rows[0], rows[1], rows[2], margin, groups=rows[4], n_bootstrap=0)
    rest = compare_generators(rows[0][6:], rows[1][6:], rows[2][6:], rows[3][6:], groups=rows[4][6:], n_bootstrap=0)
    assert (found.n, found.n_abstained) == (len(rows[0]) - 6, 6)
    assert found.soft_pairwise_accuracy == rest.soft_pairwise_accuracy
    assert found.human == rest.human


def test_bad_names_are_refused_in_a_sentence() -> None:
    with pytest.raises(InputError, match="row 0 pairs 'u' with itself"):
        compare_generators(["u"], ["u"], [1], [1.0], groups=["p"])
    with pytest.raises(InputError, match="model_b is empty at row 0"):
        compare_generators(["u"], [""], [1], [1.0], groups=["p"])
    with pytest.raises(InputError, match="names two generators"):
        compare_generators(["u"], ["v"], [1], [np.nan], groups=["p"])
    with pytest.raises(InputError, match="model_a has 2 entries"):
        compare_generators(["u", "v"], ["v"], [1], [1.0], groups=["p"])
