"""Opening a video file, what its header says, and what its packets say."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rewardbench.errors import ClipError

CONTAINERS = {
    "mov,mp4,m4a,3gp,3g2,mj2": "mp4/mov",
    "matroska,webm": "mkv/webm",
    "avi": "avi",
    "mpegts": "ts",
    "gif": "gif",
}
"""FFmpeg demuxer name -> our name. Only these are opened: each is covered by the odd-clip suite, and text, playlist and
image demuxers (which would happily turn any file into "video", or follow links out of it) stay shut."""


@dataclass(frozen=True)
class ClipInfo:
    """What a clip's header declares (headers can lie; :func:`rewardbench.video.read_frames` verifies by decoding).

    Attributes:
        container: ``mp4/mov``, ``mkv/webm``, ``avi``, ``ts`` or ``gif``.
        codec: FFmpeg's codec name, e.g. ``h264``.
        width, height: coded picture size in pixels, before rotation.
        frames: declared number of frames, None where the container states none.
        fps: declared average frame rate in frames per second, None where unknown.
        duration: declared duration in seconds, None where unknown.
    """

    container: str
    codec: str
    width: int
    height: int
    frames: int | None
    fps: float | None
    duration: float | None


@dataclass(frozen=True)
class Packets:
    """The packet structure of a clip's video stream, read without decoding.

    Attributes:
        container: as in :class:`ClipInfo`.
        shown: packets that the container wants shown (edit-list discards taken off).
        discarded: packets that an edit list hides.
        leading: packets that follow a key frame in the file and precede it in time (open GOP).
        corrupt: packets that the demuxer flags as damaged, or cut short.
        declared: the header's frame count, None where it states none.
        untimed: packets without a presentation time.
        mirrored: the display matrix mirrors the picture.
        pts: float64 (shown,), presentation times in seconds, ascending.
        header_fps: the header's average frame rate, None where unknown.
    """

    container: str
    shown: int
    discarded: int
    leading: int
    corrupt: int
    declared: int | None
    untimed: int
    mirrored: bool
    pts: np.ndarray
    header_fps: float | None


def check_file(path: str | os.PathLike[str]) -> str:
    """The path as text, if it is a readable, regular, non-empty file.

    Raises:
        ClipError: naming the file and what it is instead.
    """
    name = os.fspath(path)
    try:
        state = os.stat(name)
    except FileNotFoundError:
        raise ClipError(f"{name}: no such file") from None
    except (OSError, ValueError) as error:
        raise ClipError(f"{name}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if stat.S_ISDIR(state.st_mode):
        raise ClipError(f"{name}: is a folder, not a file")
    if not stat.S_ISREG(state.st_mode):
        raise ClipError(f"{name}: is not a regular file")
    if state.st_size == 0:
        raise ClipError(f"{name}: is empty (zero bytes)")
    if not os.access(name, os.R_OK):
        raise ClipError(f"{name}: cannot be read (permission denied)")
    return name


@contextmanager
def open_clip(path: str | os.PathLike[str]) -> Iterator[tuple[Any, Any]]:
    """Open a clip; yields (PyAV container, its first real video stream) and closes both.

    Raises:
        ClipError: the file cannot be read, is not a video in one of :data:`CONTAINERS`, or has no video stream.
    """
    import av

    name = check_file(path)
    whitelist = ",".join(CONTAINERS)
    # The absolute path keeps FFmpeg from taking a file name for a protocol; only local files may be followed.
    options = {"format_whitelist": whitelist, "protocol_whitelist": "file"}
    try:
        container = av.open(os.path.abspath(name), options=options)
    except (av.FFmpegError, ValueError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ClipError(
            f"{name}: is not a readable video ({reason}); supported are mp4, mov, mkv, webm, avi, ts and gif"
        ) from None
    with container:
        if container.format.name not in CONTAINERS:
            raise ClipError(f"{name}: container {container.format.name} is not supported; convert it to mp4")
        streams = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
        if not streams:
            raise ClipError(f"{name}: has no video stream")
        if streams[0].codec_context is None:
            raise ClipError(f"{name}: no decoder for its video stream")
        yield container, streams[0]


def probe(path: str | os.PathLike[str]) -> ClipInfo:
    """What the header of a clip declares, without decoding a frame.

    Raises:
        ClipError: as :func:`open_clip`.
    """
    with open_clip(path) as (container, stream):
        return ClipInfo(
            container=CONTAINERS[container.format.name],
            codec=stream.codec_context.codec.canonical_name,
            width=stream.codec_context.width,
            height=stream.codec_context.height,
            frames=stream.frames or None,
            fps=header_fps(stream),
            duration=header_duration(container, stream),
        )


def header_fps(stream: Any) -> float | None:
    """The header's average frame rate; FFmpeg's guess where no average is stated (gif without delays: 10)."""
    for rate in (stream.average_rate, stream.guessed_rate):
        if rate is not None and rate > 0:
            return float(rate)
    return None


def display_turn(frame: Any) -> tuple[int, bool]:
    """(quarter turns counter-clockwise, mirror first) of the frame's display matrix; other angles are ignored."""
    data = frame.side_data.get("DISPLAYMATRIX") if len(frame.side_data) else None
    if data is None:
        return 0, False
    a, b, _, c, d = (int(v) for v in np.frombuffer(bytes(data), dtype=np.int32)[:5])
    mirror = a * d - b * c < 0
    if mirror:  # the matrix is then a horizontal flip followed by a turn
        a, b = -a, -b
    if abs(a) >= abs(b):
        return (0 if a >= 0 else 2), mirror
    return (1 if b < 0 else 3), mirror


def header_duration(container: Any, stream: Any) -> float | None:
    """The header's duration in seconds, None where unknown."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    if container.duration:
        return float(container.duration) / 1_000_000  # AV_TIME_BASE
    return None


def scan_packets(path: str | os.PathLike[str]) -> Packets:
    """Read the packets of a clip and decode its first frame only (a few per cent of the cost of decoding all).

    Raises:
        ClipError: as :func:`open_clip`.
    """
    import av

    discarded = corrupt = untimed = leading = 0
    pts: list[float] = []
    last_key: float | None = None
    mirrored: bool | None = None
    with open_clip(path) as (container, stream):
        stream.codec_context.thread_count = 1
        try:
            for packet in container.demux(stream):
                if mirrored is None:
                    mirrored = _first_mirrored(stream, packet)
                if packet.size == 0 and packet.dts is None:
                    continue  # the flush packet at the end
                corrupt += bool(packet.is_corrupt)
                if packet.is_discard:
                    discarded += 1
                    continue
                if packet.pts is None:
                    untimed += 1
                    pts.append(np.nan)
                    continue
                time = float(packet.pts * packet.time_base)
                pts.append(time)
                if packet.is_keyframe:
                    last_key = time
                elif last_key is not None and time < last_key:
                    leading += 1
        except av.FFmpegError:
            corrupt += 1
        name = CONTAINERS[container.format.name]
        declared, fps = stream.frames or None, header_fps(stream)
    return Packets(
        container=name,
        shown=len(pts),
        discarded=discarded,
        leading=leading,
        corrupt=corrupt,
        declared=declared,
        untimed=untimed,
        mirrored=bool(mirrored),
        pts=np.sort(np.array(pts)),
        header_fps=fps,
    )


def _first_mirrored(stream: Any, packet: Any) -> bool | None:
    """Whether the display matrix of the first frame mirrors; None while no frame is out."""
    import av

    try:
        frames = stream.decode(packet)
    except av.FFmpegError:
        return None
    return display_turn(frames[0])[1] if frames else None


def frame_rate(pts: np.ndarray, declared: float | None) -> float:
    """Average frame rate of the frames that exist, frames per second; 0 where it cannot be known.

    The header's rate is taken where ``total / rate`` agrees within 1 % with the time the frames really span (from
    the first time to the last, plus one more frame), else ``(total - 1) / (last - first)``.

    Args:
        pts: float (N,), presentation times in seconds; NaN where unknown.
        declared: the header's rate, or None.
    """
    total = len(pts)
    known = np.sort(pts[np.isfinite(pts)])
    span = float(known[-1] - known[0]) if len(known) > 1 else 0.0
    if declared is not None:
        if span <= 0:
            return declared
        longest = max(float(np.diff(known).max()), 1 / declared)
        if 0.99 * span <= total / declared <= 1.01 * (span + longest):
            return declared
    return (len(known) - 1) / span if span > 0 else 0.0


def content_hash(path: str | os.PathLike[str]) -> str:
    """SHA-256 (hex) of a file's bytes.

    Raises:
        ClipError: the file is missing, empty, a folder or unreadable.
    """
    try:
        with Path(check_file(path)).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ClipError(f"{os.fspath(path)}: cannot be read ({error.strerror or error})") from None
