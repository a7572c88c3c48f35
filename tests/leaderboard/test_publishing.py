"""Publishing: a real bare repository takes the branch; the hub is a stand-in that writes down what it is asked."""

from __future__ import annotations

import fnmatch
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from rewardbench.errors import CheckFailed, InputError
from rewardbench.leaderboard import archive
from rewardbench.leaderboard.folder import build_site
from rewardbench.leaderboard.known import admit
from rewardbench.leaderboard.publishing import publish_to_branch, publish_to_hub


@pytest.fixture(scope="module")
def built(bundle: Path, known: dict[str, Any], probe: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A board of one bundle and one probe, with its site; a picture and a note lie beside them."""
    board = tmp_path_factory.mktemp("built") / "board"
    (board / "results" / "votes").mkdir(parents=True)
    shutil.copy(bundle, board / "results" / "votes" / "a.zip")
    (board / "results" / "m.probe.json").write_text(probe.to_json(), encoding="utf-8")
    (board / "results" / ".note").write_text("mine")
    for one in known.values():
        admit(board, one)
    build_site(board)
    (board / "site" / "frames").mkdir()
    (board / "site" / "frames" / "a.jpg").write_text("picture")
    return board


@pytest.fixture
def board(built: Path, tmp_path: Path) -> Path:
    shutil.copytree(built, tmp_path / "board")
    return tmp_path / "board"


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


PAGES = [
    "bundles/a.zip",
    "frames/a.jpg",
    "index.html",
    "leaderboard.csv",
    "leaderboard.json",
    "probes.html",
    "published.html",
    "votes.html",
]
RESULTS = ["benchmarks.json", "results/m.probe.json", "results/votes/a.zip"]
EXPECTED = sorted([".nojekyll", *PAGES, *RESULTS])


def commit(remote: Path, work: Path, branch: str, files: dict[str, str]) -> None:
    """Push a commit with these files to a branch of its own."""
    for words in (["clone", "--quiet", str(remote), str(work)], ["-C", str(work), "checkout", "--quiet", "-b", branch]):
        subprocess.run(["git", *words], check=True, capture_output=True)
    for name, text in files.items():
        (work / name).write_text(text)
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for words in (["add", "."], [*identity, "commit", "--quiet", "-m", "code"], ["push", "--quiet", "origin", branch]):
        subprocess.run(["git", "-C", str(work), *words], check=True, capture_output=True)


def test_a_branch_gets_site_and_results(board: Path, remote: Path) -> None:
    (step,) = publish_to_branch(board, remote=str(remote), branch="leaderboard")
    assert files(remote) == EXPECTED
    page = (board / "site" / "index.html").read_text(encoding="utf-8")
    assert git(remote, "show", "leaderboard:index.html") == page.splitlines()
    assert step.sentence == f"push to branch leaderboard of {remote}: 11 files"


def test_a_second_time_only_what_changed_is_a_new_commit_on_the_first(board: Path, remote: Path) -> None:
    publish_to_branch(board, remote=str(remote), branch="leaderboard")
    (step,) = publish_to_branch(board, remote=str(remote), branch="leaderboard")
    assert step.what == "nothing changed on"
    (board / "site/frames/a.jpg").unlink()
    (board / "site/index.html").write_text("another page")
    (plan,) = publish_to_branch(board, remote=str(remote), branch="leaderboard", dry_run=True)
    assert plan.deletes == ("frames/a.jpg",), "what goes away is said before it does"
    assert files(remote) == EXPECTED
    publish_to_branch(board, remote=str(remote), branch="leaderboard", message="Second")
    assert files(remote) == [name for name in EXPECTED if name != "frames/a.jpg"]
    assert git(remote, "log", "--format=%s", "leaderboard") == ["Second", "Leaderboard"]


def test_other_branches_and_the_callers_repository_are_left_alone(
    board: Path, remote: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = tmp_path / "work"
    commit(remote, work, "main", {"code.py": "1"})
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


def test_a_branch_that_holds_something_else_is_refused_and_left(board: Path, remote: Path, tmp_path: Path) -> None:
    commit(remote, tmp_path / "work", "main", {"code.py": "1", "README.md": "years of work"})
    for dry_run in (True, False):
        with pytest.raises(InputError, match="holds something that is no board \\(2 files, no leaderboard.json\\)"):
            publish_to_branch(board, remote=str(remote), branch="main", dry_run=dry_run)
    assert files(remote, "main") == ["README.md", "code.py"]


def test_a_bundle_that_verify_refuses_is_not_published(board: Path, remote: Path) -> None:
    path = board / "results" / "votes" / "a.zip"
    members = archive.unpack(path)
    members[archive.SCORES] += members[archive.SCORES].splitlines(keepends=True)[0]
    path.write_bytes(archive.pack(members))
    for publish in (
        lambda: publish_to_branch(board, remote=str(remote), branch="leaderboard"),
        lambda: publish_to_hub(board, dataset="me/results", api=Hub(refuses=AssertionError("asked"))),
    ):
        with pytest.raises(CheckFailed, match="1 of 1 bundles are refused; .* was changed after the bundle was made"):
            publish()
    assert git(remote, "for-each-ref") == []


def test_a_site_of_other_bundles_is_not_published(
    board: Path, remote: Path, verdicts_bundle: Path, tmp_path: Path
) -> None:
    """One that is in results only, one in the site only, one changed in the site."""
    (board / "results" / "b.zip").write_bytes(verdicts_bundle.read_bytes())
    with pytest.raises(CheckFailed, match="was not made of the bundles in .* \\(b.zip is not the same in both\\)"):
        publish_to_branch(board, remote=str(remote), branch="leaderboard")
    (board / "results" / "b.zip").unlink()
    (board / "site" / "bundles" / "c.zip").write_bytes(verdicts_bundle.read_bytes())
    with pytest.raises(CheckFailed, match="c.zip is not the same in both"):
        publish_to_branch(board, remote=str(remote), branch="leaderboard")
    (board / "site" / "bundles" / "c.zip").rename(board / "site" / "bundles" / "a.zip")
    with pytest.raises(CheckFailed, match="a.zip is not the same in both"):
        publish_to_branch(board, remote=str(remote), branch="leaderboard")


def test_bytes_around_a_bundle_are_not_published(board: Path, remote: Path, bundle: Path) -> None:
    path = board / "results" / "votes" / "a.zip"
    path.write_bytes(b"<html><script>" + bundle.read_bytes() + b"trailing")
    publish_to_branch(board, remote=str(remote), branch="leaderboard")
    for name in ("results/votes/a.zip", "bundles/a.zip"):
        found = subprocess.run(
            ["git", "-C", str(remote), "show", f"leaderboard:{name}"], capture_output=True, check=True
        )
        assert found.stdout == archive.pack(archive.unpack(bundle))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"branch": "--force"}, "--branch --force is no name of a branch"),
        ({"branch": "a..b"}, "is no name of a branch"),
        ({"remote": "--upload-pack=evil"}, "is no address of a repository"),
        ({"remote": "/nowhere/at/all.git"}, "git ls-remote failed: '/nowhere/at/all.git' does not appear to be a git"),
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

    def __init__(self, refuses: Exception | None = None, there: dict[str, list[str]] | None = None) -> None:
        self.changed: list[tuple[str, dict[str, Any]]] = []
        self.folders: dict[str, list[str]] = {}
        self.refuses = refuses
        self.there = there or {}

    def repo_exists(self, name: str, *, repo_type: str) -> bool:
        if self.refuses:
            raise self.refuses
        return name in self.there

    def list_repo_files(self, name: str, *, repo_type: str) -> list[str]:
        return self.there[name]

    def create_repo(self, name: str, **how: Any) -> None:
        self.changed.append((name, how))

    def upload_folder(self, *, repo_id: str, folder_path: str, **how: Any) -> None:
        root = Path(folder_path)
        self.changed.append((repo_id, how))
        self.folders[repo_id] = sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())


def test_the_hub_gets_results_as_a_dataset_and_the_site_as_a_static_space(board: Path) -> None:
    hub = Hub()
    steps = publish_to_hub(board, dataset="me/results", space="me/board", private=True, api=hub)
    assert hub.folders["me/results"] == RESULTS
    assert hub.folders["me/board"] == sorted(["README.md", *PAGES])
    created = [(name, how) for name, how in hub.changed if "exist_ok" in how]
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
    for asked in (HfApi.repo_exists, HfApi.list_repo_files):
        assert {"repo_id", "repo_type"} <= set(inspect.signature(asked).parameters)


def test_what_will_be_deleted_on_the_hub_is_said_and_nothing_else_is(board: Path) -> None:
    there = {
        "me/results": [".gitattributes", "README.md", "results/old.zip", "benchmarks.json"],
        "me/board": [".gitattributes", "leaderboard.json", "old[1].html"],
    }
    hub = Hub(there=there)
    steps = publish_to_hub(board, dataset="me/results", space="me/board", dry_run=True, api=hub)
    assert [step.deletes for step in steps] == [("results/old.zip",), ("old[1].html",)]
    assert [len(step.files) for step in steps] == [3, 9]
    assert hub.changed == []
    publish_to_hub(board, dataset="me/results", space="me/board", api=hub)
    patterns = [how["delete_patterns"] for _, how in hub.changed if "delete_patterns" in how]
    assert [fnmatch.filter(names, one) for names, (one,) in zip(there.values(), patterns, strict=True)] == [
        ["results/old.zip"],
        ["old[1].html"],
    ]


def test_a_repository_of_the_hub_that_holds_something_else_is_refused_and_left(board: Path) -> None:
    for kind, name in (("dataset", "me/results"), ("space", "me/board")):
        hub = Hub(there={name: [".gitattributes", "model.safetensors", "results/a.zip"]})
        for dry_run in (True, False):
            with pytest.raises(InputError, match=f"{kind} {name} of the hub holds something that is no board"):
                publish_to_hub(board, dry_run=dry_run, api=hub, **{kind: name})
        assert hub.changed == []


def test_a_dry_run_without_a_network_says_what_it_could_not_ask(board: Path) -> None:
    (step,) = publish_to_hub(board, space="me/board", dry_run=True, api=Hub(OSError("no network")))
    assert step.sentence == "upload to static Space me/board: 9 files (the hub could not be asked what is there now)"


def test_what_the_hub_refuses_is_one_sentence(board: Path) -> None:
    with pytest.raises(InputError, match="the hub refused \\(no such token\\); log in with `hf auth login`"):
        publish_to_hub(board, dataset="me/results", api=Hub(OSError("no such\n token")))

    class ConnectError(Exception):
        """As the HTTP library of the client has it: of no family that Python knows."""

    with pytest.raises(InputError, match="the hub refused \\(Name or service not known\\)"):
        publish_to_hub(board, dataset="me/results", api=Hub(ConnectError("Name or service not known")))
    with pytest.raises(InputError, match="--space board is not OWNER/NAME"):
        publish_to_hub(board, space="board", api=Hub())
