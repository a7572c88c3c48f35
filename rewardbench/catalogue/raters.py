"""How far a benchmark's raters agree: the numbers that belong beside every model's accuracy on it."""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rewardbench.catalogue.folders import data_folder
from rewardbench.catalogue.ratings import RaterViews
from rewardbench.registry import find_benchmark, load_registry
from rewardbench.results import RaterRecord


@dataclass(frozen=True)
class Agreement:
    """Agreement about one label; shares in [0, 1], None where undefined.

    Attributes:
        n_pairs: pairs that at least one rater rated.
        alpha: Krippendorff's alpha of the ratings as given (ordinal scale).
        ceiling_with_ties: one rater against the others, mean over raters (ties at their word).
        ceiling_half_credit: on the pairs the others decided, a rater's tie worth one half.
        ceiling_without_ties: the same with a rater's tie counted as wrong. That is no ceiling: on a scale of five
            steps people often rate two clips alike, and a model with fine scores never does.
    """

    label: str
    n_pairs: int
    n_raters: int
    alpha: float | None
    ceiling_with_ties: float | None
    ceiling_without_ties: float | None
    ceiling_half_credit: float | None


def has_raters(name: str) -> bool:
    """Whether the benchmark's loader can tell its raters apart."""
    module = importlib.import_module(find_benchmark(name.partition(":")[0]).target.partition(":")[0])
    return hasattr(module, "rater_tables")


def rater_records(
    name: str, data_dir: str | os.PathLike[str] | None = None, labels: Sequence[str] | None = None
) -> dict[str, RaterRecord]:
    """The same as a result holds it, by label (those of ``labels``, where given).

    Empty where the benchmark is not registered or single raters were not published.

    Raises:
        InputError: its files are not at hand.
    """
    if name.partition(":")[0] not in load_registry().benchmarks or not has_raters(name):
        return {}
    return {
        one.label: RaterRecord(
            n=one.n_pairs,
            n_raters=one.n_raters,
            with_ties=one.ceiling_with_ties,
            half_credit=one.ceiling_half_credit,
            without_ties=one.ceiling_without_ties,
            alpha=one.alpha,
        )
        for one in agreement(name, data_dir)
        if labels is None or one.label in labels
    }


def agreement(name: str, data_dir: str | os.PathLike[str] | None = None) -> list[Agreement]:
    """Agreement of a registered benchmark's raters by label; empty where single raters were not published.

    Raises:
        InputError: its files are not at hand.
    """
    from rewardbench.metrics.agreement import krippendorff_alpha, leave_one_out

    base, _, variant = name.partition(":")
    module = importlib.import_module(find_benchmark(base).target.partition(":")[0])
    if not hasattr(module, "rater_tables"):
        return []
    tables: dict[str, RaterViews] = module.rater_tables(data_folder(base, data_dir), variant or None)
    found = []
    for label, views in tables.items():
        ceiling = leave_one_out(views.pairs, combine=views.combine)
        found.append(
            Agreement(
                label,
                int((~np.isnan(views.pairs)).any(axis=1).sum()),
                int(views.pairs.shape[1]),
                _defined(krippendorff_alpha(views.items, "ordinal")),
                _defined(ceiling.with_ties),
                _defined(ceiling.without_ties),
                _defined(ceiling.without_ties_half_credit),
            )
        )
    return found


def _defined(value: float) -> float | None:
    return value if math.isfinite(value) else None
