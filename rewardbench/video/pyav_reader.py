"""The default reader: PyAV, sequential, with a frame count that was verified by decoding."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from rewardbench.errors import ClipError
from rewardbench.video.container import display_turn, frame_rate, header_duration, header_fps, open_clip, scan_packets
from rewardbench.video.resize import resize_frames
from rewardbench_plugin.clip import Frames, FrameSpec

log = logging.getLogger("rewardbench.video")

WAITING = 4  # decoded frames that may wait for their conversion

Wanted = Mapping[int, Sequence[FrameSpec]]
"""Frame index -> the specs that take this frame."""


@dataclass(frozen=True)
class Timeline:
    """The decodable frames of a clip: ``pts`` float64 (N,) in seconds, ``fps``, displayed ``height``, ``width``.

    ``incomplete``: a packet did not decode, or there are fewer frames than packets; ``note`` says where header and
    frames disagree.
    """

    pts: np.ndarray
    fps: float
    height: int
    width: int
    incomplete: bool
    note: str

    @property
    def total(self) -> int:
        return len(self.pts)


def read(path: str, specs: Sequence[FrameSpec], threads: int | None) -> dict[FrameSpec, Frames]:
    """Frames for every spec from one sequential decode.

    Which frames are wanted depends on how many there are, which only decoding tells. So the header's count (or the
    packet count, where the header has none) predicts them, only predicted frames are converted to RGB and resized as
    they pass, and the count is verified at the end. Only where a wrong header led to frames that were let go is the
    clip decoded a second time.
    """
    kept: dict[FrameSpec, dict[int, np.ndarray]] = {spec: {} for spec in specs}
    known: tuple[int, float, np.ndarray | None] | None = None

    def plan(declared: int, rate: float | None) -> Wanted:
        total, fps, pts = known or (*_predict(path, declared, rate), None)
        missing: dict[int, list[FrameSpec]] = {}
        for spec in specs:
            for index in np.unique(_sample(spec, total, fps, path, pts)):
                if int(index) not in kept[spec]:
                    missing.setdefault(int(index), []).append(spec)
        return missing

    for _ in range(3):
        timeline = _decode(path, plan, kept, threads)
        known = max(timeline.total, 1), timeline.fps or 25.0, timeline.pts if timeline.total else None
        if timeline.incomplete and threads != 1:  # frame threads lose good frames around a damaged packet
            threads = 1
            kept = {spec: {} for spec in specs}
            continue
        wanted = {spec: _sample(spec, timeline.total, timeline.fps, path, timeline.pts) for spec in specs}
        if all(int(index) in kept[spec] for spec in specs for index in wanted[spec]):
            if timeline.note:
                log.warning("%s: %s", path, timeline.note)
            return {spec: _frames(wanted[spec], kept.pop(spec), timeline) for spec in specs}
    raise ClipError(f"{path}: decodes to another number of frames each time")


def _sample(spec: FrameSpec, total: int, fps: float, path: str, pts: np.ndarray | None) -> np.ndarray:
    try:
        return spec.sampling.indices(total, fps, pts)
    except ValueError as error:
        raise ClipError(f"{path}: {error}") from None


def _frames(indices: np.ndarray, kept: Mapping[int, np.ndarray], timeline: Timeline) -> Frames:
    rgb = np.stack([kept[int(index)] for index in indices])
    return Frames(rgb, indices, timeline.pts[indices], timeline.fps, timeline.total, timeline.height, timeline.width)


def _predict(path: str, declared: int, rate: float | None) -> tuple[int, float]:
    """The likely (frame count, frame rate); a wrong guess costs time, never a frame."""
    if declared < 1 or rate is None:
        packets = scan_packets(path)
        declared = declared if declared > 0 else packets.shown
        rate = frame_rate(packets.pts, rate)
    return max(declared, 1), rate or 25.0


def _decode(
    path: str,
    plan: Callable[[int, float | None], Wanted],
    kept: Mapping[FrameSpec, dict[int, np.ndarray]],
    threads: int | None,
) -> Timeline:
    """Decode every frame once; put the wanted ones, resized, into ``kept``. Memory holds only those.

    ``plan`` is given the header's frame count (0 where it states none) and rate, and says what is wanted.
    """
    import av

    times: list[float] = []
    height = width = packets = hidden = damaged = 0
    with open_clip(path) as (container, stream), _beside(inline=threads == 1) as convert:
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = threads or 0
        declared, rate, length = stream.frames, header_fps(stream), header_duration(container, stream)
        wanted = plan(declared, rate)
        for packet in _packets(container, stream):
            if packet is not None:
                packets += packet.size > 0
                hidden += packet.is_discard
            try:
                frames = stream.decode(packet)
            except av.FFmpegError:
                damaged += 1
                continue
            for frame in frames:
                if frame.is_corrupt:
                    damaged += 1
                    continue
                index = len(times)
                times.append(np.nan if frame.pts is None else float(frame.pts * stream.time_base))
                turn = display_turn(frame)
                size = (frame.width, frame.height) if turn[0] % 2 else (frame.height, frame.width)
                if index == 0:
                    height, width = size
                elif size != (height, width):
                    raise ClipError(f"{path}: changes its picture size at frame {index}; re-encode it at one size")
                if index in wanted:
                    convert(partial(_keep, frame, turn, index, wanted[index], kept))
    incomplete = damaged > 0 or len(times) + hidden < packets
    if not times and (threads == 1 or not incomplete):
        raise ClipError(f"{path}: no frame of it can be decoded; the file is damaged or its codec is unknown")
    pts = np.array(times, dtype=np.float64)
    fps = frame_rate(pts, rate)
    if np.isnan(pts).any():  # a container may leave times out: the regular grid then stands for the whole clip
        pts = np.arange(len(pts)) / fps if fps > 0 else pts
    expected = declared - hidden if declared else round(length * fps) if length else len(pts)
    # A container without a count states a duration, which may hold a long last frame or a rounded end.
    missing = abs(expected - len(pts)) > (0 if declared else max(1, expected // 10))
    note = f"{expected} frames declared, {len(pts)} decode, {damaged} damaged packets" if missing or damaged else ""
    return Timeline(pts, fps, height, width, incomplete, note)


def _packets(container: Any, stream: Any) -> Iterator[Any]:
    """Packets of the stream, at the end the one (or None, where the file breaks off) that flushes the decoder."""
    import av

    try:
        yield from container.demux(stream)
    except av.FFmpegError:
        yield None


@contextmanager
def _beside(*, inline: bool) -> Iterator[Callable[[Callable[[], None]], None]]:
    """Run conversions in threads beside the decoder's, with a few frames waiting at most.

    Frame threads leave a fifth of two cores idle; conversion and resizing fit into it.
    """
    if inline:
        yield lambda task: task()
        return
    waiting: deque[Future[None]] = deque()
    with ThreadPoolExecutor(min(WAITING, os.cpu_count() or 1)) as pool:

        def submit(task: Callable[[], None]) -> None:
            waiting.append(pool.submit(task))
            if len(waiting) > WAITING:
                waiting.popleft().result()

        yield submit
        for conversion in waiting:
            conversion.result()


def _keep(
    frame: Any,
    turn: tuple[int, bool],
    index: int,
    specs: Sequence[FrameSpec],
    kept: Mapping[FrameSpec, dict[int, np.ndarray]],
) -> None:
    rgb = _turned(_rgb(frame), turn)
    done: dict[tuple[Any, str], np.ndarray] = {}
    for spec in specs:
        key = (spec.size, spec.filter)
        if key not in done:
            done[key] = resize_frames(rgb[None], spec)[0]
        kept[spec][index] = done[key]


def _rgb(frame: Any) -> np.ndarray:
    """uint8 (H, W, 3) by FFmpeg's default conversion; transparency (gif) is laid on white."""
    rgb: np.ndarray
    if not any(component.is_alpha for component in frame.format.components):
        converted = frame.reformat(format="rgb24")
        lines = np.frombuffer(converted.planes[0], np.uint8).reshape(converted.height, -1)
        rgb = lines[:, : 3 * converted.width].reshape(converted.height, converted.width, 3)  # a view: lines are padded
        return rgb
    rgba = frame.to_ndarray(format="rgba")
    alpha = rgba[..., 3:].astype(np.uint16)
    if alpha.min() == 255:
        return np.ascontiguousarray(rgba[..., :3])
    rgb = ((rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)
    return rgb


def _turned(rgb: np.ndarray, turn: tuple[int, bool]) -> np.ndarray:
    quarters, mirror = turn
    if mirror:
        rgb = rgb[:, ::-1]
    return np.ascontiguousarray(np.rot90(rgb, quarters)) if quarters or mirror else rgb
