"""Pairwise accuracy: definitions, rules, degenerate inputs, refusals, and real labels."""

from __future__ import annotations

import csv
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardbench.errors import InputError
from rewardbench.metrics import fold_of_group, pairwise_accuracy, rao_kupper_tie_threshold

RULES = ["threshold", "crossfit", "native", "videoalign", 0.5]


def accuracy(human: object, margin: object, rule: str | float = "threshold", **options: object) -> object:
    options.setdefault("groups", [f"prompt {i}" for i in range(len(human))])  # type: ignore[arg-type]
    return pairwise_accuracy(human, margin, tie_rule=rule, native_threshold=1.0, **options)  # type: ignore[arg-type]


def test_definitions_on_a_small_set() -> None:
    """Five labels, one of each outcome: right, wrong, zero margin on a decided pair, tie seen, tie missed."""
    found = pairwise_accuracy([1, -1, 1, 0, 0], [2.0, 2.0, 0.0, 0.0, 3.0], tie_rule=0.0)
    assert found.with_ties == 2 / 5  # the first and the tie with margin 0
    assert found.without_ties == 1 / 3  # a margin of 0 on a decided pair is wrong …
    assert found.without_ties_half_credit == 1.5 / 3  # … or one half
    assert found.human_tie_rate == 2 / 5
    assert found.majority_floor == 2 / 5
    assert (found.n, found.n_abstained, found.coverage) == (5, 0, 1.0)


def test_a_constant_scorer_gets_nothing_strictly_and_half_with_credit() -> None:
    found = pairwise_accuracy([1, -1, 1, 0], [0.0] * 4)
    assert (found.with_ties, found.without_ties, found.without_ties_half_credit) == (0.25, 0.0, 0.5)


def test_majority_floor_is_the_commonest_of_three_labels() -> None:
    assert pairwise_accuracy([1, 1, -1, 0], [1.0] * 4).majority_floor == 0.5
    assert pairwise_accuracy([-1, -1, -1, 0], [1.0] * 4).majority_floor == 0.75
    assert pairwise_accuracy([0, 0, -1, 1], [1.0] * 4).majority_floor == 0.5


@pytest.mark.parametrize("rule", RULES)
def test_abstentions_are_counted_and_in_no_share(rule: str | float) -> None:
    human, margin = [1, 0, -1, 1, 1, 0], [2.0, np.nan, -1.0, np.nan, -3.0, 0.25]
    found = accuracy(human, margin, rule)
    kept = [0, 2, 4, 5]
    without = accuracy([human[k] for k in kept], [margin[k] for k in kept], rule, groups=[f"prompt {k}" for k in kept])
    assert (found.n, found.n_abstained, found.coverage) == (4, 2, 4 / 6)
    assert found.with_ties == without.with_ties
    assert found.without_ties == without.without_ties == 2 / 3
    assert found.human_tie_rate == 1 / 4


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("margin", [[], [np.nan, np.nan]], ids=["empty", "all abstain"])
def test_nothing_scored_is_undefined_not_a_crash(rule: str | float, margin: list[float]) -> None:
    found = accuracy([0, 1][: len(margin)], margin, rule)
    assert (found.n, found.n_abstained) == (0, len(margin))
    for value in (found.with_ties, found.without_ties, found.without_ties_half_credit, found.human_tie_rate):
        assert math.isnan(value)
    assert math.isnan(found.majority_floor)


@pytest.mark.parametrize("rule", RULES)
def test_only_ties(rule: str | float) -> None:
    found = accuracy([0, 0, 0], [0.5, -0.25, 0.125], rule)
    assert math.isnan(found.without_ties)
    assert math.isnan(found.without_ties_half_credit)
    assert (found.human_tie_rate, found.majority_floor) == (1.0, 1.0)
    assert 0 <= found.with_ties <= 1
    if rule == "threshold":
        assert (found.with_ties, found.tie_threshold) == (1.0, 0.5)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("value", [0.0, 2.5, -2.5])
def test_all_equal_margins(rule: str | float, value: float) -> None:
    found = accuracy([1, 1, -1, 0], [value] * 4, rule)
    assert found.without_ties == {0.0: 0.0, 2.5: 2 / 3, -2.5: 1 / 3}[value]
    if rule == "threshold":
        assert found.with_ties == {0.0: 0.25, 2.5: 0.5, -2.5: 0.25}[value]


@pytest.mark.parametrize(
    ("human", "margin", "message"),
    [
        ([1, 2], [0.0, 1.0], "human holds 2 at row 1"),
        ([1, 0.5], [0.0, 1.0], "human holds 0.5 at row 1"),
        ([1, float("nan")], [0.0, 1.0], "human holds nan at row 1"),
        (["A", "B"], [0.0, 1.0], "map the label spellings"),
        ([[1]], [0.0], "human must be one-dimensional"),
        ([1], [[0.0]], "margin must be one-dimensional"),
        ([1, 1], [0.0], "margin has 1 entries but human has 2"),
        ([1, 1], [0.0, float("inf")], "margin is infinite at row 1"),
        ([1, 1], [float("-inf"), 0.0], "margin is infinite at row 0"),
        ([1], ["much"], "margin must hold numbers"),
    ],
)
def test_bad_arrays_are_refused_in_one_sentence(human: list, margin: list, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        pairwise_accuracy(human, margin)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tie_rule": "best"}, 'tie_rule "best" is unknown'),
        ({"tie_rule": "crossfit"}, "needs groups"),
        ({"tie_rule": "crossfit", "groups": ["p"]}, "groups has 1 entries but human has 2"),
        ({"tie_rule": "crossfit", "groups": ["p", None]}, "groups has no value at row 1"),
        ({"tie_rule": "native"}, "needs native_threshold"),
        ({"tie_rule": "native", "native_threshold": -1.0}, "native_threshold is -1.0"),
        ({"tie_rule": -0.5}, "tie_rule is -0.5"),
        ({"tie_rule": float("nan")}, "tie_rule is nan"),
        ({"tie_rule": float("inf")}, "tie_rule is inf"),
        ({"tie_rule": None}, "tie_rule is None"),
    ],
)
def test_rules_without_what_they_need_are_refused(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        pairwise_accuracy([1, 0], [1.0, 2.0], **options)


def test_labels_may_be_floats_and_any_integer_type() -> None:
    expected = pairwise_accuracy([1, 0, -1], [1.0, 0.0, 2.0])
    for dtype in (np.int8, np.int64, np.float32):
        assert pairwise_accuracy(np.array([1, 0, -1], dtype=dtype), [1, 0, 2]) == expected


def test_native_is_the_given_threshold() -> None:
    threshold = rao_kupper_tie_threshold(5.0)
    human, margin = [0, 1, -1, 0], [1.5, 1.6, -1.4, -2.0]
    native = pairwise_accuracy(human, margin, tie_rule="native", native_threshold=threshold)
    assert native.with_ties == 2 / 4
    assert native == pairwise_accuracy(human, margin, tie_rule=threshold)


pairs_in_groups = st.lists(
    st.tuples(st.sampled_from([-1, 0, 1]), st.integers(-12, 12).map(lambda k: k / 4), st.integers(0, 11)),
    min_size=1,
    max_size=40,
)


@settings(deadline=None)
@given(pairs_in_groups, st.integers(0, 3))
def test_crossfit_equals_five_separate_fits(pairs: list[tuple[int, float, int]], seed: int) -> None:
    """Fold by fold with nothing but the plain rules: fit on the others, judge with that number."""
    human, margin = np.array([h for h, _, _ in pairs]), np.array([m for _, m, _ in pairs])
    groups = [f"g{g}" for _, _, g in pairs]
    fold = np.array([fold_of_group(g, seed) for g in groups])
    right, thresholds = 0.0, []
    for k in range(5):
        others, own = fold != k, fold == k
        threshold = pairwise_accuracy(human[others], margin[others]).tie_threshold if others.any() else 0.0
        thresholds.append(threshold)
        if own.any():
            right += round(pairwise_accuracy(human[own], margin[own], tie_rule=threshold).with_ties * own.sum())
    found = pairwise_accuracy(human, margin, tie_rule="crossfit", groups=groups, seed=seed)
    assert found.with_ties == right / len(pairs)
    assert list(found.fold_thresholds) == thresholds
    assert found.tie_threshold == np.median(thresholds)
    swapped = pairwise_accuracy(-human, -margin, tie_rule="crossfit", groups=groups, seed=seed)
    assert str(swapped) == str(found)  # by text, because NaN equals nothing
    order = np.argsort(margin * human + 0.01 * fold)
    again = pairwise_accuracy(
        human[order], margin[order], tie_rule="crossfit", groups=[groups[i] for i in order], seed=seed
    )
    assert str(again) == str(found)


def test_crossfit_is_not_optimistic_where_the_fitted_threshold_is() -> None:
    """Noise against 35 % ties: no threshold can be worth more than .35, the fitted one says so, crossfit does not."""
    rng = np.random.default_rng(11)
    fitted, crossed = [], []
    for _ in range(150):
        human = rng.choice([-1, 0, 1], p=[0.325, 0.35, 0.325], size=100)
        margin = rng.normal(size=100)
        fitted.append(pairwise_accuracy(human, margin).with_ties)
        crossed.append(pairwise_accuracy(human, margin, tie_rule="crossfit", groups=range(100)).with_ties)
    assert np.mean(fitted) > 0.375
    assert np.mean(crossed) < 0.355


def test_metrics_import_neither_torch_nor_scipy() -> None:
    code = (
        "import json, sys, rewardbench.metrics\n"
        "heavy = ('torch', 'scipy', 'sklearn', 'transformers', 'datasets', 'av')\n"
        "print(json.dumps([name for name in heavy if name in sys.modules]))"
    )
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert json.loads(output) == []


# --- real labels


@pytest.fixture(scope="module")
def fetv(shared: Path) -> list[dict[str, str]]:
    with (shared / "data" / "tables" / "fetv_pairs_even.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def label_and_margin(rows: list[dict[str, str]], label: str, score: str) -> tuple[list[int], np.ndarray]:
    human = [{"A": 1, "B": -1, "same": 0, "tie": 0}[row[label]] for row in rows]
    return human, np.array([float(row[f"{score}_A"]) - float(row[f"{score}_B"]) for row in rows])


@pytest.mark.shared
@pytest.mark.parametrize(
    ("score", "without", "with_ties", "threshold"),
    [
        ("UMTScore", ".7600", ".5328", "1.56884766"),
        ("BLIPScore", ".7362", ".5570", "0.05514091"),
        ("Otter-VQA", ".4543", ".4430", "0.43333333"),
    ],
)
def test_fetv_majority_labels(
    fetv: list[dict[str, str]], score: str, without: str, with_ties: str, threshold: str
) -> None:
    found = pairwise_accuracy(*label_and_margin(fetv, "alignment_majority", score))
    assert found.n == 1860
    assert f"{found.human_tie_rate:.4f}" == "0.4355"
    assert f"{found.without_ties:.4f}" == f"0{without}"
    assert f"{found.with_ties:.4f}" == f"0{with_ties}"
    assert f"{found.tie_threshold:.8f}" == threshold


@pytest.mark.shared
@pytest.mark.parametrize(
    ("score", "strict", "half_credit", "zeros"),
    [("CLIP Score", 0.6433, None, None), ("X-CLIP Score", 0.5896, None, None), ("BLIP-BLEU", 0.5037, 0.5500, 470)],
)
def test_tvge_pairs(shared: Path, score: str, strict: float, half_credit: float | None, zeros: int | None) -> None:
    with (shared / "data" / "tables" / "tvge_pairs.csv").open(newline="") as file:
        human, margin = label_and_margin(list(csv.DictReader(file)), "alignment", score)
    found = pairwise_accuracy(human, margin)
    assert found.n == 5052
    assert round(found.human_tie_rate, 4) == 0.0517
    assert round(found.without_ties, 4) == strict
    if half_credit is not None:
        assert round(found.without_ties_half_credit, 4) == half_credit
        assert int((margin == 0).sum()) == zeros
