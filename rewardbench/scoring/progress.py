"""What long work tells whoever is watching."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Phases of a command; at most one is open at a time."""

    def start_phase(self, name: str, total: int | None) -> None:
        """A phase begins; ``total`` steps are expected (None: unknown)."""

    def advance(self, n: int = 1) -> None:
        """``n`` more steps are done."""

    def message(self, text: str) -> None:
        """A line that stays visible."""

    def end_phase(self) -> None:
        """The open phase is over."""


class Silent:
    """Nobody is watching."""

    def start_phase(self, name: str, total: int | None) -> None:
        pass

    def advance(self, n: int = 1) -> None:
        pass

    def message(self, text: str) -> None:
        pass

    def end_phase(self) -> None:
        pass
