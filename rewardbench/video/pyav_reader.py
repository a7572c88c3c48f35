"""The default reader: PyAV, sequential, with a frame count that was verified by decoding."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rewardbench.errors import ClipError
from rewardbench.video.container import display_turn, frame_rate, header_duration, header_fps, open_clip, scan_packets
from rewardbench.video.resize import resize_frames
from rewardbench_plugin.clip import Frames, FrameSpec

log = logging.getLogger("rewardbench.video")


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
    total, fps = _predict(path)
    for _ in range(3):
        missing: dict[int, list[FrameSpec]] = {}
        for spec in specs:
            for index in np.unique(_sample(spec, total, fps, path)):
                if int(index) not in kept[spec]:
                    missing.setdefault(int(index), []).append(spec)
        timeline = _decode(path, missing, kept, threads)
        total, fps = max(timeline.total, 1), timeline.fps or fps
        if timeline.incomplete and threads != 1:  # frame threads lose good frames around a damaged packet
            threads = 1
            kept = {spec: {} for spec in specs}
            continue
        wanted = {spec: _sample(spec, timeline.total, timeline.fps, path) for spec in specs}
        if all(int(index) in kept[spec] for spec in specs for index in wanted[spec]):
            if timeline.note:
                log.warning("%s: %s", path, timeline.note)
            return {spec: _frames(wanted[spec], kept.pop(spec), timeline) for spec in specs}
    raise ClipError(f"{path}: decodes to another number of frames each time")


def _sample(spec: FrameSpec, total: int, fps: float, path: str) -> np.ndarray:
    try:
        return spec.sampling.indices(total, fps)
    except ValueError as error:
        raise ClipError(f"{path}: {error}") from None


def _frames(indices: np.ndarray, kept: Mapping[int, np.ndarray], timeline: Timeline) -> Frames:
    rgb = np.stack([kept[int(index)] for index in indices])
    return Frames(rgb, indices, timeline.pts[indices], timeline.fps, timeline.total, timeline.height, timeline.width)


def _predict(path: str) -> tuple[int, float]:
    """The likely (frame count, frame rate); a wrong guess costs time, never a frame."""
    with open_clip(path) as (_, stream):
        total, fps = stream.frames, header_fps(stream)
    if total < 1 or fps is None:
        packets = scan_packets(path)
        total = total if total > 0 else packets.shown
        fps = frame_rate(packets.pts, fps)
    return max(total, 1), fps or 25.0


def _decode(
    path: str,
    wanted: Mapping[int, Sequence[FrameSpec]],
    kept: Mapping[FrameSpec, dict[int, np.ndarray]],
    threads: int | None,
) -> Timeline:
    """Decode every frame once; put the wanted ones, resized, into ``kept``. Memory holds only those."""
    import av

    times: list[float] = []
    height = width = packets = hidden = damaged = 0
    with open_clip(path) as (container, stream):
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = threads or 0
        declared, rate, length = stream.frames, header_fps(stream), header_duration(container, stream)
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
                    _keep(_turned(_rgb(frame), turn), index, wanted[index], kept)
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


def _keep(
    rgb: np.ndarray, index: int, specs: Sequence[FrameSpec], kept: Mapping[FrameSpec, dict[int, np.ndarray]]
) -> None:
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
        rgb = frame.to_ndarray(format="rgb24")
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
