"""What the page may know and do: sessions of several raters, clips under names that tell nothing."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rewardbench.errors import InputError
from rewardbench.labelling.pairs import LabelPair
from rewardbench.labelling.session import Session, rater_name
from rewardbench.labelling.settings import Settings
from rewardbench.labelling.trials import Question, questions


class OutOfDateError(Exception):
    """The page shows a question that was answered meanwhile, in another tab or by a key held down."""


class Room:
    """All raters of one labelling. Every method may be called from any thread."""

    def __init__(self, pairs: Sequence[LabelPair], folder: Path, settings: Settings, rater: str | None = None) -> None:
        """``rater``: who labels, where the page shall not ask."""
        self.rater = rater_name(rater) if rater is not None else None
        self._pairs, self._folder, self._settings = pairs, folder, settings
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}
        files = {file for p in pairs for file in (p.video_a, p.video_b, p.image) if file is not None}
        # Names are drawn anew at every start: neither they nor their order say which system made a clip.
        self._name = {file: secrets.token_hex(8) for file in files}
        self._file = {name: file for file, name in self._name.items()}
        if self.rater is not None:
            self._session(self.rater)

    def file(self, name: str) -> Path | None:
        """The clip or image of a name that `state` gave; None for any other."""
        return self._file.get(name)

    def state(self, rater: str) -> dict[str, Any]:
        """What the page shows this rater now; nothing in it tells which system made a clip.

        Raises:
            InputError: the name or the rater's file cannot be used.
        """
        with self._lock:
            return self._state(self._session(rater))

    def answer(self, rater: str, number: int, choice: str, seconds: float | None) -> dict[str, Any]:
        """Answer question ``number`` (counted from 0) and give what comes next.

        Raises:
            OutOfDateError: it is not the pending one.
            InputError: an unknown choice, or nothing is pending.
        """
        with self._lock:
            session = self._session(rater)
            self._check(session, number)
            session.answer(choice, seconds)
            return self._state(session)

    def undo(self, rater: str, number: int) -> dict[str, Any]:
        """Take the last answer back while question ``number`` is shown.

        Raises:
            OutOfDateError: another one is pending.
        """
        with self._lock:
            session = self._session(rater)
            self._check(session, number)
            session.undo()
            return self._state(session)

    def close(self) -> None:
        with self._lock:
            for session in self._sessions.values():
                session.close()
            self._sessions.clear()

    def _session(self, rater: str) -> Session:
        name = rater_name(rater)
        if self.rater is not None and name != self.rater:
            raise InputError(f"this page is {self.rater}'s; start without --rater to let several people label")
        if name not in self._sessions:
            asked = questions(self._pairs, name, self._settings)
            self._sessions[name] = Session(self._folder, name, self._settings, asked)
        return self._sessions[name]

    @staticmethod
    def _check(session: Session, number: int) -> None:
        if number != len(session.answers):
            raise OutOfDateError

    def _state(self, session: Session) -> dict[str, Any]:
        pending = session.pending
        question = pending[0] if pending else None
        following = next((q for q in pending if question and q.pair is not question.pair), None)
        per_pair = len(self._settings.dimensions)
        return {
            "rater": session.rater,
            "number": len(session.answers),
            "total": session.total,
            "pair": session.total // per_pair - (len(pending) - 1) // per_pair if pending else None,
            "pairs": session.total // per_pair,
            "question": None if question is None else self._shown(question),
            "next": None if following is None else list(self._shown(following)["clips"]),
        }

    def _shown(self, question: Question) -> dict[str, Any]:
        pair = question.pair
        clips = (pair.video_b, pair.video_a) if question.swapped else (pair.video_a, pair.video_b)
        return {
            "prompt": pair.prompt,
            "image": None if pair.image is None else self._name[pair.image],
            "clips": [self._name[clip] for clip in clips],
            "dimension": question.dimension,
            "dimensions": list(self._settings.dimensions),
        }
