"""What a dimension should do under a treatment, from what it is known to mean; unknown dimensions expect nothing.

For degradations the table is the one of the drawn world, where the answer is known by construction
(:data:`rewardbench.synth.recipes.EFFECTS`). For everything else it stands here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from rewardbench.aliases import canonical
from rewardbench.errors import InputError
from rewardbench.probing.treatments import IMAGE_SWAP, ORDER_OF_PAIR, PROMPT_SWAP
from rewardbench.synth.degradations import DEGRADATIONS
from rewardbench.synth.recipes import DIMENSIONS, EFFECTS

Expectation = Literal["fall", "still", "move"]
SAID: dict[Expectation | None, str] = {
    "fall": "should fall",
    "still": "should not move",
    "move": "should move",
    None: "no expectation",
}

OVERALL = "overall"
MEANINGS = (*DIMENSIONS, OVERALL)
"""AnimeReward's six names stand for the meanings: even motion, amount of motion, quality of single pictures, agreement
with the prompt, with the first-frame image, and one person throughout; and ``overall``."""

_OTHER_NAMES = {
    # VideoReward
    "VQ": "appeal",
    "MQ": "smoothness",
    "TA": "text_video",
    # VideoScore
    "visual_quality": "appeal",
    "temporal_consistency": "smoothness",
    "dynamic_degree": "motion",
    "text_alignment": "text_video",
}

_ALL = frozenset(MEANINGS)
_PICTURE = frozenset({"appeal", "text_video", "character"})
"""What half of the frames, or a clip run backwards, shows as well as the whole."""
_RULES: dict[tuple[str, str], dict[Expectation, frozenset[str]]] = {
    ("working_copy", ""): {"still": _ALL},
    ("reencode", "crf 18"): {"still": _ALL},
    ("reencode", "crf 23"): {"still": _ALL},
    ("container", ""): {"still": _ALL},
    ("resolution", "3/4"): {"still": _ALL},
    ("resolution", "1/2"): {"still": _ALL - {"appeal", OVERALL}},  # half the size is a little less sharp
    ("frame_rate", ""): {"still": frozenset({"appeal", "text_video", "image_video", "character"})},
    ("length", ""): {"still": frozenset({"smoothness", "appeal", "character"})},
    ("reversed", ""): {"still": frozenset({"smoothness", "motion", "appeal", "character"})},
    ("shuffled", ""): {
        "fall": frozenset({"smoothness", OVERALL}),
        "move": frozenset({"motion"}),
        "still": frozenset({"appeal", "character"}),
    },
    ("speed", ""): {"still": frozenset({"appeal", "text_video", "image_video", "character"})},
    (PROMPT_SWAP, ""): {"fall": frozenset({"text_video", OVERALL}), "still": _ALL - {"text_video", OVERALL}},
    (IMAGE_SWAP, ""): {"fall": frozenset({"image_video", OVERALL}), "still": _ALL - {"image_video", OVERALL}},
    (ORDER_OF_PAIR, ""): {"still": _ALL},
    ("repeat", ""): {"still": _ALL},
    ("batch_size", ""): {"still": _ALL},
    ("batch_position", ""): {"still": _ALL},
    ("seed", ""): {"still": _ALL},
}
TECHNICAL = frozenset({"working_copy", "container", "repeat", "batch_size", "batch_position", "seed", ORDER_OF_PAIR})
"""Under these no score should move whatever it means, so unknown dimensions have an expectation too."""


def meaning(dimension: str, given: Mapping[str, str] | None = None) -> str | None:
    """What a dimension means, one of :data:`MEANINGS`, or None where its name says nothing to us.

    ``given`` (``--meaning DIM=MEANING``) goes before what is known.
    """
    if given and dimension in given:
        return given[dimension]
    name = canonical(dimension, (dimension,) if dimension in _OTHER_NAMES else ())
    found = _OTHER_NAMES.get(name, name)
    return found if found in MEANINGS else None


def check_meanings(given: Mapping[str, str], dimensions: tuple[str, ...]) -> None:
    """Refuse meanings nobody knows and dimensions the plugin does not have.

    Raises:
        InputError: naming them.
    """
    for dimension, means in given.items():
        if dimension not in dimensions:
            raise InputError(
                f"--meaning {dimension}={means}: the plugin has no such dimension ({', '.join(dimensions)})"
            )
        if means not in MEANINGS:
            raise InputError(f"--meaning {dimension}={means}: use one of {', '.join(MEANINGS)}")


def expected(treatment: str, level: str, means: str | None, *, uses_image: bool) -> Expectation | None:
    """What a dimension of this meaning should do.

    Args:
        treatment, level: as in :data:`rewardbench.probing.treatments.TREATMENTS`.
        means: from :func:`meaning`.
        uses_image: the model looks at a first-frame image. Where it does not, no image can be wrong, and a dimension
            that speaks of the whole has no part of that kind.
    """
    if means is None:
        return "still" if treatment in TECHNICAL else None
    if treatment in DEGRADATIONS:
        if means == OVERALL:
            return "fall"  # a clip with a fault and no virtue more is the worse clip
        effect = EFFECTS[treatment]
        return "fall" if means in effect.lowers else "still" if means in effect.neutral else None
    if treatment == IMAGE_SWAP and not uses_image:
        return None
    rule = _RULES.get((treatment, level)) or _RULES.get((treatment, ""), {})
    return next((what for what, meanings in rule.items() if means in meanings), None)
