"""The drawn world: determinism, free sizes, known motion, and that what the scene says is what is seen."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rewardbench.synth.palette import HAIR_COLOURS, OUTFIT_COLOURS, STYLES
from rewardbench.synth.pose import motion_level, pose_at, skeleton, view_at
from rewardbench.synth.scene import ACTIONS, BACKGROUNDS, HAIR_STYLES, MOVING_ACTIONS, OUTFITS, Scene
from rewardbench.synth.world import draw_clip, draw_first_frame

ROOT = Path(__file__).resolve().parents[2]
SIZE = {"height": 96, "width": 96}


def sample(seed: int, **options: object) -> Scene:
    return Scene.sample(np.random.default_rng(seed), **options)  # type: ignore[arg-type]


def test_clip_has_the_asked_shape_and_type() -> None:
    clip = draw_clip(sample(1), frames=5, height=80, width=120)
    assert clip.shape == (5, 80, 120, 3)
    assert clip.dtype == np.uint8


@pytest.mark.parametrize(("height", "width"), [(160, 90), (90, 160), (17, 33), (64, 64)])
def test_person_is_in_the_middle_of_any_frame(height: int, width: int) -> None:
    scene = replace(sample(2), action="stand", camera="static", size=0.9, position=0.0)
    seen = draw_first_frame(scene, height=height, width=width).astype(int)
    other = draw_first_frame(replace(scene, outfit_colour="green", hair_colour="pink"), height=height, width=width)
    rows, columns = np.nonzero(np.abs(seen - other).max(axis=2) > 20)
    assert abs(columns.mean() - width / 2) < 0.12 * width
    assert np.ptp(rows) > 0.25 * min(height, width)


def test_first_frame_is_frame_zero() -> None:
    for seed in range(4):
        scene = sample(seed)
        assert np.array_equal(draw_first_frame(scene, **SIZE), draw_clip(scene, **SIZE)[0])


def test_drawing_is_the_same_in_every_process() -> None:
    program = (
        "import hashlib, numpy as np\n"
        "from rewardbench.synth.world import Scene, draw_clip\n"
        "rng = np.random.default_rng(11)\n"
        "clips = [draw_clip(Scene.sample(rng), frames=3, height=96, width=96) for _ in range(4)]\n"
        "print(hashlib.sha256(b''.join(c.tobytes() for c in clips)).hexdigest())\n"
    )
    rng = np.random.default_rng(11)
    clips = [draw_clip(Scene.sample(rng), frames=3, **SIZE) for _ in range(4)]
    here = hashlib.sha256(b"".join(c.tobytes() for c in clips)).hexdigest()
    for hash_seed in ("0", "77"):
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={"PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT), "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.strip() == here


def test_drawing_does_not_depend_on_what_was_drawn_before() -> None:
    scene, between = sample(5), sample(6)
    first = draw_clip(scene, frames=2, **SIZE)
    draw_clip(between, frames=2, **SIZE)
    assert np.array_equal(first, draw_clip(scene, frames=2, **SIZE))


@pytest.mark.parametrize(
    ("field", "names"),
    [
        ("hair_style", HAIR_STYLES),
        ("hair_colour", tuple(HAIR_COLOURS)),
        ("outfit", OUTFITS),
        ("outfit_colour", tuple(OUTFIT_COLOURS)),
        ("background", BACKGROUNDS),
        ("style", tuple(STYLES)),
    ],
)
def test_every_value_of_an_attribute_looks_different(field: str, names: tuple[str, ...]) -> None:
    scene = replace(sample(7), accessory="none", action="stand")
    pictures = [draw_first_frame(replace(scene, **{field: name}), **SIZE).astype(int) for name in names]
    for i, a in enumerate(pictures):
        for b in pictures[i + 1 :]:
            assert np.abs(a - b).max(axis=2).max() > 25


def test_a_longer_clip_shows_the_same_movement_over_a_longer_time() -> None:
    scene = replace(sample(3), action="dance", camera="static")
    short, long = draw_clip(scene, frames=4, **SIZE), draw_clip(scene, frames=8, **SIZE)
    assert np.array_equal(short, long[:4])


def test_rate_only_samples_the_movement() -> None:
    scene = replace(sample(3), action="dance", camera="pan left")
    slow, fast = draw_clip(scene, frames=4, fps=6, **SIZE), draw_clip(scene, frames=8, fps=12, **SIZE)
    assert np.array_equal(slow, fast[::2])


@pytest.mark.parametrize("action", MOVING_ACTIONS)
def test_motion_level_grows_with_the_amplitude(action: str) -> None:
    scene = replace(sample(8), action=action)
    levels = [motion_level(replace(scene, amplitude=a)) for a in (0.0, 0.25, 0.5, 0.75, 1.0)]
    assert levels == sorted(levels)
    assert levels[-1] - levels[1] > 0.05
    assert levels[0] < 0.05


def test_motion_level_is_the_mean_joint_speed() -> None:
    scene = replace(sample(9), action="jump", amplitude=0.8, size=0.7)
    frames, fps = 24, 12.0
    joints = [skeleton(scene, pose_at(scene, i / fps, frames / fps)).joints() for i in range(frames)]
    speeds = [np.hypot(*(b - a).T).mean() * fps * scene.size for a, b in pairwise(joints)]
    # the face's features are one more point, which in a jump moves with the head
    assert motion_level(scene) == pytest.approx(1 - np.exp(-np.mean(speeds) / 0.5), abs=0.03)


def test_motion_level_ignores_the_camera_and_shrinks_when_frozen() -> None:
    scene = replace(sample(10), action="run", camera="static")
    assert motion_level(scene) == motion_level(replace(scene, camera="pan left"))
    assert motion_level(scene, moving=0.0) == 0.0
    assert 0 < motion_level(scene, moving=0.5) < motion_level(scene)


def test_standing_still_hardly_moves_any_pixel() -> None:
    scene = replace(sample(12), action="stand", camera="static", amplitude=1.0)
    moving = replace(scene, action="jump", size=0.7)
    changes = [np.abs(np.diff(draw_clip(s, **SIZE).astype(int), axis=0)).mean() for s in (scene, moving)]
    assert changes[0] < 0.25 * changes[1]


def test_camera_moves_the_way_it_says() -> None:
    scene = replace(sample(13), camera_amplitude=1.0)
    left = [view_at(replace(scene, camera="pan left"), t, 2.0).x for t in (0.0, 1.0, 2.0)]
    assert left == sorted(left, reverse=True)
    assert left[0] > left[-1]
    zooms = {c: [view_at(replace(scene, camera=c), t, 2.0).zoom for t in (0.0, 2.0)] for c in ("zoom in", "zoom out")}
    assert zooms["zoom in"] == zooms["zoom out"][::-1] == pytest.approx([1.0, 1.3])


def test_a_pan_moves_the_picture_the_other_way() -> None:
    scene = replace(sample(14), action="stand", camera="pan left", camera_amplitude=1.0, background="night city")
    first, last = draw_clip(scene, height=128, width=256)[[0, -1], :40].astype(float).mean(axis=3)
    shifts = range(-40, 41)
    errors = [np.abs(first[:, 60:190] - last[:, 60 + s : 190 + s]).mean() for s in shifts]
    assert shifts[int(np.argmin(errors))] > 5  # the camera goes left, so the sky comes in from the left


def test_identity_change_is_complete_at_weight_one_and_absent_at_zero() -> None:
    scene = replace(sample(15), action="stand", camera="static")
    other = replace(scene, hair_colour="green", outfit="armor", outfit_colour="yellow", hair_style="braid")
    change = np.array([0.0, 0.5, 1.0])
    clip = draw_clip(scene, frames=3, other=other, change=change, **SIZE)
    assert np.array_equal(clip[0], draw_clip(scene, frames=3, **SIZE)[0])
    assert np.array_equal(clip[2], draw_clip(other, frames=3, **SIZE)[2])


@pytest.mark.parametrize("bad", [{"frames": 0}, {"height": 8}, {"width": 8}, {"fps": 0.0}])
def test_impossible_clips_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="cannot draw"):
        draw_clip(sample(1), **bad)  # type: ignore[arg-type]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32 - 1))
def test_sampled_scenes_are_drawable_and_keep_to_their_styles(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scene = Scene.sample(rng, styles=("ink", "neon"), seeds=range(100, 200), actions=("walk", "nod"))
    assert scene.style in ("ink", "neon")
    assert 100 <= scene.seed < 200
    assert scene.action in ("walk", "nod")
    assert draw_clip(scene, frames=1, height=48, width=48).std() > 5


def test_every_action_moves_its_own_way() -> None:
    scene = replace(sample(16), camera="static", amplitude=1.0, size=0.8)
    paths = {}
    for action in ACTIONS:
        s = replace(scene, action=action)
        poses = [pose_at(s, i / 12, 2.0) for i in range(24)]
        paths[action] = np.array([[*skeleton(s, p).joints().ravel(), *p.look, p.mouth] for p in poses])
    names = list(paths)
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            assert np.abs(paths[a] - paths[b]).max() > 0.01, (a, b)
