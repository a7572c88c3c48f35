"""Davidson's model: strengths of competitors from wins, losses and ties.

Rao and Kupper's model (`rewardbench.metrics.bradley_terry`) turns a margin into three probabilities; this one is
fitted to counts. Its likelihood depends on a competitor's points alone (win 1, tie one half), so a tie means what it
means in a league table.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from rewardbench.errors import InputError
from rewardbench.metrics.inputs import BoolArray, FloatArray

_BLOCK = 256
"""Tables fitted side by side: with 20 competitors their working arrays take some 30 MB."""


def davidson_strengths(wins: ArrayLike, ties: ArrayLike) -> tuple[FloatArray, float]:
    """Maximum-likelihood strengths of Davidson's (1970) Bradley-Terry model with ties.

    P(i beats j) : P(tie) : P(j beats i) = w_i : nu sqrt(w_i w_j) : w_j with worths w = exp(strength). The log
    likelihood is concave in the strengths and ln nu; at its maximum each competitor's expected points (win 1, tie one
    half) are those it has, and so is the expected number of ties.

    Args:
        wins: (K, K) how often row beat column (fractions are allowed).
        ties: (K, K), symmetric: how often the two tied.

    Returns:
        strengths (K,), mean 0, and ln nu (-inf without any tie). All NaN where no maximum exists, as where
        someone never lost, never won, or was never compared with the rest.

    Raises:
        InputError: not two square tables of one size with finite entries of at least 0, or ties that are not symmetric.
    """
    won, tied = np.asarray(wins, dtype=np.float64), np.asarray(ties, dtype=np.float64)
    if won.ndim != 2 or won.shape[0] != won.shape[1] or won.shape != tied.shape:
        raise InputError(f"wins has shape {won.shape} and ties {tied.shape}; give two square tables of one size.")
    if not (np.isfinite(won).all() and np.isfinite(tied).all() and (won >= 0).all() and (tied >= 0).all()):
        raise InputError("wins or ties holds a negative or infinite count.")
    if not np.array_equal(tied, tied.T):
        raise InputError("ties is not symmetric; count each tie for both competitors.")
    found = davidson_parameters(won[None], tied[None])[0]
    return found[:-1], float(found[-1])


def davidson_parameters(wins: FloatArray, ties: FloatArray) -> FloatArray:
    """Strengths and, last, ln nu (B, K + 1) of B tables (B, K, K), as `davidson_strengths` gives them; unchecked."""
    n_tables, k = wins.shape[:2]
    found = np.full((n_tables, k + 1), np.nan)
    fit = _maximum_exists(wins, ties)
    with_ties = ties.sum(axis=(1, 2)) > 0
    for has_ties in (True, False):
        rows = np.flatnonzero(fit & (with_ties == has_ties))
        for start in range(0, rows.size, _BLOCK):
            block = rows[start : start + _BLOCK]
            found[block] = _newton(wins[block], ties[block], has_ties)
    return found


def _newton(wins: FloatArray, ties: FloatArray, has_ties: bool) -> FloatArray:
    n_tables, k = wins.shape[:2]
    low, high = np.triu_indices(k, 1)
    meets = (wins + wins.transpose(0, 2, 1) + ties)[:, low, high]  # tables x pairs
    seen = wins.sum(axis=2) + ties.sum(axis=2) / 2  # points
    # One row per outcome and pair of competitors: its log weight is linear in the parameters (strengths, ln nu).
    rows = np.zeros((3, low.size, k + 1))
    at = np.arange(low.size)
    rows[0, at, low] = rows[2, at, high] = rows[1, at, k] = 1.0
    rows[1, at, low] = rows[1, at, high] = 0.5
    if has_ties:
        seen = np.column_stack([seen, ties.sum(axis=(1, 2)) / 2])
    else:
        rows = rows[[0, 2], :, :k]
    size = rows.shape[2]
    squares = (rows[..., :, None] * rows[..., None, :]).reshape(-1, size * size)

    def likelihood(x: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Log likelihood (tables,) and the shares (tables, outcomes, pairs) of the outcomes."""
        weights = np.einsum("opx,bx->bop", rows, x)
        top = weights.max(axis=1, keepdims=True)
        shares = np.exp(weights - top)
        whole = shares.sum(axis=1, keepdims=True)
        value: FloatArray = (seen * x).sum(axis=1) - (meets * (top + np.log(whole))[:, 0]).sum(axis=1)
        return value, shares / whole

    x = np.zeros((n_tables, size))
    current, shares = likelihood(x)
    for _ in range(100):
        mean = np.einsum("bop,opx->bpx", shares, rows)
        gradient = seen - np.einsum("bp,bpx->bx", meets, mean)
        curvature = ((shares * meets[:, None]).reshape(n_tables, -1) @ squares).reshape(n_tables, size, size)
        curvature -= (mean * meets[..., None]).transpose(0, 2, 1) @ mean
        step = np.zeros_like(x)
        # The first strength is held at 0: only differences are determined.
        step[:, 1:] = np.linalg.solve(curvature[:, 1:, 1:], gradient[:, 1:, None])[..., 0]
        if float(np.abs(step).max(initial=0.0)) < 1e-10:
            break
        for _ in range(60):
            value, tried = likelihood(x + step)
            worse = value < current - 1e-12 * np.abs(current)
            if not worse.any():
                break
            step[worse] /= 2
        x, current, shares = x + step, value, tried
    strengths = x[:, :k] - x[:, :k].mean(axis=1, keepdims=True)
    return np.column_stack([strengths, x[:, k] if has_ties else np.full(n_tables, -np.inf)])


def _maximum_exists(wins: FloatArray, ties: FloatArray) -> BoolArray:
    """Which of B tables (B, K, K) have a maximum at finite parameters.

    The likelihood has none where it never falls along some direction (d for the strengths, e for ln nu). Its terms say
    along which: a win of i over j needs d_i >= d_j and d_i - d_j >= 2 e, a tie |d_i - d_j| <= 2 e. With e = 0 only
    d = 0 is left if everyone reaches everyone over wins and ties; e > 0 is a system of difference constraints (a win
    is a step of -1, a tie one of 1 either way), which has a solution unless some cycle is negative. So a competitor
    that draws but never wins against someone who only wins and draws has none either.
    """
    won, tied = wins > 0, ties > 0
    k = wins.shape[1]
    reach = won | tied | np.eye(k, dtype=np.bool_)
    steps = np.where(won, -1.0, np.where(tied, 1.0, np.inf))
    for via in range(k):
        reach |= reach[:, :, via, None] & reach[:, None, via, :]
        steps = np.maximum(np.minimum(steps, steps[:, :, via, None] + steps[:, None, via, :]), -4.0 * k)
    negative = (np.diagonal(steps, axis1=1, axis2=2) < 0).any(axis=1)
    exists = reach.all(axis=(1, 2)) & (negative | ~tied.any(axis=(1, 2)))
    return np.asarray(exists, dtype=np.bool_)
