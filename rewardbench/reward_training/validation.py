"""What a trained model is worth on prompts it has not seen, and the scale its scores are given."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from rewardbench.metrics import kendall_tau, pairwise_accuracy, rao_kupper_tie_threshold
from rewardbench.reward_training.examples import TrainingData, clip_key
from rewardbench.reward_training.settings import TrainingSettings
from rewardbench_plugin.clip import Clip


def normalise(scores: np.ndarray, dimensions: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation of each dimension's raw scores (N, D) over the validation clips.

    A dimension whose scores are all equal keeps its scale (deviation 1): there is nothing to divide by.
    """
    found = {}
    for d, column in zip(dimensions, scores.T, strict=True):
        std = float(column.std())
        found[d] = (float(column.mean()), std if std > 1e-8 * max(1.0, float(np.abs(column).max())) else 1.0)
    return found


def validate(
    data: TrainingData,
    clips: Sequence[Clip],
    scores: np.ndarray,
    dimensions: Sequence[str],
    settings: TrainingSettings,
    normalisation: Mapping[str, tuple[float, float]],
) -> dict[str, Any]:
    """Per dimension: accuracy with and without ties (pairs), or squared error and Kendall's tau-b (ratings).

    ``accuracy_with_ties`` is the best that one threshold reaches on these pairs, ``crossfit`` the same with the
    threshold chosen on other prompts. For ``btt``, ``tie_threshold`` is the model's own, ln((θ²-2)/θ), on raw scores,
    and ``tie_threshold_normalised`` the same for the scores that the plugin gives.
    """
    row = {clip_key(clip): i for i, clip in enumerate(clips)}
    report = {}
    for column, dimension in enumerate(dimensions):
        values = scores[:, column]
        entry: dict[str, Any]
        if data.kind == "pairs":
            labelled = [p for p in data.pairs if dimension in p.labels]
            human = np.array([p.labels[dimension] for p in labelled], dtype=int)
            a = [row[clip_key(p.a)] for p in labelled]
            b = [row[clip_key(p.b)] for p in labelled]
            entry = _pair_entry(human, values[a] - values[b], [p.a.prompt or "" for p in labelled])
            if settings.objective == "btt":
                threshold = rao_kupper_tie_threshold(settings.theta)
                entry["tie_threshold"] = threshold
                entry["tie_threshold_normalised"] = threshold / normalisation[dimension][1]
        else:
            rated = [r for r in data.ratings if dimension in r.ratings]
            target = np.array([r.ratings[dimension] for r in rated])
            given = values[[row[clip_key(r.clip)] for r in rated]]
            entry = {"n": len(rated)}
            if rated:
                tau = kendall_tau(given, target).value if len(rated) > 1 else math.nan
                entry |= {"squared_error": float(np.mean((given - target) ** 2)), "kendall_tau_b": _number(tau)}
        report[dimension] = entry
    return report


def _pair_entry(human: np.ndarray, margin: np.ndarray, prompts: Sequence[str]) -> dict[str, Any]:
    if not len(human):
        return {"n": 0}
    best = pairwise_accuracy(human, margin)
    crossfit = pairwise_accuracy(human, margin, tie_rule="crossfit", groups=prompts)
    return {
        "n": best.n,
        "accuracy_with_ties": _number(best.with_ties),
        "accuracy_with_ties_crossfit": _number(crossfit.with_ties),
        "accuracy_without_ties": _number(best.without_ties),
        "human_tie_rate": _number(best.human_tie_rate),
        "majority_floor": _number(best.majority_floor),
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
