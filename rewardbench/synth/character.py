"""The person: hair, face, body and outfit, drawn over a skeleton."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from rewardbench.synth.canvas import Canvas, capsule, ellipse, smooth
from rewardbench.synth.hair import draw_back_hair, draw_front_hair
from rewardbench.synth.outfits import draw_legs, draw_outfit, draw_sleeve
from rewardbench.synth.palette import (
    EYE_COLOURS,
    HAIR_COLOURS,
    OUTFIT_COLOURS,
    RGB,
    SKIN_TONES,
    darker,
    lighter,
    mix,
)
from rewardbench.synth.pose import Pose, Skeleton, skeleton
from rewardbench.synth.scene import Scene

FACE = 0.128
"""Half width of the face, units of body height."""
WHITE: RGB = (255, 255, 255)
DARK: RGB = (38, 28, 40)

_FACE_GIRL = (
    (-1.0, -0.15), (-0.97, 0.22), (-0.78, 0.62), (-0.38, 0.93), (0.0, 1.06), (0.38, 0.93), (0.78, 0.62),
    (0.97, 0.22), (1.0, -0.15), (0.86, -0.72), (0.45, -1.06), (0.0, -1.15), (-0.45, -1.06), (-0.86, -0.72),
)  # fmt: skip
_FACE_BOY = (
    (-0.98, -0.15), (-0.95, 0.30), (-0.76, 0.72), (-0.36, 1.03), (0.0, 1.13), (0.36, 1.03), (0.76, 0.72),
    (0.95, 0.30), (0.98, -0.15), (0.86, -0.72), (0.45, -1.06), (0.0, -1.15), (-0.45, -1.06), (-0.86, -0.72),
)  # fmt: skip


@dataclass(frozen=True)
class Look:
    """The colours and kinds that make up the identity that is drawn, after any blending of two identities."""

    person: str
    hair_style: str
    outfit: str
    accessory: str
    hair: RGB
    eyes: RGB
    cloth: RGB
    skin: RGB
    build: float
    extra: RGB = field(default=(70, 70, 84))  # scarf, hat, ribbon

    @classmethod
    def of(cls, scene: Scene) -> Look:
        return cls(
            scene.person,
            scene.hair_style,
            scene.outfit,
            scene.accessory,
            HAIR_COLOURS[scene.hair_colour],
            EYE_COLOURS[scene.eye_colour],
            OUTFIT_COLOURS[scene.outfit_colour],
            SKIN_TONES[scene.skin],
            scene.build,
            ((70, 70, 84), (170, 60, 70), (60, 110, 150), (214, 190, 120))[scene.seed % 4],
        )

    def towards(self, other: Look, weight: float) -> Look:
        """The look ``weight`` (0 to 1) of the way to ``other``: colours are mixed, kinds change over at one half."""
        if weight <= 0:
            return self
        kinds = other if weight > 0.5 else self
        return Look(
            kinds.person,
            kinds.hair_style,
            kinds.outfit,
            kinds.accessory,
            mix(self.hair, other.hair, weight),
            mix(self.eyes, other.eyes, weight),
            mix(self.cloth, other.cloth, weight),
            mix(self.skin, other.skin, weight),
            self.build + (other.build - self.build) * weight,
            mix(self.extra, other.extra, weight),
        )


def draw_person(canvas: Canvas, scene: Scene, look: Look, pose: Pose) -> None:
    """Draw the person with the ground under the feet at world (0, 0) and a standing height of 1."""
    bones = skeleton(scene, pose)
    head = _Head(bones.head, FACE, pose.head_tilt + pose.lean * 0.8)
    draw_back_hair(canvas, look.hair_style, look.hair, head.place, pose.sway, pose.look[0])
    far, near = ("left", "right") if scene.facing > 0 else ("right", "left")
    raised = {side: abs(getattr(pose, f"{side}_arm")[0]) > 1.7 for side in ("left", "right")}
    _draw_arm(canvas, look, bones, far)
    draw_legs(canvas, look.outfit, look.person, look.cloth, look.skin, bones, far)
    neck = bones.neck
    canvas.shape(capsule([(neck[0], neck[1] - 0.05), (neck[0], neck[1] + 0.03)], (0.05, 0.06)), darker(look.skin, 0.12))
    draw_outfit(canvas, look.outfit, look.cloth, look.skin, look.person, look.build, bones, pose.sway)
    if not raised[near]:
        _draw_arm(canvas, look, bones, near)
    if look.accessory == "scarf":
        _draw_scarf(canvas, look, neck, pose.sway)
    _draw_face(canvas, look, head, pose)
    draw_front_hair(canvas, look.hair_style, look.hair, look.person, head.place, pose.sway, pose.look[0])
    _draw_accessory(canvas, look, head, pose)
    if raised[near]:
        _draw_arm(canvas, look, bones, near)


@dataclass(frozen=True)
class _Head:
    """Head coordinates: unit is the face's half width, origin its middle, turned by ``tilt``."""

    centre: tuple[float, float]
    unit: float
    tilt: float

    def place(self, points: np.ndarray | tuple[tuple[float, float], ...]) -> np.ndarray:
        c, s = math.cos(self.tilt) * self.unit, math.sin(self.tilt) * self.unit
        p = np.asarray(points, dtype=np.float64)
        return np.asarray(p @ np.array([[c, s], [-s, c]]) + self.centre)


def _draw_arm(canvas: Canvas, look: Look, bones: Skeleton, side: str) -> None:
    joints = bones.left_arm if side == "left" else bones.right_arm
    canvas.shape(capsule(joints, (0.042, 0.038, 0.032)), look.skin, shrink=0.86)
    hand = joints[2]
    along = np.subtract(joints[2], joints[1]) / 0.125
    canvas.shape(ellipse(hand[0] + 0.012 * along[0], hand[1] + 0.012 * along[1], 0.024, 0.024, 12), look.skin)
    draw_sleeve(canvas, look.outfit, look.cloth, joints)


def _draw_face(canvas: Canvas, look: Look, head: _Head, pose: Pose) -> None:
    girl = look.person == "girl"
    lx, ly = pose.look
    for side in (-1.0, 1.0):
        canvas.shape(head.place(ellipse(side * 0.99 + 0.1 * lx, 0.18, 0.13, 0.22, 12)), look.skin, outline=0.8)
    canvas.shape(
        head.place(smooth(_FACE_GIRL if girl else _FACE_BOY, 3)), look.skin, anchor=_at(head, -0.3, -0.1), shrink=0.93
    )
    for side in (-1.0, 1.0):
        blush = mix(look.skin, (255, 110, 110), 0.45)
        canvas.fill(head.place(ellipse(side * 0.60 + lx * 0.7, 0.52 + ly, 0.17, 0.08, 12)), blush, 0.55)
        _draw_eye(canvas, look, head, side, pose)
    _draw_mouth(canvas, look, head, lx * 0.85, ly, pose.mouth)
    nose = head.place(((0.95 * lx + 0.02, 0.47 + ly), (0.95 * lx + 0.06, 0.54 + ly)))
    canvas.line(nose, darker(look.skin, 0.45), 0.7)


def _at(head: _Head, x: float, y: float) -> tuple[float, float]:
    (point,) = head.place(((x, y),))
    return float(point[0]), float(point[1])


def _draw_eye(canvas: Canvas, look: Look, head: _Head, side: float, pose: Pose) -> None:
    girl, shape = look.person == "girl", canvas.style.eye
    lx, ly = pose.look
    narrowing = 1.0 - 0.28 * max(0.0, side * lx)  # the far eye of a turned face is narrower
    cx, cy = side * 0.45 + lx * 0.9, 0.20 + ly
    half_w = {"tall": 0.255, "round": 0.285, "sharp": 0.295, "dot": 0.2}[shape] * narrowing
    half_h = {"tall": 0.36, "round": 0.33, "sharp": 0.27, "dot": 0.26}[shape] * (1.0 if girl else 0.84)
    openness = 1.0 - pose.blink
    brow = darker(look.hair, 0.35)
    by = cy - half_h - 0.17 - 0.04 * pose.mouth
    brows = ((cx - 0.24 * side, by + 0.04), (cx, by - 0.04), (cx + 0.24 * side, by + (0.0 if girl else 0.05)))
    canvas.line(head.place(brows), brow, 1.0 if girl else 1.7)
    if openness < 0.25:
        lid = ((cx - half_w, cy + 0.02), (cx - half_w * 0.4, cy + 0.12), (cx + half_w * 0.4, cy + 0.12),
               (cx + half_w, cy + 0.02))  # fmt: skip
        canvas.line(head.place(lid), DARK, 1.8)
        return
    half_h *= openness
    tilt = 0.08 * side if shape == "sharp" else 0.0  # the outer corner is raised
    white = np.array(ellipse(cx, cy, half_w, half_h, 20))
    white[:, 1] -= tilt * (white[:, 0] - cx) / half_w
    canvas.fill(head.place(white), WHITE)
    ix, iw, ih = cx + 0.10 * lx, half_w * 0.80, half_h * 0.93
    canvas.fill(head.place(ellipse(ix, cy + 0.02, iw, ih, 20)), darker(look.eyes, 0.35))
    canvas.fill(head.place(ellipse(ix, cy + 0.05, iw * 0.86, ih * 0.88, 18)), look.eyes)
    canvas.fill(head.place(ellipse(ix, cy + 0.45 * ih, iw * 0.58, ih * 0.42, 14)), lighter(look.eyes, 0.40))
    canvas.fill(head.place(ellipse(ix, cy - 0.02, iw * 0.38, ih * 0.42, 12)), darker(look.eyes, 0.80))
    canvas.fill(head.place(ellipse(ix - iw * 0.36, cy - ih * 0.40, iw * 0.36, ih * 0.26, 12)), WHITE)
    canvas.fill(head.place(ellipse(ix + iw * 0.40, cy + ih * 0.46, iw * 0.18, ih * 0.13, 10)), WHITE, 0.9)
    top = cy - half_h
    lash = ((cx - half_w * 1.10 * side, cy - half_h * 0.42), (cx - half_w * 0.62 * side, top + 0.03 * openness),
            (cx, top - 0.03), (cx + half_w * 0.68 * side, top + 0.02 - tilt * side),
            (cx + half_w * 1.22 * side, cy - half_h * 0.30 - tilt * side))  # fmt: skip
    upper = smooth(lash, 4, closed=False)
    inner = upper + np.array([0.0, 0.085])
    inner[0], inner[-1] = upper[0], upper[-1]
    canvas.fill(head.place(np.vstack([upper, inner[::-1]])), DARK)
    lower = ((cx - half_w * 0.5, cy + half_h * 0.96), (cx + half_w * 0.5, cy + half_h * 0.96))
    canvas.line(head.place(lower), darker(look.skin, 0.5), 0.6)


def _draw_mouth(canvas: Canvas, look: Look, head: _Head, lx: float, ly: float, opening: float) -> None:
    y = 0.74 + ly * 0.9
    if opening < 0.12:
        curve = ((lx - 0.14, y - 0.015), (lx - 0.05, y + 0.03), (lx + 0.05, y + 0.03), (lx + 0.14, y - 0.015))
        canvas.line(head.place(smooth(curve, 3, closed=False)), darker(look.skin, 0.6), 1.0)
        return
    h = 0.05 + 0.17 * opening
    shape = ((lx - 0.15, y - 0.03), (lx, y - 0.02), (lx + 0.15, y - 0.03), (lx + 0.10, y + h * 0.7), (lx, y + h),
             (lx - 0.10, y + h * 0.7))  # fmt: skip
    canvas.shape(head.place(smooth(shape, 3)), (176, 52, 60), shade=False, outline=0.8)
    canvas.fill(head.place(ellipse(lx, y + h * 0.72, 0.07, h * 0.22, 10)), (240, 130, 130))


def _draw_scarf(canvas: Canvas, look: Look, neck: tuple[float, float], sway: float) -> None:
    x, y = neck
    tail = ((x + 0.03, y + 0.03), (x + 0.075, y + 0.03), (x + 0.085 + 0.05 * sway, y + 0.17),
            (x + 0.04 + 0.05 * sway, y + 0.17))  # fmt: skip
    canvas.shape(tail, look.extra)
    canvas.shape(ellipse(x, y + 0.012, 0.078, 0.034, 18), look.extra)


def _draw_accessory(canvas: Canvas, look: Look, head: _Head, pose: Pose) -> None:
    lx, ly = pose.look
    if look.accessory == "glasses":
        for side in (-1.0, 1.0):
            ring = ellipse(side * 0.46 + lx * 0.9, 0.24 + ly, 0.37, 0.36, 20)
            canvas.fill(head.place(ring), (220, 236, 255), 0.18)
            canvas.line(head.place(np.vstack([ring, ring[:2]])), (40, 36, 52), 1.1)
        bridge = ((lx * 0.9 - 0.09, 0.20 + ly), (lx * 0.9 + 0.09, 0.20 + ly))
        canvas.line(head.place(bridge), (40, 36, 52), 1.1)
    elif look.accessory == "ribbon":
        for side in (-1.0, 1.0):
            loop = ((0.62, -1.10), (0.62 + side * 0.40, -1.40), (0.62 + side * 0.44, -0.92))
            canvas.shape(head.place(loop), look.extra)
        canvas.shape(head.place(ellipse(0.62, -1.12, 0.12, 0.13, 12)), look.extra)
    elif look.accessory == "hat":
        crown = ((-0.95, -0.72), (-0.85, -1.45), (-0.3, -1.66), (0.3, -1.66), (0.85, -1.45), (0.95, -0.72))
        canvas.shape(head.place(crown), look.extra)
        canvas.shape(head.place(ellipse(0.0, -0.74, 1.42, 0.20, 24)), look.extra)
    elif look.accessory == "headphones":
        arc = [(1.16 * math.sin(a), -0.12 - 1.22 * math.cos(a)) for a in np.linspace(-1.45, 1.45, 12)]
        canvas.line(head.place(np.array(arc)), darker(look.extra, 0.3), 3.2)
        for side in (-1.0, 1.0):
            canvas.shape(head.place(ellipse(side * 1.12, 0.10, 0.20, 0.33, 14)), look.extra)
