"""Archives of clips, unpacked into one folder and nowhere else."""

from __future__ import annotations

import os
import shutil
import stat
import zipfile
from pathlib import Path, PurePosixPath

from rewardbench.errors import InputError

MOST_FILES = 500_000
MOST_RATIO = 200
"""An archive that grows more than this is no archive of videos, which hardly shrink."""
ROOM = 64 << 20
"""Bytes that stay free on the disk."""


def unpack(archive: Path, folder: Path) -> int:
    """Unpack a zip archive; files that are there with the right size stay. Returns the number of files.

    Every file appears only when whole, so an interrupted call goes on where it stopped.

    Raises:
        InputError: not a zip archive, a name that leads out of ``folder``, a link, too many files, too little room.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = [entry for entry in opened.infolist() if not entry.is_dir()]
            _refuse(entries, archive, folder)
            for entry in entries:
                target = folder / PurePosixPath(entry.filename)
                if target.is_file() and target.stat().st_size == entry.file_size:
                    continue
                target.parent.mkdir(parents=True, exist_ok=True)
                partial = target.with_name(f".{target.name}.partial")
                with opened.open(entry) as source, open(partial, "wb") as sink:
                    shutil.copyfileobj(source, sink, 1 << 20)
                os.replace(partial, target)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise InputError(f"{archive} cannot be unpacked: {' '.join(str(error).split())}") from None
    return len(entries)


def _refuse(entries: list[zipfile.ZipInfo], archive: Path, folder: Path) -> None:
    if len(entries) > MOST_FILES:
        raise InputError(f"{archive} has {len(entries):,} files, more than {MOST_FILES:,}; it is not unpacked")
    for entry in entries:
        path = PurePosixPath(entry.filename)
        if path.is_absolute() or ".." in path.parts or "\\" in entry.filename or ":" in path.parts[0]:
            raise InputError(f"{archive} has {entry.filename!r}, which leads out of {folder}; it is not unpacked")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise InputError(f"{archive} has the link {entry.filename!r}; it is not unpacked")
    size = sum(entry.file_size for entry in entries)
    packed = max(1, sum(entry.compress_size for entry in entries))
    if size > MOST_RATIO * packed + (1 << 20):
        raise InputError(f"{archive} grows from {packed:,} to {size:,} bytes; it is not unpacked")
    folder.mkdir(parents=True, exist_ok=True)
    have = sum((folder / e.filename).stat().st_size for e in entries if (folder / e.filename).is_file())
    if shutil.disk_usage(folder).free < size - have + ROOM:
        raise InputError(f"{archive} needs {size / 1e9:.1f} GB in {folder}, which has not so much free")
