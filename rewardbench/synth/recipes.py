"""Recipes: a clean scene and one treatment, with the known level of every dimension that the treatment leaves known.

A level lies in [0, 1]; 1 is faultless. Motion is the exception: its level is the size of the protagonist's own
movement (:func:`rewardbench.synth.pose.motion_level`), so a faultless clip of a person who stands has a level near 0.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType

import numpy as np

from rewardbench.synth.caption import FACTS, VISIBLE_FACTS, CaptionFacts, fact_error, facts_of, scene_with, wrong_facts
from rewardbench.synth.palette import HAIR_COLOURS, OUTFIT_COLOURS, STYLES
from rewardbench.synth.pose import motion_level
from rewardbench.synth.scene import Scene
from rewardbench.synth.splits import HELD_OUT_STYLES, TRAIN_STYLES
from rewardbench.synth.world import draw_clip

DIMENSIONS = ("smoothness", "motion", "appeal", "text_video", "image_video", "character")

FRAMES, SIZE, FPS = 24, 256, 12.0
"""Length, side in pixels and rate of the probe's clips (two seconds)."""


@dataclass(frozen=True)
class Effect:
    """What a treatment does: dimensions it ``lowers`` by its severity, and those it leaves as they were.

    A dimension in neither is unknown under this treatment, and nothing is claimed about it.
    """

    lowers: tuple[str, ...]
    neutral: tuple[str, ...]


_STILL_PICTURE = ("appeal", "text_video", "image_video", "character")

EFFECTS: MappingProxyType[str, Effect] = MappingProxyType(
    {
        "none": Effect((), DIMENSIONS),
        # the same scene at another moment of its action's cycle
        "replay": Effect((), ("smoothness", "motion", "appeal", "text_video", "character")),
        "flicker": Effect(("smoothness",), ("motion", "text_video")),
        "stutter": Effect(("smoothness",), _STILL_PICTURE),
        "frame_drop": Effect(("smoothness",), _STILL_PICTURE),
        "jitter": Effect(("smoothness",), _STILL_PICTURE),
        "warp": Effect(("smoothness",), ("text_video",)),
        "blur": Effect(("appeal",), ("smoothness", "motion", "text_video", "character")),
        "noise": Effect(("appeal",), ("motion", "text_video", "character")),
        "compression": Effect(("appeal",), ("motion", "text_video", "character")),
        "colour_cast": Effect(("appeal",), ("smoothness", "motion", "character")),
        "amplitude": Effect(("motion",), ("appeal", "character")),
        "freeze": Effect(("motion",), ("appeal", "image_video", "character")),
        "wrong_facts": Effect(("text_video", "image_video"), ("smoothness", "appeal")),
        "restyle": Effect(("image_video",), ("smoothness", "motion")),
        "style_drift": Effect(("image_video",), ("motion",)),
        "identity_change": Effect(("character",), ("appeal", "motion")),
    }
)
"""The known answers; ``docs/anime-probe.md`` gives the reasons."""

SEED_TIES = ("flicker", "stutter", "frame_drop", "jitter", "warp", "noise")
"""Treatments whose strength depends on the severity alone: two draws of one severity are a tie."""


MIN_GAP = MappingProxyType(
    {"smoothness": 0.25, "motion": 0.10, "appeal": 0.25, "text_video": 0.25, "image_video": 0.25, "character": 0.25}
)
"""Smallest difference of levels that decides a pair."""
MOTION_TIE = 0.02
"""Motion levels closer than this are a tie (a replay shifts the mean speed a little)."""


@dataclass(frozen=True)
class Recipe:
    """One clip: ``base`` is the scene that its prompt and its first-frame image speak of.

    Attributes:
        treatment: a key of :data:`EFFECTS`.
        severity: 0 to 1; for ``wrong_facts`` the fraction of the eight facts that are wrong, for ``amplitude`` the
            part of the movement's size that is taken away.
        seed: draws of the treatment.
        codec: for ``compression`` only.
    """

    base: Scene
    treatment: str = "none"
    severity: float = 0.0
    seed: int = 0
    codec: str = "h264"

    def scene(self) -> Scene:
        """The scene that is drawn (before pixel-level treatments)."""
        if self.treatment == "replay":
            return replace(self.base, phase=(self.base.phase + 0.5) % 1.0)
        if self.treatment == "amplitude":
            return replace(self.base, amplitude=self.base.amplitude * (1.0 - self.severity))
        if self.treatment == "wrong_facts":
            return scene_with(self.base, self.drawn_facts())
        return self.base

    def drawn_facts(self) -> CaptionFacts:
        """The facts that hold in the clip; the same seed changes nested sets of facts as the severity grows."""
        facts = facts_of(self.base)
        if self.treatment != "wrong_facts":
            return facts
        return wrong_facts(facts, np.random.default_rng([self.seed, 3]), round(self.severity * len(FACTS)))

    def levels(self, *, frames: int = FRAMES, fps: float = FPS) -> dict[str, float]:
        """Known level of each dimension, 0 to 1; dimensions about which nothing is known are missing."""
        effect = EFFECTS[self.treatment]
        levels = dict.fromkeys(effect.neutral, 1.0)
        levels.update(dict.fromkeys(effect.lowers, 1.0 - self.severity))
        if self.treatment == "wrong_facts":
            drawn, stated = self.drawn_facts(), facts_of(self.base)
            levels["text_video"] = 1.0 - fact_error(stated, drawn)
            levels["image_video"] = 1.0 - fact_error(stated, drawn, among=VISIBLE_FACTS)
        if "motion" in levels:
            moving = 1.0 - self.severity if self.treatment == "freeze" else 1.0
            levels["motion"] = motion_level(self.scene(), frames=frames, fps=fps, moving=moving)
        return levels


def render(
    recipe: Recipe, *, frames: int = FRAMES, height: int = SIZE, width: int = SIZE, fps: float = FPS
) -> np.ndarray:
    """The clip of a recipe: uint8 (T, H, W, 3); T is below ``frames`` for ``frame_drop`` only."""
    from rewardbench.synth.degradations import degrade

    name, severity, scene = recipe.treatment, recipe.severity, recipe.scene()
    if name == "identity_change":
        other, change = another_identity(scene, severity, recipe.seed, frames)
        return draw_clip(scene, frames=frames, height=height, width=width, fps=fps, other=other, change=change)
    clip = _drawn(scene, frames, height, width, fps)
    if name == "restyle":
        restyled = replace(scene, style=other_style(scene.style, recipe.seed))
        return _restyle(clip, _drawn(restyled, frames, height, width, fps), severity)
    if name in ("none", "replay", "amplitude", "wrong_facts"):
        return clip.copy()
    return degrade(clip, name, severity, recipe.seed, codec=recipe.codec)


@lru_cache(maxsize=3)
def _drawn(scene: Scene, frames: int, height: int, width: int, fps: float) -> np.ndarray:
    """A clean clip, kept for the next treatments of the same scene; not to be written to."""
    clip = draw_clip(scene, frames=frames, height=height, width=width, fps=fps)
    clip.flags.writeable = False
    return clip


def another_identity(scene: Scene, severity: float, seed: int, frames: int) -> tuple[Scene, np.ndarray]:
    """Somebody else in the same place, and how much of them each frame shows: a step or a short morph in mid-clip.

    The weights, float64 (frames,), rise from 0 to ``severity``; the other person differs in all of hair style, hair
    colour, eye colour, outfit and outfit colour.
    """
    rng = np.random.default_rng([seed, 4])
    among = ("hair_style", "hair_colour", "eye_colour", "outfit", "outfit_colour")
    other = scene_with(scene, wrong_facts(facts_of(scene), rng, len(among), among=among))
    start, length = rng.uniform(0.3, 0.5), rng.choice((0.0, 0.2))
    time = np.arange(frames) / max(frames - 1, 1)
    return other, severity * np.clip((time - start) / max(length, 1e-6), 0.0, 1.0)


def other_style(style: str, seed: int) -> str:
    """One of the two styles of the same side of the split whose colours and lines are least like those of ``style``."""
    side = TRAIN_STYLES if style in TRAIN_STYLES else HELD_OUT_STYLES
    others = sorted((name for name in side if name != style), key=lambda name: -_style_distance(style, name))[:2]
    return others[int(np.random.default_rng([seed, 5]).integers(len(others)))]


def _style_distance(a: str, b: str) -> float:
    """Mean colour difference in grey levels, plus the difference of the outlines' share of the picture."""
    colours = [*HAIR_COLOURS.values(), *OUTFIT_COLOURS.values()]
    graded = [np.array([STYLES[name].grade(c) for c in colours], dtype=np.float64) for name in (a, b)]
    lines = [STYLES[name].line_width * STYLES[name].outline for name in (a, b)]
    return float(np.abs(graded[0] - graded[1]).mean() + 2000.0 * abs(lines[0] - lines[1]))


def _restyle(clip: np.ndarray, other: np.ndarray, severity: float) -> np.ndarray:
    """Cross-fade from ``clip`` towards ``other``: the first frame is ``clip``'s, the last shows ``severity`` of it."""
    fade = (severity * np.linspace(0.0, 1.0, len(clip)))[:, None, None, None]
    return np.asarray(np.rint(clip + fade * (other.astype(np.float64) - clip)), dtype=np.uint8)
