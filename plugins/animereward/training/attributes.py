"""Draw single frames with known attributes, for the recognisers of text-video and character consistency."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rewardbench_animereward.people import BODY, HEAD, Person, crop

from rewardbench.synth.character import FACE
from rewardbench.synth.palette import EYE_COLOURS, HAIR_COLOURS, OUTFIT_COLOURS
from rewardbench.synth.pose import pose_at, skeleton, view_at
from rewardbench.synth.scene import ACCESSORIES, ACTIONS, BACKGROUNDS, CAMERAS, HAIR_STYLES, OUTFITS, PEOPLE, Scene
from rewardbench.synth.splits import TRAIN_SEEDS, TRAIN_STYLES
from rewardbench.synth.world import draw_clip

VALUES: dict[str, tuple[str, ...]] = {
    "person": PEOPLE,
    "hair_style": HAIR_STYLES,
    "hair_colour": tuple(HAIR_COLOURS),
    "eye_colour": tuple(EYE_COLOURS),
    "accessory": ACCESSORIES,
    "outfit": OUTFITS,
    "outfit_colour": tuple(OUTFIT_COLOURS),
    "background": BACKGROUNDS,
    "action": ACTIONS,
    "camera": CAMERAS,
}
"""Facts of a scene and the values each can take, in the order of the recognisers' outputs."""
MARGIN = 1.25
"""Stored crops are this much wider than what a recogniser sees, so that training can move them."""


def person_at(scene: Scene, t: float, duration: float, height: int, width: int) -> Person:
    """Where the face is drawn: centre (x, y) and half width, in pixels (the formulas of ``world._draw_frame``)."""
    view, side = view_at(scene, t, duration), min(height, width)
    scale = scene.size * side * view.zoom
    feet_y = 0.95 * height if scene.size <= 1.0 else 0.05 * height + scene.size * side
    feet_y += 0.5 * (height - side) * (scene.size > 1.0)
    x = (scene.position - view.x) * width * view.zoom + 0.5 * width
    y = (feet_y - (0.5 + view.y) * height) * view.zoom + 0.5 * height
    head = skeleton(scene, pose_at(scene, t, duration)).head
    return Person(x + scale * head[0], y + scale * head[1], FACE * scale)


def labels(scene: Scene) -> NDArray[np.int16]:
    """Index of every fact's value, int16 (len(VALUES),)."""
    return np.array([values.index(getattr(scene, fact)) for fact, values in VALUES.items()], np.int16)


def draw(seed: int, count: int, frames: int = 3, size: int = 256) -> dict[str, NDArray[np.generic]]:
    """``count`` scenes of the training styles and seeds, ``frames`` moments each."""
    rng = np.random.default_rng([seed, 1])
    rows: dict[str, list[NDArray[np.generic]]] = {k: [] for k in ("full", "head", "body", "person", "labels")}
    for _ in range(count):
        scene = Scene.sample(rng, styles=TRAIN_STYLES, seeds=TRAIN_SEEDS)
        fps = frames / 2.0
        clip = draw_clip(scene, frames=frames, height=size, width=size, fps=fps)
        for i, frame in enumerate(clip):
            person = person_at(scene, i / fps, frames / fps, size, size)
            rows["full"].append(np.asarray(Image.fromarray(frame).resize((64, 64), Image.Resampling.BOX)))
            rows["head"].append(crop(frame, person, HEAD, 80, MARGIN))
            rows["body"].append(crop(frame, person, BODY, 80, MARGIN))
            rows["person"].append(np.array([person.x, person.y, person.unit], np.float32) / size)
            rows["labels"].append(labels(scene))
    return {name: np.stack(values) for name, values in rows.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the shards; finished shards are kept")
    parser.add_argument("--shards", type=int, default=24)
    parser.add_argument("--scenes", type=int, default=250, help="scenes per shard")
    parser.add_argument("--first", type=int, default=0, help="number of the first shard")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    for shard in range(options.first, options.first + options.shards):
        path = options.out / f"attributes-{shard:03d}.npz"
        if path.exists():
            continue
        part = path.with_suffix(".part.npz")
        np.savez(part, **draw(shard, options.scenes))  # type: ignore[arg-type]
        part.rename(path)
        print(f"{path.name} done", flush=True)


if __name__ == "__main__":
    main()
