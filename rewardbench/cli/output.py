"""Where the command writes: results on standard output, everything else on standard error."""

from __future__ import annotations

import contextlib
import os
import select
import sys
from collections.abc import Iterator, Sequence
from typing import Any, TextIO

FORMATS = ("table", "json")


def print_json(value: Any, stream: TextIO | None = None) -> None:
    """Write one JSON document. Numbers that JSON lacks (NaN, infinities) are refused."""
    import json

    write(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False), stream)


def print_columns(rows: Sequence[Sequence[str]], stream: TextIO | None = None) -> None:
    """Write rows as aligned columns; the first row is the header.

    Plain text rather than rich's tables: importing those takes longer than listing the plugins.
    """
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        write("  ".join(cells).rstrip(), stream)


def write(text: str, stream: TextIO | None = None) -> None:
    """Write a line to standard output. A reader that went away (``| head``) is no error."""
    target = sys.stdout if stream is None else stream
    try:
        print(text, file=target)
    except BrokenPipeError:
        silence(target)


def error_line(text: str) -> None:
    """Write a line to standard error."""
    try:
        print(text, file=sys.stderr, flush=True)
    except BrokenPipeError:
        silence(sys.stderr)


def failure_line(video: str, error: str) -> None:
    """Write that a clip failed; the error names the clip itself where it comes from reading the file."""
    named = error if video in error.partition(": ")[0] else f"{video}: {error}"
    error_line(f"rewardbench: failed: {named}")


def flush() -> None:
    """Hand buffered output over now, so that a reader that went away is noticed here and not at exit."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            silence(stream)


def reader_is_gone() -> bool:
    """Whether standard output or error is a pipe whose reader closed it; such a stream is then silenced."""
    gone = [stream for stream in (sys.stdout, sys.stderr) if _is_closed_pipe(stream)]
    for stream in gone:
        silence(stream)
    return bool(gone)


def _is_closed_pipe(stream: TextIO) -> bool:
    try:
        stream.flush()  # fails again where unwritten text is left
        poll = select.poll()
        poll.register(stream.fileno(), select.POLLOUT)
        return any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    except BrokenPipeError:
        return True
    except (AttributeError, OSError, ValueError):  # no such call on this system, or no file behind the stream
        return False


@contextlib.contextmanager
def own_stdout() -> Iterator[TextIO]:
    """Yield the real standard output, and send to standard error whatever anyone else prints meanwhile.

    Works on the file descriptor, so it holds for the prints of plugins, of C libraries and of child processes.
    """
    sys.stdout.flush()
    try:
        descriptor = sys.stdout.fileno()
    except (AttributeError, OSError, ValueError):  # standard output was replaced by an object in memory
        real = sys.stdout
        with contextlib.redirect_stdout(sys.stderr):
            yield real
        return
    saved = os.dup(descriptor)
    os.dup2(sys.stderr.fileno(), descriptor)
    try:
        with os.fdopen(os.dup(saved), "w", encoding=sys.stdout.encoding or "utf-8") as real:
            yield real
            try:
                real.flush()
            except BrokenPipeError:
                silence(real)
    finally:
        sys.stdout.flush()
        os.dup2(saved, descriptor)
        os.close(saved)


def silence(stream: TextIO) -> None:
    """Point a stream whose reader is gone at nothing, so that later writes and the flush at exit succeed."""
    with contextlib.suppress(AttributeError, OSError, ValueError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())
        os.close(nothing)
