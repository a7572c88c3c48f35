"""The repository's own board: its bundles are sound, and other people's data stays out of it."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from rewardbench.errors import InputError
from rewardbench.leaderboard.folder import bundle_files
from rewardbench.leaderboard.known import known_benchmarks
from rewardbench.leaderboard.verification import verify_bundles

BOARD = Path(__file__).parents[2] / "leaderboard"


@pytest.fixture(scope="module")
def measure() -> dict[str, Any]:
    return runpy.run_path(str(BOARD / "measure.py"))


def test_the_committed_bundles_are_sound_and_of_the_embedded_benchmark() -> None:
    """Every number is recomputed here, so a change of the metrics that would change the board is noticed."""
    found = verify_bundles(bundle_files(BOARD / "results"), known_benchmarks())
    assert found
    for one in found:
        assert one.faults == ()
        assert one.benchmark is not None
        assert one.benchmark.name.startswith("anime-probe")
        assert one.benchmark.frames, "the project's own clips may be shown"


def test_a_model_beats_chance_on_the_board_and_chance_does_not_beat_the_floor() -> None:
    rows = {
        (row.facts.name, row.row.label): row.metric.accuracy_with_ties.crossfit
        for one in verify_bundles(bundle_files(BOARD / "results"), known_benchmarks())
        for row in one.rows
    }
    labels = {label for _, label in rows}
    for label in labels:
        mini, chance = rows["animereward:mini", label], rows["random", label]
        assert mini.ci95 is not None
        assert chance.value is not None
        assert mini.ci95[0] > chance.value


def test_recorded_scores_of_others_never_go_into_the_repository(measure: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="do not go into the repository's own board"):
        measure["measure_tables"](tmp_path, BOARD)


def test_a_table_whose_licence_forbids_it_is_left_out(
    measure: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = "".join(f"{table.file},CC-BY-NC-4.0\n" for table in measure["TABLES"])
    (tmp_path / "MANIFEST.csv").write_text("path,licence\n" + rows)
    measure["measure_tables"](tmp_path, tmp_path / "board")
    assert capsys.readouterr().err.count("left out, its licence is CC-BY-NC-4.0") == len(measure["TABLES"])
    assert not (tmp_path / "board").exists()


@pytest.mark.shared
def test_real_tables_make_a_sound_board(measure: dict[str, Any], shared: Path, tmp_path: Path) -> None:
    """TVGE: 5,052 pairs; accuracies without ties as counted from the table by hand."""
    import csv

    from rewardbench.leaderboard.folder import build_site

    data, board = shared / "data", tmp_path / "board"
    tvge = [table for table in measure["TABLES"] if "tvge" in table.file]
    measure["measure_tables"].__globals__["TABLES"] = tuple(tvge)
    measure["measure_tables"](data, board)
    _, (found,) = build_site(board)
    assert found.benchmark is not None
    assert found.benchmark.licence == "Apache-2.0"
    with open(data / "tables" / "tvge_pairs.csv", newline="", encoding="utf-8") as stream:
        pairs = list(csv.DictReader(stream))
    for row in found.rows:
        right = decided = 0
        for pair in pairs:
            human = {"A": 1, "B": -1}.get(pair[row.row.label], 0)
            margin = float(pair[f"{row.row.score}_A"]) - float(pair[f"{row.row.score}_B"])
            decided += human != 0
            right += human * margin > 0
        assert row.metric.accuracy_without_ties.value == pytest.approx(right / decided)
