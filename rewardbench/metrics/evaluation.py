"""Everything one row of a result says about one score held against one label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rewardbench.errors import InputError
from rewardbench.metrics.accuracy import accuracy_at, checked_threshold, decided_accuracy, label_shares, share
from rewardbench.metrics.bootstrap import cluster_draws, percentile_interval, refitted_gains, sums_by_cluster
from rewardbench.metrics.correlation import kendall_tau
from rewardbench.metrics.folds import crossfit_thresholds, folds_of_pairs
from rewardbench.metrics.inputs import (
    BoolArray,
    FloatArray,
    IntArray,
    SignArray,
    finite_or_nan,
    human_signs,
    missing,
    named_groups,
    same_length,
)
from rewardbench.metrics.ties import (
    SortedMargins,
    best_threshold,
    correct_without_new_ties,
    gain_of_tie,
    sort_margins,
    videoalign_with_ties,
)

Interval = tuple[float, float]
MAX_SLICES = 1000
_NO_INTERVAL: Interval = (float("nan"), float("nan"))


@dataclass(frozen=True)
class CrossfitAccuracy:
    """Accuracy with ties, every pair judged with a threshold chosen on other prompts; ``thresholds`` by fold."""

    value: float
    ci95: Interval
    thresholds: tuple[float, ...]


@dataclass(frozen=True)
class CalibratedAccuracy:
    """Accuracy with ties at the threshold that suits these pairs best (an optimistic number)."""

    value: float
    tie_threshold: float
    ci95: Interval


@dataclass(frozen=True)
class VideoAlignAccuracy:
    """Accuracy with ties by VideoAlign's published function, faults included; depends on the order of rows."""

    value: float


@dataclass(frozen=True)
class GivenThresholdAccuracy:
    """Accuracy with ties at a threshold that was given."""

    value: float
    threshold: float
    ci95: Interval


@dataclass(frozen=True)
class WithTies:
    """Accuracy with ties under each rule; ``native`` and ``fixed`` are None unless a threshold was given."""

    crossfit: CrossfitAccuracy
    threshold: CalibratedAccuracy
    videoalign: VideoAlignAccuracy
    native: GivenThresholdAccuracy | None
    fixed: GivenThresholdAccuracy | None


@dataclass(frozen=True)
class WithoutTies:
    """Accuracy on the pairs people decided; a margin of 0 is wrong (``value``) or one half (``half_credit``)."""

    value: float
    half_credit: float
    ci95: Interval
    half_credit_ci95: Interval


@dataclass(frozen=True)
class SliceCrossfit:
    """Accuracy with ties of a slice, with the fold thresholds of the whole set."""

    value: float
    ci95: Interval


@dataclass(frozen=True)
class SliceWithoutTies:
    """Accuracy on the pairs of a slice that people decided."""

    value: float
    half_credit: float
    ci95: Interval


@dataclass(frozen=True)
class SliceEvaluation:
    """The pairs with one value of one column."""

    n: int
    n_abstained: int
    human_tie_rate: float
    majority_floor: float
    with_ties_crossfit: SliceCrossfit
    without_ties: SliceWithoutTies


@dataclass(frozen=True)
class BootstrapSettings:
    """``n`` draws with ``seed``; ``refit`` names the rule whose threshold is chosen anew in every draw."""

    n: int
    seed: int
    refit: str = "threshold"


@dataclass(frozen=True, eq=False)
class PairEvaluation:
    """What `evaluate_pairs` found. Shares in [0, 1]; NaN where nothing is there to divide by.

    ``n`` pairs have a margin, ``n_abstained`` have NaN; every share is over the former. ``n_clusters`` is the number
    of prompts among the n pairs; below two there is no interval (NaN). The arrays at the end follow the input rows:
    ``fold`` (int, 0 to 4), ``crossfit_threshold`` (that fold's threshold) and ``predicted`` (1, 0, -1 under "crossfit";
    NaN where the model abstained).
    """

    n: int
    n_abstained: int
    human_tie_rate: float
    majority_floor: float
    accuracy_with_ties: WithTies
    accuracy_without_ties: WithoutTies
    kendall_tau_b: float
    slices: dict[str, dict[str, SliceEvaluation]]
    n_clusters: int
    bootstrap: BootstrapSettings
    fold: IntArray = field(repr=False)
    crossfit_threshold: FloatArray = field(repr=False)
    predicted: FloatArray = field(repr=False)


class _Ratios:
    """Shares whose intervals are wanted: numerators and denominators summed by cluster, one column each."""

    def __init__(self, cluster: IntArray, n_clusters: int) -> None:
        self._cluster, self._n_clusters = cluster, n_clusters
        self._parts: list[FloatArray] = []
        self._wholes: list[FloatArray] = []

    def add(self, part: NDArray[np.generic], whole: NDArray[np.generic]) -> int:
        """Register sum(part) / sum(whole) over pairs (n,); returns its column."""
        self._parts.append(sums_by_cluster(part, self._cluster, self._n_clusters))
        self._wholes.append(sums_by_cluster(whole, self._cluster, self._n_clusters))
        return len(self._parts) - 1

    @property
    def n_columns(self) -> int:
        return len(self._parts)

    def several_clusters(self, column: int) -> bool:
        """Whether the whole of a share is spread over two clusters or more."""
        return int(np.count_nonzero(self._wholes[column])) >= 2

    def values(self, counts: IntArray) -> FloatArray:
        """The shares (B, columns) in each of B draws; NaN where a draw holds none of the whole."""
        weights = counts.astype(np.float64)
        part, whole = weights @ np.column_stack(self._parts), weights @ np.column_stack(self._wholes)
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio: FloatArray = np.where(whole > 0, part / whole, np.nan)
        return ratio


def evaluate_pairs(
    human: ArrayLike,
    margin: ArrayLike,
    *,
    groups: Sequence[object] | NDArray[np.generic],
    slices: Mapping[str, Sequence[object] | NDArray[np.generic]] | None = None,
    native_threshold: float | None = None,
    fixed_threshold: float | None = None,
    n_bootstrap: int = 1000,
    seed: int = 0,
    noise: float | None = None,
) -> PairEvaluation:
    """All accuracies of one score against one label, with intervals and slices.

    Intervals are 95 % percentile intervals of a bootstrap over groups. Folds are fixed before anything is drawn;
    "threshold" is refitted in every draw; "crossfit" draws the out-of-fold outcomes, thresholds held. Slices take
    their pairs out of the same draws and never fit a threshold of their own. Everything but "videoalign" is the same
    for any order of rows and when A and B are swapped.

    Args:
        human: (n,) labels 1 (A preferred), -1 (B preferred), 0 (tie).
        margin: (n,) score(A) - score(B); NaN = abstains.
        groups: (n,) the original prompt of each pair: fold and cluster.
        slices: column name to (n,) values; a missing value (None, NaN) forms the slice "(missing)".
        native_threshold, fixed_threshold: thresholds on |margin| for the two optional rules.
        n_bootstrap: draws; 0 leaves all intervals NaN.
        seed: of the fold hash and of the draws.
        noise: see `rewardbench.metrics.ties.sort_margins`.

    Raises:
        InputError: as `pairwise_accuracy`; a slice column of another length or with more than 1,000
            values; a negative ``n_bootstrap``.
    """
    if n_bootstrap < 0:
        raise InputError(f"n_bootstrap is {n_bootstrap}; give the number of draws, or 0 for no intervals.")
    all_labels, all_margins = human_signs(human), finite_or_nan(margin, "margin")
    same_length(all_labels.size, all_margins.size, "margin")
    named = named_groups(groups, all_labels.size)
    sliced = _slice_members(slices or {}, all_labels.size)
    all_folds = folds_of_pairs(named, seed)

    kept = ~np.isnan(all_margins)
    labels, margins, fold = all_labels[kept], all_margins[kept], all_folds[kept]
    present, cluster = np.unique(named.index[kept], return_inverse=True)
    pairs = sort_margins(margins, noise)
    magnitude = pairs.magnitude()
    gain = gain_of_tie(labels, pairs)
    at_zero = correct_without_new_ties(labels, pairs)
    fold_thresholds = crossfit_thresholds(labels, pairs, fold)
    predicted = pairs.predict(fold_thresholds[fold])
    tie_threshold, best_gain = best_threshold(gain, pairs)
    decided, everything = labels != 0, np.ones(labels.size)

    ratios = _Ratios(cluster, present.size)
    crossfit_right = predicted == labels
    right = decided & at_zero
    half = right + 0.5 * (decided & (pairs.sign == 0))
    columns = {
        "crossfit": ratios.add(crossfit_right, everything),
        "strict": ratios.add(right, decided),
        "half": ratios.add(half, decided),
    }
    given = {"native": native_threshold, "fixed": fixed_threshold}
    for name, value in given.items():
        if value is not None:
            threshold = checked_threshold(value, f"{name}_threshold")
            columns[name] = ratios.add(pairs.predict(threshold) == labels, everything)
    slice_columns = {
        (column, value): (
            ratios.add(crossfit_right & member[kept], member[kept]),
            ratios.add(right & member[kept], decided & member[kept]),
        )
        for column, members in sliced.items()
        for value, member in members.items()
    }
    intervals, refitted = _intervals(
        ratios,
        gain=gain,
        at_zero=at_zero,
        pairs=pairs,
        cluster=cluster,
        n_clusters=present.size,
        n_bootstrap=n_bootstrap,
        seed=seed,
    )

    def given_threshold(name: str) -> GivenThresholdAccuracy | None:
        value = given[name]
        if value is None:
            return None
        return GivenThresholdAccuracy(accuracy_at(labels, pairs, value), float(value), intervals[columns[name]])

    def slice_evaluation(column: str, value: str, member: BoolArray) -> SliceEvaluation:
        inside = member[kept]
        with_column, without_column = slice_columns[column, value]
        n = int(inside.sum())
        n_decided = int((decided & inside).sum())
        tie_rate, floor = label_shares(labels[inside])
        return SliceEvaluation(
            n,
            int(member.sum()) - n,
            tie_rate,
            floor,
            SliceCrossfit(share(int((crossfit_right & inside).sum()), n), intervals[with_column]),
            SliceWithoutTies(
                share(int((right & inside).sum()), n_decided),
                share(float(half[inside].sum()), n_decided),
                intervals[without_column],
            ),
        )

    tie_rate, floor = label_shares(labels)
    strict, half_credit = decided_accuracy(labels, pairs)
    all_predicted = np.full(all_labels.size, np.nan)
    all_predicted[kept] = predicted
    return PairEvaluation(
        n=labels.size,
        n_abstained=int(all_labels.size - labels.size),
        human_tie_rate=tie_rate,
        majority_floor=floor,
        accuracy_with_ties=WithTies(
            CrossfitAccuracy(
                share(int(crossfit_right.sum()), labels.size),
                intervals[columns["crossfit"]],
                tuple(fold_thresholds.tolist()),
            ),
            CalibratedAccuracy(
                share(int(at_zero.sum()) + best_gain, labels.size),
                tie_threshold if labels.size else float("nan"),
                refitted,
            ),
            VideoAlignAccuracy(videoalign_with_ties(labels, margins)[0]),
            given_threshold("native"),
            given_threshold("fixed"),
        ),
        accuracy_without_ties=WithoutTies(
            strict, half_credit, intervals[columns["strict"]], intervals[columns["half"]]
        ),
        kendall_tau_b=kendall_tau(labels, pairs.sign * magnitude).value,
        slices={
            column: {value: slice_evaluation(column, value, member) for value, member in members.items()}
            for column, members in sliced.items()
        },
        n_clusters=int(present.size),
        bootstrap=BootstrapSettings(n_bootstrap, seed),
        fold=all_folds,
        crossfit_threshold=fold_thresholds[all_folds] if all_folds.size else np.zeros(0),
        predicted=all_predicted,
    )


def _intervals(
    ratios: _Ratios,
    *,
    gain: SignArray,
    at_zero: BoolArray,
    pairs: SortedMargins,
    cluster: IntArray,
    n_clusters: int,
    n_bootstrap: int,
    seed: int,
) -> tuple[list[Interval], Interval]:
    """Intervals of all ratios, by column, and of the accuracy at the refitted threshold."""
    if n_bootstrap == 0 or n_clusters < 2:
        return [_NO_INTERVAL] * ratios.n_columns, _NO_INTERVAL
    right_at_zero = sums_by_cluster(at_zero, cluster, n_clusters)
    pairs_in = sums_by_cluster(np.ones(cluster.size), cluster, n_clusters)
    values, refitted = [], []
    for counts in cluster_draws(n_clusters, n_bootstrap, seed):
        values.append(ratios.values(counts))
        best = counts @ right_at_zero + refitted_gains(gain, pairs, cluster, counts)
        refitted.append(best / (counts @ pairs_in))
    table = np.concatenate(values)
    return [
        percentile_interval(table[:, k]) if ratios.several_clusters(k) else _NO_INTERVAL
        for k in range(ratios.n_columns)
    ], percentile_interval(np.concatenate(refitted))


def _slice_members(
    slices: Mapping[str, Sequence[object] | NDArray[np.generic]], n: int
) -> dict[str, dict[str, BoolArray]]:
    """Which rows (n,) have which value, by column and value in ascending order."""
    members: dict[str, dict[str, BoolArray]] = {}
    for column, given in slices.items():
        values = given.tolist() if isinstance(given, np.ndarray) else list(given)
        same_length(n, len(values), f'slice column "{column}"')
        parts = named_groups(["(missing)" if missing(value) else value for value in values], n)
        if len(parts.names) > MAX_SLICES:
            raise InputError(
                f'slice column "{column}" has {len(parts.names)} different values; '
                f"name a column with at most {MAX_SLICES}."
            )
        members[column] = {name: parts.index == k for k, name in enumerate(parts.names)}
    return members
