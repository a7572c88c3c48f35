"""The named alternatives ``decord`` and ``torchcodec``: random access by frame number, for parity with other pipelines.

Both take frame numbers from the container's index, which is wrong for some files: decord 0.6 returned other frames
than asked in open-GOP, edit-list, MPEG-TS and AVI files, torchcodec 0.17 in MPEG-TS. So a packet scan (a few per cent
of the decode time) looks for such structure first, and what a reader cannot do is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import numpy as np

from rewardbench.errors import ClipError
from rewardbench.video.container import Packets, frame_rate, scan_packets
from rewardbench.video.resize import resize_frames
from rewardbench_plugin.clip import Frames, FrameSpec

CHUNK = 8  # decoded frames of native size held at once

Fetch = Callable[[Sequence[int]], tuple[np.ndarray, np.ndarray | None]]
"""Frame numbers -> (uint8 (K, H, W, 3), times of the frames that were decoded (K,) in seconds, where it tells)."""


def read_decord(path: str, specs: Sequence[FrameSpec], threads: int | None) -> dict[FrameSpec, Frames]:
    """Frames by decord.

    Raises:
        ClipError: the clip cannot be opened, or its structure is one that decord gets wrong.
    """
    packets = scan_packets(path)
    _refuse(path, "decord", packets, ("mp4/mov", "mkv/webm"), open_gop=False, edits=False)
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    try:
        reader = decord.VideoReader(path, num_threads=threads or 0)
        count = len(reader)
    except Exception as error:
        raise ClipError(f"{path}: decord cannot open it ({_first_line(error)}); use the reader pyav") from None

    def fetch(numbers: Sequence[int]) -> tuple[np.ndarray, np.ndarray | None]:
        return reader.get_batch(list(numbers)).asnumpy(), None  # its timestamps are its index's, not the frames'

    return _collect(path, specs, packets, reader="decord", count=count, fetch=fetch)


def read_torchcodec(path: str, specs: Sequence[FrameSpec], threads: int | None) -> dict[FrameSpec, Frames]:
    """Frames by torchcodec in exact seek mode (its approximate mode returns other frames where the rate varies).

    Raises:
        ClipError: the clip cannot be opened, or its structure is one that torchcodec gets wrong.
    """
    packets = scan_packets(path)
    _refuse(path, "torchcodec", packets, ("mp4/mov", "mkv/webm"), open_gop=True, edits=True)
    video_decoder: Any = import_module("torchcodec.decoders").VideoDecoder
    try:
        decoder = video_decoder(path, dimension_order="NHWC", num_ffmpeg_threads=threads or 0, seek_mode="exact")
        count = len(decoder)
    except Exception as error:
        raise ClipError(f"{path}: torchcodec cannot open it ({_first_line(error)}); use the reader pyav") from None

    def fetch(numbers: Sequence[int]) -> tuple[np.ndarray, np.ndarray | None]:
        batch = decoder.get_frames_at(list(numbers))
        return batch.data.numpy(), batch.pts_seconds.numpy().astype(np.float64)

    return _collect(path, specs, packets, reader="torchcodec", count=count, fetch=fetch)


def _refuse(
    path: str, reader: str, packets: Packets, containers: Sequence[str], *, open_gop: bool, edits: bool
) -> None:
    reason = None
    if packets.container not in containers:
        reason = f"cannot be trusted with {packets.container} files"
    elif packets.shown == 0:
        raise ClipError(f"{path}: no frame of it can be decoded; the file is damaged or holds no pictures")
    elif packets.corrupt:
        reason = "cannot be trusted with a damaged file"
    elif packets.leading and not open_gop:
        reason = "returns wrong frames of files with open GOPs"
    elif packets.discarded and not edits:
        reason = "ignores the edit list of this file (a stream-copied cut)"
    elif packets.mirrored:
        reason = "does not mirror the picture as this file's display matrix asks"
    elif packets.untimed:
        reason = "needs presentation times, which this file lacks"
    if reason is not None:
        raise ClipError(f"{path}: the reader {reader} {reason}; use the reader pyav")


def _collect(
    path: str, specs: Sequence[FrameSpec], packets: Packets, *, reader: str, count: int, fetch: Fetch
) -> dict[FrameSpec, Frames]:
    if count != packets.shown:
        raise ClipError(
            f"{path}: the reader {reader} counts {count} frames where the file holds {packets.shown}; "
            "use the reader pyav"
        )
    fps = frame_rate(packets.pts, packets.header_fps)
    try:
        wanted = {spec: spec.sampling.indices(count, fps, packets.pts) for spec in specs}
    except ValueError as error:
        raise ClipError(f"{path}: {error}") from None
    numbers = sorted({int(i) for indices in wanted.values() for i in indices})
    kept: dict[FrameSpec, dict[int, np.ndarray]] = {spec: {} for spec in specs}
    members = {spec: set(indices.tolist()) for spec, indices in wanted.items()}
    tick = float(np.diff(packets.pts).min()) if count > 1 else 1.0
    height = width = 0
    for start in range(0, len(numbers), CHUNK):
        chunk = numbers[start : start + CHUNK]
        try:
            rgb, pts = fetch(chunk)
        except Exception as error:
            raise ClipError(f"{path}: {reader} cannot decode it ({_first_line(error)}); use the reader pyav") from None
        if len(rgb) != len(chunk):
            raise ClipError(f"{path}: {reader} returned {len(rgb)} of {len(chunk)} frames; use the reader pyav")
        if pts is not None and not np.allclose(pts, packets.pts[chunk], rtol=0, atol=0.4 * tick):
            raise ClipError(f"{path}: {reader} returned other frames than it was asked for; use the reader pyav")
        height, width = rgb.shape[1:3]
        for spec in specs:
            rows = [row for row, number in enumerate(chunk) if number in members[spec]]
            for row, frame in zip(rows, resize_frames(rgb[rows], spec), strict=True):
                kept[spec][chunk[row]] = frame
    return {
        spec: Frames(
            rgb=np.stack([kept[spec][int(i)] for i in indices]),
            indices=indices,
            pts=packets.pts[indices],
            fps=fps,
            total=count,
            height=height,
            width=width,
        )
        for spec, indices in wanted.items()
    }


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
