"""The board: what the pages show, computed from verified bundles. Plain data that becomes JSON as it is.

Ranks count an abstention as a wrong answer, so no model rises by answering easy pairs only; accuracies are over the
pairs a model answered, with their share (coverage) beside them. A model below ``LEAST_RANKED_COVERAGE`` has no rank.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewardbench.errors import CheckFailed
from rewardbench.leaderboard.disagreement import SAID, said, shown_pairs, sureness
from rewardbench.leaderboard.known import KnownBenchmark
from rewardbench.leaderboard.recomputing import Recomputed
from rewardbench.leaderboard.verification import DRAWS, SEED, Verification
from rewardbench.metrics.accuracy import label_shares
from rewardbench.metrics.bootstrap import sums_by_cluster
from rewardbench.metrics.ranking import rank_intervals
from rewardbench.report.notation import plain

SCHEMA = "rewardbench.leaderboard/1"
LEAST_RANKED_COVERAGE = 0.95
HOST_MEMORY = ("resident", "decode_resident")
"""Processes whose peak memory is stated: the model's own, and the decoding ones."""

Shares = tuple[float, float] | None


@dataclass(frozen=True)
class Rank:
    """Place by accuracy with ties (crossfit), and the 95 % interval of places under other draws of prompts."""

    rank: int
    low: int
    high: int


@dataclass(frozen=True)
class Accuracy:
    value: float | None
    ci95: Shares = None
    tie_threshold: float | None = None


@dataclass(frozen=True)
class Cost:
    """Measured on the submitter's machine. Memory in bytes: the largest process, and what a GPU had allocated."""

    clips_per_s: float | None
    host_memory: int | None
    gpu_memory: int | None
    device: str | None


@dataclass(frozen=True)
class BoardRow:
    """One model on one label. ``key`` is the model's: the same on every label, and when it is run again; ``submission``
    is a place in the benchmark's list. ``as_stated``: no card of this machine was there to hold the rule for ties
    (``native``) and the range against. ``right`` and ``right_decided`` (per cluster) are sums over its pairs;
    abstained: 0. ``sure``: on how many percent of its answered pairs its margin is smaller, for each shown pair."""

    key: str
    submission: int
    model: str
    plugin: str
    version: str
    preset: str
    kind: str
    score: str
    rank: Rank | None
    with_ties: Accuracy
    oracle: Accuracy
    videoalign: float | None
    native: Accuracy | None
    fixed: Accuracy | None
    without_ties: Accuracy
    half_credit: float | None
    kendall_tau_b: float | None
    n: int
    n_abstained: int
    coverage: float | None
    cost: Cost
    parameters: int | None
    code_licence: str
    weights_licence: str
    training_data: str
    training_data_note: str
    as_stated: bool
    right: list[int]
    right_decided: list[int]
    said: str = ""
    sure: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class ShownPair:
    """One pair of the browser. Of all models, ``wrong`` answered otherwise than people, ``silent`` not at all."""

    pair_id: str
    prompt: str
    human: str
    clip_a: str
    clip_b: str
    wrong: float
    silent: float


@dataclass(frozen=True)
class Dimension:
    """One label. ``cluster_sizes`` and ``cluster_decided`` count all its pairs and those that people decided.

    ``raters`` is what one rater scores on it (:class:`rewardbench.results.RaterRecord`), None where raters are not told
    apart. It is the benchmark's, from whoever admitted it; no bundle has a say.
    """

    label: str
    n_pairs: int
    tie_rate: float | None
    floor: float | None
    cluster_sizes: list[int]
    cluster_decided: list[int]
    rows: list[BoardRow]
    pairs: list[ShownPair]
    raters: dict[str, Any] | None = None


@dataclass(frozen=True)
class Submission:
    """Where a row's numbers come from: the bundle, and what it says of the machine."""

    file: str
    sha256: str
    submitted_by: str
    finished: str
    command: str
    rewardbench: str
    python: str
    torch: str
    device: str
    git: str
    fingerprints: dict[str, str]
    weights: dict[str, str]
    citations: list[str]


@dataclass(frozen=True)
class BenchmarkBoard:
    name: str
    version: str
    sha256: str
    labels_by: str
    licence: str
    citation: str
    cluster: str
    n_pairs: int
    n_clips: int
    dimensions: list[Dimension]
    submissions: list[Submission]
    frames: str = ""


@dataclass(frozen=True)
class Board:
    """Everything measured, by benchmark. Benchmarks by name, rows by accuracy."""

    benchmarks: list[BenchmarkBoard]

    def to_data(self) -> dict[str, Any]:
        """The board as JSON takes it."""
        return {
            "schema": SCHEMA,
            "bootstrap": {"n": DRAWS, "seed": SEED},
            "benchmarks": list(map(asdict, self.benchmarks)),
        }


def make_board(verified: Sequence[Verification]) -> Board:
    """The board of bundles that were found sound; others are not looked at.

    Raises:
        CheckFailed: where one model would stand on a label twice.
    """
    by_benchmark: dict[str, list[Verification]] = {}
    for one in verified:
        if one.sound and one.bundle is not None and one.benchmark is not None:
            by_benchmark.setdefault(one.benchmark.sha256, []).append(one)
    boards = [_benchmark(found) for found in by_benchmark.values()]
    return Board(sorted(boards, key=lambda board: (board.name, board.version, board.sha256)))


def _benchmark(verified: Sequence[Verification]) -> BenchmarkBoard:
    known = verified[0].benchmark
    assert known is not None
    ordered = sorted(verified, key=lambda one: one.bundle.digest if one.bundle else "")
    rows: dict[str, list[tuple[int, Recomputed]]] = {label: [] for label in known.labels}
    for place, one in enumerate(ordered):
        for row in one.rows:
            rows[row.row.label].append((place, row))
    return BenchmarkBoard(
        name=known.name,
        version=known.version,
        sha256=known.sha256,
        labels_by=known.labels_by,
        licence=known.licence,
        citation=known.citation,
        cluster=known.cluster,
        n_pairs=known.n_pairs,
        n_clips=known.n_clips,
        dimensions=[
            replace(_dimension(label, found, ordered), raters=_raters(known, label))
            for label, found in rows.items()
            if found
        ],
        submissions=[_submission(one) for one in ordered],
        frames=known.frames,
    )


def _raters(known: KnownBenchmark, label: str) -> dict[str, Any] | None:
    found = known.labels[label].raters
    return None if found is None else found.model_dump()


def _dimension(label: str, rows: Sequence[tuple[int, Recomputed]], bundles: Sequence[Verification]) -> Dimension:
    pairs = rows[0][1].labelled
    human = pairs.human
    names, cluster = np.unique(np.array(pairs.cluster, dtype=object).astype(str), return_inverse=True)
    right = [_right(row) for _, row in rows]
    strict = [_right_decided(row) for _, row in rows]
    ranks = _ranks(rows, np.array(right, dtype=np.float64), pairs.cluster)
    shown = shown_pairs([row for _, row in rows], np.array(right))
    made = [
        _row(
            place, row, rank, _sums(ok, cluster, len(names)), _sums(decided, cluster, len(names)), shown, bundles[place]
        )
        for (place, row), rank, ok, decided in zip(rows, ranks, right, strict, strict=True)
    ]
    count = Counter(one.key for one in made)
    twice = [one.model for one in made if count[one.key] > 1]
    if twice:
        raise CheckFailed(f"label {label!r} would have {twice[0]!r} twice; verify the bundles together")
    tie_rate, floor = label_shares(human.astype(np.int8))
    silent = np.mean([np.isnan(row.found.predicted) for _, row in rows], axis=0)
    wrong = 1 - np.mean(right, axis=0) - silent
    return Dimension(
        label=label,
        n_pairs=int(human.size),
        tie_rate=_known(tie_rate),
        floor=_known(floor),
        cluster_sizes=_sums(np.ones(human.size), cluster, len(names)),
        cluster_decided=_sums(human != 0, cluster, len(names)),
        rows=sorted(made, key=_order),
        pairs=[
            ShownPair(
                plain(pairs.pair_id[k], 120),
                plain(pairs.prompt[k], 600),
                SAID[int(human[k])],
                plain(pairs.clip_a[k], 120),
                plain(pairs.clip_b[k], 120),
                round(float(wrong[k]), 4),
                round(float(silent[k]), 4),
            )
            for k in shown
        ],
    )


def _order(row: BoardRow) -> tuple[float, float, str]:
    value = row.with_ties.value
    return (row.rank.rank if row.rank else float("inf"), -1.0 if value is None else -value, row.key)


def _right(row: Recomputed) -> NDArray[np.bool_]:
    """Whether each pair (n,) was answered as people did, with ties; NaN is no answer."""
    right: NDArray[np.bool_] = row.found.predicted == row.labelled.human
    return right


def _right_decided(row: Recomputed) -> NDArray[np.bool_]:
    """Whether each decided pair's margin has the right sign; False for pairs that people called a tie."""
    human, margin = row.labelled.human, row.labelled.margin
    right: NDArray[np.bool_] = (human != 0) & (np.sign(np.nan_to_num(margin)) == human)
    return right


def _sums(values: NDArray[Any], cluster: NDArray[np.intp], n: int) -> list[int]:
    return [int(value) for value in sums_by_cluster(values, cluster.ravel().astype(np.int64), n)]


def _coverage(row: Recomputed) -> float | None:
    asked = row.found.n + row.found.n_abstained
    return row.found.n / asked if asked else None


def _ranks(
    rows: Sequence[tuple[int, Recomputed]], right: NDArray[np.float64], clusters: Sequence[str]
) -> list[Rank | None]:
    ranked = [k for k, (_, row) in enumerate(rows) if (_coverage(row) or 0) >= LEAST_RANKED_COVERAGE]
    ranks: list[Rank | None] = [None] * len(rows)
    if ranked:
        found = rank_intervals(right[ranked], clusters, n_bootstrap=DRAWS, seed=SEED)
        for k, (rank, low, high) in zip(ranked, found, strict=True):
            ranks[k] = Rank(rank, low, high)
    return ranks


def _row(
    place: int,
    row: Recomputed,
    rank: Rank | None,
    right: list[int],
    right_decided: list[int],
    shown: Sequence[int],
    verified: Verification,
) -> BoardRow:
    assert verified.bundle is not None
    plugin, metric, facts = verified.bundle.result.plugins[row.row.job], row.metric, row.facts
    ties, sure = metric.accuracy_with_ties, sureness(row)

    def given(one: Any) -> Accuracy | None:
        return None if one is None else Accuracy(one.value, one.ci95, one.tie_threshold)

    return BoardRow(
        key=_key(row, plugin.fingerprint),
        submission=place,
        model=plain(facts.name, 80),
        plugin=plain(plugin.label, 80),
        version=plain(plugin.version, 40),
        preset=plain(plugin.preset or "", 40),
        kind=facts.kind,
        score=plain(row.row.score, 80),
        rank=rank,
        with_ties=Accuracy(ties.crossfit.value, ties.crossfit.ci95),
        oracle=Accuracy(ties.threshold.value, ties.threshold.ci95, ties.threshold.tie_threshold),
        videoalign=ties.videoalign.value,
        native=given(ties.native),
        fixed=given(ties.fixed),
        without_ties=Accuracy(metric.accuracy_without_ties.value, metric.accuracy_without_ties.ci95),
        half_credit=metric.accuracy_without_ties.half_credit,
        kendall_tau_b=metric.kendall_tau_b,
        n=metric.n,
        n_abstained=metric.n_abstained,
        coverage=_coverage(row),
        cost=_cost(verified, row),
        parameters=facts.parameters,
        code_licence=plain(facts.code_licence, 80),
        weights_licence=plain(facts.weights_licence, 80),
        training_data=facts.training_data.declaration,
        training_data_note=plain(facts.training_data.note, 1000),
        as_stated=(row.row.job, row.row.score) not in verified.as_installed,
        right=right,
        right_decided=right_decided,
        said="".join(said(row.found.predicted[k]) for k in shown),
        sure=[int(sure[k]) for k in shown],
    )


def _key(row: Recomputed, fingerprint: str) -> str:
    """What tells models apart: name and full fingerprint, of recorded tables name and score."""
    of = fingerprint if row.facts.score is None else None
    return hashlib.sha256(json.dumps([row.facts.name, of, row.facts.score]).encode()).hexdigest()[:32]


def _cost(verified: Verification, row: Recomputed) -> Cost:
    assert verified.bundle is not None
    costs = verified.bundle.result.cost.plugins
    found = costs.get(row.row.plugin) or costs.get(f"{row.row.plugin}/{row.row.score}")
    if found is None or row.facts.kind == "recorded":
        return Cost(None, None, None, None)
    peaks = found.peak_memory
    host = max((size for kind, size in peaks.items() if kind in HOST_MEMORY), default=None)
    return Cost(found.clips_per_s, host, peaks.get("cuda"), None if found.device is None else plain(found.device, 40))


def _submission(verified: Verification) -> Submission:
    bundle = verified.bundle
    assert bundle is not None
    where, plugins = bundle.result.provenance, bundle.result.plugins
    weights: Mapping[str, str] = {f"{p.label}/{part}": sha for p in plugins for part, sha in p.weights.items()}
    return Submission(
        file=bundle.source,
        sha256=bundle.digest,
        submitted_by=plain(bundle.manifest.submitted_by, 120),
        finished=plain(where.finished, 40),
        command=plain(where.command, 1000),
        rewardbench=plain(where.rewardbench, 40),
        python=plain(where.python, 40),
        torch=plain(where.torch or "", 40),
        device=plain(where.device or "", 40),
        git=plain(where.git or "", 60),
        fingerprints={plain(p.label, 80): plain(p.fingerprint, 80) for p in plugins},
        weights={plain(name, 120): plain(sha, 80) for name, sha in weights.items()},
        citations=[plain(text, 400) for text in dict.fromkeys(m.citation for m in bundle.manifest.models) if text],
    )


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
