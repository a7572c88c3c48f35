"""Where the files of a benchmark lie: a folder of the cache, or one that the user named."""

from __future__ import annotations

import os
from pathlib import Path

from rewardbench.cache import cache_folder
from rewardbench.errors import InputError

LOCATION_SUFFIX = ".location"


def data_folder(name: str, data_dir: str | os.PathLike[str] | None = None) -> Path:
    """The folder of a benchmark's files, which may not exist yet.

    ``data_dir`` where it is given; else the folder that an earlier ``fetch`` or ``verify --data-dir`` was told, while
    it exists; else ``benchmarks/NAME`` in the cache.
    """
    if data_dir is not None:
        return Path(data_dir).absolute()
    home = cache_folder() / "benchmarks"
    try:
        told = Path((home / f"{name}{LOCATION_SUFFIX}").read_text(encoding="utf-8").strip())
    except (OSError, UnicodeDecodeError):
        return home / name
    return told if told.is_dir() else home / name


def remember_folder(name: str, folder: Path) -> None:
    """Let later commands find the benchmark in ``folder``."""
    home = cache_folder() / "benchmarks"
    home.mkdir(parents=True, exist_ok=True)
    partial = home / f".{name}{LOCATION_SUFFIX}.partial"
    partial.write_text(f"{folder.absolute()}\n", encoding="utf-8")
    os.replace(partial, home / f"{name}{LOCATION_SUFFIX}")


def first_file(folder: Path, *names: str) -> Path | None:
    """The first of ``names`` that is a file in ``folder``; a name with ``*`` stands for the first match by name."""
    for name in names:
        found = sorted(folder.glob(name)) if "*" in name else [folder / name]
        for path in found:
            if path.is_file():
                return path
    return None


def need_file(benchmark: str, folder: Path, *names: str) -> Path:
    """The same, where one must be there.

    Raises:
        InputError: naming the folder, the file and the command that brings it.
    """
    found = first_file(folder, *names)
    if found is None:
        raise InputError(
            f"benchmark {benchmark!r} is not at hand: {folder} has no {' or '.join(names)}; run "
            f"`rewardbench benchmarks fetch {benchmark}`, or name the folder that has it with the same command and "
            "--data-dir DIR"
        )
    return found


def find_media(folder: Path, name: str) -> str | None:
    """Where a clip or image lies, relative to ``folder``: under its own name, or in ``videos`` or ``media``; else None.

    Only names that stay inside ``folder`` are looked for.
    """
    if not name or "://" in name or "\0" in name:
        return None
    home = os.fspath(folder)
    for base in ("", "videos", "media"):
        relative = os.path.normpath(os.path.join(base, name))
        if relative.startswith("..") or os.path.isabs(relative):
            return None
        if os.path.isfile(os.path.join(home, relative)):
            return relative
    return None
