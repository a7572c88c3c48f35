"""Cluster bootstrap with the threshold refitted in every draw: 26,457 pairs x 4 dimensions x 1,000 draws.

    python perf/bootstrap.py

Ours is the whole of `evaluate_pairs` (all accuracies, all intervals, rank correlation). Two other ways to get the one
interval of the refitted threshold are timed beside it: the plain one, which takes the drawn prompts' pairs and calls
our own exact search on them, and VideoAlign's algorithm called on each draw. Both are slow, so they are timed on a few
draws and multiplied up; the JSON says so. The result goes to perf/results/bootstrap.json.
"""

from __future__ import annotations

import resource
import statistics
import time
from typing import Any

import numpy as np
from machine import machine, write_result  # the neighbouring script

from rewardbench.metrics import evaluate_pairs, pairwise_accuracy

N_PAIRS, N_PROMPTS, N_DIMENSIONS, N_DRAWS = 26_457, 420, 4, 1_000
TARGET_S = 2.0


def main() -> None:
    from ties import videoalign

    rng = np.random.default_rng(0)
    prompts = rng.integers(N_PROMPTS, size=N_PAIRS)
    groups = [f"prompt {k}" for k in prompts]
    data = []
    for _ in range(N_DIMENSIONS):
        margin = rng.normal(size=N_PAIRS)
        noisy = margin + rng.normal(size=N_PAIRS) + 0.5 * rng.normal(size=N_PROMPTS)[prompts]
        data.append((np.where(np.abs(noisy) < 0.45, 0, np.sign(noisy)).astype(np.int64), margin))

    def ours() -> list[tuple[float, float]]:
        return [
            evaluate_pairs(h, m, groups=groups, n_bootstrap=N_DRAWS).accuracy_with_ties.threshold.ci95 for h, m in data
        ]

    intervals = ours()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    seconds, cpu_seconds = [], []
    for _ in range(9):
        start, cpu_start = time.perf_counter(), time.process_time()
        ours()
        seconds.append(time.perf_counter() - start)
        cpu_seconds.append(time.process_time() - cpu_start)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before

    members = [np.flatnonzero(prompts == k) for k in range(N_PROMPTS)]
    human, margin = data[0]

    def draw() -> np.ndarray[Any, Any]:
        return np.concatenate([members[k] for k in rng.integers(N_PROMPTS, size=N_PROMPTS)])

    def per_draw(search: Any, n: int) -> float:
        times = []
        for _ in range(n):
            start = time.perf_counter()
            rows = draw()
            search(human[rows], margin[rows])
            times.append(time.perf_counter() - start)
        return statistics.median(times) * N_DRAWS * N_DIMENSIONS

    median = statistics.median(seconds)
    peers = {
        "plain_loop_over_draws": per_draw(pairwise_accuracy, 30),
        "videoalign_per_draw": per_draw(lambda h, m: videoalign(h.tolist(), m.tolist()), 8),
    }
    print(
        f"{N_PAIRS:,} pairs x {N_DIMENSIONS} dimensions x {N_DRAWS:,} draws of {N_PROMPTS} prompts, threshold refitted"
    )
    print(f"{'rewardbench (everything)':<34}{median:>9.3f} s   target {TARGET_S:.0f} s (best {min(seconds):.3f})")
    for name, value in peers.items():
        print(f"{name + ' (scaled up)':<34}{value:>9.1f} s   {value / median:.0f} times ours")
    write_result(
        "bootstrap",
        {
            "what": "evaluate_pairs, all intervals, threshold refitted in every draw",
            "n_pairs": N_PAIRS,
            "n_prompts": N_PROMPTS,
            "n_dimensions": N_DIMENSIONS,
            "n_draws": N_DRAWS,
            "machine": machine(),
            "median_s": median,
            "best_s": min(seconds),
            "median_cpu_s": statistics.median(cpu_seconds),
            "runs": len(seconds),
            "peak_memory_growth_mib": grown / 1024,
            "scaled_up_s": peers,
            "times_rewardbench": {name: value / median for name, value in peers.items()},
            "target_s": TARGET_S,
            "met": median <= TARGET_S,
            "interval_of_first_dimension": intervals[0],
        },
    )


if __name__ == "__main__":
    main()
