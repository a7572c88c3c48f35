"""Files that cannot be written, and files that were cut short: said in a sentence, or made again."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError, safe_open

from rewardbench.errors import InputError

_OF_TORCH = ("inline_container", "PytorchStreamWriter", "unexpected pos")
"""What torch says where a file of its own ends before it should: it raises a RuntimeError and names no cause."""
_ZIPPED = {".bin", ".pt", ".pkl"}


def partial_of(path: Path) -> Path:
    """Where a file is written before it gets its name: another path at every call, since processes and machines may
    write the same file at once, with the same content."""
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.partial")


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what safetensors and torch raise where a disk is full or read-only into a sentence about ``path``.

    Raises:
        InputError: it cannot be written.
    """
    try:
        yield
    except SafetensorError as error:
        reason = str(error)
    except OSError as error:
        reason = str(error.strerror or error)
    except RuntimeError as error:
        if not any(mark in str(error) for mark in _OF_TORCH):
            raise
        reason = "the file ended early, as on a full disk"
    else:
        return
    raise InputError(f"{path} cannot be written ({reason}); make room there and run the command again, which goes on")


def is_whole(path: Path) -> bool:
    """A .safetensors file that is there and as long as its header says."""
    if not path.exists():
        return False
    try:
        with safe_open(path, framework="pt"):
            return True
    except (SafetensorError, OSError):
        return False


def is_complete(state: Path) -> bool:
    """No file of a training state was cut short: those of safetensors, and those of torch, which are zip archives."""
    return all(
        is_whole(file) if file.suffix == ".safetensors" else zipfile.is_zipfile(file)
        for file in state.rglob("*")
        if file.is_file() and file.suffix in {".safetensors", *_ZIPPED}
    )


def drop_broken(found: list[Path]) -> list[Path]:
    """Remove training states with a file that was cut short; those that were removed."""
    broken = [state for state in found if not is_complete(state)]
    for state in broken:
        shutil.rmtree(state)
    return broken
