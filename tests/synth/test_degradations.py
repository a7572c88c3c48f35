"""Degradations: identity at zero, determinism, monotone severity, shapes, and the fault each one is named after."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewardbench.errors import InputError
from rewardbench.synth.codecs import CODECS
from rewardbench.synth.degradations import DEGRADATIONS, degrade, main_region

DIMENSIONS = {"smoothness", "motion", "appeal", "text_video", "image_video", "character"}


def moving_clip(total: int = 20, height: int = 60, width: int = 84) -> np.ndarray:
    """A textured background with a coloured disc that crosses it: no two frames are equal."""
    y, x = np.mgrid[0:height, 0:width]
    ground = np.stack([120 + 60 * np.sin(x / 5), 110 + 50 * np.cos(y / 4), 90 + 40 * np.sin((x + y) / 7)], axis=-1)
    frames = np.repeat(ground[None], total, axis=0)
    for t in range(total):
        centre = width * (0.3 + 0.4 * t / max(1, total - 1))
        disc = (x - centre) ** 2 + (y - height / 2) ** 2 < (height / 5) ** 2
        frames[t][disc] = (200, 60, 70)
    return frames.astype(np.uint8)


def distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(np.mean((a.astype(float) - b.astype(float)) ** 2)))


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_zero_severity_is_identity_and_a_copy(name):
    frames = moving_clip()
    out = degrade(frames, name, 0.0, seed=5)
    assert np.array_equal(out, frames)
    assert not np.shares_memory(out, frames)


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_seed_decides_and_input_is_kept(name):
    frames = moving_clip()
    before = frames.copy()
    first, again = degrade(frames, name, 0.7, seed=11), degrade(frames, name, 0.7, seed=11)
    assert np.array_equal(first, again)
    assert np.array_equal(frames, before)
    assert not (first.shape == frames.shape and np.array_equal(first, frames))
    if name not in ("blur", "compression", "freeze"):
        other = degrade(frames, name, 0.7, seed=12)
        assert first.shape != other.shape or not np.array_equal(first, other)


@pytest.mark.parametrize("name", [n for n in DEGRADATIONS if n not in ("frame_drop", "compression")])
@pytest.mark.parametrize("seed", [0, 3])
def test_distance_from_the_original_grows_with_severity(name, seed):
    frames = moving_clip()
    steps = [distance(degrade(frames, name, s, seed), frames) for s in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)]
    assert all(b >= a - 1e-9 for a, b in itertools.pairwise(steps)), steps
    assert steps[-1] > steps[1] > 0


@pytest.mark.parametrize("codec", CODECS)
def test_every_codec_loses_more_at_higher_severity(codec):
    frames = moving_clip()
    outs = [degrade(frames, "compression", s, codec=codec) for s in (0.05, 0.5, 1.0)]
    assert all(out.shape == frames.shape and out.dtype == np.uint8 for out in outs)
    mild, middle, strong = (distance(out, frames) for out in outs)
    assert 0 < mild < middle < strong


@pytest.mark.parametrize("codec", CODECS)
def test_odd_sizes_survive_the_codec(codec):
    frames = moving_clip(total=3, height=35, width=51)
    assert degrade(frames, "compression", 0.5, codec=codec).shape == frames.shape


@settings(max_examples=30, deadline=None)
@given(
    name=st.sampled_from([n for n in DEGRADATIONS if n != "compression"]),
    total=st.integers(1, 6),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    severity=st.floats(0, 1),
)
def test_any_size_and_length(name, total, height, width, severity):
    frames = np.random.default_rng(0).integers(0, 256, (total, height, width, 3), dtype=np.uint8)
    out = degrade(frames, name, severity, seed=1)
    assert out.dtype == np.uint8
    assert out.shape[1:] == frames.shape[1:]
    assert 1 <= len(out) <= total
    assert len(out) == total or name == "frame_drop"


def indices_of(out: np.ndarray, frames: np.ndarray) -> list[int]:
    """Position of every output frame in the original, which has no two equal frames."""
    return [int(np.flatnonzero((frames == frame).all(axis=(1, 2, 3)))[0]) for frame in out]


def test_frame_drop_keeps_order_and_drops_nested_sets():
    frames = moving_clip(30)
    kept = [indices_of(degrade(frames, "frame_drop", s, seed=2), frames) for s in (0.1, 0.4, 0.7, 1.0)]
    for fewer, more in zip(kept[1:], kept, strict=False):
        assert set(fewer) < set(more)
        assert fewer == sorted(fewer)
    assert kept[-1][0] == 0
    assert kept[-1][-1] == 29


def test_stutter_holds_frames_and_keeps_the_length():
    frames = moving_clip(30)
    held = []
    for severity in (0.1, 0.5, 1.0):
        source = np.array(indices_of(degrade(frames, "stutter", severity, seed=4), frames))
        assert (np.diff(source) >= 0).all()
        assert (source <= np.arange(30)).all()
        held.append(int((np.diff(source) == 0).sum()))
    assert 0 < held[0] < held[1] < held[2]


def test_freeze_stands_still_from_a_moment_on():
    frames = moving_clip(21)
    assert indices_of(degrade(frames, "freeze", 1.0), frames) == [0] * 21
    assert indices_of(degrade(frames, "freeze", 0.5), frames) == [*range(10), *[10] * 11]


def test_flicker_changes_brightness_not_structure():
    frames = moving_clip()
    out = degrade(frames, "flicker", 0.5, seed=1).astype(float)
    means = out.mean(axis=(1, 2, 3))
    assert np.abs(np.diff(means)).mean() > 10 * np.abs(np.diff(frames.mean(axis=(1, 2, 3)))).mean()
    gain = (out * frames).sum(axis=(1, 2, 3)) / (frames.astype(float) ** 2).sum(axis=(1, 2, 3))
    assert np.abs(out - gain[:, None, None, None] * frames).mean() < 2.0  # rounding and clipping at 255


def test_jitter_is_a_translation():
    frames = np.repeat(moving_clip(1, 120, 120), 6, axis=0)
    out = degrade(frames, "jitter", 1.0, seed=3)
    inner = frames[0, 20:-20, 20:-20].astype(float)
    for frame in out:
        shifts = [
            np.abs(frame[20 + dy : 100 + dy, 20 + dx : 100 + dx] - inner).mean()
            for dy in range(-8, 9)
            for dx in range(-8, 9)
        ]
        assert min(shifts) < 8  # half a pixel of this texture's slope, no more


def test_warp_is_local_and_changes_in_time():
    still = np.repeat(moving_clip(1, 80, 80), 8, axis=0)
    out = degrade(still, "warp", 0.8, seed=1).astype(float)
    assert np.abs(np.diff(out, axis=0)).mean() > 2
    assert distance(out.mean(axis=(1, 2)), still.mean(axis=(1, 2))) < 6  # colours stay


def test_style_drift_starts_from_the_first_frame():
    frames = np.repeat(moving_clip(1), 10, axis=0)
    out = degrade(frames, "style_drift", 1.0, seed=6)
    steps = [distance(frame, frames[0]) for frame in out]
    assert steps[0] == 0
    assert steps == sorted(steps)
    assert steps[-1] > 5


def test_identity_change_recolours_one_region_of_the_later_half():
    frames = moving_clip(20)
    out = degrade(frames, "identity_change", 1.0, seed=2)
    changed = np.array([not np.array_equal(a, b) for a, b in zip(out, frames, strict=True)])
    start = int(changed.argmax())
    assert 8 <= start <= 12
    assert changed[start:].all()
    assert not changed[:start].any()
    region = main_region(frames)
    assert region.shape == frames.shape[1:3]
    untouched = region == 0
    assert untouched.mean() > 0.3
    assert np.array_equal(out[:, untouched], frames[:, untouched])


def test_noise_is_independent_in_every_frame():
    flat = np.full((4, 50, 50, 3), 128, np.uint8)
    out = degrade(flat, "noise", 0.5, seed=1).astype(float) - 128
    assert np.allclose(out.std(axis=(1, 2, 3)), 22.5, rtol=0.05)
    assert abs(np.corrcoef(out[0].ravel(), out[1].ravel())[0, 1]) < 0.05


def test_every_degradation_names_known_dimensions():
    for name, info in DEGRADATIONS.items():
        assert set(info.affects) <= DIMENSIONS, name
        assert info.affects
        assert info.description


@pytest.mark.parametrize(
    ("frames", "name", "severity", "codec", "word"),
    [
        (moving_clip(2), "melt", 0.5, "h264", "melt"),
        (moving_clip(2), "blur", 1.5, "h264", "severity"),
        (moving_clip(2), "blur", float("nan"), "h264", "severity"),
        (moving_clip(2), "compression", 0.5, "theora", "theora"),
        (moving_clip(2).astype(float), "blur", 0.5, "h264", "uint8"),
        (moving_clip(2)[0], "blur", 0.5, "h264", "uint8"),
    ],
)
def test_wrong_use_is_one_sentence(frames, name, severity, codec, word):
    with pytest.raises(InputError, match=word):
        degrade(frames, name, severity, codec=codec)
