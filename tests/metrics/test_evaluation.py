"""One row of a result: consistency with the single rules, invariances, slices, degenerate inputs."""

from __future__ import annotations

import math
from dataclasses import asdict

import numpy as np
import pytest

from rewardbench.errors import InputError
from rewardbench.metrics import (
    PairEvaluation,
    evaluate_pairs,
    fold_of_group,
    kendall_tau,
    pairwise_accuracy,
)


def pairs(seed: int = 0, n: int = 160) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    margin = np.round(rng.normal(size=n) * 8) / 8
    noisy = margin + rng.normal(size=n)
    human = np.where(np.abs(noisy) < 0.5, 0, np.sign(noisy)).astype(int)
    margin[rng.random(n) < 0.1] = np.nan
    prompts = np.array([f"prompt {k}" for k in rng.integers(25, size=n)])
    return human, margin, prompts, {"model": rng.choice(["alpha", "beta", "gamma"], size=n)}


def numbers(found: PairEvaluation) -> dict:
    """All numbers without the per-pair arrays and without VideoAlign's, which depends on the order of rows."""
    content = asdict(found)
    for name in ("fold", "crossfit_threshold", "predicted"):
        del content[name]
    del content["accuracy_with_ties"]["videoalign"]
    return content


def test_numbers_are_those_of_the_single_rules() -> None:
    human, margin, prompts, _ = pairs()
    found = evaluate_pairs(
        human, margin, groups=prompts, native_threshold=0.7, fixed_threshold=0.25, n_bootstrap=20, seed=4
    )
    with_ties = found.accuracy_with_ties
    by_rule = {
        "crossfit": pairwise_accuracy(human, margin, tie_rule="crossfit", groups=prompts, seed=4),
        "threshold": pairwise_accuracy(human, margin),
        "videoalign": pairwise_accuracy(human, margin, tie_rule="videoalign"),
        "native": pairwise_accuracy(human, margin, tie_rule="native", native_threshold=0.7),
        "fixed": pairwise_accuracy(human, margin, tie_rule=0.25),
    }
    for name, expected in by_rule.items():
        assert getattr(with_ties, name).value == expected.with_ties
    assert with_ties.crossfit.thresholds == by_rule["crossfit"].fold_thresholds
    assert with_ties.threshold.tie_threshold == by_rule["threshold"].tie_threshold
    assert with_ties.native is not None
    assert with_ties.native.threshold == 0.7
    plain = by_rule["threshold"]
    assert found.accuracy_without_ties.value == plain.without_ties
    assert found.accuracy_without_ties.half_credit == plain.without_ties_half_credit
    for name in ("n", "n_abstained", "human_tie_rate", "majority_floor"):
        assert getattr(found, name) == getattr(plain, name)
    assert found.n_abstained == int(np.isnan(margin).sum())
    assert found.kendall_tau_b == kendall_tau(human, margin).value


def test_arrays_follow_the_rows() -> None:
    human, margin, prompts, _ = pairs(1)
    found = evaluate_pairs(human, margin, groups=prompts, n_bootstrap=0, seed=2)
    assert found.fold.tolist() == [fold_of_group(p, 2) for p in prompts]
    thresholds = np.array(found.accuracy_with_ties.crossfit.thresholds)
    np.testing.assert_array_equal(found.crossfit_threshold, thresholds[found.fold])
    expected = np.where(np.abs(margin) <= found.crossfit_threshold, 0, np.sign(margin))
    np.testing.assert_array_equal(found.predicted, np.where(np.isnan(margin), np.nan, expected))
    kept = ~np.isnan(margin)
    assert found.accuracy_with_ties.crossfit.value == np.mean(found.predicted[kept] == human[kept])


def test_row_order_changes_nothing() -> None:
    human, margin, prompts, slices = pairs(2)
    found = evaluate_pairs(human, margin, groups=prompts, slices=slices, native_threshold=0.5, n_bootstrap=100, seed=1)
    order = np.random.default_rng(0).permutation(human.size)
    shuffled = evaluate_pairs(
        human[order],
        margin[order],
        groups=prompts[order],
        slices={name: column[order] for name, column in slices.items()},
        native_threshold=0.5,
        n_bootstrap=100,
        seed=1,
    )
    assert numbers(shuffled) == numbers(found)
    np.testing.assert_array_equal(shuffled.predicted, found.predicted[order])


def test_swapping_a_and_b_changes_nothing_but_the_predictions() -> None:
    human, margin, prompts, slices = pairs(3)
    found = evaluate_pairs(human, margin, groups=prompts, slices=slices, n_bootstrap=100)
    swapped = evaluate_pairs(-human, -margin, groups=prompts, slices=slices, n_bootstrap=100)
    assert numbers(swapped) == numbers(found)
    np.testing.assert_array_equal(swapped.predicted, -found.predicted)


def test_a_positive_scale_changes_thresholds_only() -> None:
    human, margin, prompts, _ = pairs(4)
    found = evaluate_pairs(human, margin, groups=prompts, n_bootstrap=50)
    scaled = evaluate_pairs(human, 1000 * margin, groups=prompts, n_bootstrap=50)
    assert scaled.accuracy_with_ties.crossfit.value == found.accuracy_with_ties.crossfit.value
    assert scaled.accuracy_with_ties.threshold.ci95 == found.accuracy_with_ties.threshold.ci95
    np.testing.assert_allclose(
        scaled.accuracy_with_ties.crossfit.thresholds, 1000 * np.array(found.accuracy_with_ties.crossfit.thresholds)
    )


def test_the_seed_decides_the_draws() -> None:
    human, margin, prompts, _ = pairs(5)
    first, again, other = (evaluate_pairs(human, margin, groups=prompts, n_bootstrap=80, seed=s) for s in (0, 0, 1))
    assert numbers(first) == numbers(again)
    assert first.accuracy_without_ties.ci95 != other.accuracy_without_ties.ci95
    assert first.accuracy_without_ties.value == other.accuracy_without_ties.value
    assert (first.bootstrap.n, first.bootstrap.seed, first.bootstrap.refit) == (80, 0, "threshold")


def test_slices_use_the_thresholds_of_the_whole_set() -> None:
    human, margin, prompts, slices = pairs(6)
    found = evaluate_pairs(human, margin, groups=prompts, slices=slices, n_bootstrap=50)
    kept = ~np.isnan(margin)
    assert list(found.slices) == ["model"]
    assert list(found.slices["model"]) == ["alpha", "beta", "gamma"]
    for value, part in found.slices["model"].items():
        member = slices["model"] == value
        inside = member & kept
        assert (part.n, part.n_abstained) == (int(inside.sum()), int((member & ~kept).sum()))
        assert part.with_ties_crossfit.value == np.mean(found.predicted[inside] == human[inside])
        alone = pairwise_accuracy(human[member], margin[member])
        assert part.without_ties.value == alone.without_ties
        assert part.without_ties.half_credit == alone.without_ties_half_credit
        assert (part.human_tie_rate, part.majority_floor) == (alone.human_tie_rate, alone.majority_floor)
        low, high = part.with_ties_crossfit.ci95
        assert low < part.with_ties_crossfit.value < high
    assert sum(part.n for part in found.slices["model"].values()) == found.n


def test_slice_values_may_be_missing_or_numbers() -> None:
    found = evaluate_pairs(
        [1, 1, -1, 0],
        [1.0, -1.0, -1.0, 0.0],
        groups=list("abcd"),
        slices={"k": [2, None, 2, float("nan")]},
        n_bootstrap=10,
    )
    assert {value: part.n for value, part in found.slices["k"].items()} == {"(missing)": 2, "2": 2}


def test_a_slice_of_one_prompt_has_no_interval() -> None:
    found = evaluate_pairs(
        [1, 1, -1, 0], [1.0, 1, 1, 1], groups=["p", "p", "q", "q"], slices={"k": ["x", "x", "x", "y"]}, n_bootstrap=20
    )
    assert math.isnan(found.slices["k"]["y"].with_ties_crossfit.ci95[0])
    assert not math.isnan(found.slices["k"]["x"].with_ties_crossfit.ci95[0])


def test_one_prompt_has_no_interval_and_threshold_zero() -> None:
    found = evaluate_pairs([1, 0, -1], [1.0, 0.5, 2.0], groups=["p"] * 3, n_bootstrap=50)
    assert found.n_clusters == 1
    assert np.isnan(found.accuracy_with_ties.crossfit.ci95).all()
    assert np.isnan(found.accuracy_with_ties.threshold.ci95).all()
    assert set(found.crossfit_threshold.tolist()) == {0.0}
    assert found.accuracy_with_ties.crossfit.value == 1 / 3


@pytest.mark.parametrize(
    ("human", "margin"),
    [([], []), ([1, 0], [np.nan, np.nan]), ([0, 0], [1.0, 2.0]), ([1, -1], [1.0, 1.0]), ([1, -1], [0.0, 0.0])],
    ids=["empty", "all abstain", "only ties", "no ties", "all equal"],
)
def test_degenerate_inputs_have_defined_results(human: list[int], margin: list[float]) -> None:
    names = [f"p{k}" for k in range(len(human))]
    found = evaluate_pairs(
        human, margin, groups=names, slices={"s": names}, native_threshold=1.0, fixed_threshold=0.0, n_bootstrap=20
    )
    n = int(np.sum(~np.isnan(np.array(margin, dtype=float))))
    assert (found.n, found.n_abstained) == (n, len(human) - n)
    assert math.isnan(found.accuracy_with_ties.crossfit.value) == (n == 0)
    assert math.isnan(found.accuracy_without_ties.value) == (
        not any(h and not np.isnan(m) for h, m in zip(human, margin, strict=True))
    )
    assert found.predicted.shape == found.fold.shape == found.crossfit_threshold.shape == (len(human),)
    assert math.isnan(found.kendall_tau_b) or -1 <= found.kendall_tau_b <= 1


def test_no_draws_no_intervals() -> None:
    found = evaluate_pairs([1, -1], [1.0, -1.0], groups=["p", "q"], n_bootstrap=0)
    assert found.accuracy_without_ties.value == 1.0
    assert np.isnan(found.accuracy_without_ties.ci95).all()


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="n_bootstrap is -1"):
        evaluate_pairs([1], [1.0], groups=["p"], n_bootstrap=-1)
    with pytest.raises(InputError, match='slice column "k" has 2 entries but human has 1'):
        evaluate_pairs([1], [1.0], groups=["p"], slices={"k": [1, 2]})
    with pytest.raises(InputError, match='slice column "k" has 1001 different values'):
        evaluate_pairs([1] * 1001, [1.0] * 1001, groups=["p"] * 1001, slices={"k": range(1001)})
    with pytest.raises(InputError, match="fixed_threshold is -1"):
        evaluate_pairs([1], [1.0], groups=["p"], fixed_threshold=-1.0)
    with pytest.raises(InputError, match="margin is infinite"):
        evaluate_pairs([1], [np.inf], groups=["p"])
