"""Publishing: a real bare repository takes the branch; the hub is a stand-in that writes down what it is asked."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from rewardbench.errors import InputError
from rewardbench.leaderboard.publishing import publish_to_branch, publish_to_hub


@pytest.fixture
def board(tmp_path: Path) -> Path:
    board = tmp_path / "board"
    for name, text in {
        "site/index.html": "page",
        "site/leaderboard.json": "{}",
        "site/frames/a.jpg": "picture",
        "results/votes/a.zip": "bundle",
        "results/m.probe.json": "{}",
        "benchmarks.json": "{}",
        "results/.note": "mine",
    }.items():
        (board / name).parent.mkdir(parents=True, exist_ok=True)
        (board / name).write_text(text)
    return board


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    path = tmp_path / "remote.git"
    subprocess.run(["git", "init", "--quiet", "--bare", str(path)], check=True)
    return path


def git(remote: Path, *words: str) -> list[str]:
    done = subprocess.run(["git", "-C", str(remote), *words], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def files(remote: Path, branch: str = "leaderboard") -> list[str]:
    return git(remote, "ls-tree", "-r", "--name-only", branch)


EXPECTED = [
    ".nojekyll",
    "benchmarks.json",
    "frames/a.jpg",
    "index.html",
    "leaderboard.json",
    "results/m.probe.json",
    "results/votes/a.zip",
]


def test_a_branch_gets_site_and_results(board: Path, remote: Path) -> None:
    (step,) = publish_to_branch(board, remote=str(remote), branch="leaderboard")
    assert files(remote) == EXPECTED
    assert git(remote, "show", "leaderboard:index.html") == ["page"]
    assert step.sentence == f"push to branch leaderboard of {remote}: 6 files"


def test_a_second_time_only_what_changed_is_a_new_commit_on_the_first(board: Path, remote: Path) -> None:
    publish_to_branch(board, remote=str(remote), branch="leaderboard")
    (step,) = publish_to_branch(board, remote=str(remote), branch="leaderboard")
    assert step.what == "nothing changed on"
    (board / "site/frames/a.jpg").unlink()
    (board / "site/index.html").write_text("another page")
    publish_to_branch(board, remote=str(remote), branch="leaderboard", message="Second")
    assert files(remote) == [name for name in EXPECTED if name != "frames/a.jpg"]
    assert git(remote, "log", "--format=%s", "leaderboard") == ["Second", "Leaderboard"]


def test_other_branches_and_the_callers_repository_are_left_alone(
    board: Path, remote: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    for words in (["clone", "--quiet", str(remote), str(work)], ["-C", str(work), "checkout", "--quiet", "-b", "main"]):
        subprocess.run(["git", *words], check=True, capture_output=True)
    (work / "code.py").write_text("1")
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["add", "."], [*identity, "commit", "--quiet", "-m", "code"], ["push", "--quiet", "origin", "main"]):
        subprocess.run(["git", "-C", str(work), *words], check=True, capture_output=True)
    monkeypatch.chdir(work)
    monkeypatch.setenv("GIT_DIR", str(work / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(work))
    publish_to_branch(board, remote=str(remote), branch="leaderboard")
    monkeypatch.delenv("GIT_DIR")
    monkeypatch.delenv("GIT_WORK_TREE")
    assert files(remote, "main") == ["code.py"]
    assert files(remote) == EXPECTED
    assert git(work, "status", "--porcelain") == []
    assert git(work, "branch", "--format=%(refname:short)") == ["main"]


def test_a_dry_run_touches_nothing(board: Path, remote: Path) -> None:
    (step,) = publish_to_branch(board, remote=str(remote), branch="leaderboard", dry_run=True)
    assert "results/votes/a.zip" in step.files
    assert git(remote, "for-each-ref") == []


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"branch": "--force"}, "--branch --force is no name of a branch"),
        ({"branch": "a..b"}, "is no name of a branch"),
        ({"remote": "--upload-pack=evil"}, "is no address of a repository"),
        ({"remote": "/nowhere/at/all.git"}, "git ls-remote failed"),
    ],
)
def test_what_git_would_misread_or_refuse_is_one_sentence(
    board: Path, remote: Path, changes: dict[str, str], sentence: str
) -> None:
    with pytest.raises(InputError, match=sentence):
        publish_to_branch(board, **{"remote": str(remote), "branch": "leaderboard", **changes})


def test_without_a_site_nothing_is_published(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no site"):
        publish_to_branch(tmp_path, remote="x", branch="b")


class Hub:
    """Stands in for ``huggingface_hub.HfApi``."""

    def __init__(self, refuses: Exception | None = None) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.folders: dict[str, list[str]] = {}
        self.refuses = refuses

    def create_repo(self, name: str, **how: Any) -> None:
        if self.refuses:
            raise self.refuses
        self.asked.append((name, how))

    def upload_folder(self, *, repo_id: str, folder_path: str, **how: Any) -> None:
        root = Path(folder_path)
        self.asked.append((repo_id, how))
        self.folders[repo_id] = sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())


def test_the_hub_gets_results_as_a_dataset_and_the_site_as_a_static_space(board: Path) -> None:
    hub = Hub()
    steps = publish_to_hub(board, dataset="me/results", space="me/board", private=True, api=hub)
    assert hub.folders["me/results"] == ["benchmarks.json", "results/m.probe.json", "results/votes/a.zip"]
    assert hub.folders["me/board"] == ["README.md", "frames/a.jpg", "index.html", "leaderboard.json"]
    created = [(name, how) for name, how in hub.asked if "exist_ok" in how]
    assert created == [
        ("me/results", {"repo_type": "dataset", "exist_ok": True, "private": True}),
        ("me/board", {"repo_type": "space", "exist_ok": True, "private": True, "space_sdk": "static"}),
    ]
    assert [step.target for step in steps] == ["me/results", "me/board"]


def test_the_calls_are_those_the_hubs_own_client_takes() -> None:
    """The stand-in could take anything; the real signatures decide."""
    import inspect

    from huggingface_hub import HfApi

    create = inspect.signature(HfApi.create_repo).parameters
    assert {"repo_id", "repo_type", "exist_ok", "private", "space_sdk"} <= set(create)
    upload = inspect.signature(HfApi.upload_folder).parameters
    assert {"repo_id", "repo_type", "folder_path", "delete_patterns", "commit_message"} <= set(upload)


def test_a_dry_run_asks_the_hub_nothing(board: Path) -> None:
    hub = Hub(refuses=AssertionError("asked"))
    steps = publish_to_hub(board, dataset="me/results", space="me/board", dry_run=True, api=hub)
    assert [len(step.files) for step in steps] == [3, 4]


def test_what_the_hub_refuses_is_one_sentence(board: Path) -> None:
    with pytest.raises(InputError, match="the hub refused \\(no such token\\); log in with `hf auth login`"):
        publish_to_hub(board, dataset="me/results", api=Hub(OSError("no such\n token")))
    with pytest.raises(InputError, match="--space board is not OWNER/NAME"):
        publish_to_hub(board, space="board", api=Hub())
