"""Which pairs the pair browser shows, what each model said of them, and how sure it was by its own measure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rewardbench.leaderboard.recomputing import Recomputed

SHOWN_PAIRS = 40
"""Pairs of one label that the pair browser holds."""
SAID = {1: "A", 0: "=", -1: "B"}
NOT_SAID = "-"


def said(predicted: float) -> str:
    """An answer (1, 0, -1 or NaN) as the board writes it."""
    return NOT_SAID if np.isnan(predicted) else SAID[int(predicted)]


def sureness(row: Recomputed) -> NDArray[np.int64]:
    """On how many percent of the answered pairs the |margin| is smaller than on each (n,), rounded down.

    Equal margins are not smaller, so a model that says the same of every pair is surer of none; abstained: 0.
    """
    size = np.abs(row.labelled.margin)
    answered = np.sort(size[~np.isnan(size)])
    smaller = np.searchsorted(answered, np.nan_to_num(size), side="left") / max(1, answered.size)
    sure: NDArray[np.int64] = np.floor(100 * smaller + 1e-9).astype(np.int64)
    return sure


def shown_pairs(rows: Sequence[Recomputed], right: NDArray[np.bool_]) -> list[int]:
    """Positions of the pairs to show: the strongest disagreements with people and between models.

    Args:
        rows: of one label, on the same n pairs.
        right: (rows, n), whether each answered as people did.
    """
    answered = np.array([~np.isnan(row.labelled.margin) for row in rows])
    sure = np.array([sureness(row) for row in rows]) / 100
    against = np.where(answered & ~right, sure, 0.0)
    share = right.mean(axis=0)
    weight = against.mean(axis=0) + share * (1 - share) + 0.25 * against.max(axis=0)
    # Where all are wrong and none is surer than elsewhere nothing weighs, and it is a disagreement still.
    weight = weight + 1e-6 * (answered & ~right).any(axis=0)
    order = np.argsort(-weight, kind="stable")
    return sorted(int(k) for k in order[:SHOWN_PAIRS] if weight[k] > 0)
