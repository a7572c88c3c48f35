"""Everything that is drawn, as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rewardbench.synth.palette import EYE_COLOURS, HAIR_COLOURS, OUTFIT_COLOURS, SKIN_TONES
from rewardbench.synth.splits import SEED_BITS, TRAIN_STYLES

PEOPLE = ("girl", "boy")
HAIR_STYLES = ("long", "short", "bob", "spiky", "ponytail", "twin tails", "braid")
OUTFITS = ("school uniform", "kimono", "hoodie", "armor", "dress", "coat")
ACCESSORIES = ("none", "glasses", "ribbon", "hat", "headphones", "scarf")
BACKGROUNDS = ("classroom", "night city", "forest", "seaside", "shrine", "snow field", "sunset hill", "bedroom")
ACTIONS = ("stand", "wave", "walk", "run", "jump", "dance", "nod", "shake", "talk")
CAMERAS = ("static", "pan left", "pan right", "zoom in", "zoom out")

WHOLE, CLOSE = (0.82, 0.88, 0.92), (0.86, 0.92, 1.15, 1.35)  # heights of the person: all in view, or cut at the legs
MOVING_ACTIONS = ("wave", "walk", "run", "jump", "dance")
"""Actions whose amplitude is large enough to be compared in motion pairs."""


@dataclass(frozen=True)
class Scene:
    """One drawn scene; two equal scenes give bit-identical clips.

    Attributes:
        seed: unsigned 32-bit; fixes everything the other fields leave open (where the trees stand, when she blinks).
        style: name in :data:`rewardbench.synth.palette.STYLES`.
        person, hair_style, hair_colour, eye_colour, outfit, outfit_colour, accessory: who it is (names in this module
            and in :mod:`rewardbench.synth.palette`).
        skin: index into ``SKIN_TONES``.
        build: width of the body relative to the average, 0.85 to 1.15.
        background: where it is.
        action: what the person does.
        amplitude: how large the movement is, 0 (none) to 1.
        tempo: speed of the action relative to its usual speed, 0.8 to 1.25.
        facing: -1 left, +1 right; walking and running go that way.
        camera: what the camera does; ``camera_amplitude`` how far, 0 to 1.
        size: height of the person as a fraction of the frame's shorter side (above 1 the legs are cut off).
        position: horizontal offset of the person from the middle, fraction of the frame's width.
        phase: where in its cycle the action starts, 0 to 1.
    """

    seed: int
    style: str = "classic"
    person: str = "girl"
    hair_style: str = "long"
    hair_colour: str = "blue"
    eye_colour: str = "green"
    outfit: str = "school uniform"
    outfit_colour: str = "red"
    accessory: str = "none"
    skin: int = 0
    build: float = 1.0
    background: str = "classroom"
    action: str = "stand"
    amplitude: float = 0.5
    tempo: float = 1.0
    facing: int = 1
    camera: str = "static"
    camera_amplitude: float = 0.5
    size: float = 0.9
    position: float = 0.0
    phase: float = 0.0

    @classmethod
    def sample(
        cls,
        rng: np.random.Generator,
        *,
        styles: Sequence[str] | None = None,
        seeds: range | None = None,
        actions: Sequence[str] = ACTIONS,
        cameras: Sequence[str] = CAMERAS,
        backgrounds: Sequence[str] = BACKGROUNDS,
    ) -> Scene:
        """A random scene.

        Args:
            rng: source of randomness; the same state gives the same scene.
            styles: names to choose from; the training styles if None.
            seeds: range the scene's own seed is drawn from; all 32-bit seeds if None.
            actions, cameras, backgrounds: names to choose from.

        The amplitude of a moving action lies in [0.35, 1], that of a moving camera in [0.45, 1], so that both can be
        seen and named.
        """

        def pick(names: Sequence[str], weights: Sequence[float] | None = None) -> str:
            if weights is None:
                return names[int(rng.integers(len(names)))]
            edges = np.cumsum(weights)
            return names[int(np.searchsorted(edges, rng.random() * edges[-1], side="right"))]

        seeds = range(0, 2**SEED_BITS) if seeds is None else seeds
        person = pick(PEOPLE, (0.7, 0.3))
        action = pick(actions)
        sizes = {"jump": (0.68, 0.72, 0.76), "walk": WHOLE, "run": WHOLE, "dance": WHOLE}.get(action, CLOSE)
        boy_weights = (0.3, 3.0, 0.3, 3.0, 0.8, 0.0, 0.3)
        return cls(
            seed=seeds.start + int(rng.integers(len(seeds))),
            style=pick(TRAIN_STYLES if styles is None else styles),
            person=person,
            hair_style=pick(HAIR_STYLES, boy_weights if person == "boy" else None),
            hair_colour=pick(tuple(HAIR_COLOURS)),
            eye_colour=pick(tuple(EYE_COLOURS)),
            outfit=pick(OUTFITS, (1, 1, 1, 1, 0, 1) if person == "boy" else None),
            outfit_colour=pick(tuple(OUTFIT_COLOURS)),
            accessory=pick(ACCESSORIES, (4, 1, 1, 1, 1, 1)),
            skin=int(rng.integers(len(SKIN_TONES))),
            build=round(float(rng.uniform(0.88, 1.12)), 3),
            background=pick(backgrounds),
            action=action,
            amplitude=round(float(rng.uniform(0.35, 1.0)), 3),
            tempo=round(float(rng.uniform(0.85, 1.2)), 3),
            facing=int(rng.choice((-1, 1))),
            camera=pick(cameras),
            camera_amplitude=round(float(rng.uniform(0.45, 1.0)), 3),
            size=round(float(rng.choice(sizes)), 3),
            position=round(float(rng.uniform(-0.08, 0.08)), 3),
            phase=round(float(rng.random()), 3),
        )
