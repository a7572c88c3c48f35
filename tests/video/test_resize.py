"""``resize_frames`` against torchvision and Pillow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rewardbench.errors import ClipError
from rewardbench.video import filter_version, resize_frames
from rewardbench_plugin.clip import FrameSpec, Size

ANTIALIAS = ("bicubic-antialias", "bilinear-antialias")


def spec(name: str, height: int, width: int, crop: tuple[int, int] | None = None) -> FrameSpec:
    return FrameSpec(size=Size(height=height, width=width, center_crop=crop), filter=name)


def pictures(seed: int, count: int, height: int, width: int) -> np.ndarray:
    """Noise over hard edges of full contrast: where filters overshoot and have to be clamped."""
    rng = np.random.default_rng(seed)
    frames = np.where(rng.random((count, height, 1, 1)) < 0.3, 255, 0) + rng.integers(
        -60, 60, (count, height, width, 3)
    )
    frames[:, :, width // 3 : width // 2] = 255
    return frames.clip(0, 255).astype(np.uint8)


def torchvisions(frames: np.ndarray, name: str, height: int, width: int) -> np.ndarray:
    import torch
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.functional import resize

    mode = InterpolationMode.BICUBIC if name.startswith("bicubic") else InterpolationMode.BILINEAR
    tensor = torch.from_numpy(frames).permute(0, 3, 1, 2)
    return resize(tensor, [height, width], interpolation=mode, antialias=True).permute(0, 2, 3, 1).numpy()


def assert_torchs(ours: np.ndarray, theirs: np.ndarray) -> None:
    """Equal, but for 2 values in a million, which newer versions of torch than the references' round otherwise."""
    difference = np.abs(ours.astype(int) - theirs.astype(int))
    assert difference.max() <= 1
    assert np.count_nonzero(difference) <= 2 + 1e-5 * difference.size


@pytest.mark.parametrize("name", ANTIALIAS)
@pytest.mark.parametrize(
    ("source", "target"),
    [
        ((240, 426), (112, 196)),
        ((240, 426), (224, 224)),
        ((100, 60), (51, 60)),
        ((100, 60), (100, 31)),
        ((37, 53), (90, 120)),
        ((64, 64), (64, 200)),
        ((301, 17), (5, 40)),
        ((5, 5), (1, 1)),
    ],
)
def test_antialias_equals_torchvision(name, source, target) -> None:
    frames = pictures(0, 2, *source)
    ours = resize_frames(frames, spec(name, *target))
    assert_torchs(ours, torchvisions(frames, name, *target))  # exact fractions such as 1/2 are common here


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(ANTIALIAS),
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.tuples(st.integers(1, 60), st.integers(1, 60)),
    st.integers(0, 1000),
)
def test_antialias_equals_torchvision_at_any_size(name, source, target, seed) -> None:
    frames = pictures(seed, 1, *source)
    ours = resize_frames(frames, spec(name, *target))
    assert_torchs(ours, torchvisions(frames, name, *target))


@pytest.mark.parametrize("name", [*ANTIALIAS, "pil-bicubic", "pil-bilinear", "pil-box"])
def test_flat_pictures_stay_flat_and_frames_do_not_mix(name) -> None:
    frames = np.stack([np.full((33, 47, 3), value, np.uint8) for value in (0, 1, 127, 254, 255)])
    resized = resize_frames(frames, spec(name, 20, 61))
    assert resized.shape == (5, 20, 61, 3)
    assert np.array_equal(resized, np.broadcast_to(frames[:, :1, :1], resized.shape))


@pytest.mark.parametrize(
    ("name", "resample"),
    [
        ("pil-bicubic", Image.Resampling.BICUBIC),
        ("pil-bilinear", Image.Resampling.BILINEAR),
        ("pil-box", Image.Resampling.BOX),
    ],
)
def test_pil_filters_are_pillows(name, resample) -> None:
    frames = pictures(1, 3, 50, 70)
    for frame, resized in zip(frames, resize_frames(frames, spec(name, 30, 25)), strict=True):
        assert np.array_equal(resized, np.asarray(Image.fromarray(frame).resize((25, 30), resample)))


@pytest.mark.parametrize("crop", [(10, 10), (11, 16), (7, 5), (20, 31)])
def test_center_crop_is_torchvisions(crop) -> None:
    import torch
    from torchvision.transforms.functional import center_crop

    frames = pictures(2, 1, 20, 31)
    ours = resize_frames(frames, spec("pil-box", 20, 31, crop))
    theirs = center_crop(torch.from_numpy(frames).permute(0, 3, 1, 2), list(crop)).permute(0, 2, 3, 1).numpy()
    assert np.array_equal(ours, theirs)


def test_crop_larger_than_the_picture_is_refused() -> None:
    with pytest.raises(ClipError, match="31x20 pixels are smaller than the 40x10 crop"):
        resize_frames(pictures(2, 1, 20, 31), spec("pil-box", 20, 31, (10, 40)))


def test_no_size_keeps_the_pixels_and_strides_do_not_matter() -> None:
    frames = pictures(3, 2, 24, 36)
    assert np.array_equal(resize_frames(frames, FrameSpec()), frames)
    flipped = frames[:, ::-1, ::2]
    for name in (ANTIALIAS[0], "pil-bicubic"):
        assert np.array_equal(
            resize_frames(flipped, spec(name, 9, 9)), resize_frames(np.ascontiguousarray(flipped), spec(name, 9, 9))
        )
    assert resize_frames(frames[:0], spec("pil-box", 9, 7)).shape == (0, 9, 7, 3)


def test_large_frames_are_cut_into_parts_without_seams() -> None:
    frames = pictures(4, 1, 130, 4100)
    ours = resize_frames(frames, spec("bicubic-antialias", 61, 1400))
    assert_torchs(ours, torchvisions(frames, "bicubic-antialias", 61, 1400))


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 4, 3), np.uint8), np.zeros((1, 4, 4, 3)), np.zeros((1, 4, 4, 4), np.uint8)]
)
def test_other_arrays_are_refused(wrong) -> None:
    with pytest.raises(ValueError, match="frames must be uint8"):
        resize_frames(wrong, FrameSpec())


def test_every_filter_names_its_maker() -> None:
    assert filter_version("none") == ""
    assert filter_version("bicubic-antialias").startswith("rewardbench ")
    assert filter_version("pil-box").startswith("pillow ")


@pytest.mark.shared
@pytest.mark.parametrize("name", ["example_1_A", "example_1_B", "example_2_A", "example_3_B"])
def test_videoaligns_own_frames(shared, name) -> None:
    """Decode, sampling, target size and filter against frames that VideoAlign's own code saved."""
    from safetensors.numpy import load_file

    from rewardbench.video import read_frames
    from rewardbench_plugin.clip import Sampling

    golden = load_file(shared / "golden" / "videoreward" / f"intermediate_{name}.safetensors")
    wanted = golden["resized_frames_uint8"].transpose(0, 2, 3, 1)
    sampling = Sampling("fps", fps=2.0, min_count=4, count=768, multiple=2, rounding="half-even")
    size = Size(max_pixels=18816, min_pixels=128 * 28 * 28, multiple=28)
    asked = FrameSpec(sampling=sampling, size=size, filter="bicubic-antialias")
    found = read_frames(shared / "golden" / "videos" / f"{name}.mp4", [asked])[asked]
    assert found.indices.tolist() == golden["frame_indices"].ravel().tolist()
    assert np.array_equal(found.rgb, wanted)
