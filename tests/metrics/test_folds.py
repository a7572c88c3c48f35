"""Folds: a hash of the prompt and nothing else."""

from __future__ import annotations

import hashlib

import numpy as np

from rewardbench.metrics import N_FOLDS, fold_of_group
from rewardbench.metrics.folds import crossfit_thresholds, folds_of_pairs
from rewardbench.metrics.inputs import named_groups
from rewardbench.metrics.ties import sort_margins


def test_fold_is_the_documented_hash() -> None:
    for name in ("a cat", "", "龍が飛ぶ", "7"):
        digest = hashlib.sha256(b"3:" + name.encode()).hexdigest()
        assert fold_of_group(name, seed=3) == int(digest[:16], 16) % 5


def test_fold_of_a_prompt_does_not_depend_on_the_others() -> None:
    names = [f"prompt {k}" for k in range(200)]
    together = folds_of_pairs(named_groups(names, 200))
    alone = [int(folds_of_pairs(named_groups([name], 1))[0]) for name in names]
    assert together.tolist() == alone
    assert folds_of_pairs(named_groups(names[::-1], 200)).tolist() == alone[::-1]


def test_folds_are_about_equal_and_change_with_the_seed() -> None:
    first = np.array([fold_of_group(str(k)) for k in range(5000)])
    second = np.array([fold_of_group(str(k), seed=1) for k in range(5000)])
    assert N_FOLDS == 5
    # 5 sigma of a binomial(5000, 1/5) count is 141.
    assert np.abs(np.bincount(first, minlength=5) - 1000).max() < 141
    assert abs(float((first == second).mean()) - 0.2) < 0.03


def test_groups_are_told_apart_by_their_text() -> None:
    assert named_groups([1, "1", 2], 3).index.tolist() == [0, 0, 1]
    assert named_groups(np.array(["b", "a"]), 2).names == ("a", "b")


def test_a_fold_without_other_data_uses_threshold_zero() -> None:
    human, fold = np.array([0, 0], dtype=np.int8), np.array([2, 2])
    thresholds = crossfit_thresholds(human, sort_margins(np.array([1.0, 2.0])), fold)
    assert thresholds.tolist() == [2.0, 2.0, 0.0, 2.0, 2.0]
