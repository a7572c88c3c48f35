"""Body and camera motion of known amplitude: where every joint is at a time.

Body coordinates: the standing person's height is 1, x to the right, y downwards, the ground under the feet is (0, 0).
Times are in seconds, so frame rate and length of a clip are free.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from rewardbench.synth.scene import Scene

SHOULDER_Y, HIP_Y, HEAD_Y = -0.612, -0.385, -0.79
UPPER_ARM, FOREARM, THIGH, SHIN = 0.125, 0.125, 0.195, 0.19
MOTION_SPEED = 0.5
"""Mean joint speed, in shorter frame sides per second, at which the motion level reaches 1 - 1/e."""

Point = tuple[float, float]


@dataclass(frozen=True)
class Pose:
    """One moment. Angles in radians; limb angles are 0 hanging down, positive towards +x."""

    root: Point  # offset of the whole body, units of body height
    lean: float = 0.0  # the trunk's tilt
    head: Point = (0.0, 0.0)  # offset of the head, units of body height
    head_tilt: float = 0.0
    look: Point = (0.0, 0.0)  # turn of the face: shift of its features, units of the face's half width
    left_arm: tuple[float, float] = (-0.25, -0.12)  # upper arm, forearm
    right_arm: tuple[float, float] = (0.25, 0.12)
    left_leg: tuple[float, float] = (-0.04, -0.02)  # thigh, shin
    right_leg: tuple[float, float] = (0.04, 0.02)
    mouth: float = 0.0  # 0 closed to 1 open
    sway: float = 0.0  # swing of hair and skirt, -1 to 1
    blink: float = 0.0  # 0 open to 1 closed


def pose_at(scene: Scene, t: float, duration: float) -> Pose:
    """The pose at ``t`` seconds of a clip that lasts ``duration`` seconds.

    Every displacement except breathing and blinking is proportional to ``scene.amplitude``.
    """
    turn = 2 * math.pi * (scene.phase + scene.tempo * t)  # one cycle a second at tempo 1
    if scene.action in ("walk", "run"):
        return _stride(scene, turn, t, duration)
    still = Pose(
        (0.0, 0.003 * math.sin(2 * math.pi * 0.4 * t + scene.seed % 7)),
        look=(0.12 * scene.facing, 0.0),
        sway=0.12 * math.sin(2 * math.pi * 0.5 * t + scene.seed % 5),
        blink=_blink(scene, t),
    )
    move = _MOVES.get(scene.action)
    return still if move is None else move(still, turn, scene.amplitude, float(scene.facing))


def _wave(still: Pose, w: float, a: float, facing: float) -> Pose:
    swing = math.sin(1.5 * w)
    upper, lower = math.pi - 0.75, math.pi - 0.55 + 0.95 * a * swing
    pose = replace(still, look=(0.0, 0.0), lean=0.03 * a * swing, head_tilt=0.05 * a * swing, mouth=0.35)
    return replace(pose, right_arm=(upper, lower)) if facing > 0 else replace(pose, left_arm=(-upper, -lower))


def _jump(still: Pose, w: float, a: float, facing: float) -> Pose:
    height = abs(math.sin(0.8 * w))
    crouch = 1.0 - height
    return Pose(
        (0.0, -0.22 * a * height),
        left_arm=(-0.35 - 2.0 * a * height, -0.2 - 2.3 * a * height),
        right_arm=(0.35 + 2.0 * a * height, 0.2 + 2.3 * a * height),
        left_leg=(-0.08 - 0.35 * a * crouch, -0.02 + 0.30 * a * crouch),
        right_leg=(0.08 + 0.35 * a * crouch, 0.02 - 0.30 * a * crouch),
        mouth=0.7 * a,
        sway=0.8 * a * math.cos(0.8 * w),
        blink=still.blink,
    )


def _dance(still: Pose, w: float, a: float, facing: float) -> Pose:
    s, c = math.sin(w), math.cos(w)
    left, right = 0.5 + 0.5 * s, 0.5 - 0.5 * s
    return Pose(
        (0.09 * a * s, -0.05 * a * abs(c)),
        lean=0.16 * a * s,
        head_tilt=-0.12 * a * s,
        left_arm=(-0.9 - 1.0 * a * left, -1.3 - 1.5 * a * left),
        right_arm=(0.9 + 1.0 * a * right, 1.3 + 1.5 * a * right),
        left_leg=(-0.06 - 0.35 * a * max(0.0, s), -0.02 + 0.1 * a * max(0.0, s)),
        right_leg=(0.06 + 0.35 * a * max(0.0, -s), 0.02 - 0.1 * a * max(0.0, -s)),
        mouth=0.4,
        sway=0.8 * a * c,
        blink=still.blink,
    )


def _nod(still: Pose, w: float, a: float, facing: float) -> Pose:
    down = 0.5 - 0.5 * math.cos(1.2 * w)
    return replace(still, head=(0.0, 0.03 * a * down), look=(0.12 * facing, 0.30 * a * down))


def _shake(still: Pose, w: float, a: float, facing: float) -> Pose:
    turn = math.sin(1.2 * w)
    return replace(still, head=(0.008 * a * turn, 0.0), look=(0.42 * a * turn, 0.0))


def _talk(still: Pose, w: float, a: float, facing: float) -> Pose:
    opening = a * (0.35 + 0.65 * abs(math.sin(2.6 * w) * math.cos(0.7 * w)))
    return replace(still, head=(0.0, -0.004 * a * opening), mouth=opening)


_MOVES: dict[str, Callable[[Pose, float, float, float], Pose]] = {
    "wave": _wave,
    "jump": _jump,
    "dance": _dance,
    "nod": _nod,
    "shake": _shake,
    "talk": _talk,
}


def _stride(scene: Scene, w: float, t: float, duration: float) -> Pose:
    """Walking or running: the body travels to the side it faces and comes back into view by symmetry of the path."""
    a, f, run = scene.amplitude, float(scene.facing), scene.action == "run"
    cadence, swing, bounce, speed, bend = (1.5, 0.85, 0.05, 0.42, 1.3) if run else (0.9, 0.5, 0.02, 0.22, 0.35)
    s = math.sin(cadence * w)
    reach = min(speed * a * duration, 0.75)  # the path is cut to stay in the frame
    x = f * reach * (t / duration - 0.5) if duration > 0 else 0.0

    def knee(angle: float) -> float:
        return angle - f * a * swing * 0.9 * max(0.0, -math.copysign(1.0, f) * angle)

    left, right = swing * a * s, -swing * a * s
    return Pose(
        (x, -bounce * a * abs(math.cos(cadence * w))),
        lean=f * (0.12 if run else 0.03) * a,
        look=(0.38 * f, 0.0),
        left_arm=(right * 1.1 - 0.05, right * 1.1 + f * bend * a),
        right_arm=(left * 1.1 + 0.05, left * 1.1 + f * bend * a),
        left_leg=(left, knee(left)),
        right_leg=(right, knee(right)),
        mouth=0.3 if run else 0.0,
        sway=-f * 0.45 * a + 0.35 * a * math.sin(2 * cadence * w),
        blink=_blink(scene, t),
    )


def _blink(scene: Scene, t: float) -> float:
    period = 2.6 + (scene.seed % 11) * 0.12
    since = (t + 0.3 + (scene.seed % 13) * 0.15) % period
    return max(0.0, 1.0 - abs(since - 0.12) / 0.12) if since < 0.24 else 0.0


def limb(start: Point, angles: tuple[float, float], lengths: tuple[float, float]) -> tuple[Point, Point, Point]:
    """Joints of a two-part limb: start, middle, end."""
    (x, y), (upper, lower) = start, angles
    mx, my = x + lengths[0] * math.sin(upper), y + lengths[0] * math.cos(upper)
    return start, (mx, my), (mx + lengths[1] * math.sin(lower), my + lengths[1] * math.cos(lower))


@dataclass(frozen=True)
class Skeleton:
    """Joint positions in body coordinates (the whole body's offset and lean included)."""

    head: Point
    neck: Point
    hip: Point
    left_arm: tuple[Point, Point, Point]
    right_arm: tuple[Point, Point, Point]
    left_leg: tuple[Point, Point, Point]
    right_leg: tuple[Point, Point, Point]

    def joints(self) -> np.ndarray:
        """float64 (11, 2): head, hip, elbows, hands, knees, feet and neck."""
        limbs = (self.left_arm, self.right_arm, self.left_leg, self.right_leg)
        return np.array([self.head, self.hip, self.neck] + [p for joints in limbs for p in joints[1:]])


def skeleton(scene: Scene, pose: Pose) -> Skeleton:
    """Forward kinematics of ``pose``."""
    rx, ry = pose.root
    hip = (rx, ry + HIP_Y)

    def lean(x: float, y: float) -> Point:
        c, s = math.cos(pose.lean), math.sin(pose.lean)
        dx, dy = x, y - HIP_Y
        return rx + c * dx - s * dy, ry + HIP_Y + s * dx + c * dy

    half_shoulder, half_hip = 0.082 * scene.build, 0.040 * scene.build
    head = lean(pose.head[0], HEAD_Y + pose.head[1])
    arms, legs = (UPPER_ARM, FOREARM), (THIGH, SHIN)
    return Skeleton(
        head=head,
        neck=lean(0.0, SHOULDER_Y - 0.02),
        hip=hip,
        left_arm=limb(lean(-half_shoulder, SHOULDER_Y + 0.012), pose.left_arm, arms),
        right_arm=limb(lean(half_shoulder, SHOULDER_Y + 0.012), pose.right_arm, arms),
        left_leg=limb((rx - half_hip, ry + HIP_Y), pose.left_leg, legs),
        right_leg=limb((rx + half_hip, ry + HIP_Y), pose.right_leg, legs),
    )


def motion_level(scene: Scene, *, frames: int = 24, fps: float = 12.0, moving: float = 1.0) -> float:
    """Known level of the protagonist's motion, in [0, 1): ``1 - exp(-moving * speed / MOTION_SPEED)``.

    ``speed`` is the mean speed of the body's eleven joints and of the face's features, in shorter frame sides per
    second and without the camera's part; ``moving`` is the share of the time in which they move (below 1 for a clip
    that freezes).
    """
    if frames < 2:
        return 0.0
    duration = frames / fps
    path = []
    for i in range(frames):
        pose = pose_at(scene, i / fps, duration)
        joints = skeleton(scene, pose).joints()
        face = joints[0] + 0.125 * np.array(pose.look) + np.array([0.0, 0.01 * pose.mouth])
        path.append(np.vstack([joints, face]))
    speed = np.linalg.norm(np.diff(np.stack(path), axis=0), axis=2).mean() * fps * scene.size
    return float(1.0 - math.exp(-moving * speed / MOTION_SPEED))


@dataclass(frozen=True)
class View:
    """The camera: centre of view relative to the middle of the frame (fractions of its size), and zoom."""

    x: float
    y: float
    zoom: float


def view_at(scene: Scene, t: float, duration: float) -> View:
    """The camera at ``t`` seconds; a pan covers up to a fifth of the frame's width, a zoom up to 30 %."""
    done = t / duration if duration > 0 else 0.0
    a = scene.camera_amplitude
    if scene.camera in ("pan left", "pan right"):
        direction = -1.0 if scene.camera == "pan left" else 1.0
        return View(direction * 0.20 * a * (done - 0.5), 0.0, 1.0)
    if scene.camera == "zoom in":
        return View(0.0, -0.06 * a * done, 1.0 + 0.30 * a * done)
    if scene.camera == "zoom out":
        return View(0.0, -0.06 * a * (1.0 - done), 1.0 + 0.30 * a * (1.0 - done))
    return View(0.0, 0.0, 1.0)
