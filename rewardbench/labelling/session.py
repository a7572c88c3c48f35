"""One rater's answers: an append-only file, each answer on the disk before the next question is shown."""

from __future__ import annotations

import errno
import json
import os
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rewardbench.errors import InputError
from rewardbench.labelling.settings import Settings
from rewardbench.labelling.trials import CHOICES, Question
from rewardbench.locks import try_lock
from rewardbench.schemas import schema_fault

SCHEMA = "rewardbench.labels/1"
RATERS = "raters"


@dataclass(frozen=True)
class Answer:
    """What was chosen, and what stood where; ``video_a`` and ``video_b`` are the clips the pair had at that time."""

    pair_id: str
    video_a: str
    video_b: str
    dimension: str
    round: int
    swapped: bool
    choice: str
    seconds: float | None = None
    time: str = ""

    @property
    def key(self) -> tuple[str, int, str]:
        return self.pair_id, self.round, self.dimension


def rater_name(text: str) -> str:
    """A rater's name as it is kept: trimmed, in Unicode's composed form.

    Raises:
        InputError: empty, unprintable, or too long for a file's name.
    """
    name = unicodedata.normalize("NFC", text).strip()
    if not name or not name.isprintable() or len(_file_name(name).encode()) > 240:
        raise InputError("a rater's name is one line of 1 to about 60 printable characters")
    return name


def rater_file(folder: Path, rater: str) -> Path:
    return folder / RATERS / _file_name(rater)


def _file_name(rater: str) -> str:
    return f"{quote(rater, safe=' ', errors='replace').replace('.', '%2E')}.jsonl"


def read_answers(path: Path) -> tuple[str, list[Answer]]:
    """The rater of a file and the answers that stand (what was undone is gone). A torn last line is left out.

    Raises:
        InputError: not such a file, or a line that cannot be read.
    """
    data = path.read_bytes()
    return _replay(data[: data.rfind(b"\n") + 1], path)


def all_answers(folder: Path) -> dict[str, list[Answer]]:
    """Everybody's answers in a labelling folder, by rater.

    Raises:
        InputError: a file cannot be read, or two name the same rater.
    """
    raters: dict[str, list[Answer]] = {}
    for path in sorted((folder / RATERS).glob("*.jsonl")):
        if b"\n" not in path.read_bytes():
            continue  # begun, and cut off before its first line stood
        rater, answers = read_answers(path)
        if rater in raters:
            raise InputError(f"{path} names the rater {rater!r}, as another file does; keep one of them")
        raters[rater] = answers
    return raters


class Session:
    """A rater at work. Open it, ask `current`, give `answer` or `undo`; close it at the end.

    Not safe for several threads at once; the server holds a lock around it.
    """

    def __init__(self, folder: Path, rater: str, settings: Settings, asked: Sequence[Question]) -> None:
        """Open or begin the rater's file; a line torn by a crash is cut off.

        Raises:
            InputError: a bad name, a file of another rater, a broken line, or another process has the file open.
        """
        self.rater = rater_name(rater)
        self.path = rater_file(folder, self.rater)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = open(self.path, "a+b", buffering=0)  # noqa: SIM115 (open for as long as the session is)
        try:
            if not try_lock(self._stream):
                raise InputError(f"{self.path} is in use by another process; end that one first")
            self._answers = self._resume(settings)
        except BaseException:
            self._stream.close()
            raise
        self._asked = list(asked)
        self._by_key = {question.key: question for question in self._asked}

    def _resume(self, settings: Settings) -> list[Answer]:
        self._stream.seek(0)
        data = self._stream.read()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            self._stream.truncate(whole)
        if whole == 0:
            self._append({"schema": SCHEMA, "rater": self.rater, **asdict(settings)})
            _sync_folder(self.path.parent)
            return []
        rater, answers = _replay(data[:whole], self.path)
        if rater != self.rater:
            raise InputError(f"{self.path} belongs to the rater {rater!r}; give another name than {self.rater!r}")
        return answers

    @property
    def answers(self) -> list[Answer]:
        """Answers to what is asked now, oldest first; those to pairs that changed or went are left out."""
        return [one for one in self._answers if self._counts(one)]

    @property
    def total(self) -> int:
        return len(self._asked)

    @property
    def pending(self) -> list[Question]:
        done = {one.key for one in self.answers}
        return [question for question in self._asked if question.key not in done]

    def answer(self, choice: str, seconds: float | None = None) -> None:
        """Answer the first pending question; on return the answer is on the disk.

        Raises:
            InputError: an unknown choice, or nothing is pending.
        """
        if choice not in CHOICES:
            raise InputError(f"the choice {choice!r} is not one of {', '.join(CHOICES)}")
        pending = self.pending
        if not pending:
            raise InputError("every question is answered")
        q = pending[0]
        now = datetime.now(UTC).isoformat(timespec="seconds")
        kept = None if seconds is None else round(seconds, 2)
        given = Answer(q.pair.pair_id, q.pair.name_a, q.pair.name_b, q.dimension, q.round, q.swapped, choice, kept, now)
        self._append({"answer": asdict(given)})
        self._answers.append(given)

    def undo(self) -> bool:
        """Take the last answer back; False where there is none. What was undone stays readable in the file."""
        standing = self.answers
        if not standing:
            return False
        last = standing[-1]
        self._append({"undo": [last.pair_id, last.round, last.dimension]})
        self._answers.remove(last)
        return True

    def close(self) -> None:
        self._stream.close()

    def _counts(self, one: Answer) -> bool:
        question = self._by_key.get(one.key)
        return question is not None and (question.pair.name_a, question.pair.name_b) == (one.video_a, one.video_b)

    def _append(self, record: dict[str, Any]) -> None:
        line = json.dumps(record, ensure_ascii=False, allow_nan=False).encode("utf-8") + b"\n"
        end = self._stream.seek(0, os.SEEK_END)
        try:
            if self._stream.write(line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))
            os.fsync(self._stream.fileno())
        except OSError:  # a full disk: half a line must not stand before the next answer
            os.ftruncate(self._stream.fileno(), end)
            raise


def _replay(data: bytes, path: Path) -> tuple[str, list[Answer]]:
    rater = ""
    standing: dict[tuple[str, int, str, str, str], Answer] = {}
    for number, line in enumerate(data.splitlines(), start=1):
        try:
            record = json.loads(line)
            if number == 1:
                fault = schema_fault(record["schema"], SCHEMA, path, remedy="label in a new folder")
                if fault is not None:
                    raise InputError(fault)
                rater = rater_name(record["rater"])
            elif "undo" in record:
                key = tuple(record["undo"])
                last = next(k for k in reversed(standing) if k[:3] == key)
                del standing[last]
            else:
                one = Answer(**record["answer"])
                if one.choice not in CHOICES or type(one.swapped) is not bool or one.round not in (1, 2):
                    raise ValueError("no such choice")
                place = (*one.key, one.video_a, one.video_b)
                standing.pop(place, None)
                standing[place] = one
        except InputError:
            raise
        except (ValueError, KeyError, TypeError, StopIteration, AttributeError):
            raise InputError(
                f"{path}, line {number} is not an answer; put a copy of the file back, or move it away"
            ) from None
    if not rater:
        raise InputError(f"{path} has no first line that names its rater; move it away")
    return rater, list(standing.values())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
