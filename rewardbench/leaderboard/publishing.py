"""A site and its results, brought to a git branch, or to a dataset and a static Space of the Hugging Face hub."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardbench.errors import InputError
from rewardbench.leaderboard.folder import RESULTS, SITE, bundle_files

CARD = "README.md"
NO_JEKYLL = ".nojekyll"
"""GitHub Pages otherwise leaves out files whose names begin with an underscore."""
GIT_TIMEOUT = 600.0


@dataclass(frozen=True)
class Step:
    """One thing that publishing does: ``what`` it is in words, to which ``target``, with which files."""

    what: str
    target: str
    files: tuple[str, ...]

    @property
    def sentence(self) -> str:
        return f"{self.what} {self.target}: {len(self.files)} files"


def files_to_publish(board: Path, site: Path | None = None) -> tuple[Path, list[str], list[Path]]:
    """The site, its files (relative), and the result files of a board.

    Raises:
        InputError: if there is no site.
    """
    site = site or board / SITE
    if not (site / "index.html").is_file():
        raise InputError(f"{site} holds no site; make it with rewardbench leaderboard build")
    pages = sorted(path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file())
    results = [*bundle_files(board / RESULTS), *sorted((board / RESULTS).rglob("*.json"))]
    known = board / "benchmarks.json"
    return site, pages, [*results, *([known] if known.is_file() else [])]


def publish_to_branch(
    board: Path, *, remote: str, branch: str, site: Path | None = None, dry_run: bool = False, message: str = ""
) -> list[Step]:
    """Put the site at the root of a branch and the results under ``results/``, as one commit on what is there.

    The work tree of the caller's repository is not touched: the commit is made in a temporary clone of that branch.
    Where nothing changed, nothing is pushed.

    Args:
        board: the board's folder.
        remote: address or path of a git repository.
        branch: made if missing; its earlier files make way for these.
        site: the site's folder; ``site`` in the board's if None.
        dry_run: only say what would be done.
        message: of the commit.

    Returns:
        What was done, or would be.

    Raises:
        InputError: no site, a name git refuses, or a push that was refused.
    """
    site, pages, results = files_to_publish(board, site)
    if not re.fullmatch(r"[A-Za-z0-9][\w./-]*", branch) or ".." in branch:
        raise InputError(f"--branch {branch} is no name of a branch")
    if remote.startswith("-"):
        raise InputError(f"--remote {remote} is no address of a repository")
    step = Step("push to", f"branch {branch} of {remote}", (*pages, *(_under_results(board, p) for p in results)))
    if dry_run:
        return [step]
    with tempfile.TemporaryDirectory(prefix="rewardbench-publish-") as folder:
        work = Path(folder) / "branch"
        work.mkdir()
        _git(work, "init", "--quiet")
        _git(
            work, "remote", "add", "origin", remote if "://" in remote or ":" in remote else str(Path(remote).resolve())
        )
        existing = _git(work, "ls-remote", "--heads", "origin", f"refs/heads/{branch}").strip()
        if existing:
            _git(work, "fetch", "--quiet", "--depth", "1", "origin", f"refs/heads/{branch}")
            _git(work, "checkout", "--quiet", "-B", branch, "FETCH_HEAD")
            for entry in work.iterdir():
                if entry.name != ".git":
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        else:
            _git(work, "checkout", "--quiet", "--orphan", branch)
        _copy(board, site, pages, results, work)
        (work / NO_JEKYLL).touch()
        _git(work, "add", "--all", "--force")
        if not _git(work, "status", "--porcelain").strip():
            return [Step("nothing changed on", step.target, ())]
        _git(work, "commit", "--quiet", "--message", message or "Leaderboard")
        _git(work, "push", "--quiet", "origin", f"HEAD:refs/heads/{branch}")
    return [step]


def publish_to_hub(
    board: Path,
    *,
    dataset: str | None = None,
    space: str | None = None,
    site: Path | None = None,
    private: bool = False,
    dry_run: bool = False,
    api: Any = None,
) -> list[Step]:
    """Put the results into a dataset and the site into a static Space of the hub.

    ``api`` is a ``huggingface_hub.HfApi``, made with the caller's own login if None.

    Returns:
        What was done, or would be.

    Raises:
        InputError: no site, a name the hub does not take, or an answer of the hub that ends it.
    """
    site, pages, results = files_to_publish(board, site)
    plan = []
    for option, name in (("--dataset", dataset), ("--space", space)):
        if name is not None and not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
            raise InputError(f"{option} {name} is not OWNER/NAME")
    if dataset is not None:
        plan.append(Step("upload to dataset", dataset, tuple(_under_results(board, path) for path in results)))
    if space is not None:
        plan.append(Step("upload to static Space", space, (*pages, CARD)))
    if dry_run or not plan:
        return plan
    if api is None:
        from huggingface_hub import HfApi

        api = HfApi()
    try:
        with tempfile.TemporaryDirectory(prefix="rewardbench-publish-") as folder:
            if dataset is not None:
                data = Path(folder) / "dataset"
                _copy(board, site, [], results, data)
                _upload(api, dataset, "dataset", data, private, {})
            if space is not None:
                pages_folder = Path(folder) / "space"
                _copy(board, site, pages, [], pages_folder)
                (pages_folder / CARD).write_text(_space_card(), encoding="utf-8")
                _upload(api, space, "space", pages_folder, private, {"space_sdk": "static"})
    except (OSError, ValueError) as error:  # huggingface_hub's errors are of these two families
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"the hub refused ({reason}); log in with `hf auth login` and check the names") from None
    return plan


def _upload(api: Any, name: str, kind: str, folder: Path, private: bool, how: dict[str, str]) -> None:
    api.create_repo(name, repo_type=kind, exist_ok=True, private=private, **how)
    api.upload_folder(
        repo_id=name, repo_type=kind, folder_path=str(folder), delete_patterns="*", commit_message="Leaderboard"
    )


def _space_card() -> str:
    return "---\ntitle: Video reward models\nsdk: static\napp_file: index.html\n---\n"


def _under_results(board: Path, path: Path) -> str:
    return path.relative_to(board).as_posix()


def _copy(board: Path, site: Path, pages: Sequence[str], results: Sequence[Path], to: Path) -> None:
    for name, source in [*((name, site / name) for name in pages), *((_under_results(board, p), p) for p in results)]:
        target = to / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def _git(folder: Path, *words: str) -> str:
    environment = {
        **os.environ,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_AUTHOR_NAME": os.environ.get("GIT_AUTHOR_NAME", "rewardbench"),
        "GIT_AUTHOR_EMAIL": os.environ.get("GIT_AUTHOR_EMAIL", "rewardbench@localhost"),
        "GIT_COMMITTER_NAME": os.environ.get("GIT_COMMITTER_NAME", "rewardbench"),
        "GIT_COMMITTER_EMAIL": os.environ.get("GIT_COMMITTER_EMAIL", "rewardbench@localhost"),
    }
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):  # set inside a hook, they would name another repository
        environment.pop(name, None)
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *words],
            capture_output=True,
            text=True,
            timeout=GIT_TIMEOUT,
            check=True,
            env=environment,
        )
    except FileNotFoundError:
        raise InputError("git is not installed, so nothing can be pushed to a branch") from None
    except subprocess.TimeoutExpired:
        raise InputError(f"git {words[0]} took longer than {GIT_TIMEOUT:.0f} s; try again") from None
    except subprocess.CalledProcessError as error:
        said = [line for line in error.stderr.strip().splitlines() if line.strip()]
        reason = said[-1] if said else f"exit status {error.returncode}"
        raise InputError(f"git {words[0]} failed: {reason}") from None
    return done.stdout
