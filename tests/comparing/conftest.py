"""Run folders made of drawn labels and margins, written by the same functions that a run uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rewardbench.evaluation import Labelled, Row, measure, write_pairs
from rewardbench.results import Result, write_result

N_PROMPTS, PER_PROMPT = 20, 6
GENERATORS = ("cog", "gen", "pika", "show")


def labels_and_quality(seed: int = 0) -> tuple[np.ndarray, np.ndarray, list[str], list[tuple[str, str]]]:
    """Human labels, the gap people saw, prompts, and the generators of either side: every pair on every prompt."""
    rng = np.random.default_rng(seed)
    sides = [(a, b) for i, a in enumerate(GENERATORS) for b in GENERATORS[i + 1 :]] * N_PROMPTS
    prompts = [f"prompt {k}" for k in range(N_PROMPTS) for _ in range(PER_PROMPT)]
    gap = np.array([(GENERATORS.index(b) - GENERATORS.index(a)) * 0.3 for a, b in sides]) + rng.normal(size=len(sides))
    human = np.where(np.abs(gap) < 0.4, 0, np.sign(gap)).astype(np.int64)
    return human, gap, prompts, sides


def scores(noise: float, seed: int) -> np.ndarray:
    """Margins that follow what people saw, with noise."""
    gap = labels_and_quality()[1]
    return gap + noise * np.random.default_rng(seed).normal(size=gap.size)


MakeRun = Callable[..., Path]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """``make_run("one", {("plugin", "VQ", "score"): margins})`` writes a finished run and returns its folder.

    Keyword arguments: ``seed``, ``cluster`` (its column), ``benchmark`` (fields), ``human``, ``keep`` (first pairs
    only), ``slices`` or ``named`` (write the generators as slices or
    as the pairs' own), ``order`` (of the pairs).
    """

    def make(
        name: str,
        margins: Mapping[tuple[str, str, str], np.ndarray],
        *,
        seed: int = 0,
        cluster: str = "prompt",
        benchmark: Mapping[str, Any] | None = None,
        human: np.ndarray | None = None,
        keep: int | None = None,
        slices: bool = False,
        named: bool = False,
        order: np.ndarray | None = None,
    ) -> Path:
        labels, _, prompts, sides = labels_and_quality()
        labels = labels if human is None else human
        rows = np.arange(labels.size)[:keep] if order is None else order
        nothing = np.full(rows.size, np.nan)
        parts = []
        for (plugin, label, score), margin in margins.items():
            row = Row(0, plugin, label, score, True, None)
            texts = [str(i) for i in rows]
            labelled = Labelled(
                pair_id=texts,
                prompt=[prompts[i] for i in rows],
                cluster=[prompts[i] for i in rows],
                clip_a=texts,
                clip_b=texts,
                video_a=texts,
                video_b=texts,
                human=labels[rows],
                score_a=nothing,
                score_b=nothing,
                margin=np.asarray(margin, dtype=np.float64)[rows],
                said_ab=nothing,
                said_ba=nothing,
                model_a=[sides[i][0] if named else None for i in rows],
                model_b=[sides[i][1] if named else None for i in rows],
                human_text=[str(labels[i]) for i in rows],
                verdict=[None] * rows.size,
                slices={f"model_{s}": [sides[i][k] for i in rows] for k, s in enumerate("ab")} if slices else {},
            )
            record, found = measure(row, labelled, label_format="plain", tie_threshold=None, bootstrap=100, seed=seed)
            parts.append((row, labelled, found, record))
        folder = tmp_path / name
        folder.mkdir(parents=True)
        write_pairs(folder / "pairs.parquet", [(row, labelled, found) for row, labelled, found, _ in parts])
        plugins = dict.fromkeys(plugin for plugin, _, _ in margins)
        result = Result.model_validate(
            {
                "plugins": [
                    {"label": p, "name": p, "version": "1", "fingerprint": "00", "dimensions": []} for p in plugins
                ],
                "benchmark": {
                    "name": "drawn",
                    "version": "1",
                    "sha256": "ab" * 32,
                    "n_pairs": int(labels.size),
                    "n_clips": 9,
                    **(benchmark or {}),
                },
                "metrics": [record for *_, record in parts],
                "cluster": {"column": cluster, "n": N_PROMPTS},
                "bootstrap": {"n": 100, "seed": seed, "refit": "threshold"},
                "provenance": {"rewardbench": "0.1.0", "python": "3.11"},
            }
        )
        write_result(result, folder / "result.json")
        return folder

    return make
