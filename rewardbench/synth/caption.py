"""Captions: a grammar that says what is drawn, its exact inverse, and captions that are wrong by a known amount."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product

import numpy as np

from rewardbench.synth.palette import EYE_COLOURS, HAIR_COLOURS, OUTFIT_COLOURS
from rewardbench.synth.scene import ACTIONS, BACKGROUNDS, CAMERAS, HAIR_STYLES, OUTFITS, PEOPLE, Scene


@dataclass(frozen=True)
class CaptionFacts:
    """What a caption states; ``camera`` is None where it does not speak of the camera."""

    person: str
    hair_style: str
    hair_colour: str
    eye_colour: str
    outfit: str
    outfit_colour: str
    action: str
    background: str
    camera: str | None = None


FACTS: dict[str, tuple[str, ...]] = {
    "hair_style": HAIR_STYLES,
    "hair_colour": tuple(HAIR_COLOURS),
    "eye_colour": tuple(EYE_COLOURS),
    "outfit": OUTFITS,
    "outfit_colour": tuple(OUTFIT_COLOURS),
    "action": ACTIONS,
    "background": BACKGROUNDS,
    "camera": CAMERAS,
}
"""The facts that :func:`mismatch` may change, with their values. Who it is (girl or boy) always stays."""

VISIBLE_FACTS = ("hair_style", "hair_colour", "eye_colour", "outfit", "outfit_colour", "background")
"""Facts that a single frame shows."""

_TOO_CLOSE: dict[str, tuple[frozenset[str], ...]] = {
    "hair_style": (frozenset({"short", "bob"}), frozenset({"ponytail", "braid"}), frozenset({"long", "braid"}),
                   frozenset({"ponytail", "short"})),
    "hair_colour": (frozenset({"red", "orange"}), frozenset({"blonde", "orange"}), frozenset({"brown", "black"}),
                    frozenset({"brown", "orange"}), frozenset({"blue", "purple"}), frozenset({"pink", "red"}),
                    frozenset({"pink", "purple"})),
    "eye_colour": (frozenset({"golden", "brown"}), frozenset({"red", "brown"}), frozenset({"blue", "purple"}),
                   frozenset({"red", "purple"})),
    "outfit": (frozenset({"coat", "hoodie"}), frozenset({"school uniform", "dress"})),
    "outfit_colour": (frozenset({"red", "pink"}), frozenset({"blue", "purple"}), frozenset({"pink", "purple"})),
    "action": (frozenset({"walk", "run"}), frozenset({"jump", "dance"}), frozenset({"wave", "dance"}),
               frozenset({"stand", "talk"}), frozenset({"stand", "nod"}), frozenset({"stand", "shake"}),
               frozenset({"nod", "talk"}), frozenset({"shake", "talk"}), frozenset({"nod", "shake"})),
    "background": (frozenset({"classroom", "bedroom"}),),
    "camera": (),
}  # fmt: skip
"""Values that are not taken for each other's wrong value, because a viewer could accept either."""


def facts_of(scene: Scene, *, camera: bool = True) -> CaptionFacts:
    """The facts that hold in ``scene``; without the camera's if ``camera`` is False."""
    return CaptionFacts(
        scene.person,
        scene.hair_style,
        scene.hair_colour,
        scene.eye_colour,
        scene.outfit,
        scene.outfit_colour,
        scene.action,
        scene.background,
        scene.camera if camera else None,
    )


def scene_with(scene: Scene, facts: CaptionFacts) -> Scene:
    """``scene`` with the stated facts made true."""
    changed = replace(
        scene,
        person=facts.person,
        hair_style=facts.hair_style,
        hair_colour=facts.hair_colour,
        eye_colour=facts.eye_colour,
        outfit=facts.outfit,
        outfit_colour=facts.outfit_colour,
        action=facts.action,
        background=facts.background,
    )
    return changed if facts.camera is None else replace(changed, camera=facts.camera)


# --- the grammar ---------------------------------------------------------------------------------------------------

_HAIR = {
    "long": ("long {c} hair", "{c} hair down to {their} waist"),
    "short": ("short {c} hair", "{c} hair cut short"),
    "bob": ("{a} {c} bob", "bobbed {c} hair"),
    "spiky": ("spiky {c} hair", "{c} hair in wild spikes"),
    "ponytail": ("{a} {c} ponytail", "{c} hair in a ponytail"),
    "twin tails": ("{c} twin tails", "{c} hair in twin tails"),
    "braid": ("{a} {c} braid", "braided {c} hair"),
}
_EYES = ("{c} eyes", "big {c} eyes")
_OUTFIT = {
    "school uniform": ("{a} {c} school uniform",),
    "kimono": ("{a} {c} kimono",),
    "hoodie": ("{a} {c} hoodie",),
    "armor": ("{c} armor", "a suit of {c} armor"),
    "dress": ("{a} {c} dress",),
    "coat": ("{a} {c} coat", "a long {c} coat"),
}
_ACTION = {
    "stand": ("stands still", "is standing still"),
    "wave": ("waves {their} hand", "is waving"),
    "walk": ("walks", "is walking along"),
    "run": ("runs", "is running fast"),
    "jump": ("jumps", "is jumping up and down"),
    "dance": ("dances", "is dancing"),
    "nod": ("nods", "is nodding {their} head"),
    "shake": ("shakes {their} head", "is shaking {their} head"),
    "talk": ("talks", "is talking"),
}
_PLACE = {
    "classroom": ("in a classroom", "in a school classroom"),
    "night city": ("in a city at night", "before the lights of a night city"),
    "forest": ("in a forest", "among the trees of a forest"),
    "seaside": ("at the seaside", "on a beach by the sea"),
    "shrine": ("at a shrine", "before the red gate of a shrine"),
    "snow field": ("in a snowy field", "on a field of snow"),
    "sunset hill": ("on a hill at sunset", "on a hill in the evening glow"),
    "bedroom": ("in a bedroom", "in a cosy bedroom"),
}
_CAMERA = {
    None: ("",),
    "static": ("; the camera does not move", ", filmed by a still camera"),
    "pan left": ("; the camera pans left", " while the camera pans to the left"),
    "pan right": ("; the camera pans right", " while the camera pans to the right"),
    "zoom in": ("; the camera zooms in", " while the camera moves closer"),
    "zoom out": ("; the camera zooms out", " while the camera moves back"),
}
_TEMPLATES = (
    "A {person} with {hair} and {eyes}, wearing {outfit}, {action} {place}{camera}.",
    "{place}, a {person} in {outfit} {action}; {they} has {hair} and {eyes}{camera}.",
    "An anime {person} in {outfit}, with {eyes} and {hair}, {action} {place}{camera}.",
    "Anime style: a {person} who has {hair} and {eyes} and wears {outfit} {action} {place}{camera}.",
)
_THEIR = {"girl": "her", "boy": "his"}
_THEY = {"girl": "she", "boy": "he"}


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _fill(pattern: str, colour: str, person: str) -> str:
    return pattern.format(c=colour, a=_article(colour), their=_THEIR[person])


def caption(subject: Scene | CaptionFacts, rng: np.random.Generator | None = None, *, camera: bool = True) -> str:
    """A caption of the grammar that states the subject's facts.

    Args:
        subject: a scene, or facts.
        rng: chooses template and synonyms. None: by the scene's seed, or the first template for facts.
        camera: whether a scene's caption speaks of the camera (facts decide that themselves).
    """
    facts = facts_of(subject, camera=camera) if isinstance(subject, Scene) else subject
    if rng is None and isinstance(subject, Scene):
        rng = np.random.default_rng([subject.seed, 2])

    def pick(choices: tuple[str, ...]) -> str:
        return choices[0] if rng is None else choices[int(rng.integers(len(choices)))]

    text = pick(_TEMPLATES).format(
        person=facts.person,
        they=_THEY[facts.person],
        hair=_fill(pick(_HAIR[facts.hair_style]), facts.hair_colour, facts.person),
        eyes=_fill(pick(_EYES), facts.eye_colour, facts.person),
        outfit=_fill(pick(_OUTFIT[facts.outfit]), facts.outfit_colour, facts.person),
        action=_fill(pick(_ACTION[facts.action]), "a", facts.person),
        place=pick(_PLACE[facts.background]),
        camera=pick(_CAMERA[facts.camera]),
    )
    return text[0].upper() + text[1:]


@dataclass(frozen=True)
class _Parser:
    templates: tuple[re.Pattern[str], ...]
    hair: dict[str, tuple[str, str]]
    eyes: dict[str, str]
    outfit: dict[str, tuple[str, str]]
    action: dict[str, str]
    place: dict[str, str]
    camera: dict[str, str | None]


@lru_cache(maxsize=2)
def _parser(person: str) -> _Parser:
    """The inverse tables and patterns for captions about a ``person``."""
    hair = {
        _fill(p, colour, person): (style, colour)
        for style, colour in product(HAIR_STYLES, HAIR_COLOURS)
        for p in _HAIR[style]
    }
    outfit = {
        _fill(p, colour, person): (kind, colour)
        for kind, colour in product(OUTFITS, OUTFIT_COLOURS)
        for p in _OUTFIT[kind]
    }
    eyes = {_fill(p, colour, person): colour for colour in EYE_COLOURS for p in _EYES}
    action = {_fill(p, "a", person): name for name in ACTIONS for p in _ACTION[name]}
    place = {p: name for name in BACKGROUNDS for p in _PLACE[name]}
    camera = {p: name for name, phrases in _CAMERA.items() for p in phrases}
    slots: dict[str, Iterable[str]] = {
        "hair": hair,
        "eyes": eyes,
        "outfit": outfit,
        "action": action,
        "place": place,
        "camera": camera,
    }
    choices = {
        name: f"(?P<{name}>{'|'.join(re.escape(p) for p in sorted(table, key=len, reverse=True))})"
        for name, table in slots.items()
    }
    templates = []
    for template in _TEMPLATES:
        pattern = re.escape(template.lower().removesuffix("."))
        for name, choice in choices.items():
            pattern = pattern.replace(re.escape("{" + name + "}"), choice)
        pattern = pattern.replace(re.escape("{person}"), person).replace(re.escape("{they}"), _THEY[person])
        templates.append(re.compile(pattern + r"\.?"))
    return _Parser(tuple(templates), hair, eyes, outfit, action, place, camera)


def parse_caption(text: str) -> CaptionFacts | None:
    """The facts a caption of the grammar states; None for any other text. Case and spacing do not matter."""
    lowered = " ".join(text.lower().split())
    for person in PEOPLE:
        parser = _parser(person)
        for template in parser.templates:
            match = template.fullmatch(lowered)
            if match is None:
                continue
            part = match.groupdict()
            hair_style, hair_colour = parser.hair[part["hair"]]
            outfit, outfit_colour = parser.outfit[part["outfit"]]
            return CaptionFacts(
                person,
                hair_style,
                hair_colour,
                parser.eyes[part["eyes"]],
                outfit,
                outfit_colour,
                parser.action[part["action"]],
                parser.place[part["place"]],
                parser.camera[part["camera"]],
            )
    return None


# --- wrong captions ------------------------------------------------------------------------------------------------


def wrong_values(fact: str, value: str) -> tuple[str, ...]:
    """Values of ``fact`` that are plainly wrong where ``value`` is right."""
    return tuple(v for v in FACTS[fact] if v != value and not any({v, value} <= close for close in _TOO_CLOSE[fact]))


def wrong_facts(
    facts: CaptionFacts, rng: np.random.Generator, n_wrong: int, *, among: tuple[str, ...] | None = None
) -> CaptionFacts:
    """``facts`` with exactly ``n_wrong`` of them changed.

    Args:
        facts: what is right.
        rng: chooses which facts and which wrong values.
        n_wrong: how many; at most the number of facts stated (eight, seven where the camera is not mentioned).
        among: the facts to choose from; all stated ones if None.

    Raises:
        ValueError: more wrong facts asked for than there are.
    """
    stated = [f for f in (among or tuple(FACTS)) if getattr(facts, f) is not None]
    if not 0 <= n_wrong <= len(stated):
        raise ValueError(f"cannot make {n_wrong} of {len(stated)} facts wrong")
    changed = facts
    for i in rng.permutation(len(stated))[:n_wrong]:
        choices = wrong_values(stated[i], getattr(facts, stated[i]))
        changed = replace(changed, **{stated[i]: choices[int(rng.integers(len(choices)))]})
    return changed


def mismatch(subject: Scene | CaptionFacts, rng: np.random.Generator, n_wrong: int) -> str:
    """A caption with exactly ``n_wrong`` of its facts wrong; its severity is :func:`fact_error`."""
    facts = facts_of(subject) if isinstance(subject, Scene) else subject
    return caption(wrong_facts(facts, rng, n_wrong), rng)


def fact_error(stated: CaptionFacts, true: CaptionFacts, *, among: tuple[str, ...] = tuple(FACTS)) -> float:
    """Fraction of the ``stated`` facts (those not None) that differ from the ``true`` ones, 0 to 1."""
    compared = [f for f in among if getattr(stated, f) is not None]
    wrong = sum(getattr(stated, f) != getattr(true, f) for f in compared)
    return wrong / len(compared) if compared else 0.0
