"""Scores that survive: every score is on the disk before the next batch is sent.

One SQLite file per run folder. A score's key names everything that can change it, so a row is never stale and writing
it twice changes nothing. Failures are not kept: the next run of the same command tries those clips again.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from rewardbench.errors import InputError

HASHES_PER_WRITE = 256

_SCHEMA = """
CREATE TABLE IF NOT EXISTS scores (key TEXT PRIMARY KEY, value REAL, raw REAL, note TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS judgements (key TEXT PRIMARY KEY, p_a REAL, p_tie REAL, p_b REAL, text TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, sha256 TEXT) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS sessions (id INTEGER PRIMARY KEY, plugin TEXT, details TEXT);
"""


@dataclass(frozen=True, slots=True)
class Score:
    """A stored score; ``value`` None means the model abstained."""

    key: str
    value: float | None
    raw: float | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """A stored verdict: probabilities of A, tie, B (None: the judge abstained) and its text."""

    key: str
    p: tuple[float, float, float] | None
    text: str = ""


class ScoreStore:
    """The durable store of one run folder (``path`` None: in memory, for a command that keeps nothing)."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._hashed: list[tuple[Any, ...]] = []
        try:
            self._db = sqlite3.connect(":memory:" if path is None else path, isolation_level=None)
            self._db.execute("PRAGMA synchronous=FULL")
            self._db.executescript(_SCHEMA)
        except sqlite3.Error as error:
            raise InputError(f"the score store {path} cannot be opened: {error}; is the folder writable?") from None

    def __enter__(self) -> ScoreStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    def _write(self, statement: str, rows: list[tuple[Any, ...]]) -> None:
        """One durable transaction.

        Raises:
            InputError: if the disk is full or the folder turned read-only; what was stored before stays.
        """
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(statement, rows)
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise InputError(
                f"scores cannot be written to {self.path} ({error}); "
                "all earlier scores are kept, and the same command goes on from them"
            ) from None

    def put_scores(self, scores: Iterable[Score]) -> None:
        rows = [(s.key, s.value, s.raw, s.note) for s in scores]
        self._write("INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?)", rows)

    def put_judgements(self, judgements: Iterable[Judgement]) -> None:
        rows = [(j.key, *(j.p or (None, None, None)), j.text) for j in judgements]
        self._write("INSERT OR REPLACE INTO judgements VALUES (?, ?, ?, ?, ?)", rows)

    def score(self, key: str) -> Score | None:
        row = self._db.execute("SELECT key, value, raw, note FROM scores WHERE key = ?", (key,)).fetchone()
        return None if row is None else Score(*row)

    def has_score(self, key: str) -> bool:
        return self._db.execute("SELECT 1 FROM scores WHERE key = ?", (key,)).fetchone() is not None

    def judgement(self, key: str) -> Judgement | None:
        row = self._db.execute("SELECT p_a, p_tie, p_b, text FROM judgements WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        return Judgement(key, None if row[0] is None else (row[0], row[1], row[2]), row[3])

    def count(self) -> int:
        """Number of stored scores."""
        return int(self._db.execute("SELECT COUNT(*) FROM scores").fetchone()[0])

    def content_hash(self, path: str) -> str:
        """SHA-256 of a file, remembered while its size and modification time stay the same.

        Raises:
            ClipError: if the file is missing, empty or cannot be read.
        """
        from rewardbench.video import content_hash

        try:
            status = os.stat(path)
        except (OSError, ValueError):
            return content_hash(path)  # says in its own words what is wrong
        full = os.path.abspath(path)
        known = self._db.execute("SELECT size, mtime_ns, sha256 FROM files WHERE path = ?", (full,)).fetchone()
        if known is not None and known[:2] == (status.st_size, status.st_mtime_ns):
            return str(known[2])
        digest = content_hash(path)
        self._hashed.append((full, status.st_size, status.st_mtime_ns, digest))
        if len(self._hashed) >= HASHES_PER_WRITE:
            self.flush()
        return digest

    def flush(self) -> None:
        """Keep the content hashes made so far (a hash that is lost is made again, so they are written in groups)."""
        if self._hashed:
            self._write("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", self._hashed)
            self._hashed = []

    def add_session(self, plugin: str, details: dict[str, Any]) -> None:
        """Remember how scores of this run were computed (device, versions, speed)."""
        self._write("INSERT INTO sessions (plugin, details) VALUES (?, ?)", [(plugin, json.dumps(details))])

    def sessions(self, plugin: str) -> Iterator[dict[str, Any]]:
        for (details,) in self._db.execute("SELECT details FROM sessions WHERE plugin = ? ORDER BY id", (plugin,)):
            yield json.loads(details)
