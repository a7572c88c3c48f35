"""Tie thresholds against brute force in exact rationals, mt-metrics-eval's and VideoAlign's stored numbers."""

from __future__ import annotations

import json
from fractions import Fraction
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardbench.errors import InputError
from rewardbench.metrics import pairwise_accuracy, row_mean_accuracy, tie_curve
from rewardbench.metrics.ties import sort_margins, videoalign_with_ties

# Dyadic margins: sums and differences of them are exact, so Fractions and doubles mean the same numbers.
dyadic_pairs = st.lists(
    st.tuples(st.sampled_from([-1, 0, 1]), st.integers(-24, 24).map(lambda k: k / 8)), min_size=1, max_size=40
)


def exact_accuracy(human: list[int], margin: list[Fraction], threshold: Fraction) -> Fraction:
    """Accuracy with ties by its definition."""
    right = 0
    for h, m in zip(human, margin, strict=True):
        predicted = 0 if abs(m) <= threshold else (1 if m > 0 else -1)
        right += predicted == h
    return Fraction(right, len(human))


def exact_best(human: list[int], margin: list[Fraction]) -> tuple[Fraction, Fraction]:
    """Best accuracy and the smallest threshold that has it, over 0 and all distinct |margin|."""
    candidates = sorted({Fraction(0), *(abs(m) for m in margin)})
    values = [exact_accuracy(human, margin, t) for t in candidates]
    best = max(values)
    return best, candidates[values.index(best)]


@settings(deadline=None)
@given(dyadic_pairs)
def test_threshold_equals_brute_force_in_exact_rationals(pairs: list[tuple[int, float]]) -> None:
    human, margin = [h for h, _ in pairs], [m for _, m in pairs]
    best, threshold = exact_best(human, [Fraction(m) for m in margin])
    found = pairwise_accuracy(human, margin)
    assert found.with_ties == best.numerator / best.denominator
    assert found.tie_threshold == float(threshold)


@settings(deadline=None)
@given(dyadic_pairs)
def test_curve_equals_brute_force_at_every_threshold(pairs: list[tuple[int, float]]) -> None:
    human, margin = [h for h, _ in pairs], [Fraction(m) for _, m in pairs]
    curve = tie_curve(human, [m for _, m in pairs])
    assert curve.thresholds.tolist() == [float(t) for t in sorted({Fraction(0), *(abs(m) for m in margin)})]
    expected = [exact_accuracy(human, margin, Fraction(t)) for t in curve.thresholds]
    np.testing.assert_allclose(curve.accuracy, [float(e) for e in expected], rtol=0, atol=1e-15)


@settings(deadline=None)
@given(dyadic_pairs, st.randoms(use_true_random=False))
def test_threshold_ignores_row_order_and_swapping_a_and_b(pairs: list[tuple[int, float]], random: object) -> None:
    human, margin = np.array([h for h, _ in pairs]), np.array([m for _, m in pairs])
    found = pairwise_accuracy(human, margin)
    order = list(range(len(pairs)))
    random.shuffle(order)  # type: ignore[attr-defined]
    # By text, because NaN (no decided pair) equals nothing.
    assert str(pairwise_accuracy(human[order], margin[order])) == str(found)
    assert str(pairwise_accuracy(-human, -margin)) == str(found)


@settings(deadline=None)
@given(dyadic_pairs, st.sampled_from([2.0**-30, 0.1, 1 / 3, 3.0, 1e6, 2.0**40]))
def test_threshold_follows_a_positive_scale(pairs: list[tuple[int, float]], scale: float) -> None:
    human, margin = np.array([h for h, _ in pairs]), np.array([m for _, m in pairs])
    found, scaled = pairwise_accuracy(human, margin), pairwise_accuracy(human, margin * scale)
    assert scaled.with_ties == found.with_ties
    assert scaled.without_ties == pytest.approx(found.without_ties, nan_ok=True)
    assert scaled.tie_threshold == pytest.approx(found.tie_threshold * scale, rel=1e-14)


@settings(deadline=None)
@given(dyadic_pairs)
def test_threshold_is_at_least_tie_share_and_accuracy_at_zero(pairs: list[tuple[int, float]]) -> None:
    human, margin = [h for h, _ in pairs], [m for _, m in pairs]
    found = pairwise_accuracy(human, margin)
    assert found.with_ties >= found.human_tie_rate
    assert found.with_ties >= pairwise_accuracy(human, margin, tie_rule=0.0).with_ties


def test_worked_example_with_dyadic_scores() -> None:
    """Eight pairs from the study of tie rules: 3/4 at threshold 0, 6/7 without ties, .625 by VideoAlign's function."""
    human = [1, -1, 1, -1, 1, 0, 1, -1]
    a = np.array([0.875, 0.125, 0.75, 0.25, 0.6875, 0.5, 0.3125, 0.25])
    b = np.array([0.125, 0.625, 0.5, 0.375, 0.625, 0.0625, 0.4375, 0.875])
    found = pairwise_accuracy(human, a - b)
    assert (found.with_ties, found.tie_threshold, found.without_ties) == (0.75, 0.0, 6 / 7)
    assert pairwise_accuracy(human, a - b, tie_rule="videoalign").with_ties == 0.625


def all_pairs(scores: list[float]) -> np.ndarray:
    return np.array([x - y for x, y in combinations(scores, 2)])


def test_float_noise_does_not_split_a_group() -> None:
    """Scores .1 .2 .3 .4: six differences of three sizes, which doubles turn into six."""
    margin = -all_pairs([0.1, 0.2, 0.3, 0.4])
    exact = [Fraction(y) - Fraction(x) for x, y in combinations(["1/10", "2/10", "3/10", "4/10"], 2)]
    assert len(set(np.abs(margin))) > 3
    assert tie_curve([0] * 6, margin).thresholds.tolist() == pytest.approx([0, 0.1, 0.2, 0.3])
    for labels in ([0, 1, 1, 1, 1, 1], [1, 1, 1, 0, 1, 1], [1, 1, 1, 1, 1, 0]):
        best, threshold = exact_best(labels, exact)
        assert best == Fraction(5, 6)
        found = pairwise_accuracy(labels, margin)
        assert found.with_ties == pytest.approx(5 / 6, abs=1e-15)
        assert found.tie_threshold == pytest.approx(float(threshold))
    # Told apart, the smallest double of "0.1" alone becomes a threshold, and 6/6 a result.
    smallest = [0 if k == np.argmin(np.abs(margin)) else 1 for k in range(6)]
    assert pairwise_accuracy(smallest, margin, noise=0).with_ties == 1.0


def test_a_fixed_threshold_takes_its_noisy_neighbours() -> None:
    assert pairwise_accuracy([0], [0.4 - 0.3], tie_rule=0.1).with_ties == 1.0  # a little above 0.1
    margin = [0.3 - 0.2, 0.2 - 0.1, 0.4 - 0.3, 0.5]
    assert pairwise_accuracy([0, 0, 0, 1], margin, tie_rule=0.1).with_ties == 1.0
    assert pairwise_accuracy([0, 0, 0, 1], margin, tie_rule=0.0999999999999).with_ties == 0.25


def test_coarse_noise_is_grouped_when_asked_for() -> None:
    """2.3 - 2.2 leaves 0.3 - 0.2 in the 15th digit and 0.1 + 0.2 - 0.3 is not 0; a share of the scale helps."""
    margin = np.array([2.3 - 2.2, 0.3 - 0.2, 0.1 + 0.2 - 0.3, -0.5])
    human = [0, 1, 1, -1]
    assert sort_margins(margin).levels.size == 4
    assert sort_margins(margin, noise=1e-9).levels.tolist() == pytest.approx([0, 0.1, 0.5])
    assert pairwise_accuracy(human, margin).without_ties == 1.0
    grouped = pairwise_accuracy(human, margin, noise=1e-9)
    assert (grouped.without_ties, grouped.without_ties_half_credit) == (2 / 3, 2.5 / 3)
    assert pairwise_accuracy([0, 0, 0, -1], margin, tie_rule=0.1, noise=1e-9).with_ties == 1.0


def test_noise_scale_ignores_sentinels_and_residues() -> None:
    sentinel = sort_margins(np.array([-1e6, 0.1, 0.1 + 1e-12, 0.2, 0.3]), noise=1e-9)
    assert sentinel.levels.size == 4
    residues = sort_margins(np.array([5e-17, 5e-17, 5e-17, 0.1]), noise=1e-9)
    assert residues.levels.tolist() == [0.0, 0.1]
    assert residues.sign.tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("noise", [-1e-9, float("nan"), float("inf")])
def test_unusable_noise_is_refused(noise: float) -> None:
    with pytest.raises(InputError, match="noise"):
        pairwise_accuracy([1], [1.0], noise=noise)


# --- VideoAlign's function


def test_videoalign_reads_states_no_threshold_gives() -> None:
    """Three equal differences: the true best is 2/3, the function returns 1 or 1/3 by the order of rows."""
    assert pairwise_accuracy([0, 1, 1], [0.5] * 3).with_ties == 2 / 3
    assert pairwise_accuracy([0, 1, 1], [0.5] * 3, tie_rule="videoalign").with_ties == 1.0
    assert pairwise_accuracy([1, 1, 0], [0.5] * 3, tie_rule="videoalign").with_ties == pytest.approx(1 / 3)


def test_videoalign_never_tries_no_ties() -> None:
    assert pairwise_accuracy([1, 1, 1, -1], [1.0, 2, 3, -4], tie_rule="videoalign").with_ties == 0.75
    assert pairwise_accuracy([1, 1, 1, -1], [1.0, 2, 3, -4]).with_ties == 1.0


@settings(deadline=None)
@given(dyadic_pairs)
def test_videoalign_equals_flipping_pairs_one_by_one(pairs: list[tuple[int, float]]) -> None:
    best = 0
    ordered = sorted(pairs, key=lambda pair: abs(pair[1]))
    for flipped in range(1, len(ordered) + 1):
        right = sum(h == 0 for h, _ in ordered[:flipped]) + sum(h * m > 0 for h, m in ordered[flipped:])
        best = max(best, right)
    found, _ = videoalign_with_ties(np.array([h for h, _ in pairs], dtype=np.int8), np.array([m for _, m in pairs]))
    assert found == best / len(pairs)


# --- mt-metrics-eval


def matrix_pairs(human: list[list[float | None]], metric: list[list[float | None]]) -> tuple[list, list, list]:
    """All pairs within rows of two rating matrices, gaps left out: labels, margins, row names."""
    labels, margins, rows = [], [], []
    for row, (hs, ms) in enumerate(zip(human, metric, strict=True)):
        both = [(h, m) for h, m in zip(hs, ms, strict=True) if h is not None and m is not None]
        for (h1, m1), (h2, m2) in combinations(both, 2):
            labels.append(int(np.sign(h1 - h2)))
            margins.append(m1 - m2)
            rows.append(row)
    return labels, margins, rows


@pytest.mark.parametrize(
    ("human", "sixths", "best"),
    [([1, 2, 3, 4], [6, 4, 3, 1, 0], (1.0, 0.0)), ([1, 1, 1, 4], [3, 3, 4, 4, 3], (4 / 6, 4.0))],
)
def test_unit_values_of_mt_metrics_eval(human: list[float], sixths: list[int], best: tuple[float, float]) -> None:
    labels, margins, _ = matrix_pairs([human], [[0, 2, 6, 8]])
    curve = tie_curve(labels, margins)
    assert curve.thresholds.tolist() == [0, 2, 4, 6, 8]
    assert curve.accuracy.tolist() == [k / 6 for k in sixths]
    found = pairwise_accuracy(labels, margins)
    assert (found.with_ties, found.tie_threshold) == best


def test_row_mean_of_mt_metrics_eval_with_gaps() -> None:
    """Its regression example: rows of different size, one empty; best .491667 at threshold 1."""
    none = [None] * 5
    metric = [[0, 5, 2, 3, 2], [None, 2, 1, 5, 3], [9, 1, 5, 3, 8], [9, 3, 4, 4, 1], none]
    human = [[1, 5, 2, 1, 1], [4, 2, 2, 1, 4], [5, 9, 2, 8, 7], [7, 6, None, 3, 2], none]
    labels, margins, rows = matrix_pairs(human, metric)
    found = row_mean_accuracy(labels, margins, groups=rows)
    assert found.value == pytest.approx(0.4916666666666668, abs=1e-12)
    assert (found.tie_threshold, found.n_rows) == (1.0, 4)
    assert found.at_zero == pytest.approx(0.4666666666666667, abs=1e-12)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from([-1, 0, 1]), st.integers(-6, 6), st.integers(0, 4)), min_size=1, max_size=30))
def test_row_mean_equals_brute_force(pairs: list[tuple[int, int, int]]) -> None:
    rows = {r: [(h, m) for h, m, s in pairs if s == r] for r in {r for _, _, r in pairs}}
    candidates = sorted({0, *(abs(m) for _, m, _ in pairs)})
    values = [
        sum(exact_accuracy([h for h, _ in row], [Fraction(m) for _, m in row], Fraction(t)) for row in rows.values())
        / len(rows)
        for t in candidates
    ]
    found = row_mean_accuracy([h for h, _, _ in pairs], [m for _, m, _ in pairs], groups=[r for _, _, r in pairs])
    assert found.value == pytest.approx(float(max(values)), abs=1e-15)
    assert found.tie_threshold == candidates[values.index(max(values))]


def test_row_mean_stays_exact_for_many_row_sizes() -> None:
    """Row sizes 1 to 60 have a least common multiple of 26 digits: weights leave 64 bits, the result must not care."""
    rng = np.random.default_rng(5)
    rows = np.repeat(np.arange(60), np.arange(1, 61))
    human, margin = rng.integers(-1, 2, rows.size), rng.integers(-5, 6, rows.size)
    best = max(
        sum(
            exact_accuracy(human[rows == r].tolist(), [Fraction(int(m)) for m in margin[rows == r]], Fraction(t))
            for r in range(60)
        )
        / 60
        for t in range(6)
    )
    assert row_mean_accuracy(human, margin, groups=rows).value == pytest.approx(float(best), abs=1e-15)


def test_row_mean_without_a_scored_pair_is_undefined() -> None:
    found = row_mean_accuracy([1, 0], [np.nan, np.nan], groups=["p", "q"])
    assert np.isnan(found.value)
    assert found.n_rows == 0


# --- stored numbers of both originals

CASES = ["case_0_continuous", "case_1_rounded", "case_2_integers", "case_3_no_human_ties", "case_4_noise_many_ties"]


def stored(shared: Path, case: str) -> tuple[list[int], np.ndarray, dict]:
    content = json.loads((shared / "golden" / "metrics" / f"{case}.json").read_text())
    return content["labels"], np.array(content["scores_A"]) - np.array(content["scores_B"]), content["expected"]


@pytest.mark.shared
@pytest.mark.parametrize("case", CASES)
def test_threshold_equals_stored_mt_metrics_eval(shared: Path, case: str) -> None:
    labels, margin, expected = stored(shared, case)
    found = pairwise_accuracy(labels, margin)
    assert found.with_ties == pytest.approx(expected["mtme_pairs_as_rows"]["best_acc23"], abs=1e-12)
    assert found.tie_threshold == pytest.approx(expected["mtme_pairs_as_rows"]["best_threshold"], abs=1e-12)
    assert 2 * found.with_ties - 1 == pytest.approx(expected["mtme_pairs_as_rows_tau23"]["best_tau23"], abs=1e-12)
    at_zero = pairwise_accuracy(labels, margin, tie_rule=0)
    assert at_zero.with_ties == pytest.approx(expected["accuracy_at_eps0"], abs=1e-12)


@pytest.mark.shared
@pytest.mark.parametrize("case", CASES)
def test_curve_equals_stored_exhaustive_search(shared: Path, case: str) -> None:
    labels, margin, expected = stored(shared, case)
    curve = tie_curve(labels, margin, noise=0)  # the stored search tells all doubles apart
    np.testing.assert_allclose(curve.thresholds, expected["exhaustive_search"]["thresholds"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(curve.accuracy, expected["exhaustive_search"]["accuracy"], rtol=0, atol=1e-12)


@pytest.mark.shared
@pytest.mark.parametrize("case", CASES)
def test_videoalign_equals_stored_original_in_both_row_orders(shared: Path, case: str) -> None:
    labels, margin, expected = stored(shared, case)
    original = expected["videoalign"]
    found = pairwise_accuracy(labels, margin, tie_rule="videoalign")
    reverse = pairwise_accuracy(labels[::-1], margin[::-1], tie_rule="videoalign")
    assert found.with_ties == pytest.approx(original["accuracy_with_ties"], abs=1e-12)
    assert reverse.with_ties == pytest.approx(original["accuracy_with_ties_if_input_order_is_reversed"], abs=1e-12)
    assert found.without_ties == pytest.approx(original["accuracy_without_ties"], abs=1e-12)
    assert pairwise_accuracy(labels, margin).without_ties == found.without_ties


@pytest.mark.shared
def test_rounded_scores_in_exact_arithmetic(shared: Path) -> None:
    """One-decimal scores: doubles reach .55 at a threshold the scores do not have; exact tenths reach .5375."""
    content = json.loads((shared / "golden" / "metrics" / "case_1_rounded.json").read_text())
    exact = [Fraction(str(a)) - Fraction(str(b)) for a, b in zip(content["scores_A"], content["scores_B"], strict=True)]
    best, threshold = exact_best(content["labels"], exact)
    assert (float(best), threshold) == (0.5375, 0)
    found = pairwise_accuracy(content["labels"], [float(m) for m in exact])
    assert (found.with_ties, found.tie_threshold) == (0.5375, 0.0)
    noisy = np.array(content["scores_A"]) - np.array(content["scores_B"])
    found = pairwise_accuracy(content["labels"], noisy, noise=1e-9)
    assert (found.with_ties, found.tie_threshold) == (0.5375, 0.0)


@pytest.mark.shared
@pytest.mark.parametrize("k", [0, 1])
def test_row_mean_equals_stored_mt_metrics_eval(shared: Path, k: int) -> None:
    content = json.loads((shared / "golden" / "metrics" / "group_matrices.json").read_text())[k]
    labels, margins, rows = matrix_pairs(content["human"], content["metric"])
    found = row_mean_accuracy(labels, margins, groups=rows, noise=0)
    for name, value in (("acc_23", lambda x: x), ("tau_23", lambda x: 2 * x - 1)):
        assert value(found.value) == pytest.approx(content[name]["best"], abs=1e-12)
        assert value(found.at_zero) == pytest.approx(content[name]["at_zero"], abs=1e-12)
        assert found.tie_threshold == pytest.approx(content[name]["best_threshold"], abs=1e-12)
    assert tie_curve(labels, margins, noise=0).thresholds.size == content["acc_23"]["n_thresholds"]
