"""The odd-clip suite: small clips whose frames carry their own number in pixels, built with PyAV and own bytes."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from PIL import Image

from rewardbench.errors import InputError
from rewardbench.video import require_readers
from rewardbench_plugin.clip import READERS, FrameSpec

FPS = 24
COUNT = 48
HEIGHT, WIDTH = 64, 96
BITS = 8
CLOSED = "keyint=12:min-keyint=12:scenecut=0:bframes=2:b-adapt=0:open-gop=0"
FAST_VP9 = {"cpu-used": "8", "deadline": "realtime", "crf": "20", "b": "0"}
INDEXED = ("decord", "torchcodec")


@dataclass(frozen=True)
class OddClip:
    """A clip, the frame numbers that a right reader returns, and how its pixels are turned."""

    path: Path
    numbers: tuple[int, ...]
    fps: float = FPS
    turn: int = 0  # quarter turns counter-clockwise that the display asks for
    refused_by: Mapping[str, str] = field(default_factory=dict)  # reader -> words its ClipError must hold
    total_is_free: bool = False  # cut short: the first part of the numbers, of a length that the cut decides


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
    add("MPEG-TS", ts, refused_by=dict.fromkeys(INDEXED, "ts files"))
    avi = encode(folder / "bframes.avi", bars, codec="mpeg4", options={"bf": "2", "g": "12"})
    add("AVI with B-frames", avi, refused_by=dict.fromkeys(INDEXED, "avi files"))
    add("VP9 webm", encode(folder / "vp9.webm", bars, codec="libvpx-vp9", options=FAST_VP9))
    altref = {**FAST_VP9, "deadline": "good", "auto-alt-ref": "1", "lag-in-frames": "16"}
    add("VP9 webm, hidden frames", encode(folder / "vp9alt.webm", bars, codec="libvpx-vp9", options=altref))

    clips |= build_awkward(folder, bars, plain)
    clips |= build_damaged(folder, bars, plain, avi)
    return clips


def build_awkward(folder: Path, bars: np.ndarray, plain: Path) -> dict[str, OddClip]:
    """Few frames, odd and narrow sizes, portrait, rotation."""
    every = tuple(range(COUNT))
    gop = {"x264-params": CLOSED}
    clips: dict[str, OddClip] = {}

    def add(name: str, path: Path, numbers: Sequence[int] = every, **facts: object) -> None:
        clips[name] = OddClip(path, tuple(numbers), **facts)  # type: ignore[arg-type]

    add("one frame", encode(folder / "one.mp4", bars[5:6]), [5])
    add("two frames", encode(folder / "two.mp4", bars[5:7]), [5, 6])
    odd = draw_numbers(every, 63, 97)
    add("odd size", encode(folder / "odd.mp4", odd, options=gop, pixel_format="yuv444p"))
    add("odd size, VP9", encode(folder / "odd.webm", odd, codec="libvpx-vp9", options=FAST_VP9))
    add("portrait", encode(folder / "tall.mp4", draw_numbers(every, 160, 96), options=gop))
    narrow = encode(folder / "narrow.mp4", draw_numbers(every, 128, 72), options=gop)
    add("narrow", narrow, refused_by={"decord": "decord"})
    for quarters in (1, 2, 3):
        path = patch(plain, folder / f"turned{quarters}.mp4", set_rotation(quarters))
        add(f"rotated {90 * quarters}", path, turn=quarters)
    return clips


def build_damaged(folder: Path, bars: np.ndarray, plain: Path, avi: Path) -> dict[str, OddClip]:
    """Cut short, over-reported, and the gifs."""
    every = tuple(range(COUNT))
    clips: dict[str, OddClip] = {}

    def add(name: str, path: Path, **facts: object) -> None:
        clips[name] = OddClip(path, every, **facts)  # type: ignore[arg-type]

    damaged = {reader: reader for reader in INDEXED}
    front = encode(
        folder / "front.mp4", bars, options={"x264-params": CLOSED}, container_options={"movflags": "faststart"}
    )
    for name, source, keep, refused in (
        ("mp4", front, 0.8, damaged),
        ("ts", folder / "plain.ts", 0.7, damaged),
        ("mkv", folder / "plain.mkv", 0.7, {}),
        ("avi", avi, 0.7, damaged),
        ("webm", folder / "vp9.webm", 0.7, {}),
    ):
        data = source.read_bytes()
        path = folder / f"truncated.{name}"
        path.write_bytes(data[: int(len(data) * keep)])
        add(f"truncated {name}", path, total_is_free=True, refused_by=refused)
    counted = patch(avi, folder / "counted.avi", overstate_avi)
    add("over-reported avi", counted, refused_by=dict.fromkeys(INDEXED, "avi files"))
    counted = patch(plain, folder / "counted.mp4", overstate_mp4)
    add("over-reported mp4", counted)
    add("gif", write_gif(folder / "plain.gif", bars, 40), fps=25, refused_by=dict.fromkeys(INDEXED, "gif files"))
    add(
        "gif without delays",
        write_gif(folder / "hasty.gif", bars, 0),
        fps=10,
        refused_by=dict.fromkeys(INDEXED, "gif files"),
    )
    return clips


def write_gif(path: Path, frames: np.ndarray, milliseconds: int) -> Path:
    """A gif by Pillow; Pillow drops repeated frames, which these are not."""
    images = [Image.fromarray(frame) for frame in frames]
    images[0].save(path, save_all=True, append_images=images[1:], duration=milliseconds, loop=0)
    return path


ODD_CLIPS = (
    "plain mp4",
    "mov",
    "mkv",
    "single key frame",
    "open gop",
    "edit list, 12-frame GOP",
    "edit list, single GOP",
    "variable frame rate",
    "delayed start",
    "MPEG-TS",
    "AVI with B-frames",
    "VP9 webm",
    "VP9 webm, hidden frames",
    "one frame",
    "two frames",
    "odd size",
    "odd size, VP9",
    "portrait",
    "narrow",
    "rotated 90",
    "rotated 180",
    "rotated 270",
    "truncated mp4",
    "truncated ts",
    "truncated mkv",
    "truncated avi",
    "truncated webm",
    "over-reported avi",
    "over-reported mp4",
    "gif",
    "gif without delays",
)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "odd_name" in metafunc.fixturenames:
        metafunc.parametrize("odd_name", ODD_CLIPS)


@pytest.fixture(scope="session")
def odd_clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, OddClip]:
    clips = build(tmp_path_factory.mktemp("odd_clips"))
    assert tuple(clips) == ODD_CLIPS
    return clips


@pytest.fixture(params=READERS)
def reader(request: pytest.FixtureRequest) -> str:
    """Each reader in turn; skipped, visibly, where it is not installed."""
    try:
        require_readers([FrameSpec(request.param)])
    except InputError as error:
        pytest.skip(str(error))
    return request.param


@pytest.fixture(scope="session")
def tools() -> SimpleNamespace:
    """The suite's own drawing, reading and encoding functions."""
    return SimpleNamespace(
        draw=draw_numbers,
        see=see_number,
        encode=encode,
        patch=patch,
        damage=damage_middle,
        closed={"x264-params": CLOSED},
    )
