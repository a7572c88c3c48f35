"""The odd-clip suite: small clips whose frames carry their own number in pixels, built with PyAV and own bytes."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

FPS = 24
COUNT = 48
HEIGHT, WIDTH = 64, 96
BITS = 8
CLOSED = "keyint=12:min-keyint=12:scenecut=0:bframes=2:b-adapt=0:open-gop=0"


@dataclass(frozen=True)
class OddClip:
    """A clip, the frame numbers that a right reader returns, and how its pixels are turned."""

    path: Path
    numbers: tuple[int, ...]
    fps: float = FPS
    turn: int = 0  # quarter turns counter-clockwise that the display asks for
    refused_by: Mapping[str, str] = field(default_factory=dict)  # reader -> words its ClipError must hold
    total_is_free: bool = False  # damaged: any prefix of at least half of the numbers is right


def draw_numbers(numbers: Sequence[int], height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """uint8 (T, H, W, 3): eight bars, white on top and black below for a 1, the other way round for a 0."""
    frames = np.zeros((len(numbers), height, width, 3), np.uint8)
    edges = np.linspace(0, width, BITS + 1).astype(int)
    for frame, number in zip(frames, numbers, strict=True):
        for bit in range(BITS):
            on = number >> bit & 1
            frame[: height // 2, edges[bit] : edges[bit + 1]] = 235 if on else 20
            frame[height // 2 :, edges[bit] : edges[bit + 1]] = 20 if on else 235
    return frames


def see_number(rgb: np.ndarray) -> int:
    """The number that a frame carries; -1 where its bars are not clear."""
    height, width = rgb.shape[:2]
    edges = np.linspace(0, width, BITS + 1).astype(int)
    grey = rgb.astype(float).mean(axis=2)
    number = 0
    for bit in range(BITS):
        bar = grey[:, edges[bit] + 1 : edges[bit + 1] - 1]
        contrast = bar[: height // 2 - 1].mean() - bar[height // 2 + 1 :].mean()
        if abs(contrast) < 100:
            return -1
        number |= int(contrast > 0) << bit
    return number


def encode(
    path: Path,
    frames: np.ndarray,
    *,
    codec: str = "libx264",
    pts: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 12288),
    options: Mapping[str, str] | None = None,
    container_options: Mapping[str, str] | None = None,
    pixel_format: str = "yuv420p",
) -> Path:
    """Encode by PyAV with full control of times; ``pts`` in ticks of ``time_base`` (default: 24 fps from 0)."""
    step = int(1 / (time_base * FPS))
    times = [i * step for i in range(len(frames))] if pts is None else pts
    with av.open(str(path), "w", options=dict(container_options or {})) as container:
        stream = container.add_stream(codec, rate=FPS, options={"threads": "1", **(options or {})})
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], pixel_format
        stream.codec_context.time_base = Fraction(1, FPS) if codec == "mpeg4" else time_base
        for time, rgb in zip(times, frames, strict=True):
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format=pixel_format)
            frame.pts = time * stream.codec_context.time_base.denominator // time_base.denominator
            frame.time_base = stream.codec_context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def stream_copy(source: Path, target: Path, *, start: float) -> Path:
    """Cut without re-encoding: packets from the key frame before ``start``, times shifted so that ``start`` is 0.

    The mp4 writer then adds the edit list that hides what lies before 0, as ``ffmpeg -ss … -c copy`` does.
    """
    with av.open(str(source)) as old, av.open(str(target), "w", options={"avoid_negative_ts": "disabled"}) as new:
        video = old.streams.video[0]
        stream = new.add_stream_from_template(video)
        shift = round(start / video.time_base)
        packets = [p for p in old.demux(video) if p.dts is not None]
        first = max(i for i, p in enumerate(packets) if p.is_keyframe and p.pts <= shift)
        for packet in packets[first:]:
            packet.pts, packet.dts = packet.pts - shift, packet.dts - shift
            packet.stream = stream
            new.mux(packet)
    return target


def patch(source: Path, target: Path, change: Callable[[bytearray], None]) -> Path:
    data = bytearray(source.read_bytes())
    change(data)
    target.write_bytes(bytes(data))
    return target


def set_rotation(quarters: int) -> Callable[[bytearray], None]:
    """Write a display matrix of ``quarters`` quarter turns counter-clockwise into an mp4's track header."""
    a, b, c, d = [(1, 0, 0, 1), (0, -1, 1, 0), (-1, 0, 0, -1), (0, 1, -1, 0)][quarters]

    def change(data: bytearray) -> None:
        at = data.index(b"tkhd") + 4 + 40  # version 0: 40 bytes stand before the matrix
        one = 1 << 16
        struct.pack_into(">9i", data, at, a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)

    return change


def overstate_avi(data: bytearray) -> None:
    """Double the frame counts of an AVI's headers and drop its index, which would tell the truth."""
    at = data.index(b"avih") + 8 + 16
    struct.pack_into("<I", data, at, 2 * COUNT)
    at = data.index(b"strh") + 8 + 32
    struct.pack_into("<I", data, at, 2 * COUNT)
    data[data.index(b"idx1") :] = b""


def overstate_mp4(data: bytearray) -> None:
    """Make an mp4's time table speak of 12 more frames than there are samples."""
    at = data.index(b"stts") + 4 + 8
    (count,) = struct.unpack_from(">I", data, at)
    struct.pack_into(">I", data, at, count + 12)


def damage_middle(data: bytearray) -> None:
    """Overwrite 400 bytes in the middle of an mp4's media data."""
    start = data.index(b"mdat") + 4
    size = struct.unpack_from(">I", data, start - 8)[0]
    middle = start + size // 2
    data[middle : middle + 400] = b"\x55" * 400


def build(folder: Path) -> dict[str, OddClip]:
    """All clips of the suite, by name."""
    every = tuple(range(COUNT))
    bars = draw_numbers(every)
    gop = {"x264-params": CLOSED}
    clips: dict[str, OddClip] = {}
    only_pyav = {"decord": "decord", "torchcodec": "torchcodec"}

    def add(name: str, path: Path, numbers: Sequence[int] = every, **facts: object) -> None:
        clips[name] = OddClip(path, tuple(numbers), **facts)  # type: ignore[arg-type]

    plain = encode(folder / "plain.mp4", bars, options=gop)
    add("plain mp4", plain)
    add("mov", encode(folder / "plain.mov", bars, options=gop))
    add("mkv", encode(folder / "plain.mkv", bars, options=gop))
    single = encode(folder / "single.mp4", bars, options={"x264-params": CLOSED.replace("12", "250")})
    add("single key frame", single)

    opened = {"x264-params": CLOSED.replace("open-gop=0", "open-gop=1")}
    add("open gop", encode(folder / "open.mp4", bars, options=opened), refused_by={"decord": "open GOP"})
    for name, source in (("12-frame", plain), ("single", single)):
        cut = stream_copy(source, folder / f"cut_{name}.mp4", start=20 / FPS)
        add(f"edit list, {name} GOP", cut, every[20:], refused_by={"decord": "edit list"})

    steps = np.random.default_rng(3).integers(300, 1500, COUNT)
    ticks = np.concatenate([[0], np.cumsum(steps)[:-1]]).tolist()
    rate = (COUNT - 1) * 12288 / (ticks[-1] - ticks[0])
    add("variable frame rate", encode(folder / "vfr.mp4", bars, pts=ticks, options=gop), fps=rate)
    late = [2 * 12288 + 512 * i for i in range(COUNT)]
    add("delayed start", encode(folder / "late.mp4", bars, pts=late, options=gop))

    ts = encode(folder / "plain.ts", bars, options=gop)
    add("MPEG-TS", ts, refused_by=dict.fromkeys(only_pyav, "ts files"))
    avi = encode(folder / "bframes.avi", bars, codec="mpeg4", options={"bf": "2", "g": "12"})
    add("AVI with B-frames", avi, refused_by=dict.fromkeys(only_pyav, "avi files"))
    vp9 = {"cpu-used": "8", "deadline": "realtime", "crf": "20", "b": "0"}
    add("VP9 webm", encode(folder / "vp9.webm", bars, codec="libvpx-vp9", options=vp9))
    altref = {**vp9, "deadline": "good", "auto-alt-ref": "1", "lag-in-frames": "16"}
    add("VP9 webm, hidden frames", encode(folder / "vp9alt.webm", bars, codec="libvpx-vp9", options=altref))

    add("one frame", encode(folder / "one.mp4", bars[5:6]), [5])
    add("two frames", encode(folder / "two.mp4", bars[5:7]), [5, 6])
    odd = draw_numbers(every, 63, 97)
    add("odd size", encode(folder / "odd.mp4", odd, options=gop, pixel_format="yuv444p"))
    add("odd size, VP9", encode(folder / "odd.webm", odd, codec="libvpx-vp9", options=vp9))
    add("portrait", encode(folder / "tall.mp4", draw_numbers(every, 128, 72), options=gop))
    for quarters in (1, 2, 3):
        path = patch(plain, folder / f"turned{quarters}.mp4", set_rotation(quarters))
        add(f"rotated {90 * quarters}", path, turn=quarters)

    front = encode(folder / "front.mp4", bars, options=gop, container_options={"movflags": "faststart"})
    for name, source, keep in (("mp4", front, 0.8), ("ts", ts, 0.7), ("mkv", folder / "plain.mkv", 0.7)):
        data = source.read_bytes()
        path = folder / f"truncated.{name}"
        path.write_bytes(data[: int(len(data) * keep)])
        add(f"truncated {name}", path, total_is_free=True, refused_by=dict(only_pyav))
    counted = patch(avi, folder / "counted.avi", overstate_avi)
    add("over-reported avi", counted, refused_by=dict.fromkeys(only_pyav, "avi files"))
    counted = patch(plain, folder / "counted.mp4", overstate_mp4)
    add("over-reported mp4", counted, refused_by=dict(only_pyav))
    return clips


@pytest.fixture(scope="session")
def odd_clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, OddClip]:
    return build(tmp_path_factory.mktemp("odd_clips"))
