"""``read_frames``: the frames asked for and no others, from any clip, with any reader; or a sentence."""

from __future__ import annotations

import json
import os
import platform
import shutil
import struct
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
from PIL import Image, ImageSequence

from rewardbench.errors import ClipError, InputError
from rewardbench.video import (
    available_readers,
    probe,
    read_frames,
    reader_version,
    reading,
    require_readers,
    write_video,
)
from rewardbench_plugin.clip import READERS, Frames, FrameSpec, Sampling, Size

EVERY = Sampling("all")


def one(path: Path, sampling: Sampling = EVERY, reader: str = "pyav", **options: int | None) -> Frames:
    spec = FrameSpec(reader, sampling)
    return read_frames(path, [spec], **options)[spec]


def seen(tools: SimpleNamespace, rgb: np.ndarray, turn: int = 0) -> list[int]:
    return [tools.see(np.rot90(frame, -turn)) for frame in rgb]


def test_every_reader_returns_the_right_frames_or_refuses_by_name(odd_clips, odd_name, reader, tools) -> None:
    clip = odd_clips[odd_name]
    every, some = FrameSpec(reader, EVERY), FrameSpec(reader, Sampling("stride", count=7))
    if reader in clip.refused_by:
        with pytest.raises(ClipError, match=clip.refused_by[reader]) as refusal:
            read_frames(clip.path, [every, some])
        assert reader in str(refusal.value)
        assert clip.path.name in str(refusal.value)
        return
    found = read_frames(clip.path, [every, some])
    numbers = seen(tools, found[every].rgb, clip.turn)
    if clip.total_is_free:
        # Whatever follows the cut is missing, and B-frames just before it; nothing is doubled, greyed or out of order.
        assert len(numbers) > len(clip.numbers) // 3
        assert numbers[:-1] == list(clip.numbers[: len(numbers) - 1])
        assert numbers[-2] < numbers[-1] <= numbers[-2] + 3
    else:
        assert numbers == list(clip.numbers)
        assert found[every].fps == pytest.approx(clip.fps, rel=0.01)
    assert found[every].total == len(numbers)
    assert np.array_equal(found[some].indices, some.sampling.indices(len(numbers), found[some].fps))
    assert seen(tools, found[some].rgb, clip.turn) == [numbers[i] for i in found[some].indices]
    assert found[every].rgb.shape[1:3] == (found[every].height, found[every].width)
    assert np.all(np.diff(found[every].pts) > 0)
    assert np.array_equal(found[some].pts, found[every].pts[found[some].indices])


def test_threads_do_not_change_the_frames(odd_clips, odd_name) -> None:
    clip = odd_clips[odd_name]
    alone, default, three = (one(clip.path, threads=n) for n in (1, None, 3))
    for other in (default, three):
        assert np.array_equal(alone.rgb, other.rgb)
        assert np.array_equal(alone.pts, other.pts)
        assert alone.fps == other.fps


def test_readers_agree_on_pixels_times_and_rate(odd_clips, odd_name) -> None:
    clip = odd_clips[odd_name]
    reference = one(clip.path)
    for reader in READERS[1:]:
        if reader in clip.refused_by or available_readers()[reader].version is None:
            continue
        other = one(clip.path, reader=reader)
        assert (other.fps, other.total) == (reference.fps, reference.total)
        assert np.allclose(other.pts, reference.pts, atol=1e-6)
        # Three builds of FFmpeg convert the colours; 4:4:4 is where they round differently.
        assert np.abs(other.rgb.astype(int) - reference.rgb.astype(int)).max() <= 1


@pytest.mark.parametrize("wrong_total", [1, 5, 47, 49, 96, 100_000])
def test_a_wrong_prediction_costs_time_and_no_frame(odd_clips, tools, monkeypatch, wrong_total) -> None:
    from rewardbench.video import pyav_reader

    rules = [Sampling("count", count=5), Sampling("fps", fps=3.0, count=None), Sampling("middle", count=4), EVERY]
    specs = [FrameSpec(sampling=rule) for rule in rules]
    monkeypatch.setattr(pyav_reader, "_predict", lambda *header: (wrong_total, 7.0))
    found = read_frames(odd_clips["plain mp4"].path, specs)
    for spec in specs:
        expected = spec.sampling.indices(48, 24.0).tolist()
        assert found[spec].indices.tolist() == expected
        assert seen(tools, found[spec].rgb) == expected


def test_one_decode_serves_all_specs_of_a_reader(odd_clips, monkeypatch) -> None:
    from rewardbench.video import pyav_reader

    decoded = []
    original = pyav_reader._decode
    monkeypatch.setattr(pyav_reader, "_decode", lambda *a: decoded.append(a[0]) or original(*a))
    small = Size(height=16, width=24)
    specs = [
        FrameSpec(sampling=Sampling("count", count=4)),
        FrameSpec(sampling=Sampling("head", count=9), size=small, filter="pil-box"),
        FrameSpec(sampling=Sampling("head", count=2), size=small, filter="pil-box"),
    ]
    found = read_frames(odd_clips["plain mp4"].path, [*specs, specs[0]])
    assert len(decoded) == 1
    assert list(found) == specs
    assert np.array_equal(found[specs[1]].rgb[:2], found[specs[2]].rgb)
    assert (found[specs[1]].height, found[specs[1]].width) == (64, 96)
    assert found[specs[1]].rgb.shape == (9, 16, 24, 3)


def test_repeated_indices_repeat_frames(odd_clips, tools, reader) -> None:
    frames = one(odd_clips["two frames"].path, Sampling("count-repeat", count=5), reader)
    assert frames.indices.tolist() == [0, 0, 0, 0, 1]
    assert seen(tools, frames.rgb) == [5, 5, 5, 5, 6]


def test_delayed_start_keeps_the_containers_times(odd_clips, reader) -> None:
    assert one(odd_clips["delayed start"].path, reader=reader).pts[0] == pytest.approx(2.0)


def test_variable_rate_keeps_every_time(odd_clips) -> None:
    gaps = np.diff(one(odd_clips["variable frame rate"].path).pts) * 12288
    assert np.array_equal(np.rint(gaps), np.random.default_rng(3).integers(300, 1500, 48)[:47])


def test_seconds_follow_the_frames_times_not_the_average_rate(odd_clips, tools, reader) -> None:
    clip = odd_clips["variable frame rate"]
    times = one(clip.path).pts
    frames = one(clip.path, Sampling("seconds", count=24), reader)
    expected = [int(np.abs(times - second).argmin()) for second in range(round(times[-1]) + 1)]
    assert frames.indices.tolist() == expected
    assert seen(tools, frames.rgb) == [clip.numbers[i] for i in expected]


def test_damage_in_the_middle_is_the_same_for_any_number_of_threads(tmp_path, tools, odd_clips, caplog) -> None:
    path = tools.patch(odd_clips["plain mp4"].path, tmp_path / "damaged.mp4", tools.damage)
    alone, default = one(path, threads=1), one(path)
    assert np.array_equal(alone.rgb, default.rgb)
    assert 12 <= alone.total <= 48


def test_a_header_that_lies_is_logged_and_an_edit_list_is_not(odd_clips, caplog) -> None:
    one(odd_clips["over-reported mp4"].path)
    assert "60 frames declared, 48 decode" in caplog.text
    caplog.clear()
    for name in ("edit list, single GOP", "variable frame rate", "gif", "VP9 webm", "MPEG-TS"):
        one(odd_clips[name].path)
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("mirror", "turn"), [((-1, 0, 0, 1), 0), ((1, 0, 0, -1), 2), ((0, 1, 1, 0), 1), ((0, -1, -1, 0), 3)]
)
def test_mirrored_display_matrices(odd_clips, tmp_path, mirror, turn) -> None:
    """Expected by applying the matrix to pixel coordinates: (x, y) goes to (a x + c y, b x + d y)."""
    source = odd_clips["plain mp4"].path
    data = bytearray(source.read_bytes())
    a, b, c, d = (value << 16 for value in mirror)
    struct.pack_into(">9i", data, data.index(b"tkhd") + 44, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path = tmp_path / "mirrored.mp4"
    path.write_bytes(bytes(data))
    plain, turned = one(source, Sampling("head", count=1)).rgb[0], one(path, Sampling("head", count=1)).rgb[0]
    height, width = plain.shape[:2]
    y, x = np.mgrid[:height, :width]
    to_x, to_y = mirror[0] * x + mirror[2] * y, mirror[1] * x + mirror[3] * y
    expected = np.empty_like(turned)
    expected[to_y - to_y.min(), to_x - to_x.min()] = plain
    assert np.array_equal(turned, expected)
    for reader in READERS[1:]:
        if available_readers()[reader].version is not None:
            with pytest.raises(ClipError, match=f"{reader} does not mirror"):
                one(path, reader=reader)


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def audio_only(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        for i in range(10):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 44100, 1024 * i, Fraction(1, 44100)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def test_what_is_not_a_clip_gets_one_sentence(tmp_path, odd_clips, reader) -> None:
    plain = odd_clips["plain mp4"].path.read_bytes()
    (tmp_path / "folder.mp4").mkdir()
    Image.new("RGB", (32, 32)).save(tmp_path / "still.png")
    os.mkfifo(tmp_path / "pipe.mp4")
    cases = {
        tmp_path / "missing.mp4": "no such file",
        tmp_path / "folder.mp4": "is a folder",
        tmp_path / "pipe.mp4": "not a regular file",
        write(tmp_path / "empty.mp4", b""): "zero bytes",
        write(tmp_path / "text.mp4", b"a story about a clip\n" * 50): "not a readable video",
        write(tmp_path / "noise.mp4", np.random.default_rng(0).bytes(5000)): "not a readable video",
        write(tmp_path / "list.mp4", b"#EXTM3U\n#EXTINF:2,\nplain.mp4\n"): "not a readable video",
        write(tmp_path / "concat.mp4", b"ffconcat version 1.0\nfile plain.mp4\n"): "not a readable video",
        write(tmp_path / "headless.mp4", plain[: len(plain) // 2]): "not a readable video",
        (tmp_path / "still.png"): "not a readable video",
        audio_only(tmp_path / "sound.mp4"): "no video stream",
    }
    for path, words in cases.items():
        with pytest.raises(ClipError, match=words) as error:
            one(path, reader=reader)
        assert path.name in str(error.value)
        assert "\n" not in str(error.value)


def test_no_decodable_frame_is_an_error(tmp_path, odd_clips) -> None:
    data = bytearray(odd_clips["plain mp4"].path.read_bytes())
    start = data.index(b"mdat") + 4
    size = struct.unpack_from(">I", data, start - 8)[0]
    data[start : start + size - 8] = b"\0" * (size - 8)
    with pytest.raises(ClipError, match="no frame of it can be decoded"):
        one(write(tmp_path / "hollow.mp4", bytes(data)))


def test_a_change_of_size_is_refused(tmp_path, tools) -> None:
    small = tools.encode(tmp_path / "small.ts", tools.draw(range(6)))
    large = tools.encode(tmp_path / "large.ts", tools.draw(range(6), 128, 192))
    path = write(tmp_path / "both.ts", small.read_bytes() + large.read_bytes())
    with pytest.raises(ClipError, match="changes its picture size at frame 6"):
        one(path)


def test_unreadable_file(tmp_path, odd_clips, monkeypatch) -> None:
    monkeypatch.setattr(os, "access", lambda *a: False)  # root may read everything, so the mode alone proves nothing
    with pytest.raises(ClipError, match="permission denied"):
        one(odd_clips["plain mp4"].path)


def test_cover_art_is_not_video(tmp_path) -> None:
    path = audio_only(tmp_path / "sound.mp4")
    with av.open(str(path)) as old, av.open(str(tmp_path / "covered.mp4"), "w") as new:
        sound = new.add_stream_from_template(old.streams.audio[0])
        cover = new.add_stream("mjpeg", rate=1)
        cover.width = cover.height = 32
        cover.pix_fmt = "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        new.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        new.mux(cover.encode(None))
        for packet in old.demux(old.streams.audio[0]):
            if packet.dts is not None:
                packet.stream = sound
                new.mux(packet)
    with pytest.raises(ClipError, match="no video stream"):
        probe(tmp_path / "covered.mp4")


def test_sampling_by_rate_without_a_rate_is_an_error(odd_clips, monkeypatch) -> None:
    from rewardbench.video import pyav_reader

    monkeypatch.setattr(pyav_reader, "frame_rate", lambda pts, declared: 0.0)
    with pytest.raises(ClipError, match="frame rate"):
        one(odd_clips["one frame"].path, Sampling("fps", fps=2.0, count=None))


def test_composed_gif_equals_pillow(tmp_path) -> None:
    """Partial frames, kept, cleared and restored, with and without transparency (which is laid on white)."""
    rng = np.random.default_rng(1)
    for disposal in (0, 1, 2):
        frames = []
        for i in range(6):
            image = Image.new("RGBA", (40, 30), (0, 0, 0, 0) if disposal == 2 else (200, 30, 30, 255))
            patch = Image.fromarray(rng.integers(0, 8, (8, 10, 3), dtype=np.uint8) * 36)
            image.paste(patch, (4 * i, 3 * i))
            frames.append(image)
        path = tmp_path / f"disposal{disposal}.gif"
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=70, disposal=disposal)
        found = one(path)
        with Image.open(path) as gif:
            expected = []
            for frame in ImageSequence.Iterator(gif):
                rgba = frame.convert("RGBA")
                expected.append(Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB"))
        assert found.total == len(expected)
        assert found.fps == pytest.approx(1 / 0.07, rel=0.001)
        for ours, pillows in zip(found.rgb, expected, strict=True):
            assert np.array_equal(ours, np.asarray(pillows))


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="the ffmpeg command is absent")
@pytest.mark.parametrize("tags", [{}, {"colorspace": "bt709"}, {"color_range": "pc"}])
def test_colours_equal_ffmpegs_own_conversion(tmp_path, tags) -> None:
    rng = np.random.default_rng(2)
    small = rng.integers(0, 256, (4, 12, 16, 3), dtype=np.uint8)
    frames = np.stack([np.asarray(Image.fromarray(f).resize((160, 120), Image.Resampling.BICUBIC)) for f in small])
    plain = tmp_path / "plain.mp4"
    options = (
        {"colorspace": "bt709", "color_primaries": "bt709", "color_trc": "bt709"} if "colorspace" in tags else tags
    )
    write_video(plain, frames, 8, options=options)
    command = ["ffmpeg", "-v", "error", "-i", str(plain), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    expected = np.frombuffer(raw, np.uint8).reshape(frames.shape)
    difference = np.abs(one(plain).rgb.astype(int) - expected.astype(int))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


LEAKS = """
import ctypes, gc, json, os, resource, sys
from pathlib import Path
from rewardbench.errors import ClipError
from rewardbench.video import read_frames
from rewardbench_plugin.clip import FrameSpec, Sampling

good, cut, bad = map(Path, sys.argv[1:])
spec = FrameSpec("pyav", Sampling("all"))

def state():
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")), resident

def rounds(count):
    refused = 0
    for _ in range(count):
        read_frames(good, [spec])
        read_frames(cut, [spec])
        try:
            read_frames(bad, [spec])
        except ClipError:
            refused += 1
    return refused

rounds(25)
before = state()
refused = rounds(100)
print(json.dumps([before, state(), refused]))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="memory is counted as glibc gives it back")
def test_nothing_leaks_over_hundreds_of_clips(odd_clips, tmp_path) -> None:
    """Open files, threads and memory stay where they are; a clip of this size decodes to 0.9 MB.

    In a process of its own, with one arena that returns what is freed: otherwise what the allocator keeps for each
    decoding thread moves the resident size by tens of megabytes either way, and hides a leak or invents one.
    """
    clips = [
        odd_clips["plain mp4"].path,
        odd_clips["truncated mp4"].path,
        write(tmp_path / "bad.mp4", b"no video" * 100),
    ]
    allocator = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}
    done = subprocess.run(
        [sys.executable, "-c", LEAKS, *map(str, clips)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env=os.environ | allocator,
    )
    before, after, refused = json.loads(done.stdout)
    assert refused == 100
    assert after[:2] == before[:2]
    assert after[2] - before[2] < 2e6


def test_readers_name_their_version_or_the_reason(monkeypatch) -> None:
    readers = available_readers()
    assert list(readers) == list(READERS)
    assert readers["pyav"].version == av.__version__
    assert reader_version("pyav").startswith(f"pyav {av.__version__} (libavcodec ")
    monkeypatch.setattr(reading, "_known", {})
    monkeypatch.setitem(reading._MODULES, "torchcodec", "torchcodec_that_is_absent")
    assert available_readers()["torchcodec"].version is None
    for call in (lambda: require_readers([FrameSpec("torchcodec")]), lambda: reader_version("torchcodec")):
        with pytest.raises(InputError, match=r"torchcodec cannot be used: .* is not installed \(pip install"):
            call()


@pytest.mark.shared
def test_real_clips_decode_alike(shared, reader) -> None:
    sampling = Sampling("count", count=5)
    for path in sorted((shared / "data" / "videoalign" / "videos").glob("example_2_*.mp4")):
        info, found = probe(path), one(path, sampling, reader)
        assert (found.total, found.fps, found.height, found.width) == (info.frames, info.fps, info.height, info.width)
        assert np.array_equal(found.rgb, one(path, sampling).rgb)


@pytest.mark.shared
def test_every_shared_clip_reads(shared) -> None:
    small = FrameSpec(sampling=Sampling("count", count=4), size=Size(height=32, width=32), filter="bilinear-antialias")
    paths = [p for p in sorted((shared / "data").rglob("*")) if p.suffix in (".mp4", ".gif")]
    assert len(paths) > 20
    for path in paths[::3]:
        found = read_frames(path, [small])[small]
        assert found.rgb.shape == (4, 32, 32, 3)
        assert 4 <= found.fps <= 60
