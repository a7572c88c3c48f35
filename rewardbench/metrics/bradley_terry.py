"""Bradley-Terry with ties, after Rao and Kupper (1967), as VideoReward's BTT loss uses it."""

from __future__ import annotations

from math import log
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from rewardbench.errors import InputError


def bradley_terry_with_ties(r_a: ArrayLike, r_b: ArrayLike, theta: float = 5.0) -> tuple[Any, Any, Any]:
    """Probabilities that A wins, that the pair ties, and that B wins.

    With d = r_a - r_b (Rao and Kupper 1967; "Improving Video Generation with Human Feedback", Eq. 1):
    P(A) = 1 / (1 + theta exp(-d)), P(B) = 1 / (1 + theta exp(d)), P(tie) = (theta² - 1) P(A) P(B). They sum to 1.
    theta is 5 in VideoReward's training code; it applies to raw rewards, before any per-dimension normalisation.

    Args:
        r_a, r_b: rewards, any shapes that broadcast; NaN gives NaN.
        theta: at least 1 (1 is Bradley-Terry without ties).

    Returns:
        (p_a, p_tie, p_b): float64 in [0, 1], arrays of the broadcast shape, or floats for scalar input.

    Raises:
        InputError: theta below 1 or not finite, infinite rewards, or shapes that do not broadcast.
    """
    _check_theta(theta)
    a, b = np.asarray(r_a, dtype=np.float64), np.asarray(r_b, dtype=np.float64)
    if np.isinf(a).any() or np.isinf(b).any():
        raise InputError("r_a or r_b is infinite; rewards must be finite, or NaN for no value.")
    try:
        d = a - b
    except ValueError as error:
        raise InputError(
            f"r_a has shape {a.shape} and r_b {b.shape}; give one reward per clip of each pair."
        ) from error
    p_a, p_b = _sigmoid(d - log(theta)), _sigmoid(-d - log(theta))
    p_tie = (theta**2 - 1.0) * p_a * p_b
    if d.ndim == 0:
        return float(p_a), float(p_tie), float(p_b)
    return p_a, p_tie, p_b


def rao_kupper_tie_threshold(theta: float = 5.0) -> float:
    """|r_a - r_b| up to which a tie is the likeliest of the three outcomes: ln((theta² - 2) / theta).

    1.526 for theta 5. For theta <= 2 a tie is never the single likeliest outcome and the threshold is 0. Rewards that
    were divided by a standard deviation need the threshold divided by it too.

    Raises:
        InputError: theta below 1 or not finite.
    """
    _check_theta(theta)
    return log((theta**2 - 2.0) / theta) if theta > 2 else 0.0


def _check_theta(theta: float) -> None:
    if not (np.isfinite(theta) and theta >= 1):
        raise InputError(f"theta is {theta}; the Rao-Kupper tie parameter is a finite number of at least 1.")


def _sigmoid(x: np.ndarray[Any, np.dtype[np.float64]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    # exp of a non-positive number only: no overflow at either end.
    tail = np.exp(-np.abs(x))
    result: np.ndarray[Any, np.dtype[np.float64]] = np.where(x >= 0, 1.0, tail) / (1.0 + tail)
    return result
