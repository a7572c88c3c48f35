"""Cross-fitting: the tie threshold of a pair is chosen on other prompts than its own.

A threshold tuned on the pairs it is judged by flatters: by .032 at 100 pairs in the simulation of ``docs/metrics.md``,
which also shows a model without signal gain. Here each of five folds is judged with the threshold of the other four.
"""

from __future__ import annotations

import hashlib

import numpy as np

from rewardbench.metrics.inputs import FloatArray, Groups, IntArray, SignArray
from rewardbench.metrics.ties import SortedMargins, best_threshold, gain_of_tie

N_FOLDS = 5


def fold_of_group(name: str, seed: int = 0) -> int:
    """Fold 0 to 4 of a prompt: SHA-256 of ``"<seed>:<name>"``, its first 8 bytes as a big-endian number, modulo 5."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % N_FOLDS


def folds_of_pairs(groups: Groups, seed: int = 0) -> IntArray:
    """Fold (n,) of each pair: that of its group, whatever other groups there are."""
    by_group = np.fromiter(
        (fold_of_group(name, seed) for name in groups.names), dtype=np.int64, count=len(groups.names)
    )
    folds: IntArray = by_group[groups.index]
    return folds


def crossfit_thresholds(human: SignArray, pairs: SortedMargins, fold: IntArray) -> FloatArray:
    """Threshold (5,) for each fold, fitted on the pairs of all other folds; 0 where no other pair exists."""
    gain = gain_of_tie(human, pairs)
    # Groups that only the held-out fold has add nothing to the path, so the first maximum is never at one of them.
    return np.array([best_threshold(gain * (fold != k), pairs)[0] for k in range(N_FOLDS)])
