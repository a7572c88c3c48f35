"""``write_video``: what is written comes back, the same bytes every time, and bad requests are refused."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from rewardbench.errors import InputError
from rewardbench.video import content_hash, probe, read_frames, write_video
from rewardbench_plugin.clip import FrameSpec, Sampling

EVERY = FrameSpec(sampling=Sampling("all"))


def scene(count: int = 10, height: int = 48, width: int = 64) -> np.ndarray:
    """A smooth picture that moves by two pixels a frame."""
    rng = np.random.default_rng(0)
    small = (rng.integers(30, 200, (4, 7, 1)) + rng.integers(0, 20, (4, 7, 3))).astype(np.uint8)
    wide = np.asarray(Image.fromarray(small).resize((width + 2 * count, height), Image.Resampling.BICUBIC))
    return np.stack([wide[:, 2 * i : 2 * i + width] for i in range(count)])


@pytest.mark.parametrize(
    ("name", "options", "container", "codec", "tolerance"),
    [
        ("a.mp4", {}, "mp4/mov", "h264", 4.0),
        ("a.mov", {"crf": 10}, "mp4/mov", "h264", 2.5),
        ("a.mkv", {"options": {"bf": "2", "g": "4"}}, "mkv/webm", "h264", 4.0),
        ("a.ts", {}, "ts", "h264", 4.0),
        ("a.webm", {"codec": "libvpx-vp9"}, "mkv/webm", "vp9", 5.0),
        ("a.avi", {"codec": "mpeg4", "options": {"bf": "2"}}, "avi", "mpeg4", 5.0),
        ("a.gif", {}, "gif", "gif", 5.0),
        ("a.mp4", {"lossless": True}, "mp4/mov", "h264", 1.0),
    ],
)
def test_written_frames_come_back(tmp_path, name, options, container, codec, tolerance) -> None:
    frames = scene()
    write_video(tmp_path / name, frames, 12.5, **options)
    info, found = probe(tmp_path / name), read_frames(tmp_path / name, [EVERY])[EVERY]
    assert (info.container, info.codec, info.width, info.height) == (container, codec, 64, 48)
    assert found.fps == pytest.approx(12.5, rel=1e-3)
    assert found.rgb.shape == frames.shape
    assert np.abs(found.rgb.astype(float) - frames).mean(axis=(1, 2, 3)).max() < tolerance


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.mp4", {}), ("a.webm", {"codec": "libvpx-vp9"}), ("a.avi", {"codec": "mpeg4"}), ("a.gif", {}), ("a.mkv", {})],
)
def test_equal_frames_give_equal_bytes(tmp_path, name, options) -> None:
    hashes = set()
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        write_video(tmp_path / folder / name, scene(), 8, **options)
        hashes.add(content_hash(tmp_path / folder / name))
    assert len(hashes) == 1


def test_equal_frames_give_equal_bytes_at_the_size_where_x264s_macroblock_tree_does_not(tmp_path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (256, 352, 3))
    frames = np.stack([np.roll(noise, 3 * i, axis=1) // 2 + i for i in range(16)]).astype(np.uint8)
    hashes = set()
    for run in range(6):
        write_video(tmp_path / f"{run}.mp4", frames, 8)
        hashes.add(content_hash(tmp_path / f"{run}.mp4"))
    assert len(hashes) == 1


def test_lossless_loses_two_grey_levels_at_most_and_takes_odd_sizes(tmp_path) -> None:
    frames = np.random.default_rng(1).integers(0, 256, (4, 31, 45, 3), dtype=np.uint8)
    write_video(tmp_path / "a.mp4", frames, 8, lossless=True)
    found = read_frames(tmp_path / "a.mp4", [EVERY])[EVERY].rgb
    assert np.abs(found.astype(int) - frames.astype(int)).max() <= 2


def test_frozen_frames_keep_their_count(tmp_path) -> None:
    frames = np.repeat(scene(2), 6, axis=0)
    codecs = {"a.mp4": "libx264", "a.gif": "gif", "a.webm": "libvpx-vp9", "a.avi": "mpeg4"}
    for name, codec in codecs.items():
        write_video(tmp_path / name, frames, 10, codec=codec)
        assert read_frames(tmp_path / name, [EVERY])[EVERY].total == 12


def test_one_frame(tmp_path) -> None:
    write_video(tmp_path / "a.mp4", scene(1), 24)
    found = read_frames(tmp_path / "a.mp4", [EVERY])[EVERY]
    assert (found.total, found.fps) == (1, 24.0)


def test_higher_crf_is_smaller(tmp_path) -> None:
    noise = np.random.default_rng(2).integers(0, 256, (6, 64, 64, 3), dtype=np.uint8)
    for crf in (10, 40):
        write_video(tmp_path / f"{crf}.mp4", noise, 8, crf=crf)
    assert (tmp_path / "40.mp4").stat().st_size < (tmp_path / "10.mp4").stat().st_size / 2


@pytest.mark.parametrize(
    ("name", "frames", "fps", "options", "words"),
    [
        ("a.mp4", scene(2, 47, 64), 8, {}, "64x47 is odd"),
        ("a.mp4", scene(2).astype(np.float32), 8, {}, "must be uint8"),
        ("a.mp4", scene(2)[..., 0], 8, {}, "must be uint8"),
        ("a.mp4", scene(2)[:0], 8, {}, "must be uint8"),
        ("a.mp4", scene(2), 0, {}, "fps must be positive"),
        ("a.mp4", scene(2), float("nan"), {}, "fps must be positive"),
        ("a.wmv", scene(2), 8, {}, "clips are written as"),
        ("a.mp4", scene(2), 8, {"codec": "theora"}, "codec theora cannot be written"),
        ("a.mp4", scene(2), 8, {"codec": "gif"}, "codec gif cannot be written"),
        ("a.webm", scene(2), 8, {}, "cannot be written .*webm.*libx264"),
        ("a.avi", scene(2), 8, {"codec": "mpeg4", "crf": 3}, "has no crf"),
        ("a.webm", scene(2), 8, {"codec": "libvpx-vp9", "lossless": True}, "has no lossless mode"),
        ("missing/a.mp4", scene(2), 8, {}, "cannot be written"),
    ],
)
def test_bad_requests_are_refused(tmp_path, name, frames, fps, options, words) -> None:
    with pytest.raises(InputError, match=words) as error:
        write_video(tmp_path / name, frames, fps, **options)
    assert name in str(error.value)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_write_leaves_the_old_clip(tmp_path, monkeypatch) -> None:
    from rewardbench.video import writing

    path = tmp_path / "a.mp4"
    write_video(path, scene(), 8)
    before = content_hash(path)

    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(writing, "_frame", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_video(path, scene(3), 8)
    assert content_hash(path) == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]
