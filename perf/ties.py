"""Tie calibration side by side: rewardbench, VideoAlign's algorithm and mt-metrics-eval's, in one run.

    python perf/ties.py

The other two are re-stated here from what they do, step for step as they do it, because the algorithm is what is
timed: VideoAlign moves one pair at a time into the tie class and recomputes the accuracy from five counters;
mt-metrics-eval keeps one object of counters per pair and per row and overwrites the last accuracy inside a group of
equal differences. Each side gets its input in the form it wants (lists, score matrices, arrays), made outside the
clock. The result goes to perf/results/ties.json.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from machine import machine, write_result  # the neighbouring script

from rewardbench.metrics import pairwise_accuracy

N_PAIRS = 26_000
TARGETS = {"videoalign": 10.0, "mt_metrics_eval": 30.0}


def videoalign(human: list[int], margin: list[float]) -> float:
    """VideoAlign's search: all pairs start as not tied; each becomes a tie in turn, the accuracy is read every time."""
    counts = {"C": 0, "D": 0, "Th": 0, "Tm": 0, "Thm": 0}
    for h, m in zip(human, margin, strict=True):
        counts["Th" if h == 0 else "C" if h * m > 0 else "D"] += 1
    best, epsilon = float("-inf"), -1.0
    for h, m in sorted(zip(human, margin, strict=True), key=lambda pair: abs(pair[1])):
        if h == 0 and abs(m) < epsilon:
            counts["Thm"] -= 1
        elif h == 0:
            counts["Th"] -= 1
        elif abs(m) < epsilon:
            counts["Tm"] -= 1
        elif h * m > 0:
            counts["C"] -= 1
        else:
            counts["D"] -= 1
        epsilon = abs(m)
        if h == 0 and abs(m) <= epsilon:
            counts["Thm"] += 1
        elif h == 0:
            counts["Th"] += 1
        elif abs(m) <= epsilon:
            counts["Tm"] += 1
        elif h * m > 0:
            counts["C"] += 1
        else:
            counts["D"] += 1
        accuracy = _accuracy(**counts)
        best = max(best, accuracy)
    return best


def _accuracy(C: int, D: int, Th: int, Tm: int, Thm: int) -> float:
    return (C + Thm) / (C + D + Th + Tm + Thm)


class _Counts:
    """Concordant, discordant, tied in human only, in metric only, in both."""

    def __init__(self, con: int = 0, dis: int = 0, human: int = 0, metric: int = 0, both: int = 0) -> None:
        self.con, self.dis, self.human, self.metric, self.both = con, dis, human, metric, both
        self.pairs = con + dis + human + metric + both

    def __iadd__(self, other: _Counts) -> _Counts:
        self.con += other.con
        self.dis += other.dis
        self.human += other.human
        self.metric += other.metric
        self.both += other.both
        self.pairs += other.pairs
        return self

    def __isub__(self, other: _Counts) -> _Counts:
        self.con -= other.con
        self.dis -= other.dis
        self.human -= other.human
        self.metric -= other.metric
        self.both -= other.both
        self.pairs -= other.pairs
        return self

    def accuracy(self) -> float:
        return (self.con + self.both) / self.pairs


class _Pair:
    def __init__(self, h1: float, h2: float, m1: float, m2: float, row: int) -> None:
        self.row, self.difference = row, abs(m1 - m2)
        if h1 == h2 and m1 == m2:
            self.plain = _Counts(both=1)
        elif h1 == h2:
            self.plain = _Counts(human=1)
        elif m1 == m2:
            self.plain = _Counts(metric=1)
        elif (h1 > h2 and m1 > m2) or (h1 < h2 and m1 < m2):
            self.plain = _Counts(con=1)
        else:
            self.plain = _Counts(dis=1)
        self.tied = _Counts(both=1) if h1 == h2 else _Counts(metric=1)


def mt_metrics_eval(human: np.ndarray[Any, Any], metric: np.ndarray[Any, Any], *, one_row: bool) -> float:
    """mt-metrics-eval's search over score matrices (rows x 2).

    ``one_row`` puts all pairs into one row, which is the pooled accuracy; otherwise each pair is a row of its own.
    """
    pairs = []
    for row, (h, m) in enumerate(zip(human, metric, strict=True)):
        complete = [(x, y) for x, y in zip(h, m, strict=True) if x is not None and y is not None]
        (h1, m1), (h2, m2) = complete
        pairs.append(_Pair(h1, h2, m1, m2, 0 if one_row else row))
    rows = {row: _Counts() for row in {pair.row for pair in pairs}}
    for pair in pairs:
        rows[pair.row] += pair.plain
    total = sum(counts.accuracy() for counts in rows.values())
    thresholds, accuracies = [0.0], [total / len(rows)]
    pairs.sort(key=lambda pair: pair.difference)
    for pair in pairs:
        total -= rows[pair.row].accuracy()
        rows[pair.row] -= pair.plain
        rows[pair.row] += pair.tied
        total += rows[pair.row].accuracy()
        if thresholds[-1] == pair.difference:
            accuracies[-1] = total / len(rows)
        else:
            thresholds.append(pair.difference)
            accuracies.append(total / len(rows))
    return float(accuracies[int(np.nanargmax(accuracies))])


def timed(function: Callable[[], object], repeats: int) -> list[float]:
    """Seconds of each call, after one that is not counted."""
    function()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return seconds


def main() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(N_PAIRS, 2))
    margin = scores[:, 0] - scores[:, 1]
    noisy = margin + rng.normal(size=N_PAIRS)
    human = np.where(np.abs(noisy) < 0.45, 0, np.sign(noisy)).astype(np.int64)
    ratings = np.stack([human, np.zeros_like(human)], axis=1).astype(np.float64)
    human_list, margin_list = human.tolist(), margin.tolist()

    sides: dict[str, Callable[[], float]] = {
        "rewardbench": lambda: pairwise_accuracy(human, margin).with_ties,
        "rewardbench_rounded": lambda: pairwise_accuracy(human, np.round(margin, 2)).with_ties,
        "videoalign": lambda: videoalign(human_list, margin_list),
        "mt_metrics_eval": lambda: mt_metrics_eval(ratings, scores, one_row=False),
        "mt_metrics_eval_one_row": lambda: mt_metrics_eval(ratings, scores, one_row=True),
    }
    values = {name: side() for name, side in sides.items()}
    # Turn by turn, so that a slow moment of the machine meets every side.
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(5):
        for name, side in sides.items():
            seconds[name] += timed(side, 20 if name.startswith("rewardbench") else 3)
    median = {name: statistics.median(times) for name, times in seconds.items()}
    best = {name: min(times) for name, times in seconds.items()}
    # Of the two ratios the smaller one counts: on a busy machine the long calls are interrupted more often.
    ratios = {name: min(t[name] / t["rewardbench"] for t in (median, best)) for name in sides}

    print(f"Tie calibration, {N_PAIRS:,} pairs, human tie rate {float((human == 0).mean()):.3f}")
    print(f"{'side':<26}{'median ms':>10}{'best ms':>10}{'accuracy':>10}{'times ours':>12}{'target':>8}")
    for name in sides:
        target = TARGETS.get(name)
        print(
            f"{name:<26}{median[name] * 1e3:>10.2f}{best[name] * 1e3:>10.2f}{values[name]:>10.4f}{ratios[name]:>12.1f}"
            f"{'' if target is None else f'{target:.0f}':>8}"
        )
    write_result(
        "ties",
        {
            "what": "tie calibration, whole call",
            "n_pairs": N_PAIRS,
            "machine": machine(),
            "median_s": median,
            "best_s": best,
            "runs": {name: len(times) for name, times in seconds.items()},
            "accuracy": values,
            "times_rewardbench": ratios,
            "targets": TARGETS,
            "met": {name: ratios[name] >= target for name, target in TARGETS.items()},
        },
    )


if __name__ == "__main__":
    main()
