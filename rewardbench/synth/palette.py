"""Named colours and drawing styles of the drawn world."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from rewardbench.synth.splits import HELD_OUT_STYLES, TRAIN_STYLES

RGB = tuple[int, int, int]

HAIR_COLOURS: MappingProxyType[str, RGB] = MappingProxyType(
    {
        "black": (46, 42, 54),
        "brown": (124, 78, 46),
        "blonde": (246, 214, 110),
        "red": (206, 50, 48),
        "blue": (58, 98, 208),
        "green": (70, 162, 92),
        "pink": (248, 150, 186),
        "purple": (132, 74, 178),
        "silver": (206, 212, 222),
        "orange": (240, 136, 44),
    }
)
EYE_COLOURS: MappingProxyType[str, RGB] = MappingProxyType(
    {
        "blue": (44, 118, 226),
        "green": (40, 164, 84),
        "brown": (126, 76, 38),
        "red": (212, 42, 46),
        "purple": (146, 66, 200),
        "golden": (236, 176, 30),
    }
)
OUTFIT_COLOURS: MappingProxyType[str, RGB] = MappingProxyType(
    {
        "red": (208, 48, 52),
        "blue": (52, 92, 190),
        "green": (58, 146, 86),
        "white": (240, 240, 244),
        "black": (52, 50, 60),
        "yellow": (246, 208, 66),
        "pink": (246, 156, 182),
        "purple": (126, 76, 172),
    }
)
SKIN_TONES: tuple[RGB, ...] = ((255, 226, 206), (252, 214, 188), (238, 190, 156), (196, 140, 104))

Texture = Literal["flat", "gradient", "grain", "hatch", "halftone", "wash"]
EyeShape = Literal["round", "tall", "sharp", "dot"]


@dataclass(frozen=True)
class Style:
    """How everything is drawn.

    Attributes:
        name: the style's name.
        line_width: width of outlines as a fraction of the frame's shorter side.
        line_colour: colour of outlines; None darkens the filled colour instead.
        outline: whether shapes are outlined at all.
        shade_levels: tones per shape: 1 flat, 2 base and shadow, 3 base, shadow and light.
        shade: how dark the shadow tone is, 0 (none) to 1 (black).
        saturation: factor on the distance of a colour from its own grey.
        lift: mixes every colour with white, 0 to 1.
        tint, tint_amount: a colour mixed into every colour, and how much of it (0 to 1).
        eye: shape of the eyes.
        texture: texture of the background.
    """

    name: str
    line_width: float = 0.006
    line_colour: RGB | None = None
    outline: bool = True
    shade_levels: int = 2
    shade: float = 0.24
    saturation: float = 1.0
    lift: float = 0.0
    tint: RGB = (255, 255, 255)
    tint_amount: float = 0.0
    eye: EyeShape = "tall"
    texture: Texture = "gradient"

    def grade(self, colour: RGB) -> RGB:
        """``colour`` as this style shows it."""
        r, g, b = colour
        grey = 0.299 * r + 0.587 * g + 0.114 * b
        graded = []
        for channel, tint in zip(colour, self.tint, strict=True):
            value = grey + (channel - grey) * self.saturation
            value = value + (255.0 - value) * self.lift
            value = value + (tint - value) * self.tint_amount
            graded.append(min(255, max(0, round(value))))
        return graded[0], graded[1], graded[2]


_ALL_STYLES = (
    Style("classic", 0.0060, (40, 30, 44)),
    Style("soft", 0.0045, None, shade=0.16, lift=0.10, saturation=0.9, eye="round"),
    Style("bold", 0.0105, (18, 14, 22), shade_levels=3, shade=0.34, saturation=1.15, eye="sharp"),
    Style("pastel", 0.0050, (150, 104, 130), shade=0.13, lift=0.28, saturation=0.85, eye="round"),
    Style("retro", 0.0080, (56, 36, 30), shade=0.28, saturation=0.8, tint=(232, 190, 130), tint_amount=0.14,
          eye="sharp", texture="grain"),
    Style("watercolour", 0.0040, None, shade_levels=3, shade=0.18, lift=0.14, saturation=0.85, texture="wash"),
    Style("flat", 0.0050, outline=False, shade_levels=1, shade=0.2, saturation=1.1, eye="round", texture="flat"),
    Style("ink", 0.0090, (10, 10, 14), shade_levels=3, shade=0.42, saturation=0.9, eye="sharp", texture="hatch"),
    Style("neon", 0.0055, (70, 20, 110), shade=0.30, saturation=1.3, tint=(150, 60, 220), tint_amount=0.10,
          eye="tall", texture="halftone"),
    Style("storybook", 0.0070, (96, 62, 42), shade=0.20, lift=0.08, saturation=0.85, tint=(250, 232, 190),
          tint_amount=0.14, eye="round", texture="grain"),
)  # fmt: skip

STYLES: MappingProxyType[str, Style] = MappingProxyType({style.name: style for style in _ALL_STYLES})
"""Every drawing style by name; which ones training may see stands in :mod:`rewardbench.synth.splits`."""

assert set(STYLES) == set(TRAIN_STYLES) | set(HELD_OUT_STYLES)


def mix(a: RGB, b: RGB, amount: float) -> RGB:
    """Linear mix of two colours: ``a`` at 0, ``b`` at 1."""
    return (
        round(a[0] + (b[0] - a[0]) * amount),
        round(a[1] + (b[1] - a[1]) * amount),
        round(a[2] + (b[2] - a[2]) * amount),
    )


def darker(colour: RGB, amount: float) -> RGB:
    """A shadow tone: darker by ``amount`` (0 to 1) and a little towards blue, as cel painters do."""
    return mix(colour, (28, 18, 60), amount)


def lighter(colour: RGB, amount: float) -> RGB:
    """A light tone: mixed with white by ``amount`` (0 to 1)."""
    return mix(colour, (255, 255, 255), amount)
