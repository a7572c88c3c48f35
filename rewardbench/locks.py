"""Advisory locks: the system lets go of them when a process ends, however it ends.

On a platform without them nobody is kept out.
"""

from __future__ import annotations

from typing import IO, Any


def try_lock(stream: IO[Any]) -> bool:
    """Take the lock of an open file for as long as it stays open; False where another process holds it."""
    try:
        import fcntl
    except ImportError:
        return True
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def wait_for_lock(stream: IO[Any]) -> None:
    """Take the lock of an open file, however long another process holds it."""
    try:
        import fcntl
    except ImportError:
        return
    fcntl.flock(stream, fcntl.LOCK_EX)
