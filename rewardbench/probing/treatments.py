"""The catalogue: what is done to a clip, and at which levels. Nothing here opens a file.

Degradations have doses, severities of :mod:`rewardbench.synth.degradations`; every other treatment has levels that
stand beside each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rewardbench.errors import InputError
from rewardbench.synth.degradations import DEGRADATIONS

DOSES = ("0.25", "0.5", "0.75", "1")
QUICK_DOSES = ("0.5", "1")
WORKING_COPY = "working_copy"
PROMPT_SWAP, IMAGE_SWAP = "prompt_swap", "image_swap"
ORDER_OF_PAIR = "order_of_pair"

FAMILIES: dict[str, str] = {
    "degradations": "Degradations",
    "invariances": "File, size and length",
    "time": "Order and speed of the frames",
    "prompts": "Prompt of another clip",
    "images": "First frame of another clip",
    "order": "Order of a pair",
    "batching": "Batch, repetition and seed",
}
"""Family to its title, in the order of the page; the names are what ``--only`` takes."""


@dataclass(frozen=True)
class Treatment:
    """One thing that is done to every clip.

    Attributes:
        family: a key of :data:`FAMILIES`.
        name: unique over all families.
        levels: doses in ascending order for degradations, else what stands beside each other.
        description: one sentence.
        quick: the levels under ``--quick``; the treatment is left out where there is none.
    """

    family: str
    name: str
    levels: tuple[str, ...]
    description: str
    quick: tuple[str, ...]

    @property
    def has_doses(self) -> bool:
        return self.family == "degradations"


def _beside(family: str, name: str, levels: Sequence[str], description: str, quick: int) -> Treatment:
    """A treatment with levels beside each other; ``quick`` of them, from the first, are kept under ``--quick``."""
    return Treatment(family, name, tuple(levels), description, tuple(levels[:quick]))


TREATMENTS: tuple[Treatment, ...] = (
    *(Treatment("degradations", name, DOSES, info.description, QUICK_DOSES) for name, info in DEGRADATIONS.items()),
    _beside("invariances", WORKING_COPY, ["against the file"], "the file as it came, and the probe's copy of it", 1),
    _beside("invariances", "reencode", ["crf 18", "crf 23", "crf 28"], "encoded again with H.264 at this quality", 2),
    _beside(
        "invariances",
        "container",
        ["mkv", "mov", "webm"],
        "the same stream in another container; webm is encoded again with VP9 at high quality",
        1,
    ),
    _beside("invariances", "resolution", ["3/4", "1/2"], "scaled down to this part of its width and height", 1),
    _beside("invariances", "frame_rate", ["1/2"], "every second frame, at half the rate: the same length", 1),
    _beside("invariances", "length", ["first half", "second half"], "half of the frames", 1),
    _beside("time", "reversed", ["reversed"], "the frames from the last to the first", 1),
    _beside("time", "shuffled", ["shuffled"], "the frames in random order", 1),
    _beside("time", "speed", ["1/2", "2"], "the same frames shown slower or faster", 0),
    _beside("prompts", PROMPT_SWAP, ["another clip's"], "the same clip with the prompt of another", 1),
    _beside("images", IMAGE_SWAP, ["another clip's"], "the same clip with the first-frame image of another", 1),
    _beside("order", ORDER_OF_PAIR, ["shown first"], "the same pair in both orders: is the first clip favoured?", 1),
    _beside("batching", "repeat", ["again"], "the same clips once more, by a model loaded anew", 0),
    _beside("batching", "batch_size", ["1"], "one clip in a batch", 1),
    _beside("batching", "batch_position", ["reversed list"], "the same batch size, the list from its end", 1),
    _beside("batching", "seed", ["next"], "the next seed", 1),
)
BY_NAME = {treatment.name: treatment for treatment in TREATMENTS}


def choose(only: Sequence[str], *, quick: bool) -> list[Treatment]:
    """The treatments of the families asked for (all, if none), with the levels that apply.

    Raises:
        InputError: a family or treatment nobody knows.
    """
    for name in only:
        if name not in FAMILIES and name not in BY_NAME:
            raise InputError(
                f"--only {name} is no family of probes; use some of {', '.join(FAMILIES)}, or the name of one treatment"
            )
    wanted = [t for t in TREATMENTS if not only or t.family in only or t.name in only]
    if not quick:
        return wanted
    return [
        Treatment(t.family, t.name, levels, t.description, t.quick)
        for t in wanted
        if (levels := t.quick or (t.levels[:1] if t.name in only else ()))
    ]
