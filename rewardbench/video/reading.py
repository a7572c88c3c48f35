"""``read_frames``: one clip, any number of frame specs, the readers by name."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rewardbench.errors import InputError
from rewardbench.video import indexed_readers, pyav_reader
from rewardbench.video.container import check_file
from rewardbench_plugin.clip import READERS, Frames, FrameSpec

_READ: dict[str, Callable[[str, Sequence[FrameSpec], int | None], dict[FrameSpec, Frames]]] = {
    "pyav": pyav_reader.read,
    "decord": indexed_readers.read_decord,
    "torchcodec": indexed_readers.read_torchcodec,
}
_MODULES = {"pyav": "av", "decord": "decord", "torchcodec": "torchcodec.decoders"}


@dataclass(frozen=True)
class ReaderStatus:
    """Whether a reader can be used: its ``version``, or None and the ``reason`` in one sentence."""

    version: str | None
    reason: str = ""


def read_frames(
    path: str | os.PathLike[str], specs: Sequence[FrameSpec], *, threads: int | None = None
) -> dict[FrameSpec, Frames]:
    """Decode a clip once per reader and return the frames of every spec.

    A clip that is damaged, or whose header declares another number of frames than decode, gives the frames that
    decode (``Frames.total`` of them; a line is logged) with the reader ``pyav``, and is refused by the others.

    Args:
        path: the clip.
        specs: what is wanted; equal specs are read once.
        threads: decoder threads, None for one per core. The frames do not depend on it.

    Returns:
        One :class:`Frames` per distinct spec. Sizes are as displayed (rotation applied), pixel aspect ratio is not.

    Raises:
        ClipError: one sentence with the file's name: missing, empty, not a video, no video stream, nothing decodable,
            or a file that the reader asked for cannot read rightly.
        InputError: a reader that is not installed.
    """
    name = check_file(path)
    groups: dict[str, list[FrameSpec]] = {}
    for spec in dict.fromkeys(specs):
        groups.setdefault(spec.reader, []).append(spec)
    found: dict[FrameSpec, Frames] = {}
    for reader, group in groups.items():
        require_readers(group)
        found.update(_READ[reader](name, group, threads))
    return {spec: found[spec] for spec in dict.fromkeys(specs)}


def available_readers() -> dict[str, ReaderStatus]:
    """Every reader with its version, or why it cannot be used. Imports the readers (seconds, for torchcodec)."""
    return {reader: _status(reader) for reader in READERS}


def require_readers(specs: Sequence[FrameSpec]) -> None:
    """Check that every reader asked for can be imported, before any clip is opened.

    Raises:
        InputError: naming the reader and what to do.
    """
    for reader in dict.fromkeys(spec.reader for spec in specs):
        status = _status(reader)
        if status.version is None:
            raise InputError(f"the reader {reader} cannot be used: {status.reason}")


def reader_version(reader: str) -> str:
    """Name, version and decoding library of a reader, e.g. ``pyav 18.1.0 (libavcodec 62.28.102)``, for provenance.

    Raises:
        InputError: the reader cannot be used.
    """
    status = _status(reader)
    if status.version is None:
        raise InputError(f"the reader {reader} cannot be used: {status.reason}")
    if reader != "pyav":
        return f"{reader} {status.version}"
    import av

    return f"pyav {status.version} (libavcodec {'.'.join(map(str, av.library_versions['libavcodec']))})"


_known: dict[str, ReaderStatus] = {}


def _status(reader: str) -> ReaderStatus:
    if reader not in _known:
        _known[reader] = _import(reader)
    return _known[reader]


def _import(reader: str) -> ReaderStatus:
    from importlib import import_module
    from importlib.metadata import version

    package = _MODULES[reader].split(".")[0]
    try:
        import_module(_MODULES[reader])
        return ReaderStatus(version(package))
    except ModuleNotFoundError:
        extra = "'rewardbench-video[torchcodec]'" if reader == "torchcodec" else package
        return ReaderStatus(None, f"{package} is not installed (pip install {extra})")
    except Exception as error:  # torchcodec raises RuntimeError where the system's FFmpeg libraries are missing
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return ReaderStatus(None, f"{package} is installed but fails to load ({lines[0][:200]})")
