"""Reporters of other packages write into a run's folder when they are asked for by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from rewardbench.cli.app import main
from rewardbench.errors import InputError, PluginError
from rewardbench.report.reporters import find_reporter, registered_reporters

SOURCE = """
from rewardbench_plugin import Manifest, hookimpl


@hookimpl
def rewardbench_reporters():
    return [Manifest("one-line", f"{__name__}:render", "one line"), Manifest("broken", f"{__name__}:broken")]


def render(result, folder):
    (folder / "line.txt").write_text(f"{result.benchmark.n_pairs} pairs")


def broken(result, folder):
    raise KeyError("theme")
"""


@pytest.fixture
def finished(install_plugin, tiny_clips: list[Path], tmp_path: Path) -> Path:
    """A finished run, with the reporters installed."""
    install_plugin("reporters", SOURCE)
    table = tiny_clips[0].parent / "reporter-pairs.csv"
    table.write_text("prompt,video_a,video_b,label_overall\np,clip0.mp4,clip1.mp4,A\n")
    words = ["run", "--plugin", "random", "--benchmark", str(table), "--out", str(tmp_path / "run"), "--workers", "1"]
    assert main([*words, "--device", "cpu", "--bootstrap", "0"]) == 0
    return tmp_path / "run"


def test_a_reporter_writes_into_the_folder_of_the_run(finished: Path) -> None:
    assert not (finished / "line.txt").exists()
    assert main(["report", str(finished), "--reporter", "one-line"]) == 0
    assert (finished / "line.txt").read_text() == "1 pairs"


def test_one_that_fails_is_named_and_one_that_is_unknown_is_refused_at_once(finished: Path, capsys) -> None:
    assert main(["report", str(finished), "--reporter", "broken"]) == 2
    assert "reporter 'broken' failed (KeyError: 'theme'); the result itself is complete" in capsys.readouterr().err
    (finished / "result.json").unlink()
    assert main(["report", str(finished), "--reporter", "one-lime"]) == 2
    assert "unknown reporter 'one-lime'; did you mean 'one-line'?" in capsys.readouterr().err
    assert not (finished / "result.json").exists()


def test_without_any_it_says_so() -> None:
    if not registered_reporters():
        with pytest.raises(InputError, match="no installed package registers any"):
            find_reporter("x")


def test_two_packages_may_not_share_a_name(install_plugin) -> None:
    install_plugin("first", SOURCE)
    install_plugin("second", SOURCE)
    with pytest.raises(PluginError, match="two packages register the reporter 'one-line'"):
        find_reporter("broken")
