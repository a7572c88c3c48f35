"""Clips named in tables: where their files lie, and that no name leads out of the table's folder."""

from __future__ import annotations

import os
import re
import stat
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote, urlparse

from rewardbench.errors import InputError
from rewardbench.tables import read_table
from rewardbench_plugin.clip import Clip

_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")


def read_clip_table(path: Path) -> list[Clip]:
    """Read a clip table (``video``, ``prompt?``, ``image?``, ``clip_id?``; other columns become metadata).

    Raises:
        InputError: if it has no ``video`` column, repeats a clip id, or a path leaves its folder.
    """
    columns, rows = read_table(path)
    if "video" not in columns:
        raise InputError(f"{path} has no column 'video' (columns: {', '.join(columns)})")
    clips: dict[str, Clip] = {}
    for number, row in enumerate(rows, start=1):
        where = f"{path}, row {number}"
        if not row["video"].strip():
            raise InputError(f"{where}: the clip's path is empty")
        clip_id = row.get("clip_id") or row["video"]
        if clip_id in clips:
            if row.get("clip_id"):
                raise InputError(f"{where}: clip_id {clip_id!r} stands twice; ids must be unique")
            clip_id = f"{clip_id}#{number}"
        image = row.get("image", "")
        clips[clip_id] = Clip(
            clip_id,
            locate(path.parent, row["video"], where),
            row.get("prompt") or None,
            locate(path.parent, image, where) if image else None,
            {**{k: v for k, v in row.items() if k not in ("prompt", "image", "clip_id")}, "name": row["video"]},
        )
    return list(clips.values())


class ClipTable:
    """Clips by id while a pairs file is read; the same file under another prompt or image is another clip."""

    def __init__(self, folder: Path, source: str) -> None:
        self.folder = folder
        self.source = source
        self.clips: dict[str, Clip] = {}
        self._ids: dict[tuple[str, str, str], str] = {}

    def add(self, video: str, prompt: str, image: str, row: int) -> str:
        key = (video if _URI.match(video) else os.path.normpath(video), prompt, image)
        if key in self._ids:
            return self._ids[key]
        if not video.strip():
            raise InputError(f"{self.source}, row {row}: the clip's path is empty")
        clip_id = key[0]
        copy = 2
        while clip_id in self.clips:
            clip_id, copy = f"{key[0]}#{copy}", copy + 1
        self.clips[clip_id] = Clip(
            clip_id,
            locate(self.folder, video, f"{self.source}, row {row}"),
            prompt or None,
            locate(self.folder, image, f"{self.source}, row {row}") if image else None,
            {"name": video},
        )
        self._ids[key] = clip_id
        return clip_id

    def add_side(self, pair_id: str, side: str, prompt: str) -> str:
        clip_id = f"{pair_id}#{side}"
        self.clips[clip_id] = Clip(clip_id, "", prompt or None)
        return clip_id


def locate(folder: Path, name: str, where: str) -> str:
    """The path of a clip named in a table that lies in ``folder``; a URI (``scheme://``) is returned as it is.

    Raises:
        InputError: if the name leads out of the folder, by itself or through a link (tables are data and may come
            from strangers).
    """
    scheme = _URI.match(name)
    if scheme is not None and scheme[1].lower() != "file":
        return name
    if scheme is not None:
        name = unquote(urlparse(name).path)
    base = os.path.abspath(folder)
    full = os.path.normpath(os.path.join(base, name))
    if not _inside(base, full):
        raise InputError(f"{where}: {name!r} leads out of the folder of the table; put the clips beside or below it")
    try:
        inside = any(_inside(root, _real_path(full)) for root in _roots(base))
    except ValueError as error:
        raise InputError(f"{where}: {name!r} cannot be the name of a file: {error}") from None
    if not inside:
        raise InputError(
            f"{where}: {name!r} is a link that leads out of the folder of the table; put the clips themselves beside "
            "or below it"
        )
    return full


@lru_cache(maxsize=1024)
def _real_folder(folder: str) -> str:
    """The folder with its links resolved; clips of one table share few folders, and every look-up costs 40 µs."""
    return os.path.realpath(folder)


def _roots(base: str) -> tuple[str, ...]:
    """Where files of a table may really lie: its folder and, in a hub's cache, the blobs its snapshot links to."""
    real = _real_folder(base)
    repository, snapshots, _ = real.partition(f"{os.sep}snapshots{os.sep}")
    blobs = os.path.join(repository, "blobs")
    return (real, blobs) if snapshots and os.path.isdir(blobs) else (real,)


def _real_path(path: str) -> str:
    """The path with its links resolved. ValueError: no file can have this name."""
    try:
        if stat.S_ISLNK(os.lstat(path).st_mode):
            return os.path.realpath(path)
    except OSError:
        pass  # no such file; that costs the clip, not the table
    folder, file = os.path.split(path)
    return os.path.join(_real_folder(folder), file)


def _inside(folder: str, path: str) -> bool:
    return os.path.commonpath([folder, path]) == folder
