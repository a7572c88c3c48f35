"""The README's first command, from the wheel, in an empty folder."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.system

RUN = ("run", "--plugin", "animereward")
MODELS = {"animereward", "videoreward", "videoscore", "visionreward", "lift", "judge", "vbench", "clip", "aesthetic"}
BUILT_IN = MODELS | {"drawn-rules", "random", "scores", "verdicts"}


def test_the_wheel_holds_the_packages_and_what_they_need(installed: Any) -> None:
    with zipfile.ZipFile(installed.wheel) as wheel:
        names = wheel.namelist()
        metadata = next(wheel.read(name).decode() for name in names if name.endswith(".dist-info/METADATA"))
        sizes = {info.filename: info.file_size for info in wheel.infolist()}
    tops = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {
        "rewardbench",
        "rewardbench_benchmarks",
        "rewardbench_plugin",
        *(f"rewardbench_{name.replace('-', '_')}" for name in BUILT_IN),
    }
    assert {"rewardbench/py.typed", "rewardbench_plugin/py.typed"} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    weights = [name for name in names if name.endswith(".safetensors")]
    toy = [name for name in weights if name.startswith("rewardbench/align/toy/")]
    assert 0 < sum(sizes[name] for name in toy) <= 10_000_000
    assert 0 < sum(sizes[name] for name in set(weights) - set(toy)) <= 2_100_000
    assert "Name: rewardbench-video\n" in metadata
    assert "License-Expression: Apache-2.0\n" in metadata
    assert not any("__pycache__" in name for name in names)


def test_help_and_listing_work_from_an_empty_folder(installed: Any, empty: Path) -> None:
    version = installed.run("--version", folder=empty)
    assert (version.returncode, version.stderr) == (0, "")
    listed = installed.run("plugins", "list", "--format", "json", folder=empty)
    found = json.loads(listed.stdout)
    assert {plugin["name"] for plugin in found["plugins"]} == BUILT_IN
    assert found["failures"] == []
    for name in BUILT_IN - {"scores", "verdicts"}:  # those two have no card before they have a table
        assert installed.run("plugins", "show", name, folder=empty).returncode == 0
    assert list(empty.iterdir()) == []


def test_the_installation_is_consistent(installed: Any, empty: Path) -> None:
    """No requirement is missing or of another version; a wheel whose platform tag is odd (decord's) still works."""
    found = installed.pip("check", folder=empty, check=False)
    assert "Checked" in found
    assert " requires " not in found


@pytest.fixture(scope="module")
def first_run(installed: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The README's command with a cold cache, in an empty folder."""
    folder = tmp_path_factory.mktemp("first run")
    return folder, installed.run(*RUN, folder=folder)


def only_run_folder(folder: Path) -> Path:
    (found,) = (folder / "rewardbench-runs").iterdir()
    return found


def stable(folder: Path) -> dict[str, Any]:
    """A result without what may differ between equal runs: time, speed, the command line."""
    result = json.loads((folder / "result.json").read_text())
    return {name: result[name] for name in ("plugins", "benchmark", "metrics", "cluster", "bootstrap", "failures")}


def test_the_first_command_measures_mini_on_the_embedded_benchmark(first_run: tuple[Path, Any]) -> None:
    folder, ended = first_run
    assert ended.returncode == 0, ended.stderr
    dimensions = {"smoothness", "motion", "appeal", "text_video", "image_video", "character"}
    assert all(dimension in ended.stdout for dimension in dimensions)
    result = json.loads((only_run_folder(folder) / "result.json").read_text())
    assert result["schema"] == "rewardbench.result/1"
    assert result["failures"] == []
    assert result["plugins"][0]["label"] == "animereward:mini"
    rows = {metric["label"]: metric for metric in result["metrics"]}
    assert dimensions <= set(rows)
    for dimension in dimensions:
        assert rows[dimension]["n"] >= 30
        assert rows[dimension]["accuracy_without_ties"]["value"] > 0.7
    assert [path.name for path in folder.iterdir()] == ["rewardbench-runs"]


def test_the_page_needs_nothing_from_elsewhere(first_run: tuple[Path, Any]) -> None:
    page = (only_run_folder(first_run[0]) / "report.html").read_text(encoding="utf-8")
    assert "animereward:mini" in page
    assert 'src="http' not in page
    assert "<link" not in page


def test_a_second_run_scores_nothing_and_gives_the_same_numbers(installed: Any, first_run: tuple[Path, Any]) -> None:
    folder, _ = first_run
    run_folder = only_run_folder(folder)
    before, scores = stable(run_folder), stored_scores(run_folder)
    again = installed.run(*RUN, "--format", "json", folder=folder)
    assert again.returncode == 0, again.stderr
    assert only_run_folder(folder) == run_folder
    assert stable(run_folder) == before
    assert stored_scores(run_folder) == scores
    assert json.loads(again.stdout)["metrics"] == before["metrics"]


def test_report_is_rebuilt_from_the_tables_alone(installed: Any, first_run: tuple[Path, Any], empty: Path) -> None:
    run_folder = only_run_folder(first_run[0])
    before = stable(run_folder)
    for name in ("result.json", "report.html"):
        (run_folder / name).unlink()
    rebuilt = installed.run("report", str(run_folder), folder=empty)
    assert rebuilt.returncode == 0, rebuilt.stderr
    assert stable(run_folder) == before
    assert (run_folder / "report.html").stat().st_size > 1000


def stored_scores(run_folder: Path) -> dict[str, tuple[float | None, float | None]]:
    with sqlite3.connect(f"file:{run_folder / 'scores.sqlite'}?mode=ro", uri=True, timeout=30) as database:
        return {key: (value, raw) for key, value, raw in database.execute("SELECT key, value, raw FROM scores")}


def wait_for_scores(run_folder: Path, count: int, process: subprocess.Popen[str]) -> dict[str, Any]:
    """Stored scores, as soon as there are more than ``count``."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        assert process.poll() is None, f"the run ended before it could be stopped: {process.communicate()[1]}"
        try:
            found = stored_scores(run_folder)
        except sqlite3.OperationalError:  # not there yet
            found = {}
        if len(found) > count:
            return found
        time.sleep(0.02)
    raise AssertionError("no scores were stored in time")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "ctrl-c"])
def test_a_stopped_run_goes_on_where_it_was(
    how: signal.Signals, installed: Any, first_run: tuple[Path, Any], empty: Path
) -> None:
    words = (*RUN, "--out", "run")
    process = installed.start(*words, folder=empty)
    before = wait_for_scores(empty / "run", 0, process)
    os.killpg(process.pid, how)  # the whole group, as a terminal's ctrl-c does
    _, err = process.communicate(timeout=60)
    assert process.returncode == (-signal.SIGKILL if how is signal.SIGKILL else 130)
    if how is signal.SIGINT:
        assert "the same command goes on where it stopped" in err
        assert "Traceback" not in err
    kept = stored_scores(empty / "run")
    assert before.items() <= kept.items()

    resumed = installed.run(*words, folder=empty)
    assert resumed.returncode == 0, resumed.stderr
    finished = stored_scores(empty / "run")
    assert kept.items() <= finished.items()
    whole = only_run_folder(first_run[0])
    assert len(kept) < len(stored_scores(whole))
    assert finished == stored_scores(whole)
    assert stable(empty / "run") == stable(whole)
