"""Files of a Hugging Face repository at one commit, each checked against what the hub says it is."""

from __future__ import annotations

import contextlib
import fnmatch
import hashlib
import logging
import os
import re
import shutil
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardbench.errors import InputError
from rewardbench.fetching.download import UnreachableError
from rewardbench_plugin.assets import HubFiles

_COMMIT = re.compile(r"[0-9a-f]{40}")
ROOM = 64 << 20
"""Bytes that stay free on the disk."""


@dataclass(frozen=True)
class HubFile:
    """One file: ``digest`` is the SHA-256 of its bytes (large files) or git's own hash of them (small ones)."""

    path: str
    size: int
    digest: str


def endpoint() -> str:
    """The hub, or the mirror of it that ``HF_ENDPOINT`` names."""
    return (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")


def page(source: HubFiles) -> str:
    """Where a person finds these files."""
    kind = "datasets/" if source.repo_type == "dataset" else ""
    return f"{endpoint()}/{kind}{source.repo}/tree/{source.revision}"


def pinned(source: HubFiles) -> bool:
    return _COMMIT.fullmatch(source.revision) is not None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the hub's client from telling of every retry: what ends a transfer is said once, in one sentence."""
    logger = logging.getLogger("huggingface_hub")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def need_name(where: str) -> None:
    """End at once where the hub's name cannot be resolved, which its client would retry for half a minute.

    A proxy resolves names itself, so nothing is asked where one is set.

    Args:
        where: the page that is wanted, for the sentence.

    Raises:
        UnreachableError: there is no such name from here.
    """
    host = urllib.parse.urlsplit(endpoint()).hostname
    if host is None or urllib.request.getproxies():
        return
    try:
        socket.getaddrinfo(host, None)
    except OSError as error:
        raise UnreachableError(f"{where} cannot be reached ({host}: {error.strerror or error})") from None


def listing(source: HubFiles, revision: str) -> tuple[str, list[HubFile]]:
    """The commit behind ``revision``, and the files wanted of it.

    Raises:
        UnreachableError: the hub does not answer from here.
        InputError: no such repository, revision or file, or no permission.
    """
    from huggingface_hub import HfApi

    need_name(page(source))
    try:
        with quiet():
            found: Any = HfApi(endpoint=endpoint()).repo_info(
                source.repo, revision=revision, repo_type=source.repo_type, files_metadata=True
            )
    except Exception as error:  # the hub's own errors, and those of whichever HTTP library it uses
        raise _explained(error, source) from None
    files = [_file(one) for one in found.siblings or [] if _wanted(one.rfilename, source.patterns)]
    if not files:
        raise InputError(f"{page(source)} has no file like {', '.join(source.patterns) or '*'}")
    return str(found.sha), files


def _file(sibling: Any) -> HubFile:
    lfs = sibling.lfs
    digest = (lfs["sha256"] if isinstance(lfs, Mapping) else lfs.sha256) if lfs else sibling.blob_id
    return HubFile(sibling.rfilename, int(sibling.size or 0), str(digest))


def _wanted(name: str, patterns: tuple[str, ...]) -> bool:
    return not patterns or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def bring_files(source: HubFiles, commit: str, files: list[HubFile], folder: Path) -> None:
    """Bring the files that are not in ``folder`` yet, and check them all.

    Raises:
        UnreachableError: the hub does not answer from here.
        InputError: too little room, or a file that is not what the hub says (it is removed).
    """
    from huggingface_hub import snapshot_download

    folder.mkdir(parents=True, exist_ok=True)
    missing = [file for file in files if not matches(folder / file.path, file)]
    if not missing:
        return
    for file in missing:
        (folder / file.path).unlink(missing_ok=True)
    needed, free = sum(file.size for file in missing), shutil.disk_usage(folder).free
    if free < needed + ROOM:
        raise InputError(
            f"{source.repo} needs {needed / 1e9:.1f} GB in {folder}, {free / 1e9:.1f} GB are free; name another place "
            "with --to DIR"
        )
    need_name(page(source))
    try:
        with quiet():
            snapshot_download(
                source.repo,
                revision=commit,
                repo_type=source.repo_type,
                local_dir=folder,
                allow_patterns=[_escaped(file.path) for file in missing],
                endpoint=endpoint(),
            )
    except Exception as error:
        raise _explained(error, source) from None
    wrong = [file.path for file in missing if not matches(folder / file.path, file)]
    for name in wrong:
        (folder / name).unlink(missing_ok=True)
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise InputError(
            f"{', '.join(wrong[:3])}{more} of {source.repo} did not arrive as published (size or checksum); removed, "
            "the same command fetches again"
        )


def matches(path: Path, file: HubFile) -> bool:
    """Whether ``path`` holds the file, by size and digest."""
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    digest = hashlib.sha256() if len(file.digest) == 64 else hashlib.sha1(b"blob %d\0" % file.size)
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest() == file.digest


def _escaped(path: str) -> str:
    """The pattern that matches this path only."""
    return re.sub(r"([*?[])", r"[\1]", path)


def _explained(error: Exception, source: HubFiles) -> InputError:
    """What ended the transfer, as one sentence."""
    from huggingface_hub import errors

    where = page(source)
    if isinstance(error, errors.GatedRepoError):
        return InputError(f"{where} asks for consent: accept its terms there, then set HF_TOKEN")
    if isinstance(error, errors.RepositoryNotFoundError):
        return InputError(f"{where} is not there, or needs a permission (HF_TOKEN)")
    if isinstance(error, errors.RevisionNotFoundError):
        return InputError(f"{source.repo} has no revision {source.revision}")
    text = " ".join(str(error).split())[:200] or type(error).__name__
    if isinstance(error, errors.HfHubHTTPError) and getattr(error, "response", None) is not None:
        return InputError(f"{where} cannot be fetched ({text})")
    return UnreachableError(f"{where} cannot be reached ({text})")
