"""Scenes of the drawn world, dealt out to the toy's training, to alignment and to evaluation, and as first frames."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rewardbench.synth.caption import caption
from rewardbench.synth.scene import Scene
from rewardbench.synth.splits import TRAIN_SEEDS
from rewardbench.synth.world import draw_clip, draw_first_frame

FRAMES, SIZE, FPS = 16, 64, 8.0
"""Length, side in pixels and frames per second of every clip of the toy."""

_QUARTER = len(TRAIN_SEEDS) // 4
PARTS = {
    "generator": range(TRAIN_SEEDS.start, TRAIN_SEEDS.start + 2 * _QUARTER),
    "align": range(TRAIN_SEEDS.start + 2 * _QUARTER, TRAIN_SEEDS.start + 3 * _QUARTER),
    "evaluate": range(TRAIN_SEEDS.start + 3 * _QUARTER, TRAIN_SEEDS.stop),
}
"""Scene seeds of each part; none belongs to two. All are seeds that the reward model `mini` may have seen drawn."""


@dataclass(frozen=True)
class DrawnPrompt:
    """A scene and the words for it."""

    scene: Scene
    caption: str

    def clip(self) -> np.ndarray:
        """uint8 (16, 64, 64, 3): what the world itself draws, the perfect answer."""
        return draw_clip(self.scene, frames=FRAMES, height=SIZE, width=SIZE, fps=FPS)

    def image(self) -> np.ndarray:
        """uint8 (64, 64, 3): its first frame."""
        return draw_first_frame(self.scene, frames=FRAMES, height=SIZE, width=SIZE, fps=FPS)


def drawn_prompt(part: str, index: int) -> DrawnPrompt:
    """The ``index``-th prompt of a part of :data:`PARTS`: the same in every run.

    The camera stands still: with pans and zooms two million weights learned neither these nor the person's movement.
    """
    seeds = PARTS[part]
    rng = np.random.default_rng([seeds.start, index])
    scene = Scene.sample(rng, seeds=seeds, cameras=("static",))
    return DrawnPrompt(scene, caption(scene, rng))
