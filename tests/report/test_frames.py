"""Strips of frames: readable JPEG, kept for the next page, and a reason where there are none."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rewardbench.report import frames
from rewardbench.scoring.decoder import Decoder

WriteClip = Callable[..., Path]


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder() as made:
        yield made


def picture(strip: frames.Strip) -> Image.Image:
    head, _, body = strip.uri.partition(",")
    assert head == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(body)))


def test_four_frames_stand_in_order_of_time(tmp_path: Path, write_clip: WriteClip, decoder: Decoder) -> None:
    strip = frames.strip(str(write_clip(tmp_path / "clip.mp4")), None, tmp_path, decoder)
    image = picture(strip)
    assert strip.n_frames == 4
    assert image.size == (strip.width, strip.height)
    assert strip.height == 112
    grey = np.asarray(image.convert("L"), float)[strip.height // 2]
    quarter = [float(np.median(part)) for part in np.array_split(grey, 4)]
    assert quarter == sorted(quarter)
    assert quarter[3] - quarter[0] > 100


def test_a_short_clip_gives_the_frames_it_has(tmp_path: Path, write_clip: WriteClip, decoder: Decoder) -> None:
    assert frames.strip(str(write_clip(tmp_path / "clip.mp4", n_frames=1)), None, tmp_path, decoder).n_frames == 1


def test_a_wide_clip_does_not_make_a_wide_page(tmp_path: Path, write_clip: WriteClip, decoder: Decoder) -> None:
    strip = frames.strip(str(write_clip(tmp_path / "wide.mp4", height=32, width=640)), None, tmp_path, decoder)
    assert strip.width <= frames.WIDEST
    assert picture(strip).size == (strip.width, strip.height)


def test_a_kept_strip_needs_no_clip_any_more(tmp_path: Path, write_clip: WriteClip, decoder: Decoder) -> None:
    clip = write_clip(tmp_path / "clip.mp4")
    first = frames.strip(str(clip), "a" * 64, tmp_path, decoder)
    clip.unlink()
    assert frames.strip(str(clip), "a" * 64, tmp_path, decoder) == first
    assert frames.strip(str(clip), "b" * 64, tmp_path, decoder).missing


def test_a_clip_that_changed_is_read_again(tmp_path: Path, write_clip: WriteClip, decoder: Decoder) -> None:
    clip = write_clip(tmp_path / "clip.mp4")
    first = frames.strip(str(clip), None, tmp_path, decoder)
    write_clip(clip, n_frames=3)
    second = frames.strip(str(clip), None, tmp_path, decoder)
    assert (first.n_frames, second.n_frames) == (4, 3)


def test_a_damaged_kept_file_is_made_anew(tmp_path: Path, write_clip: WriteClip, decoder: Decoder) -> None:
    clip = write_clip(tmp_path / "clip.mp4")
    first = frames.strip(str(clip), None, tmp_path, decoder)
    (kept,) = (tmp_path / frames.FOLDER).glob("*.jpg")
    for damage in (b"", b"<svg onload=alert(1)>", kept.read_bytes()[:40]):
        kept.write_bytes(damage)
        assert frames.strip(str(clip), None, tmp_path, decoder) == first


@pytest.mark.parametrize("content", [None, b"", b"not a video at all" * 50])
def test_an_unreadable_clip_gives_a_reason(tmp_path: Path, content: bytes | None, decoder: Decoder) -> None:
    clip = tmp_path / "clip.mp4"
    if content is not None:
        clip.write_bytes(content)
    strip = frames.strip(str(clip), None, tmp_path, decoder)
    assert not strip.uri
    assert strip.missing


@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "../../nowhere.mp4"])
def test_a_strange_path_gives_a_reason(tmp_path: Path, name: str, decoder: Decoder) -> None:
    assert frames.strip(name, None, tmp_path, decoder).missing
    assert frames.strip(name, "c" * 64, tmp_path, decoder).missing
