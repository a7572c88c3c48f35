"""``rewardbench leaderboard`` from the command line: what it prints, writes and ends with."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from rewardbench.cli import main
from rewardbench.leaderboard import archive

CONFTEST = runpy.run_path(str(Path(__file__).parents[1] / "leaderboard" / "conftest.py"))
pairs_file = CONFTEST["pairs_file"]
scores_run = CONFTEST["scores_run"]


@pytest.fixture
def board(scores_run: Path, pairs_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A board with one bundle, made by the commands a user types."""
    board = tmp_path / "board"
    results = board / "results"
    assert main(["leaderboard", "admit", str(pairs_file), "--board", str(board), "--licence", "CC-BY-4.0"]) == 0
    assert main(["leaderboard", "submit", str(scores_run), "--out", str(results), "--training-data", "clean"]) == 0
    capsys.readouterr()
    return board


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert main(["leaderboard", *words]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    return said.err


def test_from_a_run_to_a_site(board: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["leaderboard", "verify", str(board / "results"), "--board", str(board)]) == 0
    assert re.search(r"votes--scores--\w{8}\.zip: sound \(3 rows recomputed\)", capsys.readouterr().out)
    assert main(["leaderboard", "build", "--board", str(board), "--title", "Mine", "--format", "json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["page"] == str(board / "site" / "index.html")
    assert len(said["bundles"]) == 1
    names = sorted(path.name for path in (board / "site").iterdir())
    assert names == ["bundles", "index.html", "leaderboard.csv", "leaderboard.json", "published.html", "votes.html"]
    data = json.loads((board / "site" / "leaderboard.json").read_text())
    assert [d["label"] for d in data["benchmarks"][0]["dimensions"]] == ["VQ", "TA"]
    assert data["benchmarks"][0]["licence"] == "CC-BY-4.0"
    prompts = [pair["prompt"] for d in data["benchmarks"][0]["dimensions"] for pair in d["pairs"]]
    assert all("<script>alert" in prompt for prompt in prompts), "the prompts are hostile, and shown as they are"
    for page in (board / "site").glob("*.html"):
        assert "<script>alert" not in page.read_text(encoding="utf-8")


def test_a_refused_bundle_is_exit_code_1_with_its_faults(
    board: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (bundle,) = (board / "results").glob("*.zip")
    members = archive.unpack(bundle)
    members[archive.SCORES] += members[archive.SCORES].splitlines(keepends=True)[0]
    bundle.write_bytes(archive.pack(members))
    assert main(["leaderboard", "verify", str(bundle), "--board", str(board)]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0].endswith(": refused")
    assert "scores.jsonl was changed after the bundle was made" in said[1]
    assert main(["leaderboard", "verify", str(bundle), "--board", str(board), "--format", "json"]) == 1
    (one,) = json.loads(capsys.readouterr().out)
    assert (one["sound"], len(one["faults"])) == (False, 1)
    assert main(["leaderboard", "build", "--board", str(board)]) == 1
    assert "1 of 1 bundles are refused; the first is" in capsys.readouterr().err
    assert not (board / "site").exists()


def test_a_benchmark_nobody_admitted_is_unknown_unless_it_is_at_hand(
    board: Path, pairs_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["leaderboard", "verify", str(board / "results")]) == 1
    assert "is not a version that this board knows" in capsys.readouterr().out
    assert main(["leaderboard", "verify", str(board / "results"), "--benchmark", str(pairs_file)]) == 0


def test_facts_reach_the_bundle(scores_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = tmp_path / "facts.json"
    facts.write_text(json.dumps({"good": {"name": "Good", "parameters": 5, "training_data": "overlaps"}}))
    out = tmp_path / "one.zip"
    words = ["submit", str(scores_run), "--out", str(out), "--facts", str(facts), "--submitted-by", "me"]
    assert main(["leaderboard", *words, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"file": str(out), "bytes": out.stat().st_size, "faults": []}
    manifest = json.loads(archive.unpack(out)[archive.MANIFEST])
    assert manifest["submitted_by"] == "me"
    assert [m["name"] for m in manifest["models"]] == ["Good", "bad"]
    assert [p.name for p in tmp_path.iterdir() if p.suffix == ".partial"] == []


def test_a_bundle_that_a_board_would_refuse_is_written_with_warnings(
    scores_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = shutil.copytree(scores_run, tmp_path / "run")
    (run / "scores.parquet").unlink()
    capsys.readouterr()
    assert main(["leaderboard", "submit", str(run), "--out", str(tmp_path / "one.zip")]) == 0
    said = capsys.readouterr()
    assert said.out.endswith("bytes, a board would refuse it\n")
    assert "rewardbench: warning: 'scores' has no score for 80 of 80 clips" in said.err
    assert (tmp_path / "one.zip").is_file()


def test_publishing_to_a_branch_and_a_plan_for_the_hub(
    board: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unreachable:
        def repo_exists(self, name: str, *, repo_type: str) -> bool:
            raise ConnectionError("no network")

    monkeypatch.setattr("huggingface_hub.HfApi", Unreachable)
    assert main(["leaderboard", "build", "--board", str(board)]) == 0
    remote = tmp_path / "remote.git"
    subprocess.run(["git", "init", "--quiet", "--bare", str(remote)], check=True)
    capsys.readouterr()
    words = ["publish", "--board", str(board), "--remote", str(remote), "--branch", "pages"]
    assert main(["leaderboard", *words, "--dataset", "me/results", "--space", "me/board", "--dry-run"]) == 0
    said = capsys.readouterr().out
    for line in (
        "would push to branch pages",
        "would upload to dataset me/results",
        "would upload to static Space me/board",
    ):
        assert line in said
    assert main(["leaderboard", *words]) == 0
    listed = subprocess.run(
        ["git", "-C", str(remote), "ls-tree", "-r", "--name-only", "pages"], capture_output=True, text=True, check=True
    )
    assert "index.html" in listed.stdout.splitlines()
    assert any(line.startswith("results/votes--scores") for line in listed.stdout.splitlines())


def test_serving_says_the_address_and_ends_at_ctrl_c(
    board: Path, environment: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    import signal

    assert main(["leaderboard", "build", "--board", str(board)]) == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "rewardbench.cli", "leaderboard", "serve", "--board", str(board), "--port", "0"],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().split()[0]
        with urllib.request.urlopen(address, timeout=30) as answer:
            assert b"Video reward models" in answer.read()
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


def test_wrong_words_are_one_sentence(scores_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nothing = str(tmp_path / "nothing")
    assert "--training-data mine is none of clean, overlaps, unknown" in refused(
        ["submit", str(scores_run), "--training-data", "mine"], capsys
    )
    assert "holds no finished run" in refused(["submit", str(tmp_path)], capsys)
    words = ["submit", str(scores_run), "--out", str(tmp_path / "a.zip")]
    assert "--submitted-by has 600 characters" in refused([*words, "--submitted-by", "x" * 600], capsys)
    (tmp_path / "facts.json").write_text('{"good": {"training_data_note": 5}}')
    facts = ["--facts", str(tmp_path / "facts.json")]
    assert "--facts: 'good': note: " in refused([*words, *facts], capsys)
    (tmp_path / "facts.json").write_text("{")
    assert "facts.json cannot be read as JSON" in refused([*words, *facts], capsys)
    assert not (tmp_path / "a.zip").exists()
    assert "does not exist; name a bundle (.zip) or a folder of them" in refused(["verify", nothing], capsys)
    assert "no bundle (.zip) in" in refused(["verify", str(tmp_path)], capsys)
    assert "is not a folder; name the board's folder with --board" in refused(["build", "--board", nothing], capsys)
    assert "holds no site" in refused(["serve", "--board", nothing], capsys)
    assert "name --remote, --dataset or --space" in refused(["publish"], capsys)
    assert "is neither a file nor a registered name" in refused(["admit", nothing], capsys)


def test_help_imports_nothing_heavy(environment: dict[str, str]) -> None:
    code = (
        "import sys; from rewardbench.cli import main; main(['leaderboard', '--help']);"
        "heavy = ('torch', 'pandas', 'pyarrow', 'pydantic', 'jinja2', 'huggingface_hub');"
        "print([m for m in heavy if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
