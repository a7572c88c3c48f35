"""``drawn-rules``: closed forms on constructed clips, and the order of known faults on drawn ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rewardbench_drawn_rules.model import CARD, FRAMES, DrawnRules
from rewardbench_drawn_rules.motion import Flow, match, own_motion
from rewardbench_drawn_rules.rules import (
    OUTFIT_COLOURS,
    OUTFITS,
    flicker,
    flow_amplitude,
    luma,
    outfit_colour,
    sharpness,
    stated_colour,
)

from rewardbench import load_reward
from rewardbench.synth import palette, scene
from rewardbench.synth.caption import caption
from rewardbench.synth.degradations import degrade
from rewardbench.synth.scene import Scene
from rewardbench.synth.splits import TRAIN_SEEDS
from rewardbench.synth.world import draw_clip, draw_first_frame
from rewardbench.video.writing import write_video
from rewardbench_plugin import Clip, Frames, Item

T, SIDE, RATE = 16, 64, 8.0
GREY = np.full((SIDE, SIDE, 3), 150, np.uint8)


def texture(seed: int, height: int = SIDE, width: int = SIDE) -> np.ndarray:
    """Luma (H, W) with detail at the scale of a few pixels, 40 to 215."""
    rough = np.random.default_rng(seed).random((height + 4, width + 4))
    fine = sum(rough[i : i + height, j : j + width] for i in range(5) for j in range(5)) / 25
    return np.asarray(40 + 175 * (fine - fine.min()) / (fine.max() - fine.min()))


def disc_clip(step: tuple[int, int], background: np.ndarray, radius: float = 9.0, frames: int = 5) -> np.ndarray:
    """Luma (T, H, W): a textured disc that moves by ``step`` pixels a frame, in the middle of a still background."""
    skin = texture(1, 3 * SIDE, 3 * SIDE)
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    clip = []
    for t in range(frames):
        dy, dx = (s * (t - frames // 2) for s in step)
        inside = (rows - 32 - dy) ** 2 + (columns - 32 - dx) ** 2 <= radius**2
        clip.append(np.where(inside, skin[SIDE - dy : 2 * SIDE - dy, SIDE - dx : 2 * SIDE - dx], background))
    return np.stack(clip)


def drawn(index: int, **changes: object) -> tuple[Scene, np.ndarray, np.ndarray]:
    """A scene of the toy world, its clip and its first frame."""
    sampled = Scene.sample(np.random.default_rng([77, index]), seeds=TRAIN_SEEDS)
    changed = replace(sampled, **changes)
    size = {"frames": T, "height": SIDE, "width": SIDE, "fps": RATE}
    return changed, draw_clip(changed, **size), draw_first_frame(changed, **size)


# --- flow_amplitude -------------------------------------------------------------------------------------------------


def of_speed(sides_per_second: float) -> float:
    return 1 - math.exp(-sides_per_second / 0.2)


def test_a_still_clip_has_no_flow_at_all() -> None:
    still = np.repeat(texture(0)[None], T, axis=0)
    flow = match(still)
    assert flow.seen.mean() > 0.9
    assert not flow.dy.any()
    assert not flow.dx.any()
    assert flow_amplitude(flow, RATE) == 0.0


@pytest.mark.parametrize("step", [(0, 1), (0, -2), (1, 0), (1, 2), (-1, 1)])
def test_a_disc_that_is_moved_has_the_closed_forms_amplitude(step: tuple[int, int]) -> None:
    """Over a flat ground only the disc is determined, so the mean speed is its own, whatever its size."""
    flow = match(disc_clip(step, np.full((SIDE, SIDE), 100.0)))
    assert flow_amplitude(flow, RATE) == pytest.approx(of_speed(math.hypot(*step) * RATE / SIDE), rel=0.03)


def test_fractions_of_a_pixel_are_found() -> None:
    """A smooth wave moved by 0.3 and 0.6 pixels a frame, drawn from its formula."""
    rows, columns = np.mgrid[0:SIDE, 0:SIDE].astype(float)
    for step in (0.3, 0.6, 1.4):
        at = [columns - step * t for t in range(4)]
        y = np.stack([128 + 50 * np.sin(x / 3) + 40 * np.sin(rows / 4 + x / 7) for x in at])
        flow = match(y)
        inner = np.s_[:, 8:-8, 8:-8]
        assert np.median(flow.dx[inner]) == pytest.approx(step, abs=0.05)
        assert np.median(np.abs(flow.dy[inner])) < 0.05


def test_a_still_ground_dilutes_by_its_share_of_the_weight() -> None:
    """Displacements made by hand: a square moves, the rest is still; the mean is weighted towards the middle."""
    dy = np.zeros((3, SIDE, SIDE))
    dy[:, 20:40, 28:36] = 1.5
    total = moving = 0.0
    for r in range(SIDE):
        for c in range(SIDE):
            down, right = (r + 0.5) / SIDE - 0.5, (c + 0.5) / SIDE - 0.5
            weight = math.exp(-((right / 0.2) ** 2) - ((down - 0.05) / 0.35) ** 2)
            total += weight
            moving += weight * (20 <= r < 40 and 28 <= c < 36)
    flow = Flow(dy, np.zeros_like(dy), np.ones(dy.shape, bool))
    assert flow_amplitude(flow, RATE) == pytest.approx(of_speed(1.5 * RATE / SIDE * moving / total), rel=1e-9)


def test_a_camera_that_shifts_and_zooms_is_taken_out() -> None:
    """By hand: shift and zoom everywhere, and a square that moves beyond them by a known amount."""
    rows, columns = np.mgrid[0:SIDE, 0:SIDE] - (SIDE - 1) / 2
    dy, dx = 0.4 + 0.02 * rows, -1.1 + 0.02 * columns
    dx = np.where((abs(rows) < 8) & (abs(columns) < 8), dx + 2.0, dx)
    flow = Flow(dy[None], dx[None], np.ones((1, SIDE, SIDE), bool))
    expected = np.where((abs(rows) < 8) & (abs(columns) < 8), 2.0, 0.0)
    np.testing.assert_allclose(own_motion(flow)[0], expected, atol=1e-9)


def test_a_pan_over_a_texture_is_no_motion_of_the_person() -> None:
    wide = texture(4, SIDE, SIDE + 2 * T)
    pan = np.stack([wide[:, 2 * t : 2 * t + SIDE] for t in range(T)])
    assert flow_amplitude(match(pan), RATE) < of_speed(0.02)
    assert np.median(match(pan).dx) == pytest.approx(-2.0, abs=0.01)


def test_a_faster_clip_of_the_same_frames_moves_faster() -> None:
    flow = match(disc_clip((0, 1), np.full((SIDE, SIDE), 100.0)))
    slow, fast = (-0.2 * math.log(1 - flow_amplitude(flow, rate)) for rate in (8.0, 24.0))
    assert fast == pytest.approx(3 * slow)


def test_noise_is_not_taken_for_motion() -> None:
    noisy = texture(0) + np.random.default_rng(3).normal(0, 15, (T, SIDE, SIDE))
    assert flow_amplitude(match(noisy), RATE) < of_speed(0.05)


# --- flicker --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("swing", [0.5, 2.0, 6.0, 15.0])
def test_alternating_brightness_has_the_closed_forms_flicker(swing: float) -> None:
    y = texture(0) + swing * np.where(np.arange(T) % 2, 1.0, -1.0)[:, None, None]
    assert flicker(y, match(y)) == pytest.approx(math.exp(-swing / 4), rel=1e-3)


def test_an_even_change_of_brightness_is_no_flicker() -> None:
    y = 0.5 * texture(0) + 2.0 * np.arange(T)[:, None, None]
    assert flicker(y, match(y)) == pytest.approx(1.0, abs=1e-4)


def test_motion_is_no_flicker_but_the_flicker_of_what_moves_is() -> None:
    steady = disc_clip((0, 1), texture(2))
    blinking = steady + 6.0 * np.where(np.arange(len(steady)) % 2, 1.0, -1.0)[:, None, None]
    assert flicker(steady, match(steady)) > 0.98
    assert flicker(blinking, match(blinking)) == pytest.approx(math.exp(-6 / 4), rel=0.05)


def test_what_fades_evenly_while_it_moves_does_not_flicker() -> None:
    """The second difference follows the path too: a pan over stripes that brighten and darken, each at its own rate."""
    wide = 0.6 * texture(5, SIDE, SIDE + 12)
    rate = 8 * np.sin(np.arange(SIDE + 12) * 2 * np.pi / 20)
    clip = np.stack([(wide + 40 + t * rate)[:, 2 * t : 2 * t + SIDE] for t in range(5)])
    assert flicker(clip, match(clip)) > 0.97


def test_the_quarter_where_most_changes_is_left_out() -> None:
    y = np.repeat(np.full((1, SIDE, SIDE), 100.0), T, axis=0)
    y[:, :12] += 20.0 * np.where(np.arange(T) % 2, 1.0, -1.0)[:, None, None]  # with its rim 15 of 64 rows
    assert flicker(y, match(y)) == pytest.approx(1.0, abs=1e-6)
    y[:, :32] = y[:, :1]
    assert flicker(y, match(y)) < 0.5


# --- sharpness ------------------------------------------------------------------------------------------------------


def test_halving_the_contrast_quarters_the_sharpness_and_raising_it_adds_nothing() -> None:
    image = texture(0)
    frames = np.stack([image, 128 + (image - 128) / 2, 128 + (image - 128) * 1.5, np.full_like(image, 7.0)])
    assert sharpness(frames, image) == pytest.approx((1 + 0.25 + 1 + 0) / 4)
    assert math.isnan(sharpness(frames, np.full_like(image, 50.0)))


def test_the_laplacian_of_a_checkerboard_is_its_closed_form() -> None:
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    image = 100 + 10 * np.where((rows + columns) % 2, 1.0, -1.0)  # every Laplacian is -8 times the deviation: 80
    stripes = 100 + 10 * np.where(columns % 2, 1.0, -1.0)  # two of four neighbours agree: 40
    assert sharpness(stripes[None], image) == pytest.approx(40**2 / 80**2)


# --- outfit_colour --------------------------------------------------------------------------------------------------


def painted(colour: str, columns: slice = slice(24, 40), ground: np.ndarray = GREY) -> np.ndarray:
    picture = ground.copy()
    picture[28:48, columns] = OUTFIT_COLOURS[colour]
    return picture


@pytest.mark.parametrize("colour", OUTFIT_COLOURS)
def test_the_score_is_the_mean_share_of_the_cloth_that_is_left(colour: str) -> None:
    whole, half, none = painted(colour), painted(colour, slice(24, 32)), GREY  # half of it: the weights are symmetric
    assert outfit_colour(np.stack([whole] * 4), whole, colour) == pytest.approx(1.0)
    assert outfit_colour(np.stack([whole, half, none, half]), whole, colour) == pytest.approx((1 + 0.5 + 0 + 0.5) / 4)


@pytest.mark.parametrize("colour", OUTFIT_COLOURS)
def test_every_other_colour_is_missed(colour: str) -> None:
    whole = painted(colour)
    others = np.stack([painted(other) for other in OUTFIT_COLOURS if other != colour])
    assert outfit_colour(others, whole, colour) == pytest.approx(0.0, abs=1e-12)


def test_twice_the_cloth_is_allowed_and_more_counts_as_too_much() -> None:
    image = painted("red", slice(30, 34))
    weights = [math.exp(-((((c + 0.5) / SIDE - 0.5) / 0.2) ** 2)) for c in range(SIDE)]
    wide = painted("red", slice(16, 48))
    ratio = sum(weights[16:48]) / sum(weights[30:34])
    assert ratio > 2
    assert outfit_colour(wide[None], image, "red") == pytest.approx(2 / ratio)
    assert outfit_colour(painted("red", slice(29, 35))[None], image, "red") == pytest.approx(1.0)


def test_the_style_of_the_drawing_does_not_matter() -> None:
    image = painted("blue")
    image[28:48, 24:40] = palette.STYLES["pastel"].grade(OUTFIT_COLOURS["blue"])
    assert outfit_colour(np.stack([image, GREY]), image, "blue") == pytest.approx(0.5)


def test_cloth_elsewhere_is_not_the_outfit() -> None:
    corner = GREY.copy()
    corner[:12, :12] = OUTFIT_COLOURS["red"]
    assert math.isnan(outfit_colour(corner[None], corner, "red"))
    assert outfit_colour(corner[None], painted("red"), "red") < 0.01


# --- captions -------------------------------------------------------------------------------------------------------


def test_the_tables_are_the_drawn_worlds() -> None:
    assert dict(palette.OUTFIT_COLOURS) == OUTFIT_COLOURS
    assert set(scene.OUTFITS) == set(OUTFITS)


def test_every_caption_of_the_world_states_its_outfits_colour() -> None:
    rng = np.random.default_rng(0)
    for _ in range(400):
        sampled = Scene.sample(rng)
        assert stated_colour(caption(sampled, rng)) == sampled.outfit_colour


@pytest.mark.parametrize(
    ("text", "colour"),
    [
        (None, None),
        ("", None),
        ("a girl with red hair", None),
        ("a girl in a coat", None),
        ("a bored coat", None),
        ("A LONG  Black\ncoat", "black"),
        ("a red coat and a red dress", "red"),
        ("a red coat and a blue dress", None),
    ],
)
def test_captions_of_other_kinds(text: str | None, colour: str | None) -> None:
    assert stated_colour(text) == colour


# --- drawn clips and known faults -----------------------------------------------------------------------------------

Rule = Callable[[np.ndarray, np.ndarray], float]


def of_flicker(clip: np.ndarray, image: np.ndarray) -> float:
    y = luma(clip)
    return flicker(y, match(y))


def of_amplitude(clip: np.ndarray, image: np.ndarray) -> float:
    return flow_amplitude(match(luma(clip)), RATE)


def of_sharpness(clip: np.ndarray, image: np.ndarray) -> float:
    return sharpness(luma(clip), luma(image))


@pytest.mark.parametrize(
    ("rule", "fault"),
    [
        (of_flicker, "flicker"),
        (of_flicker, "noise"),
        (of_flicker, "warp"),
        (of_sharpness, "blur"),
        (of_amplitude, "freeze"),
    ],
)
def test_a_fault_costs_the_more_the_more_severe_it_is(rule: Rule, fault: str) -> None:
    for index in range(3):
        _, clip, image = drawn(index, action="dance")
        scores = [rule(degrade(clip, fault, severity, seed=index), image) for severity in (0.0, 0.3, 0.6, 1.0)]
        assert scores == sorted(scores, reverse=True)
        assert scores[0] > scores[-1] + 0.05


def test_faultless_clips_are_rated_high() -> None:
    for index in range(6):
        sampled, clip, image = drawn(index, camera="static")
        assert of_flicker(clip, image) > 0.9
        assert of_sharpness(clip, image) > 0.85
        assert outfit_colour(clip, image, sampled.outfit_colour) > 0.8


def test_recolouring_the_outfit_lowers_its_score() -> None:
    colours = tuple(OUTFIT_COLOURS)
    kept = []
    for index in range(12):
        sampled, clip, image = drawn(index)
        turn = 1 + index % (len(colours) - 1)
        other = colours[(colours.index(sampled.outfit_colour) + turn) % len(colours)]
        _, recoloured, _ = drawn(index, outfit_colour=other)
        right = outfit_colour(clip, image, sampled.outfit_colour)
        late = outfit_colour(np.concatenate([clip[:12], recoloured[12:]]), image, sampled.outfit_colour)
        wrong = outfit_colour(recoloured, image, sampled.outfit_colour)
        assert wrong < late < right
        kept.append(wrong / right)
    assert np.mean(kept) < 0.4  # hair, skin or ground near the colour may be left in the person's place


def test_a_change_of_identity_lowers_the_outfits_score() -> None:
    for index in range(8):
        sampled, clip, image = drawn(index, camera="static")
        changed = degrade(clip, "identity_change", 1.0, seed=index)
        assert outfit_colour(changed, image, sampled.outfit_colour) < outfit_colour(clip, image, sampled.outfit_colour)


@pytest.mark.parametrize("action", ["walk", "run", "jump", "dance", "wave"])
def test_a_smaller_movement_has_a_smaller_amplitude(action: str) -> None:
    means = []
    for amplitude in (0.0, 0.5, 1.0):
        clips = [
            drawn(i, action=action, camera=camera, amplitude=amplitude) for i, camera in enumerate(scene.CAMERAS[:2])
        ]
        means.append(np.mean([of_amplitude(clip, image) for _, clip, image in clips]))
    assert means == sorted(means)
    assert means[2] > 1.5 * means[0]


# --- the plugin -----------------------------------------------------------------------------------------------------


def scored(
    rgb: np.ndarray, prompt: str | None, image: str | None, dimensions: tuple[str, ...] | None = None
) -> tuple[list[float], str]:
    model = DrawnRules()
    model.configure(dimensions=dimensions)
    clip = Clip("a", "a.mp4", prompt, image)
    frames = Frames(rgb, np.arange(len(rgb)), np.arange(len(rgb)) / RATE, RATE, len(rgb), *rgb.shape[1:3])
    scores = model.score([Item(clip, model.prepare(clip, {FRAMES: frames}))])
    return scores.values[0].tolist(), scores.notes[0]


@pytest.fixture
def sample(tmp_path: Path) -> tuple[np.ndarray, str, str]:
    sampled, clip, image = drawn(1)
    path = tmp_path / "first.png"
    Image.fromarray(image).save(path)
    return clip, caption(sampled), str(path)


def test_scores_are_the_rules_in_the_order_of_the_card(sample: tuple[np.ndarray, str, str]) -> None:
    clip, prompt, path = sample
    image, y = np.asarray(Image.open(path)), luma(clip)
    colour = stated_colour(prompt)
    assert colour is not None
    expected = [outfit_colour(clip, image, colour), flicker(y, match(y)), flow_amplitude(match(y), RATE)]
    values, note = scored(clip, prompt, path)
    assert values == [*expected, sharpness(y, luma(image))]
    assert note == ""
    assert scored(clip, prompt, path, ("sharpness", "flicker"))[0] == [values[3], values[1]]


def test_what_does_not_apply_abstains_with_its_reason(sample: tuple[np.ndarray, str, str], tmp_path: Path) -> None:
    clip, prompt, path = sample
    assert scored(clip, "a girl dances", path)[1] == "outfit_colour abstains: the caption states no outfit colour"
    assert scored(clip, None, path)[1] == "outfit_colour abstains: the caption states no outfit colour"
    values, note = scored(clip, prompt, None)
    assert np.isnan(values).tolist() == [True, False, False, True]
    assert note == (
        "outfit_colour abstains: the clip has no first-frame image; "
        "sharpness abstains: the clip has no first-frame image"
    )
    blank = tmp_path / "blank.png"
    Image.fromarray(GREY).save(blank)
    assert scored(clip, "a red coat", str(blank))[1] == (
        "outfit_colour abstains: the image shows no red outfit; sharpness abstains: the first-frame image has no detail"
    )
    values, note = scored(clip[:2], prompt, path)
    assert np.isnan(values).tolist() == [False, True, False, False]
    assert note == "flicker abstains: the clip has fewer than three frames"
    assert np.isnan(scored(clip[:1], prompt, path)[0]).tolist() == [False, True, True, False]


def test_an_unreadable_image_is_refused_in_a_sentence(sample: tuple[np.ndarray, str, str], tmp_path: Path) -> None:
    (tmp_path / "no.png").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="first-frame image .*no.png cannot be read"):
        scored(sample[0], sample[1], str(tmp_path / "no.png"))


def test_values_lie_in_the_declared_ranges_whatever_the_pixels(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "first.png"
    for size in ((SIDE, SIDE), (64, 110), (90, 64)):
        clip = rng.integers(0, 256, (5, *size, 3), dtype=np.uint8)
        Image.fromarray(clip[0]).resize((50, 70)).save(path)
        for dimension, value in zip(CARD.dimensions, scored(clip, "a pink dress", str(path))[0], strict=True):
            assert np.isnan(value) or dimension.low <= value <= dimension.high


def test_a_file_of_the_toy_world_is_scored_as_its_frames(sample: tuple[np.ndarray, str, str], tmp_path: Path) -> None:
    clip, prompt, path = sample
    video = tmp_path / "clip.mp4"
    write_video(video, clip, RATE, lossless=True)
    from_file = load_reward("drawn-rules", device="cpu").score([Clip("a", str(video), prompt, path)])
    np.testing.assert_allclose(from_file, [scored(clip, prompt, path)[0]], atol=0.02)  # RGB to YUV and back
