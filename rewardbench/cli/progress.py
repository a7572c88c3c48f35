"""Progress on standard error: a live display on a terminal, plain lines anywhere else."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.progress import Progress as RichDisplay
    from rich.progress import TaskID

    from rewardbench.scoring.progress import Progress

SECONDS_BETWEEN_LINES = 10.0


@contextlib.contextmanager
def terminal_progress() -> Iterator[Progress]:
    """Progress that suits standard error, ended properly however the block ends."""
    progress = RichProgress() if sys.stderr.isatty() else PlainProgress(sys.stderr)
    try:
        yield progress
    finally:
        progress.end_phase()


def phase_callback(progress: Progress) -> Callable[[str, int, int], None]:
    """``callback(phase, done, total)``, as long work in ``synth`` reports it, shown as phases."""
    phase, shown = "", 0

    def callback(name: str, done: int, total: int) -> None:
        nonlocal phase, shown
        if name != phase:
            progress.start_phase(name, total)
            phase, shown = name, 0
        progress.advance(done - shown)
        shown = done

    return callback


class PlainProgress:
    """A line when a phase starts, one every ten seconds, and one when it ends, with rate and time left."""

    def __init__(
        self, stream: TextIO, clock: Callable[[], float] = time.monotonic, every: float = SECONDS_BETWEEN_LINES
    ) -> None:
        self._stream = stream
        self._clock = clock
        self._every = every
        self._name: str | None = None
        self._total: int | None = None
        self._done = 0
        self._started = self._printed = 0.0

    def start_phase(self, name: str, total: int | None) -> None:
        self.end_phase()
        self._name, self._total, self._done = name, total, 0
        self._started = self._printed = self._clock()
        self._print(f"{name} …" if total is None else f"{name}: {total:,} …")

    def advance(self, n: int = 1) -> None:
        self._done += n
        now = self._clock()
        if self._name is not None and now - self._printed >= self._every:
            self._printed = now
            self._print(f"{self._name}: {describe_rate(self._done, self._total, now - self._started)}")

    def message(self, text: str) -> None:
        self._print(text)

    def end_phase(self) -> None:
        if self._name is None:
            return
        seconds = self._clock() - self._started
        done = f"{self._done:,} in " if self._done else ""
        rate = f" ({self._done / seconds:.1f}/s)" if self._done and seconds > 0 else ""
        self._print(f"{self._name}: {done}{describe_seconds(seconds)}{rate}")
        self._name = None

    def _print(self, text: str) -> None:
        # Nobody reading the progress is no reason to stop the run.
        with contextlib.suppress(BrokenPipeError):
            print(text, file=self._stream, flush=True)


class RichProgress:
    """A live bar per phase with count, rate and time left."""

    def __init__(self) -> None:
        self._display: RichDisplay | None = None
        self._task: TaskID | None = None

    def start_phase(self, name: str, total: int | None) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            ProgressColumn,
            SpinnerColumn,
            Task,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.text import Text

        class Rate(ProgressColumn):
            def render(self, task: Task) -> Text:
                speed = task.finished_speed or task.speed
                return Text("" if speed is None else f"{speed:.1f}/s")

        self.end_phase()
        count = [MofNCompleteColumn(), Rate(), TimeRemainingColumn()] if total is not None else [TimeElapsedColumn()]
        self._display = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            *count,
            console=Console(stderr=True),
        )
        self._display.start()
        self._task = self._display.add_task(name, total=total)

    def advance(self, n: int = 1) -> None:
        if self._display is not None and self._task is not None:
            self._display.advance(self._task, n)

    def message(self, text: str) -> None:
        if self._display is not None:
            self._display.console.print(text, markup=False, highlight=False)
        else:
            with contextlib.suppress(BrokenPipeError):
                print(text, file=sys.stderr, flush=True)

    def end_phase(self) -> None:
        if self._display is not None:
            self._display.stop()
        self._display = self._task = None


def describe_rate(done: int, total: int | None, seconds: float) -> str:
    """``120/1,000 (12.0/s, 1 min 13 s left)``."""
    rate = done / seconds if seconds > 0 else 0.0
    if total is None:
        return f"{done:,} ({rate:.1f}/s)"
    left = f", {describe_seconds((total - done) / rate)} left" if rate > 0 else ""
    return f"{done:,}/{total:,} ({rate:.1f}/s{left})"


def describe_seconds(seconds: float) -> str:
    """A duration in words: ``8.4 s``, ``2 min 5 s``, ``3 h 20 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"
