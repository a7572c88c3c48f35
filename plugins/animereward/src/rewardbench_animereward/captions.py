"""The captions ``mini`` understands: short sentences about one anime person, in a fixed vocabulary.

Every phrase states the value of a fact. A caption counts as understood where each fact is stated exactly once and no
word is left over that the vocabulary does not know; anything else is abstained from.
"""

from __future__ import annotations

import re
from functools import lru_cache

HAIR_COLOURS = ("black", "brown", "blonde", "red", "blue", "green", "pink", "purple", "silver", "orange")
EYE_COLOURS = ("blue", "green", "brown", "red", "purple", "golden")
OUTFIT_COLOURS = ("red", "blue", "green", "white", "black", "yellow", "pink", "purple")

VALUES: dict[str, tuple[str, ...]] = {
    "person": ("girl", "boy"),
    "hair_style": ("long", "short", "bob", "spiky", "ponytail", "twin tails", "braid"),
    "hair_colour": HAIR_COLOURS,
    "eye_colour": EYE_COLOURS,
    "accessory": ("none", "glasses", "ribbon", "hat", "headphones", "scarf"),
    "outfit": ("school uniform", "kimono", "hoodie", "armor", "dress", "coat"),
    "outfit_colour": OUTFIT_COLOURS,
    "background": (
        "classroom",
        "night city",
        "forest",
        "seaside",
        "shrine",
        "snow field",
        "sunset hill",
        "bedroom",
    ),
    "action": ("stand", "wave", "walk", "run", "jump", "dance", "nod", "shake", "talk"),
    "camera": ("static", "pan left", "pan right", "zoom in", "zoom out"),
}
"""Facts and their values, in the order of the recognisers' outputs."""
STATED = ("hair_style", "hair_colour", "eye_colour", "outfit", "outfit_colour", "action", "background", "camera")
"""Facts that are compared with the clip; the person's sex is read but not compared."""

_HAIR = {
    "long": ("long {} hair", "{} hair down to (?:her|his) waist"),
    "short": ("short {} hair", "{} hair cut short"),
    "bob": ("an? {} bob", "bobbed {} hair"),
    "spiky": ("spiky {} hair", "{} hair in wild spikes"),
    "ponytail": ("an? {} ponytail", "{} hair in a ponytail"),
    "twin tails": ("{} twin tails", "{} hair in twin tails"),
    "braid": ("an? {} braid", "braided {} hair"),
}
_OUTFIT = {
    "school uniform": ("an? {} school uniform",),
    "kimono": ("an? {} kimono",),
    "hoodie": ("an? {} hoodie",),
    "armor": ("a suit of {} armor", "{} armor"),
    "dress": ("an? {} dress",),
    "coat": ("a long {} coat", "an? {} coat"),
}
_ACTION = {
    "stand": ("stands still", "is standing still"),
    "wave": ("waves (?:her|his) hand", "is waving"),
    "walk": ("is walking along", "walks"),
    "run": ("is running fast", "runs"),
    "jump": ("is jumping up and down", "jumps"),
    "dance": ("is dancing", "dances"),
    "nod": ("is nodding (?:her|his) head", "nods"),
    "shake": ("is shaking (?:her|his) head", "shakes (?:her|his) head"),
    "talk": ("is talking", "talks"),
}
_PLACE = {
    "classroom": ("in a school classroom", "in a classroom"),
    "night city": ("in a city at night", "before the lights of a night city"),
    "forest": ("in a forest", "among the trees of a forest"),
    "seaside": ("at the seaside", "on a beach by the sea"),
    "shrine": ("at a shrine", "before the red gate of a shrine"),
    "snow field": ("in a snowy field", "on a field of snow"),
    "sunset hill": ("on a hill at sunset", "on a hill in the evening glow"),
    "bedroom": ("in a cosy bedroom", "in a bedroom"),
}
_CAMERA = {
    "static": ("the camera does not move", "filmed by a still camera"),
    "pan left": ("the camera pans left", "while the camera pans to the left"),
    "pan right": ("the camera pans right", "while the camera pans to the right"),
    "zoom in": ("the camera zooms in", "while the camera moves closer"),
    "zoom out": ("the camera zooms out", "while the camera moves back"),
}
_GLUE = frozenset(
    ["a", "an", "anime", "style", "the", "and", "with", "who", "has", "have", "wears", "wearing", "in", "she", "he"]
)


@lru_cache(maxsize=1)
def _patterns() -> list[tuple[str, re.Pattern[str], str]]:
    """(kind, pattern, value), the longer phrases first; colours are captured."""
    found = []
    hair = "(" + "|".join(HAIR_COLOURS) + ")"
    cloth = "(" + "|".join(OUTFIT_COLOURS) + ")"
    eyes = "(" + "|".join(EYE_COLOURS) + ")"
    for kind, table, colour in (("hair", _HAIR, hair), ("outfit", _OUTFIT, cloth)):
        found += [(kind, p.format(colour), value) for value, phrases in table.items() for p in phrases]
    found += [("eyes", f"(?:big )?{eyes} eyes", "")]
    for kind, table in (("action", _ACTION), ("background", _PLACE), ("camera", _CAMERA)):
        found += [(kind, p, value) for value, phrases in table.items() for p in phrases]
    found.sort(key=lambda row: -len(row[1].replace("(?:her|his)", "her").replace(hair, "red").replace(cloth, "red")))
    return [(kind, re.compile(rf"\b{p}\b"), value) for kind, p, value in found]


def understand(text: str | None) -> dict[str, str] | None:
    """Stated value of every fact (``camera`` may be missing), or None where the caption is not understood."""
    if not text:
        return None
    rest = " ".join(re.sub(r"[.,;:]", " ", text.lower()).split())
    facts: dict[str, str] = {}
    for kind, pattern, value in _patterns():
        match = pattern.search(rest)
        while match is not None:
            colour = match.group(1) if match.groups() else ""
            stated = {"hair": {"hair_style": value, "hair_colour": colour}, "eyes": {"eye_colour": colour}}.get(
                kind, {"outfit": value, "outfit_colour": colour} if kind == "outfit" else {kind: value}
            )
            if set(stated) & set(facts):
                return None  # stated twice
            facts.update(stated)
            rest = rest[: match.start()] + " | " + rest[match.end() :]
            match = pattern.search(rest)
    people = [word for word in rest.split() if word in VALUES["person"]]
    left = [word for word in rest.split() if word not in _GLUE and word != "|" and word not in VALUES["person"]]
    if len(people) != 1 or left or any(fact not in facts for fact in STATED if fact != "camera"):
        return None
    return {"person": people[0], **facts}
