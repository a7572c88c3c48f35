"""The repository's own board: its bundles are sound, and other people's data stays out of it."""

from __future__ import annotations

import json
import re
import runpy
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from rewardbench.errors import InputError
from rewardbench.leaderboard import archive
from rewardbench.leaderboard.folder import build_site, bundle_files
from rewardbench.leaderboard.known import known_benchmarks
from rewardbench.leaderboard.site.matrix import probe_files, read_probes
from rewardbench.leaderboard.verification import Verification, verify_bundles
from rewardbench.runs import RunSettings

BOARD = Path(__file__).parents[2] / "leaderboard"


@pytest.fixture(scope="module")
def measure() -> dict[str, Any]:
    return runpy.run_path(str(BOARD / "measure.py"))


@pytest.fixture(scope="module")
def verified() -> list[Verification]:
    return verify_bundles(bundle_files(BOARD / "results"), known_benchmarks())


def test_the_committed_bundles_are_sound_and_of_the_embedded_benchmark(verified: list[Verification]) -> None:
    """Every number is recomputed here, so a change of the metrics that would change the board is noticed."""
    assert verified
    for one in verified:
        assert one.faults == ()
        assert one.benchmark is not None
        assert one.benchmark.name.startswith("anime-probe")
        assert one.benchmark.frames, "the project's own clips may be shown"


def test_committed_files_hold_no_place_of_a_machine_and_are_packed_as_we_pack() -> None:
    for path in [*bundle_files(BOARD / "results"), *probe_files(BOARD / "results")]:
        members = archive.unpack(path) if path.suffix == ".zip" else {path.name: path.read_bytes()}
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as stored:
                assert tuple(stored.namelist()) == tuple(name for name in archive.MEMBERS if name in members)
                assert {info.date_time for info in stored.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        for content in members.values():
            assert re.search(rb"/(home|root|tmp|Users|var)/", content) is None


def test_the_committed_files_make_a_site(tmp_path: Path) -> None:
    """The repository's own board: its benchmark's page with both models, and the probe matrix of the embedded one."""
    page, verified = build_site(BOARD, tmp_path / "site", frames=False)
    assert page == tmp_path / "site" / "index.html"
    assert len(verified) >= 2
    made = {path.name for path in (tmp_path / "site").iterdir()}
    assert {"index.html", "anime-probe.html", "probes.html", "published.html", "leaderboard.csv", "bundles"} <= made
    data = json.loads((tmp_path / "site" / "leaderboard.json").read_text(encoding="utf-8"))
    (benchmark,) = data["benchmarks"]
    assert (benchmark["n_pairs"], benchmark["n_clips"], len(benchmark["dimensions"])) == (180, 120, 6)
    for one in benchmark["dimensions"]:
        assert {row["model"] for row in one["rows"]} >= {"animereward:mini", "random"}
        assert [row["model"] for row in one["rows"] if row["as_stated"]] == []
    probes = (tmp_path / "site" / "probes.html").read_text(encoding="utf-8")
    assert "animereward:mini" in probes
    (view,) = read_probes(BOARD / "results")
    assert view.n_clips >= 13
    assert all(f"<bdi>{row.treatment}</bdi>" in probes for row in view.rows)
    verdicts = Counter(cell.verdict for row in view.rows for cell in row.cells if cell is not None)
    assert verdicts["as expected"] > verdicts["wrong way"] + verdicts["blind"]


def test_a_model_without_weights_is_left_out_and_that_is_said(
    measure: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured = []

    def run(settings: RunSettings, *_: Any) -> Any:
        measured.append((settings.plugins[0], dict(settings.weights), dict(settings.options), settings.command))
        raise InputError("not run in this test")

    space = measure["measure_embedded"].__globals__
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(space, "run_benchmark", run)
        patched.setitem(space, "MODELS", tuple(model for model in measure["MODELS"] if model.weights))
        measure["measure_embedded"](tmp_path)
        assert measured == []
        assert capsys.readouterr().err == "clip: left out, its weights are not given (--weights clip=PATH)\n"
        with pytest.raises(InputError, match="not run in this test"):
            measure["measure_embedded"](tmp_path, {"clip": "/w/ViT.pt"}, {"clip": {"model": "ViT-B-32"}})
    command = "rewardbench run --plugin clip --benchmark anime-probe --weights ViT.pt --option model=ViT-B-32"
    assert measured == [("clip", {"": "/w/ViT.pt"}, {"model": "ViT-B-32"}, command)]


def test_weights_for_a_model_that_is_not_measured_are_refused(measure: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="of lift, which is none of animereward, random, clip"):
        measure["measure_embedded"](tmp_path, {"lift": "x"})
    assert measure["main"](["--board", str(tmp_path), "--weights", "clip"]) == 2


def test_a_model_beats_chance_on_the_board_and_chance_does_not_beat_the_floor(verified: list[Verification]) -> None:
    rows = {
        (row.facts.name, row.row.label): row.metric.accuracy_with_ties.crossfit for one in verified for row in one.rows
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
