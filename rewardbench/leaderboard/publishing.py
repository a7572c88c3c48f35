"""A site and its results, brought to a git branch, or to a dataset and a static Space of the Hugging Face hub."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardbench.errors import CheckFailed, InputError
from rewardbench.leaderboard.archive import MANIFEST, Refused, canonical, unpack
from rewardbench.leaderboard.folder import RESULTS, SITE, verified_bundles
from rewardbench.leaderboard.known import FILE_NAME
from rewardbench.leaderboard.site.matrix import probe_files
from rewardbench.leaderboard.site.pages import BUNDLES, DATA
from rewardbench.probing.record import read_probe

ATTRIBUTES = ".gitattributes"
CARD = "README.md"
NO_JEKYLL = ".nojekyll"
"""GitHub Pages otherwise leaves out files whose names begin with an underscore."""
GIT_TIMEOUT = 600.0


@dataclass(frozen=True)
class Step:
    """One thing that publishing does: ``what`` it is in words, to which ``target``, with which files.

    ``deletes`` has the files that are there now and will be gone; ``note`` says where that could not be asked.
    """

    what: str
    target: str
    files: tuple[str, ...]
    deletes: tuple[str, ...] = ()
    note: str = ""

    @property
    def sentence(self) -> str:
        gone = f", {len(self.deletes)} deleted" if self.deletes else ""
        return f"{self.what} {self.target}: {len(self.files)} files{gone}{self.note and f' ({self.note})'}"


@dataclass(frozen=True)
class Contents:
    """What is published: the site's files by name below it, and the results by name below the board."""

    pages: Mapping[str, bytes]
    results: Mapping[str, bytes]


def contents_of(board: Path, site: Path | None = None) -> Contents:
    """Everything to publish, after every bundle was verified and found in the site.

    Raises:
        InputError: if there is no site, or a probe that cannot be read.
        CheckFailed: a bundle that is refused, or a site that was made of other bundles.
    """
    site = site or board / SITE
    if not (site / "index.html").is_file():
        raise InputError(f"{site} holds no site; make it with rewardbench leaderboard build")
    files, verified = verified_bundles(board)
    there = _bundles_of(site)
    here = {(path.name, one.bundle.digest) for path, one in zip(files, verified, strict=True) if one.bundle}
    if there != here:
        name = min(there ^ here)[0]
        raise CheckFailed(
            f"{site} was not made of the bundles in {board / RESULTS} ({name} is not the same in both); build it again"
        )
    packed = {path: canonical(path) for path in files}
    results = {path.relative_to(board).as_posix(): content for path, content in packed.items()}
    for path in probe_files(board / RESULTS):
        read_probe(path)
        results[path.relative_to(board).as_posix()] = path.read_bytes()
    if (board / FILE_NAME).is_file():
        results[FILE_NAME] = (board / FILE_NAME).read_bytes()
    pages = {path.relative_to(site).as_posix(): path.read_bytes() for path in sorted(site.rglob("*")) if path.is_file()}
    pages |= {f"{BUNDLES}/{path.name}": content for path, content in packed.items()}
    return Contents(pages, results)


def _bundles_of(site: Path) -> set[tuple[str, str]]:
    """File name and digest of every bundle that a site shows, and that lies in it as it was when the site was made."""
    try:
        data = json.loads((site / DATA).read_text(encoding="utf-8"))
        shown = {(one["file"], one["sha256"]) for board in data["benchmarks"] for one in board["submissions"]}
        offered = {
            (path.name, hashlib.sha256(unpack(path)[MANIFEST]).hexdigest()) for path in (site / BUNDLES).glob("*.zip")
        }
    except (OSError, ValueError, KeyError, TypeError, Refused) as error:
        raise CheckFailed(
            f"{site} is not a whole site ({' '.join(str(error).split())[:200]}); build it again"
        ) from None
    return shown & offered | {(name, "") for name, _ in shown ^ offered}


def publish_to_branch(
    board: Path, *, remote: str, branch: str, site: Path | None = None, dry_run: bool = False, message: str = ""
) -> list[Step]:
    """Put the site at the root of a branch and the results under ``results/``, as one commit on what is there.

    The work tree of the caller's repository is not touched: the commit is made in a temporary clone of that branch.
    Where nothing changed, nothing is pushed.

    Args:
        board: the board's folder.
        remote: address or path of a git repository.
        branch: made if missing. The files of an earlier board make way for these; a branch that holds anything else
            is refused.
        site: the site's folder; ``site`` in the board's if None.
        dry_run: only say what would be done; the branch is looked at, and left.
        message: of the commit.

    Returns:
        What was done, or would be.

    Raises:
        InputError: no site, a name git refuses, a branch that is no board's, or a push that was refused.
        CheckFailed: see :func:`contents_of`.
    """
    if not re.fullmatch(r"[A-Za-z0-9][\w./-]*", branch) or ".." in branch:
        raise InputError(f"--branch {branch} is no name of a branch")
    if remote.startswith("-"):
        raise InputError(f"--remote {remote} is no address of a repository")
    contents = contents_of(board, site)
    new = {*contents.pages, *contents.results}
    with tempfile.TemporaryDirectory(prefix="rewardbench-publish-") as folder:
        work = Path(folder) / "branch"
        work.mkdir()
        _git(work, "init", "--quiet")
        address = remote if "://" in remote or ":" in remote else str(Path(remote).resolve())
        _git(work, "remote", "add", "origin", address)
        there = _fetch_branch(work, branch)
        if there and DATA not in there:
            raise InputError(
                f"branch {branch} of {remote} holds something that is no board ({len(there)} files, no {DATA}); "
                "name another with --branch"
            )
        deletes = tuple(name for name in there if name not in {*new, NO_JEKYLL})
        step = Step("push to", f"branch {branch} of {remote}", (*contents.pages, *contents.results), deletes)
        if dry_run:
            return [step]
        _write({**contents.pages, **contents.results}, work)
        (work / NO_JEKYLL).touch()
        _git(work, "add", "--all", "--force")
        if not _git(work, "status", "--porcelain").strip():
            return [Step("nothing changed on", step.target, ())]
        _git(work, "commit", "--quiet", "--message", message or "Leaderboard")
        _git(work, "push", "--quiet", "origin", f"HEAD:refs/heads/{branch}")
    return [step]


def _fetch_branch(work: Path, branch: str) -> list[str]:
    """Check the branch out without any file of it, ready for the next commit; the names of the files it has."""
    if not _git(work, "ls-remote", "--heads", "origin", f"refs/heads/{branch}").strip():
        _git(work, "checkout", "--quiet", "--orphan", branch)
        return []
    _git(work, "fetch", "--quiet", "--depth", "1", "origin", f"refs/heads/{branch}")
    _git(work, "update-ref", f"refs/heads/{branch}", "FETCH_HEAD")
    _git(work, "symbolic-ref", "HEAD", f"refs/heads/{branch}")
    return [name for name in _git(work, "ls-tree", "-r", "-z", "--name-only", "HEAD").split("\0") if name]


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
        InputError: no site, a name the hub does not take, a repository that is no board's, or an answer of the hub
            that ends it.
        CheckFailed: see :func:`contents_of`.
    """
    for option, name in (("--dataset", dataset), ("--space", space)):
        if name is not None and not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
            raise InputError(f"{option} {name} is not OWNER/NAME")
    contents = contents_of(board, site)
    if api is None:
        from huggingface_hub import HfApi

        api = HfApi()
    steps = []
    if dataset is not None:
        steps.append(_hub_step(api, "dataset", dataset, tuple(contents.results), dry_run))
    if space is not None:
        steps.append(_hub_step(api, "space", space, (*contents.pages, CARD), dry_run))
    if dry_run:
        return steps
    with tempfile.TemporaryDirectory(prefix="rewardbench-publish-") as folder, _hub_errors():
        if dataset is not None:
            data = Path(folder) / "dataset"
            _write(contents.results, data)
            _upload(api, dataset, "dataset", data, private, {}, steps[0].deletes)
        if space is not None:
            pages_folder = Path(folder) / "space"
            _write({**contents.pages, CARD: _space_card().encode()}, pages_folder)
            _upload(api, space, "space", pages_folder, private, {"space_sdk": "static"}, steps[-1].deletes)
    return steps


def _hub_step(api: Any, kind: str, name: str, files: tuple[str, ...], dry_run: bool) -> Step:
    """What would be done to one repository of the hub.

    Raises:
        InputError: it holds something else, or cannot be asked.
    """
    what = "upload to dataset" if kind == "dataset" else "upload to static Space"
    try:
        with _hub_errors():
            there = set(api.list_repo_files(name, repo_type=kind)) if api.repo_exists(name, repo_type=kind) else set()
    except InputError:
        if not dry_run:
            raise
        return Step(what, name, files, note="the hub could not be asked what is there now")
    others = there - {CARD, ATTRIBUTES}
    is_ours = (
        all(one == FILE_NAME or one.startswith(f"{RESULTS}/") for one in others)
        if kind == "dataset"
        else DATA in others
    )
    if others and not is_ours:
        raise InputError(
            f"{kind} {name} of the hub holds something that is no board ({min(others)} among {len(others)} files); "
            f"name another with --{kind}"
        )
    return Step(what, name, files, tuple(sorted(others - set(files))))


@contextlib.contextmanager
def _hub_errors() -> Iterator[None]:
    """What goes wrong between here and the hub, as one sentence.

    Its client raises errors of its own and of whichever HTTP library its version uses; Python's own kinds other than
    these two are mistakes of ours.
    """
    try:
        yield
    except Exception as error:
        if type(error).__module__ == "builtins" and not isinstance(error, (OSError, ValueError)):
            raise
        reason = " ".join(str(error).split())[:300]
        raise InputError(f"the hub refused ({reason}); log in with `hf auth login` and check the names") from None


def _upload(
    api: Any, name: str, kind: str, folder: Path, private: bool, how: dict[str, str], deletes: Sequence[str]
) -> None:
    api.create_repo(name, repo_type=kind, exist_ok=True, private=private, **how)
    api.upload_folder(
        repo_id=name,
        repo_type=kind,
        folder_path=str(folder),
        delete_patterns=[glob.escape(name) for name in deletes] or None,
        commit_message="Leaderboard",
    )


def _space_card() -> str:
    return "---\ntitle: Video reward models\nsdk: static\napp_file: index.html\n---\n"


def _write(files: Mapping[str, bytes], to: Path) -> None:
    for name, content in files.items():
        target = to / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


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
        said = [line.strip() for line in error.stderr.splitlines() if line.strip()]
        # What went wrong is said first; advice follows, over several lines.
        reasons = [line for line in said if line.startswith(("fatal:", "error:", "remote: error:", "! [rejected]"))]
        reason = (reasons or said or [f"exit status {error.returncode}"])[0].removeprefix("fatal: ")
        raise InputError(f"git {words[0]} failed: {reason}") from None
    return done.stdout
