"""Which clips `anime-probe` consists of: base scenes, and the treatments each of them gets."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from rewardbench.synth.caption import FACTS, caption
from rewardbench.synth.pairs import Pair, Specimen, choose_pairs
from rewardbench.synth.pose import motion_level
from rewardbench.synth.recipes import DIMENSIONS, SEED_TIES, Recipe
from rewardbench.synth.scene import ACTIONS, CAMERAS, MOVING_ACTIONS, Scene
from rewardbench.synth.splits import (
    HELD_OUT_ENCODINGS,
    HELD_OUT_STYLES,
    PROBE_FULL_SEEDS,
    PROBE_SEEDS,
    TRAIN_STYLES,
    Encoding,
)

PROBE_VERSION = "1"
"""Changes whenever a clip, a level or a pair changes."""


@dataclass(frozen=True)
class Variant:
    """One size of the set. ``clusters`` base scenes, each with ten clips and four of the six dimensions."""

    clusters: int
    seeds: range
    styles: tuple[str, ...]
    stream: int  # separates the random draws of the variants


VARIANTS: dict[str, Variant] = {
    "": Variant(12, PROBE_SEEDS, TRAIN_STYLES, 0),
    "full": Variant(108, PROBE_FULL_SEEDS, HELD_OUT_STYLES, 1),
}

TYPES: dict[str, tuple[str, ...]] = {
    "smoothness": ("flicker", "frame_drop", "warp", "stutter", "jitter"),
    "motion": ("amplitude", "freeze"),
    "appeal": ("blur", "compression", "noise", "colour_cast"),
    "text_video": ("wrong_facts",),
    "image_video": ("restyle", "style_drift"),
    "character": ("identity_change",),
}
_LEFT_OUT = (("smoothness", "text_video"), ("motion", "image_video"), ("appeal", "character"))
_CODECS = ("jpeg", "h264", "vp9", "mpeg4", "webp")


@dataclass(frozen=True)
class Cluster:
    """One base scene, its prompt and first frame, and its clips."""

    name: str
    prompt: str
    encoding: Encoding
    recipes: tuple[Recipe, ...]

    @property
    def base(self) -> Scene:
        return self.recipes[0].base

    @property
    def image(self) -> str:
        return f"images/{self.name}.png"

    def video(self, index: int) -> str:
        return f"videos/{self.name}-{index:02d}.mp4"

    def specimens(self) -> list[Specimen]:
        slices = {"style": self.base.style, "background": self.base.background, "motion": self.base.action}
        return [
            Specimen(
                self.video(i), self.name, self.prompt, self.image, r.treatment, r.severity, r.seed, r.levels(), slices
            )
            for i, r in enumerate(self.recipes)
        ]


def plan_clusters(variant: str) -> list[Cluster]:
    """All clusters of a variant, without drawing anything."""
    settings = VARIANTS[variant]
    rng = np.random.default_rng([int(PROBE_VERSION), settings.stream])
    turns = dict.fromkeys(DIMENSIONS, 0)
    clusters: list[Cluster] = []
    prompts: set[str] = set()
    for number in range(settings.clusters):
        left_out = _LEFT_OUT[number % len(_LEFT_OUT)]
        base = _base_scene(rng, settings, left_out)
        prompt = caption(base)
        while prompt in prompts:
            base = _base_scene(rng, settings, left_out)
            prompt = caption(base)
        prompts.add(prompt)
        recipes = [Recipe(base), Recipe(base, "replay")]
        for dimension in DIMENSIONS:
            if dimension not in left_out:
                recipes += _treatments(rng, base, dimension, turns[dimension], settings.seeds)
                turns[dimension] += 1
        encoding = HELD_OUT_ENCODINGS[number % len(HELD_OUT_ENCODINGS)]
        clusters.append(Cluster(f"s{number:03d}", prompt, encoding, tuple(recipes)))
    return clusters


def plan_pairs(variant: str, clusters: list[Cluster]) -> tuple[list[Specimen], list[Pair]]:
    """The clips' known levels, and the pairs."""
    specimens = [s for cluster in clusters for s in cluster.specimens()]
    rng = np.random.default_rng([int(PROBE_VERSION), VARIANTS[variant].stream, 1])
    return specimens, choose_pairs(specimens, rng)


def _base_scene(rng: np.random.Generator, settings: Variant, left_out: tuple[str, ...]) -> Scene:
    """A scene in which the dimensions asked about can be seen: something moves where smoothness or motion is."""
    still_allowed = "motion" in left_out
    scene = Scene.sample(
        rng,
        styles=settings.styles,
        seeds=settings.seeds,
        actions=ACTIONS if still_allowed else MOVING_ACTIONS,
        cameras=CAMERAS[1:] if still_allowed else CAMERAS,
    )
    scene = replace(scene, amplitude=round(0.7 + 0.3 * float(rng.random()), 3))
    if still_allowed:
        return replace(scene, camera_amplitude=round(0.7 + 0.3 * float(rng.random()), 3))
    if motion_level(scene) < 0.2:
        return _base_scene(rng, settings, left_out)
    return scene


def _treatments(rng: np.random.Generator, base: Scene, dimension: str, turn: int, seeds: range) -> list[Recipe]:
    """Two clips about ``dimension``: two severities of one draw or, every third time, two draws of one severity."""
    name = TYPES[dimension][turn % len(TYPES[dimension])]
    first, second = (seeds.start + int(s) for s in rng.integers(len(seeds), size=2))
    codec = _CODECS[(turn // len(TYPES[dimension])) % len(_CODECS)] if name == "compression" else "h264"
    low, high = round(float(rng.uniform(0.35, 0.5)), 2), round(float(rng.uniform(0.8, 1.0)), 2)
    if name == "wrong_facts":
        low, high = int(rng.integers(2, 4)) / len(FACTS), int(rng.integers(5, 7)) / len(FACTS)
    if name == "amplitude":
        high = min(high, 0.9)
    if name in SEED_TIES and turn % 3 == 2:
        severity = round(float(rng.uniform(0.5, 0.9)), 2)
        return [Recipe(base, name, severity, first, codec), Recipe(base, name, severity, second, codec)]
    return [Recipe(base, name, low, first, codec), Recipe(base, name, high, first, codec)]
