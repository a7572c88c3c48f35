"""Margins as probabilities: what a reward model's margin says of P(A preferred), P(tie), P(B preferred), and how well.

The probabilities are Rao and Kupper's (1967) with two numbers fitted per model, a scale of the margins and the tie
parameter theta; a pair is always judged with numbers fitted on other prompts. Log loss and Brier score are proper: no
model does better by saying something else than what it believes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import exp, expm1, log

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rewardbench.errors import InputError
from rewardbench.metrics.bootstrap import cluster_draws, percentile_interval, sums_by_cluster
from rewardbench.metrics.folds import N_FOLDS, folds_of_pairs
from rewardbench.metrics.inputs import FloatArray, SignArray, finite_or_nan, human_signs, named_groups, same_length

N_BINS = 15
_BLOCK_CELLS = 2_000_000


@dataclass(frozen=True)
class RaoKupperFit:
    """P(A) = 1 / (1 + theta exp(-scale * margin)): ``scale`` at least 0 per unit of the margin, ``theta`` above 1."""

    scale: float
    theta: float


@dataclass(frozen=True)
class CalibrationError:
    """Expected calibration error over 15 bins of equal mass, in [0, 1], of ``n`` pairs; NaN for none.

    ``reference`` and ``reference_high`` are the mean and the 95th percentile of the same number when outcomes are
    drawn from the very probabilities: a perfectly calibrated model gets that much from chance alone.
    """

    value: float
    reference: float
    reference_high: float
    n: int


@dataclass(frozen=True, eq=False)
class Calibration:
    """What `calibrate` found. NaN where no pair is left.

    ``log_loss`` in nats and ``brier`` (0 to 2, squared error summed over the three outcomes) are means over the ``n``
    pairs with a margin; ``base_log_loss`` and ``base_brier`` are those of the tie rate alone, cross-fitted too: a
    margin that says anything is below them. ``decided`` is the calibration error of "the side with the larger score is
    preferred" on the pairs people decided, ``tie`` that of "this pair is a tie" on all. ``fit`` is that of all
    pairs, for use elsewhere; ``probabilities`` (rows, 3) for A, tie, B are out-of-fold, NaN where the model abstained.
    """

    n: int
    n_abstained: int
    fit: RaoKupperFit
    log_loss: float
    log_loss_ci95: tuple[float, float]
    brier: float
    brier_ci95: tuple[float, float]
    base_log_loss: float
    base_brier: float
    decided: CalibrationError
    tie: CalibrationError
    probabilities: FloatArray = field(repr=False)


def calibrate(
    human: ArrayLike,
    margin: ArrayLike,
    *,
    groups: Sequence[object] | NDArray[np.generic],
    n_bootstrap: int = 1000,
    n_simulations: int = 200,
    seed: int = 0,
) -> Calibration:
    """Fit, cross-fitted by prompt, and score the probabilities of the three outcomes.

    Swapping A and B in any pair (label and margin negated) changes nothing but the order of its probabilities.

    Args:
        human: (n,) labels 1 (A preferred), -1 (B preferred), 0 (tie).
        margin: (n,) score(A) - score(B), any unit; NaN = abstains.
        groups: (n,) the prompt of each pair: fold (`rewardbench.metrics.folds`) and cluster of the intervals.
        n_bootstrap: draws of the intervals of log loss and Brier score; 0 leaves them NaN.
        n_simulations: draws of outcomes behind the reference of the calibration errors, pairs taken as independent.
        seed: of folds, draws and simulations.

    Raises:
        InputError: as `rewardbench.metrics.evaluate_pairs`; a negative number of draws or no simulation.
    """
    if n_bootstrap < 0 or n_simulations < 1:
        raise InputError(
            f"n_bootstrap is {n_bootstrap} and n_simulations {n_simulations}; give at least 0 and at least 1."
        )
    labels, margins = human_signs(human), finite_or_nan(margin, "margin")
    same_length(labels.size, margins.size, "margin")
    named = named_groups(groups, labels.size)
    fold = folds_of_pairs(named, seed)
    kept = ~np.isnan(margins)
    everything = np.full((labels.size, 3), np.nan)
    labels, margins, fold = labels[kept], margins[kept], fold[kept]
    said, base = (np.empty((labels.size, 3)) for _ in range(2))  # natural logarithms
    for k in range(N_FOLDS):
        inside = fold == k
        if inside.any():
            fit = fit_rao_kupper(labels[~inside], margins[~inside])
            said[inside] = _log_probabilities(fit, margins[inside])
            flat = fit_rao_kupper(labels[~inside], np.zeros(int((~inside).sum())))
            base[inside] = _log_probabilities(flat, np.zeros(int(inside.sum())))
    probabilities = np.exp(said)
    everything[kept] = probabilities
    outcome = 1 - labels.astype(np.int64)  # column of A, tie, B
    losses, briers = _log_losses(said, outcome), _briers(probabilities, outcome)
    present, cluster = np.unique(named.index[kept], return_inverse=True)
    intervals = _intervals(np.column_stack([losses, briers]), cluster, int(present.size), n_bootstrap, seed)
    rng = np.random.default_rng(seed)
    return Calibration(
        n=int(labels.size),
        n_abstained=int(kept.size - labels.size),
        fit=fit_rao_kupper(labels, margins),
        log_loss=_mean(losses),
        log_loss_ci95=intervals[0],
        brier=_mean(briers),
        brier_ci95=intervals[1],
        base_log_loss=_mean(_log_losses(base, outcome)),
        base_brier=_mean(_briers(np.exp(base), outcome)),
        decided=_decided_error(labels, margins, probabilities, n_simulations, rng),
        tie=_error(probabilities[:, 1], (labels == 0).astype(np.float64), n_simulations, rng),
        probabilities=everything,
    )


def fit_rao_kupper(human: SignArray, margin: FloatArray) -> RaoKupperFit:
    """Scale and theta by maximum likelihood (labels (n,) in {1, 0, -1}, finite margins (n,)).

    One pair more is assumed, with a margin of typical size (the root mean square) and a third of each outcome: without
    it, data without ties would say that a tie never happens, and margins without an error that no error ever does. The
    negative log likelihood is convex in the scale and in ln theta, so Newton's method finds its only minimum; a scale
    below 0 (larger scores are worse) is not looked for, 0 stands for it.
    """
    unit = float(np.sqrt(np.square(margin).mean())) if margin.size else 0.0
    scaled = margin / unit if unit > 0 else np.zeros(margin.size)
    typical = 1.0 if unit > 0 else 0.0
    d = np.concatenate([scaled, [typical] * 3])
    labels = np.concatenate([human.astype(np.int64), [1, 0, -1]])
    weight = np.concatenate([np.ones(margin.size), np.full(3, 1 / 3)])
    scale, log_theta = _newton(d, labels, weight, free_scale=unit > 0)
    if scale < 0:
        scale, log_theta = _newton(d, labels, weight, free_scale=False)
    return RaoKupperFit(scale / unit if unit > 0 else 0.0, exp(log_theta))


def _newton(d: FloatArray, labels: NDArray[np.int64], weight: FloatArray, *, free_scale: bool) -> tuple[float, float]:
    """Minimum over (scale, ln theta); the scale is held at 0 unless it is free."""
    won, lost = weight * (labels >= 0), weight * (labels <= 0)  # a tie counts as both: P(tie) holds P(A) P(B)
    tied = float(weight[labels == 0].sum())

    def loss(s: float, t: float) -> float:
        return float((won * np.logaddexp(0, t - s * d) + lost * np.logaddexp(0, t + s * d)).sum()) - tied * (
            2 * t + log(-expm1(-2 * t))
        )

    s, t = 0.0, log(3.0)
    current = loss(s, t)
    for _ in range(100):
        p, q = _sigmoid(t - s * d), _sigmoid(t + s * d)
        u, v = won * p * (1 - p), lost * q * (1 - q)
        r = 1 / expm1(2 * t)  # ln(theta² - 1) has the derivatives 2 (1 + r) and -4 r (1 + r)
        gradient = np.array([(d * (lost * q - won * p)).sum(), (won * p + lost * q).sum() - 2 * tied * (1 + r)])
        curvature = np.array(
            [
                [(d * d * (u + v)).sum(), (d * (v - u)).sum()],
                [(d * (v - u)).sum(), (u + v).sum() + 4 * tied * r * (1 + r)],
            ]
        )
        held = np.array([0.0, gradient[1] / curvature[1, 1]])
        step = np.linalg.solve(curvature, gradient) if free_scale else held
        if float(np.abs(step).max()) < 1e-9:  # converges quadratically: what is left is far below a double's digits
            return s - float(step[0]), t - float(step[1])
        length = 1.0
        while t - length * step[1] <= 0 or loss(s - length * step[0], t - length * step[1]) > current + 1e-12:
            length /= 2
            if length < 1e-12:
                return s, t
        s, t = s - length * float(step[0]), t - length * float(step[1])
        current = loss(s, t)
    return s, t


def _log_probabilities(fit: RaoKupperFit, margin: FloatArray) -> FloatArray:
    """ln P of A, tie, B (n, 3): `bradley_terry_with_ties`, but finite where a probability is too small for a double."""
    d, t = fit.scale * margin, log(fit.theta)
    log_a, log_b = -np.logaddexp(0, t - d), -np.logaddexp(0, t + d)
    return np.column_stack([log_a, 2 * t + log(-expm1(-2 * t)) + log_a + log_b, log_b])


def _log_losses(log_probabilities: FloatArray, outcome: NDArray[np.int64]) -> FloatArray:
    losses: FloatArray = -log_probabilities[np.arange(outcome.size), outcome]
    return losses


def _briers(probabilities: FloatArray, outcome: NDArray[np.int64]) -> FloatArray:
    happened = np.zeros_like(probabilities)
    happened[np.arange(outcome.size), outcome] = 1.0
    squares: FloatArray = np.square(probabilities - happened).sum(axis=1)
    return squares


def _decided_error(
    labels: SignArray, margins: FloatArray, probabilities: FloatArray, n_simulations: int, rng: np.random.Generator
) -> CalibrationError:
    """Of max(P(A), P(B)) / (P(A) + P(B)) on decided pairs; a margin of 0 says 1/2 and is half right."""
    decided = labels != 0
    sides = probabilities[decided][:, [0, 2]]
    confidence = sides.max(axis=1) / sides.sum(axis=1)
    right = (np.sign(margins[decided]) * labels[decided] + 1.0) / 2.0
    return _error(confidence, right, n_simulations, rng)


def _error(
    probability: FloatArray, happened: FloatArray, n_simulations: int, rng: np.random.Generator
) -> CalibrationError:
    n = int(probability.size)
    if n == 0:
        return CalibrationError(float("nan"), float("nan"), float("nan"), 0)
    value = float(expected_calibration_error(probability, happened))
    order = np.argsort(probability)  # outcomes are drawn in this order, so that rows may come in any
    simulated = []
    block = max(1, _BLOCK_CELLS // n)
    for start in range(0, n_simulations, block):
        drawn = rng.random((min(block, n_simulations - start), n)) < probability[order]
        simulated.append(expected_calibration_error(probability[order], drawn.astype(np.float64)))
    draws = np.concatenate(simulated)
    return CalibrationError(value, float(draws.mean()), float(np.percentile(draws, 95)), n)


def expected_calibration_error(probability: FloatArray, happened: FloatArray, n_bins: int = N_BINS) -> FloatArray:
    """Expected calibration error (Naeini et al. 2015) over bins of equal mass, shape ``happened.shape[:-1]``.

    Pairs sorted by probability (n,) are cut into ``n_bins`` stretches of exactly n / n_bins pairs; a pair on a cut
    belongs to both by its parts, and pairs of equal probability (to 12 digits) are spread alike, so that the order of
    rows cannot matter. ``happened`` (..., n) holds 1, 0 or one half.
    """
    n = probability.size
    _, inverse, counts = np.unique(np.round(probability, 12), return_inverse=True, return_counts=True)
    order = np.argsort(inverse, kind="stable")
    excess = (probability - happened)[..., order]
    ends = np.cumsum(counts)
    running = np.cumsum(excess, axis=-1)[..., ends - 1]
    running = np.concatenate([np.zeros((*running.shape[:-1], 1)), running], axis=-1)
    position = np.concatenate([[0], ends])
    edges = np.linspace(0, n, n_bins + 1)
    right = np.clip(np.searchsorted(position, edges, side="left"), 1, position.size - 1)
    share = (edges - position[right - 1]) / (position[right] - position[right - 1])
    at_edges = running[..., right - 1] * (1 - share) + running[..., right] * share
    error: FloatArray = np.abs(np.diff(at_edges, axis=-1)).sum(axis=-1) / n
    return error


def _intervals(
    values: FloatArray, cluster: NDArray[np.int64], n_clusters: int, n_bootstrap: int, seed: int
) -> list[tuple[float, float]]:
    """Percentile intervals of the means of the columns (n, k), clusters drawn."""
    if n_bootstrap == 0 or n_clusters < 2:
        return [(float("nan"), float("nan"))] * values.shape[1]
    sums = np.column_stack([sums_by_cluster(column, cluster, n_clusters) for column in values.T])
    sizes = sums_by_cluster(np.ones(cluster.size), cluster, n_clusters)
    draws = [(counts @ sums) / (counts @ sizes)[:, None] for counts in cluster_draws(n_clusters, n_bootstrap, seed)]
    table = np.concatenate(draws)
    return [percentile_interval(table[:, k]) for k in range(values.shape[1])]


def _mean(values: FloatArray) -> float:
    return float(values.mean()) if values.size else float("nan")


def _sigmoid(x: FloatArray) -> FloatArray:
    result: FloatArray = np.exp(-np.logaddexp(0, -x))
    return result
