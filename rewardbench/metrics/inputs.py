"""Checks on the arrays the metrics are given: one sentence that names the argument and the row, or clean arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rewardbench.errors import InputError

IntArray = NDArray[np.int64]
SignArray = NDArray[np.int8]
FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


def human_signs(human: ArrayLike) -> SignArray:
    """Human labels as int8 of shape (n,): +1 (A preferred), -1 (B preferred), 0 (tie).

    Raises:
        InputError: not one-dimensional, not numeric, or a value other than -1, 0 and 1 (NaN included).
    """
    array = np.asarray(human)
    if array.ndim != 1:
        raise InputError(f"human must be one-dimensional, got shape {array.shape}; give one label per pair.")
    if array.size == 0:
        return np.zeros(0, dtype=np.int8)
    if array.dtype.kind not in "iuf":
        raise InputError(f"human must hold the numbers 1, -1 and 0, got {array.dtype}; map the label spellings first.")
    known = (array == 0) | (array == 1) | (array == -1)
    if not known.all():
        row = int(np.argmin(known))
        raise InputError(f"human holds {array[row]} at row {row}; only 1 (A), -1 (B) and 0 (tie) are labels.")
    return array.astype(np.int8)


def finite_or_nan(values: ArrayLike, name: str) -> FloatArray:
    """Scores or margins as float64 of shape (n,); NaN stays (it means "no value"), infinities are refused.

    Raises:
        InputError: not one-dimensional, not numeric, or infinite.
    """
    array = np.asarray(values)
    if array.ndim != 1:
        raise InputError(f"{name} must be one-dimensional, got shape {array.shape}; give one number per pair.")
    if array.size == 0:
        return np.zeros(0, dtype=np.float64)
    try:
        array = array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} must hold numbers, got {array.dtype}; convert the column first.") from error
    # One reduction settles the usual case; the position is looked for only when there is something to report.
    if np.isinf(array).any():
        row = int(np.argmax(np.isinf(array)))
        raise InputError(f"{name} is infinite at row {row}; a score must be a finite number, or NaN to abstain.")
    return array


def same_length(n: int, other: int, name: str) -> None:
    """Raise InputError unless ``other`` equals ``n``, the number of human labels."""
    if other != n:
        raise InputError(f"{name} has {other} entries but human has {n}; give one per pair.")


def missing(value: object) -> bool:
    """Whether a cell of a table holds nothing: None or NaN."""
    return value is None or (isinstance(value, float) and np.isnan(value))


@dataclass(frozen=True, eq=False)
class Groups:
    """Pairs by group: ``names`` in ascending order, ``index`` of shape (n,) into it."""

    names: tuple[str, ...]
    index: IntArray


def named_groups(groups: Sequence[object] | NDArray[np.generic], n: int) -> Groups:
    """Groups by the text of their value, in ascending order, so that no result depends on the order of rows.

    Raises:
        InputError: wrong length, or a missing value (None or NaN).
    """
    values = groups.tolist() if isinstance(groups, np.ndarray) else list(groups)
    same_length(n, len(values), "groups")
    for row, value in enumerate(values):
        if missing(value):
            raise InputError(
                f"groups has no value at row {row}; every pair needs the prompt (or cluster) it belongs to."
            )
    texts = [str(value) for value in values]
    names = tuple(sorted(set(texts)))
    position = {name: i for i, name in enumerate(names)}
    return Groups(names, np.fromiter((position[text] for text in texts), dtype=np.int64, count=n))
