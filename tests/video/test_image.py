"""``read_image``: what a first frame looks like to a viewer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rewardbench.errors import ClipError
from rewardbench.video import read_image

RGB = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


@pytest.mark.parametrize("suffix", [".png", ".webp", ".bmp"])
def test_lossless_files_come_back_as_written(tmp_path, suffix) -> None:
    path = tmp_path / f"image{suffix}"
    Image.fromarray(RGB).save(path, **({"lossless": True} if suffix == ".webp" else {}))
    found = read_image(path)
    assert found.dtype == np.uint8
    assert np.array_equal(found, RGB)


def test_jpeg_is_close(tmp_path) -> None:
    smooth = np.asarray(Image.fromarray(RGB).resize((90, 60), Image.Resampling.BICUBIC))
    Image.fromarray(smooth).save(tmp_path / "image.jpg", quality=95)
    assert np.abs(read_image(tmp_path / "image.jpg").astype(int) - smooth.astype(int)).mean() < 3


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (1, RGB),
        (2, RGB[:, ::-1]),
        (3, RGB[::-1, ::-1]),
        (4, RGB[::-1]),
        (5, RGB.transpose(1, 0, 2)),
        (6, np.rot90(RGB, 3)),
        (7, np.rot90(RGB, 2).transpose(1, 0, 2)),
        (8, np.rot90(RGB, 1)),
    ],
)
def test_exif_orientation_is_applied(tmp_path, orientation, expected) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(RGB).save(tmp_path / "image.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "image.png"), expected)


def test_transparency_is_laid_on_white(tmp_path) -> None:
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 0], rgba[0, :, 3] = 200, (0, 51, 255)
    Image.fromarray(rgba).save(tmp_path / "image.png")
    # 0.2 * 200 + 0.8 * 255 = 244, 0.8 * 255 = 204
    assert read_image(tmp_path / "image.png")[0].tolist() == [[255, 255, 255], [244, 204, 204], [200, 0, 0]]


def test_palette_with_a_transparent_colour(tmp_path) -> None:
    image = Image.fromarray(np.array([[0, 1]], np.uint8), mode="P")
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.save(tmp_path / "image.png", transparency=0)
    assert read_image(tmp_path / "image.png").tolist() == [[[255, 255, 255], [40, 50, 60]]]


def test_grey_of_8_and_16_bits_and_one_bit(tmp_path) -> None:
    grey = np.array([[0, 128, 255]], np.uint8)
    cases = {"grey8": Image.fromarray(grey), "grey16": Image.fromarray(grey.astype(np.uint16) * 257)}
    for name, image in cases.items():
        image.save(tmp_path / f"{name}.png")
        assert read_image(tmp_path / f"{name}.png").tolist() == [[[v] * 3 for v in (0, 128, 255)]]
    Image.fromarray(np.array([[False, True]])).save(tmp_path / "bit.png")
    assert read_image(tmp_path / "bit.png").tolist() == [[[0] * 3, [255] * 3]]


def test_the_first_of_several(tmp_path) -> None:
    images = [Image.new("RGB", (4, 4), colour) for colour in ((255, 0, 0), (0, 0, 255))]
    images[0].save(tmp_path / "image.gif", save_all=True, append_images=images[1:])
    assert read_image(tmp_path / "image.gif")[0, 0].tolist() == [255, 0, 0]


def test_what_is_not_an_image_gets_one_sentence(tmp_path) -> None:
    def write(name: str, data: bytes) -> Path:
        (tmp_path / name).write_bytes(data)
        return tmp_path / name

    Image.fromarray(RGB.repeat(20, 0).repeat(20, 1)).save(tmp_path / "whole.png")
    whole = (tmp_path / "whole.png").read_bytes()
    cases = {
        tmp_path / "missing.png": "no such file",
        tmp_path: "is a folder",
        write("empty.png", b""): "zero bytes",
        write("text.png", b"a picture of a cat"): "not a readable image",
        write("cut.png", whole[: len(whole) // 2]): "not a readable image",
    }
    for path, words in cases.items():
        with pytest.raises(ClipError, match=words) as error:
            read_image(path)
        assert path.name in str(error.value)


def test_an_absurdly_large_image_is_refused(tmp_path, monkeypatch) -> None:
    Image.fromarray(RGB).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with pytest.raises(ClipError, match="not a readable image"):
        read_image(tmp_path / "large.png")
