"""A submitter hears what a board would refuse, before anybody else does."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from rewardbench.leaderboard.submission import make_bundle
from rewardbench.leaderboard.trial import try_bundle
from rewardbench.runs import RunSettings, run_benchmark


def tried(run: Path, tmp_path: Path) -> list[str]:
    path = tmp_path / "a.zip"
    path.write_bytes(make_bundle(run))
    return try_bundle(path, run)


def test_a_whole_run_has_nothing_to_hear(scores_run: Path, tmp_path: Path) -> None:
    """Its benchmark is nobody's but known by the file it was read from, as ``admit`` would take it."""
    assert tried(scores_run, tmp_path) == []


@pytest.mark.parametrize(
    ("settings", "sentences"),
    [
        ({"limit": 6}, ["benchmark.n_pairs is 6 where this version of the benchmark has 40"]),
        ({"bootstrap": 100}, ["it was evaluated with seed 0 and 100 bootstrap draws, where a board takes"]),
        ({"seed": 3}, ["it was evaluated with seed 3 and 1,000 bootstrap draws"]),
        ({"cluster": "kind"}, ["clusters are taken from 'kind', where the board takes them from 'prompt'"]),
    ],
)
def test_what_a_board_would_refuse_is_said(
    pairs_file: Path, tmp_path: Path, settings: dict[str, Any], sentences: list[str]
) -> None:
    run = tmp_path / "run"
    score_map = (("VQ", "good"),)
    run_benchmark(
        RunSettings(
            ("scores",), (str(pairs_file),), score_map=score_map, scores=pairs_file, out=run, workers=1, **settings
        )
    )
    found = tried(run, tmp_path)
    assert [said for said, expected in zip(found, sentences, strict=True) if not said.startswith(expected)] == []


def test_a_run_without_its_scores_is_said_to_lack_them(scores_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(scores_run, tmp_path / "run")
    (run / "scores.parquet").unlink()
    assert any("has no score for 80 of 80 clips" in fault for fault in tried(run, tmp_path))


def test_a_benchmark_that_is_gone_is_said_to_be(pairs_file: Path, tmp_path: Path) -> None:
    pairs, run = tmp_path / "votes.csv", tmp_path / "run"
    pairs.write_bytes(pairs_file.read_bytes())
    settings = RunSettings(("scores",), (str(pairs),), score_map=(("VQ", "good"),), scores=pairs, out=run, workers=1)
    run_benchmark(settings)
    pairs.write_text("pair_id,prompt,label_VQ\np,x,A\n")
    assert tried(run, tmp_path) == ["benchmark votes is not at hand, so nothing was held against it"]
