"""Bad input, as a user meets it: one clear sentence, the right exit code, and nothing already computed lost.

What is wrong with a pairs file is tested in ``test_benchmark.py``, what a faulty plugin costs in ``scoring/``.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from rewardbench.cli import main
from rewardbench.results import read_result
from rewardbench.scoring.store import ScoreStore

Refused = Callable[..., str]


@pytest.fixture
def refused(capfd: pytest.CaptureFixture[str]) -> Refused:
    """Run the command, check its exit code, and return the one sentence it ends in."""

    def run(*words: str, code: int = 2) -> str:
        assert main(list(words)) == code
        lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("rewardbench: error: ")]
        assert len(lines) == 1
        return lines[0].removeprefix("rewardbench: error: ")

    return run


@pytest.fixture
def table(tmp_path: Path) -> Callable[..., str]:
    """A table of pairs without clips: ``table(labels, a, b)`` with score columns ``m_A`` and ``m_B``."""

    def write(labels: str, a: list[object], b: list[object]) -> str:
        rows = [f"p{i},{label},{x},{y}" for i, (label, x, y) in enumerate(zip(labels.split(), a, b, strict=True))]
        file = tmp_path / "table.csv"
        file.write_text("\n".join(["prompt,vote,m_A,m_B", *rows]) + "\n")
        return str(file)

    return write


def run_scores(table: str, out: Path, *more: str) -> list[str]:
    words = ["run", "--plugin", "scores", "--scores", table, "--benchmark", table, "--map", "vote=m"]
    return [*words, "--bootstrap", "20", "--out", str(out), *more]


def test_scores_without_map(refused: Refused, table, tmp_path: Path) -> None:
    file = table("A B", [1, 2], [2, 1])
    sentence = refused("run", "--plugin", "scores", "--scores", file, "--benchmark", file)
    assert "--plugin scores needs --map LABEL=SCORE" in sentence


def test_scores_without_a_table(refused: Refused, table) -> None:
    file = table("A B", [1, 2], [2, 1])
    assert "pass --scores FILE" in refused("run", "--plugin", "scores", "--benchmark", file, "--map", "vote=m")


def test_a_score_that_is_not_there_names_the_nearest(refused: Refused, table, tmp_path: Path) -> None:
    file = table("A B", [1, 2], [2, 1])
    words = ["run", "--plugin", "scores", "--scores", file, "--benchmark", file, "--map", "vote=n"]
    assert "has no dimension 'n'; known: m" in refused(*words)


def test_a_score_that_is_its_own_label_is_warned_of(table, tmp_path: Path, capfd) -> None:
    file = table("A B tie A", [1, 0, 1, 1], [0, 1, 1, 0])
    assert main(run_scores(file, tmp_path / "out")) == 0
    few, warning = read_result(tmp_path / "out" / "result.json").warnings
    assert few.startswith("4 clusters by prompt: too few for intervals")
    assert "agrees with label 'vote' on every one of 3 decided pairs" in warning
    said = capfd.readouterr().err
    assert warning in said
    assert few in said
    assert "is replaced" not in said


def test_another_map_in_the_same_folder_says_what_it_replaces(tmp_path: Path, capfd) -> None:
    file = tmp_path / "table.csv"
    file.write_text("prompt,vote,kind,m_A,m_B\np0,A,B,1,0\np1,B,B,0,1\np2,tie,A,1,1\n")
    first = run_scores(str(file), tmp_path / "out")
    for _ in range(2):
        assert main(first) == 0
        assert "is replaced" not in capfd.readouterr().err  # the same map gives the same result
    assert main(["kind=m" if word == "vote=m" else word for word in first]) == 0
    assert "(vote=m) is replaced; pass --out to keep both" in capfd.readouterr().err


def test_a_text_column_is_no_score(refused: Refused, table, tmp_path: Path) -> None:
    file = table("A B", [1, "lots"], [2, 1])
    assert "row 2: score 'lots' in column 'm_A' is not a number" in refused(*run_scores(file, tmp_path / "out"))


def test_tables_of_another_length_are_not_matched_by_order(refused: Refused, table, tmp_path: Path) -> None:
    file = table("A B", [1, 2], [2, 1])
    other = tmp_path / "other.csv"
    other.write_text("prompt,vote\np0,A\np1,B\np2,tie\n")
    words = ["run", "--plugin", "scores", "--scores", file, "--benchmark", str(other), "--map", "vote=m"]
    assert "has 2 rows and" in refused(*words)


def test_ids_are_not_matched_to_row_numbers(refused: Refused, tmp_path: Path) -> None:
    """One file names its pairs and the other does not: matching ids to rows would shift every score."""
    with_ids, without = tmp_path / "scores.csv", tmp_path / "pairs.csv"
    with_ids.write_text("pair_id,m_A,m_B\n1,1,2\n2,2,1\n")
    without.write_text("prompt,vote\np,B\nq,A\n")
    words = ["run", "--plugin", "scores", "--scores", str(with_ids), "--benchmark", str(without), "--map", "vote=m"]
    assert "pair_id" in refused(*words)


def test_choices_that_nobody_can_use(refused: Refused, tiny_clips: list[Path]) -> None:
    clip = str(tiny_clips[0])
    assert "unknown precision --dtype bfloat17; did you mean 'bfloat16'" in refused(
        "score", "--plugin", "random", "--dtype", "bfloat17", clip
    )
    assert "--seed" in refused("score", "--plugin", "random", "--seed", "-1", clip)


def test_only_ties_and_no_ties_and_all_equal(table, tmp_path: Path) -> None:
    cases = {
        "ties": ("tie tie same", [1, 2, 3], [1, 2, 4], None, 1.0),
        "none": ("A B A", [2, 1, 2], [1, 2, 1], 1.0, 0.0),
        "equal": ("A B tie", [5, 5, 5], [5, 5, 5], 0.0, 1 / 3),
    }
    for name, (labels, a, b, without, tie_rate) in cases.items():
        assert main(run_scores(table(labels, a, b), tmp_path / name)) == 0
        (metric,) = read_result(tmp_path / name / "result.json").metrics
        assert metric.accuracy_without_ties.value == without
        assert metric.human_tie_rate == pytest.approx(tie_rate)
        assert (tmp_path / name / "report.html").exists()


def test_no_label_at_all(refused: Refused, tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("prompt,vote,m_A,m_B\np,,1,2\n")
    assert "has no label in any row for vote" in refused(*run_scores(str(file), tmp_path / "out"))


def test_nan_abstains_and_infinity_fails(table, tmp_path: Path) -> None:
    file = table("A B tie A", [1, "nan", 1, "inf"], [0, 1, 1, 0])
    assert main(run_scores(file, tmp_path / "out")) == 3
    result = read_result(tmp_path / "out" / "result.json")
    assert (result.metrics[0].n, result.metrics[0].n_abstained) == (2, 2)
    (failure,) = result.failures
    assert failure.clip_id == "3#A"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--plugin", "animeward"], "unknown plugin 'animeward'; did you mean 'animereward'?"),
        (["--plugin", "animereward:mimi"], "has no preset 'mimi'; did you mean 'mini'?"),
        (["--plugin", "random", "--benchmark", "anime-porbe"], "did you mean 'anime-probe'?"),
        (["--plugin", "random", "--benchmark", "nothing.csv"], "nothing.csv"),
        (["--plugin", "random", "--option", "speed=3"], "has no option 'speed'; it takes no options"),
        (["--plugin", "random", "--engine", "rey"], "unknown engine 'rey'"),
        (["--plugin", "random", "--plugin", "random"], "--plugin random is given twice"),
    ],
)
def test_names_that_do_not_exist(refused: Refused, words: list[str], sentence: str) -> None:
    assert sentence in refused("run", *words)


def test_no_gpu_where_one_was_asked_for(refused: Refused, brightness, tiny_clips: list[Path]) -> None:
    sentence = refused("score", "--plugin", "brightness", "--device", "cuda:99", str(tiny_clips[0]))
    assert "device 'cuda:99' cannot be used here" in sentence
    assert "use --device cpu or auto" in sentence


def test_a_folder_that_cannot_be_written(refused: Refused, table, tmp_path: Path) -> None:
    file = table("A B", [1, 2], [2, 1])
    (tmp_path / "taken").write_text("a file")
    sentence = refused(*run_scores(file, tmp_path / "taken" / "out"))
    assert "cannot be written" in sentence
    assert "choose another with --out" in sentence


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a folder that not even root can write (Linux)")
def test_a_read_only_folder(refused: Refused, table) -> None:
    sentence = refused(*run_scores(table("A B", [1, 2], [2, 1]), Path("/proc/rewardbench")))
    assert "the output folder /proc/rewardbench cannot be written" in sentence


def test_a_full_disk_keeps_what_was_stored(tmp_path: Path) -> None:
    """SQLite is given room for a few pages: the write that does not fit fails in a sentence, earlier ones stay."""
    from rewardbench.errors import InputError
    from rewardbench.scoring.store import Score

    store = ScoreStore(tmp_path / "s.sqlite")
    store.put_scores([Score("first", 0.5, 0.5)])
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count={pages + 2}")
    with pytest.raises(InputError, match="disk is full.*all earlier scores are kept"):
        store.put_scores([Score(f"k{i}" * 20, 0.5, 0.5, "note" * 50) for i in range(500)])
    again = ScoreStore(tmp_path / "s.sqlite")
    assert again.count() == 1
    assert again.score("first") == Score("first", 0.5, 0.5)


def test_a_disk_that_fills_while_running(table, tmp_path: Path) -> None:
    """The same for a whole run: the process may not write files beyond 60 kB, then it may, and goes on."""
    n = 2000
    file = table(" ".join(["A", "B"] * (n // 2)), list(range(n)), list(range(n, 0, -1)))
    words = run_scores(file, tmp_path / "out")
    command = [sys.executable, "-m", "rewardbench.cli", *words]

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    ended = subprocess.run(
        command, env=environment, capture_output=True, text=True, preexec_fn=small_files, check=False
    )
    assert ended.returncode == 2, ended.stderr
    assert "cannot be written" in ended.stderr
    assert "Traceback" not in ended.stderr
    kept = ScoreStore(tmp_path / "out" / "scores.sqlite").count()
    assert 0 < kept < 2 * n
    assert main(words) == 0
    assert read_result(tmp_path / "out" / "result.json").metrics[0].n == n


@pytest.mark.parametrize(
    ("fault", "code"), [("raise", 3), ("die", 3), ("hang", 3), ("range", 3), ("shape", 2), ("load", 2)]
)
def test_exit_codes_of_faulty_plugins(brightness, tiny_clips: list[Path], tmp_path: Path, capfd, fault, code) -> None:
    words = [
        "score",
        "--plugin",
        "brightness",
        "--option",
        f"fault={fault}",
        "--option",
        "at=clip1",
        "--format",
        "json",
    ]
    assert main([*words, "--score-timeout", "3", *map(str, tiny_clips[:3])]) == code
    captured = capfd.readouterr()
    assert "Traceback" not in captured.err
    if code == 3:
        assert [row["error"] is not None for row in json.loads(captured.out)] == [False, True, False]


def test_report_of_a_folder_without_a_run(refused: Refused, tmp_path: Path) -> None:
    assert "holds no finished run" in refused("report", str(tmp_path))


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"schema": "rewardbench.result/99"}', '{"schema": "rewardbench.result/1"}']
)
def test_result_files_that_are_none(tmp_path: Path, content: str) -> None:
    from rewardbench.errors import InputError

    (tmp_path / "result.json").write_text(content)
    with pytest.raises(InputError, match=r"result\.json"):
        read_result(tmp_path / "result.json")
