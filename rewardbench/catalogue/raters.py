"""How far a benchmark's raters agree: the numbers that belong beside every model's accuracy on it."""

from __future__ import annotations

import importlib
import math
import os
from dataclasses import dataclass

from rewardbench.catalogue.folders import data_folder
from rewardbench.catalogue.ratings import RaterViews
from rewardbench.registry import find_benchmark


@dataclass(frozen=True)
class Agreement:
    """Agreement about one label; shares in [0, 1], None where undefined.

    Attributes:
        alpha: Krippendorff's alpha of the ratings as given (ordinal scale).
        ceiling_with_ties, ceiling_without_ties: one rater against the others, mean over raters (ties at their word).
        ceiling_half_credit: without ties, a rater's tie worth one half.
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
                int(views.pairs.shape[0]),
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
