"""Every ending of a command is one sentence on standard error and the documented exit code."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

import rewardbench
from rewardbench.cli.app import main
from rewardbench.errors import CheckFailed, InputError, PluginError


def fail_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def report(folder: Path, progress: object) -> None:
        raise error

    monkeypatch.setattr("rewardbench.runs.rebuild_report", report)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("pairs.csv has no column 'prompt'"), 2),
        (PluginError("unknown plugin 'x'"), 2),
        (CheckFailed("two of three checks failed"), 1),
        (OSError(28, "No space left on device", "out/result.json"), 2),
        (OSError(30, "Read-only file system", "out"), 2),
        (ZeroDivisionError("division by zero"), 70),
        (OSError(5, "Input/output error"), 70),
        (BrokenPipeError(32, "Broken pipe"), 70),  # not ours: standard output and error are still read
        (KeyboardInterrupt(), 130),
    ],
)
def test_errors_become_one_sentence_and_their_exit_code(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(monkeypatch, error)
    assert main(["report", "out"]) == code
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err.startswith("rewardbench: ")
    assert written.err.count("\n") == 1
    if not isinstance(error, KeyboardInterrupt | OSError):
        assert str(error) in written.err


def test_a_refusal_of_the_system_names_the_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(monkeypatch, OSError(28, "No space left on device", "out/result.json"))
    main(["report", "out"])
    assert capsys.readouterr().err == "rewardbench: error: out/result.json cannot be used: No space left on device\n"


@pytest.mark.parametrize("words", [["--debug", "report", "out"], ["report", "--debug", "out"]])
def test_debug_shows_the_traceback_wherever_it_stands(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fail_with(monkeypatch, ZeroDivisionError("division by zero"))
    assert main(words) == 70
    assert "Traceback (most recent call last)" in capsys.readouterr().err
    assert main(["report", "out"]) == 70
    assert "Traceback" not in capsys.readouterr().err


def test_debug_after_two_dashes_is_a_word_like_any_other(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", "--plugin", "random", "--", "--debug"]) == 2
    assert "--debug does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["rnu"], "'run'"),
        (["plugins", "lst"], "'list'"),
        (["run", "--plugni", "random"], "--plugin"),
        (["run"], "--plugin"),
        (["run", "--plugin", "random", "--limit", "none"], "--limit"),
        (["run", "--plugin", "random", "--limit", "0"], "--limit"),
        (["run", "--plugin", "random", "--format", "xml"], "--format"),
        (["run", "--plugin", "random", "--map", "VQ"], "--map VQ"),
        (["run", "--plugin", "random", "--option", "a=1", "--option", "a=2"], "--option"),
        (["run", "--plugin", "rndom"], "'random'"),
        (["report"], "OUT"),
        (["report", "nowhere"], "nowhere"),
        (["score", "--plugin", "random"], "--clips"),
        (["score", "--plugin", "random", "a.mp4", "--clips", "b.csv"], "--clips"),
        (["score", "--plugin", "random", "--clips", "b.csv", "--prompt", "x"], "--prompt"),
        (["score", "--plugin", "random", "--plugin", "clip", "a.mp4"], "--plugin"),
        (["score", "--plugin", "random", "missing.mp4"], "missing.mp4"),
        (["score", "--plugin", "random", "--clips", "missing.csv"], "missing.csv"),
        (["plugins", "show", "rndom"], "'random'"),
        (["benchmarks", "show", "missing.csv"], "missing.csv"),
    ],
)
def test_wrong_commands_end_with_2_and_name_what_is_wrong(
    words: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    written = capsys.readouterr()
    assert written.out == ""
    assert named in written.err
    assert written.err.count("\n") == 1
    assert "Traceback" not in written.err


def test_score_refuses_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["score", "--plugin", "random", str(tmp_path)]) == 2
    assert "is a folder" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["plugins"], ["benchmarks"]])
def test_a_bare_group_shows_its_help(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    assert "Usage: rewardbench" in capsys.readouterr().out


def test_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"rewardbench {rewardbench.__version__}\n"


def test_an_interrupt_ends_with_130_and_says_that_the_command_resumes(
    environment: dict[str, str], tmp_path: Path
) -> None:
    program = (
        "import sys, time, rewardbench.runs\n"
        "from rewardbench.cli.app import main\n"
        "def run(settings, progress):\n"
        "    print('scoring', file=sys.stderr, flush=True)\n"
        "    time.sleep(60)\n"
        "rewardbench.runs.run_benchmark = run\n"
        "sys.exit(main(['run', '--plugin', 'random']))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], env=environment, cwd=tmp_path, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    assert process.stderr.readline() == "scoring\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted; the same command goes on where it stopped" in err
    assert "Traceback" not in err


RUN_OPTIONS = (
    "--plugin --benchmark --map --weights --option --out --dimension --device --dtype --engine --limit --slice --seed "
    "--format --debug --scores --verdicts --label-format --tie-threshold --cluster --bootstrap --decode-timeout "
    "--score-timeout --batch-size --workers"
)
SCORE_OPTIONS = "--plugin --clips --prompt --image --weights --option --dimension --device --dtype --format --debug"


@pytest.mark.parametrize(("name", "expected"), [("run", RUN_OPTIONS), ("score", SCORE_OPTIONS)])
def test_the_documented_options_exist(name: str, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name, "--help"]) == 0
    offered = {word for line in capsys.readouterr().out.splitlines() for word in line.split()[:1]}
    assert set(expected.split()) <= offered
