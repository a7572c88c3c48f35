"""What weights are, by content. Digests of large files are remembered, so that 17 GB are not read at every start."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import List, Optional

REMEMBERED_SIZE = 64 << 20
"""Files of at least this many bytes have their digest remembered; smaller ones are always read."""


def hash_path(path: str) -> str:
    """SHA-256 (hex) of a file, or of a folder's relative names and contents.

    Of a folder, names that begin with a dot are passed over: download tools keep notes with dates there.

    The digest of a large file is kept in ``$REWARDBENCH_CACHE/digests`` (or ``~/.cache/rewardbench/digests``) under
    its path, size, inode and time of last change, and read again only where one of these is another.

    Raises:
        ValueError: if there is nothing at ``path``.
    """
    root = Path(path)
    if not root.exists():
        raise ValueError(f"weights path {path} does not exist")
    if root.is_file():
        return _hash_file(root)
    digest = hashlib.sha256()
    for file in sorted(p for p in root.rglob("*") if p.is_file() and not _hidden(p.relative_to(root))):
        digest.update(file.relative_to(root).as_posix().encode() + b"\0")
        digest.update(bytes.fromhex(_hash_file(file)))
    return digest.hexdigest()


def _hidden(relative: Path) -> bool:
    return any(part.startswith(".") for part in relative.parts)


def _hash_file(file: Path) -> str:
    note = _note(file)
    if note is not None:
        try:
            remembered = note.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            remembered = ""
        if len(remembered) == 64:
            return remembered
    digest = hashlib.sha256()
    with open(file, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    if note is not None:
        _remember(note, digest.hexdigest())
    return digest.hexdigest()


def _note(file: Path) -> Optional[Path]:
    """Where the digest of a large file is remembered; None for a small one."""
    facts = file.stat()
    if facts.st_size < REMEMBERED_SIZE:
        return None
    identity: List[object] = [file.resolve(), facts.st_size, facts.st_ino, facts.st_mtime_ns, facts.st_ctime_ns]
    name = hashlib.sha256("\0".join(map(str, identity)).encode()).hexdigest()
    home = os.environ.get("REWARDBENCH_CACHE")
    folder = Path(home) if home else Path.home() / ".cache" / "rewardbench"
    return folder / "digests" / name


def _remember(note: Path, digest: str) -> None:
    """Best effort: without it the file is read again next time."""
    partial = note.with_name(f"{note.name}.{os.getpid()}")
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(digest, encoding="ascii")
        os.replace(partial, note)
    except OSError:
        pass
