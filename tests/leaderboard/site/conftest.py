"""A board of any size without a model, and a headless browser.

Nothing heavy is imported here: the browser's tests are also collected where only pytest is installed.
"""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

browser = runpy.run_path(str(Path(__file__).parents[2] / "report" / "conftest.py"))["browser"]

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&\u202e\u0000{{7*7}}javascript:alert(3)"
LABELS = ("VQ", "MQ", "TA", "a_label_that_is_much_longer_than_a_phone_is_wide_without_any_space_in_it")

RATERS = {"n": 90, "n_raters": 3, "with_ties": 0.5378, "half_credit": 0.6231, "without_ties": 0.5448, "alpha": 0.3}


def make_board(n_rows: int = 12, n_clusters: int = 20, labels: tuple[str, ...] = LABELS, seed: int = 0) -> Any:
    """A board with drawn answers; one model bears a hostile name, one has no rank and no numbers."""
    import numpy as np

    from rewardbench.leaderboard import board as b

    rng = np.random.default_rng(seed)
    sizes, decided = [4] * n_clusters, [3] * n_clusters
    skill = rng.uniform(0.3, 0.9, n_rows)
    dimensions = []
    for label in labels:
        rows = []
        for k in range(n_rows):
            right = rng.binomial(4, skill[k], n_clusters).tolist()
            strict = [min(3, value) for value in right]
            value = sum(right) / sum(sizes)
            name = HOSTILE if k == 1 else f"model-{k:04d}"
            empty = k == 2
            accuracy = (
                b.Accuracy(None) if empty else b.Accuracy(value, (max(0, value - 0.08), min(1, value + 0.08)), 0.5)
            )
            rows.append(
                b.BoardRow(
                    key=f"{k:032x}",
                    submission=0,
                    model=name,
                    plugin=f"plugin-{k}",
                    version="1.0",
                    preset="",
                    kind=("model", "judge", "recorded")[k % 3],
                    score=label,
                    rank=None if empty else b.Rank(k + 1, max(1, k - 2), min(n_rows, k + 3)),
                    with_ties=accuracy,
                    oracle=accuracy,
                    videoalign=None if empty else value,
                    native=accuracy if k % 2 else None,
                    fixed=None,
                    without_ties=b.Accuracy(sum(strict) / sum(decided), (0.4, 0.9)),
                    half_credit=0.5,
                    kendall_tau_b=0.1,
                    n=0 if empty else sum(sizes),
                    n_abstained=sum(sizes) if empty else 0,
                    coverage=0.0 if empty else 1.0,
                    cost=b.Cost(float(2.0 ** (k % 9)), 2 ** (20 + k % 12), 2 ** (30 + k % 5) if k % 2 else None, "cpu"),
                    parameters=None if k % 5 == 4 else 10 ** (3 + k % 7),
                    code_licence="MIT",
                    weights_licence=("Apache-2.0", "CC-BY-NC-4.0", "none")[k % 3],
                    training_data=("clean", "overlaps", "unknown")[k % 3],
                    training_data_note=HOSTILE,
                    as_stated=k % 4 == 1,
                    right=right,
                    right_decided=strict,
                    said="A=B-"[k % 4] * 3,
                    sure=[10, 50, 90],
                )
            )
        rows.sort(key=lambda row: -1 if row.with_ties.value is None else row.with_ties.value, reverse=True)
        pairs = [
            b.ShownPair(
                f"pair-{k}",
                HOSTILE if k == 0 else f"prompt {k}",
                human,
                f"a{k}.mp4",
                f"b{k}.mp4",
                0.5,
                0.25 if k == 1 else 0.0,
            )
            for k, human in enumerate("AB=")
        ]
        dimensions.append(b.Dimension(label, sum(sizes), 0.25, 0.4, sizes, decided, rows, pairs, RATERS))
    submission = b.Submission(
        file="votes--x.zip",
        sha256="a" * 64,
        submitted_by=HOSTILE,
        finished="2026-01-01",
        command=HOSTILE,
        rewardbench="0.1.0",
        python="3.11",
        torch="",
        device="cpu",
        git="",
        fingerprints={f"plugin-{k}": "f" * 64 for k in range(n_rows)},
        weights={},
        citations=[HOSTILE],
    )
    benchmark = b.BenchmarkBoard(
        name="votes",
        version="1",
        sha256="b" * 64,
        labels_by="people",
        licence="CC-BY-4.0",
        citation="",
        cluster="prompt",
        n_pairs=sum(sizes),
        n_clips=2 * sum(sizes),
        dimensions=dimensions,
        submissions=[submission],
    )
    return b.Board([benchmark])


@pytest.fixture(scope="session")
def synthetic() -> Callable[..., Any]:
    return make_board


@pytest.fixture(scope="session")
def hostile() -> str:
    return HOSTILE
