"""The drawn anime world: a scene becomes a clip.

A clip is deterministic: the same scene, size, length and rate give the same bytes in every run and process. Sizes and
lengths are free; everything is laid out relative to the frame.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from PIL import Image

from rewardbench.synth.backgrounds import MARGIN, paint_background
from rewardbench.synth.canvas import Canvas, ellipse
from rewardbench.synth.character import Look, draw_person
from rewardbench.synth.palette import STYLES
from rewardbench.synth.pose import pose_at, view_at
from rewardbench.synth.scene import Scene

__all__ = ["Scene", "draw_clip", "draw_first_frame"]

_DEPTH = 0.6
"""How much of the camera's movement the background shows (it is farther away than the person)."""


def draw_clip(
    scene: Scene,
    *,
    frames: int = 24,
    height: int = 256,
    width: int = 256,
    fps: float = 12.0,
    other: Scene | None = None,
    change: np.ndarray | None = None,
) -> np.ndarray:
    """Draw ``scene``.

    Args:
        scene: what is drawn.
        frames: number of frames, at least 1.
        height, width: size in pixels, at least 16 each.
        fps: frames per second; the motion is a function of time.
        other: whose identity (hair, eyes, outfit, skin, build) the person changes into.
        change: (frames,) how much of ``other`` each frame shows, 0 to 1: colours are mixed, kinds change at one half.

    Returns:
        uint8 (T, H, W, 3), RGB.
    """
    if frames < 1 or height < 16 or width < 16 or not fps > 0:
        raise ValueError(f"cannot draw {frames} frames of {width}x{height} at {fps} fps")
    if (other is None) != (change is None) or (change is not None and len(change) != frames):
        raise ValueError("other and change go together, with one weight a frame")
    own = Look.of(scene)
    clip = np.empty((frames, height, width, 3), dtype=np.uint8)
    for i in range(frames):
        look = own if other is None or change is None else own.towards(Look.of(other), float(change[i]))
        clip[i] = _draw_frame(scene, look, i / fps, frames / fps, height, width)
    return clip


def draw_first_frame(
    scene: Scene, *, frames: int = 24, height: int = 256, width: int = 256, fps: float = 12.0
) -> np.ndarray:
    """Frame 0 of the clean clip with the same arguments; uint8 (H, W, 3)."""
    return _draw_frame(scene, Look.of(scene), 0.0, frames / fps, height, width)


@lru_cache(maxsize=4)
def _cached_background(key: Scene, height: int, width: int) -> Image.Image:
    return paint_background(key, height, width)


def _background(scene: Scene, height: int, width: int) -> Image.Image:
    """The painted background; scenes that differ only in the person share it."""
    return _cached_background(Scene(scene.seed, style=scene.style, background=scene.background), height, width)


@lru_cache(maxsize=1)
def _seen(scene: Scene, height: int, width: int, box: tuple[float, float, float, float]) -> Image.Image:
    """The part of the background that the camera sees; kept while the camera stands still."""
    return _background(scene, height, width).resize((width, height), Image.Resampling.BILINEAR, box=box)


def _draw_frame(scene: Scene, look: Look, t: float, duration: float, height: int, width: int) -> np.ndarray:
    view = view_at(scene, t, duration)
    zoom = 1.0 + _DEPTH * (view.zoom - 1.0)
    centre_x = (MARGIN + 0.5 + _DEPTH * view.x) * width
    centre_y = (MARGIN + 0.5 + _DEPTH * view.y) * height
    half_w, half_h = 0.5 * width / zoom, 0.5 * height / zoom
    box = (centre_x - half_w, centre_y - half_h, centre_x + half_w, centre_y + half_h)
    frame = _seen(scene, height, width, box).copy()

    side = min(height, width)
    scale = scene.size * side * view.zoom
    # a person taller than the frame is cut at the legs, never at the head
    feet_y = 0.95 * height if scene.size <= 1.0 else 0.05 * height + scene.size * side
    feet_y += 0.5 * (height - side) * (scene.size > 1.0)
    x = (scene.position - view.x) * width * view.zoom + 0.5 * width
    y = (feet_y - (0.5 + view.y) * height) * view.zoom + 0.5 * height
    canvas = Canvas(frame, STYLES[scene.style], scale, (x, y), side * view.zoom)
    pose = pose_at(scene, t, duration)
    canvas.fill(ellipse(pose.root[0], 0.012, 0.15 + 0.2 * pose.root[1], 0.022), (30, 24, 50), 0.28)
    draw_person(canvas, scene, look, pose)
    return canvas.image_array(width, height)
