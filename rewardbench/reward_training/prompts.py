"""What the model is told about a clip, and where in it each dimension is read."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rewardbench_videoreward.prompts import PromptTemplate, read_prompt_template
from rewardbench_videoreward.settings import reward_token

from rewardbench.aliases import canonical
from rewardbench.errors import InputError

PLACEHOLDER = "{text_prompt}"
_ABOUT_TEXT = ("TA", "text_video", "text_alignment")
_PUBLISHED = {"detailed_special": "special", "detailed": "last", "video_score": "last"}


@dataclass(frozen=True)
class Wording:
    """A template as a checkpoint names it.

    Attributes:
        sha256: of our own template, which goes with the checkpoint; None for a published one, which may not.
        special_tokens: one a dimension, none where the last token is read.
    """

    name: str
    template: PromptTemplate
    sha256: str | None
    special_tokens: tuple[str, ...]


def order_dimensions(dimensions: Sequence[str], context: Sequence[str] | None) -> tuple[tuple[str, ...], int]:
    """Dimensions with those that see the prompt last, and how many do not see it.

    ``context`` None takes those about text: TA, text_video, text_alignment, by any spelling.

    Raises:
        InputError: ``context`` names something that is not trained.
    """
    if context is None:
        seeing = {d for d in dimensions if canonical(d) in _ABOUT_TEXT}
    else:
        unknown = [d for d in context if d not in dimensions]
        if unknown:
            raise InputError(
                f"--context-dimension {unknown[0]} is not among the trained dimensions ({', '.join(dimensions)})"
            )
        seeing = set(context)
    blind = [d for d in dimensions if d not in seeing]
    return (*blind, *(d for d in dimensions if d in seeing)), len(blind)


def short_wording(dimensions: Sequence[str], blind: int, reads: str) -> Wording:
    """Our template, for any dimensions.

    With special tokens (``reads`` is ``special``) the first ``blind`` dimensions are read before the prompt appears,
    so that attention, which only looks back, cannot tell them of it (the paper's "token positioning"). With the last
    token the prompt comes first and one vector serves all.
    """
    if reads == "last":
        tokens: tuple[str, ...] = ()
        text = f"Judge this video, made for the text: {PLACEHOLDER}\nRate {', '.join(dimensions)}:"
    else:
        tokens = tuple(reward_token(d) for d in dimensions)
        lines = [f"{d}: {t}" for d, t in zip(dimensions, tokens, strict=True)]
        asked = f"It was made for the text: {PLACEHOLDER}"
        text = "\n".join(["Judge this video.", *lines[:blind], asked, *lines[blind:]])
    name = "short_special" if tokens else "short"
    return Wording(name, PromptTemplate(text, literal=True), hashlib.sha256(text.encode()).hexdigest(), tokens)


def published_wording(name: str, dimensions: Sequence[str], reads: str, folder: Path) -> Wording:
    """A template of VideoReward, verified by its SHA-256; its order is VQ, MQ, TA.

    Raises:
        InputError: an unknown name, other dimensions than it speaks of, or another reward token than it has.
        ValueError: the file is missing or changed.
    """
    if name not in _PUBLISHED:
        raise InputError(f"--template {name!r} is not one of short, {', '.join(_PUBLISHED)}")
    if _PUBLISHED[name] != reads:
        raise InputError(f"--template {name} is read with --reward-token {_PUBLISHED[name]}, not {reads}")
    if tuple(dimensions) != ("VQ", "MQ", "TA"):
        raise InputError(
            f"--template {name} speaks of VQ, MQ and TA in this order; for {', '.join(dimensions)} use --template short"
        )
    tokens = tuple(reward_token(d) for d in dimensions) if reads == "special" else ()
    return Wording(name, read_prompt_template(name, dimensions, folder), None, tokens)
