"""What the model is told about a clip, and where in it each dimension is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rewardbench.aliases import canonical
from rewardbench.errors import InputError

PLACEHOLDER = "{text_prompt}"
_ABOUT_TEXT = ("TA", "text_video", "text_alignment")


@dataclass(frozen=True)
class PromptTemplate:
    """A template's ``name``, its ``text`` with one :data:`PLACEHOLDER`, and the special token of each dimension
    (none where the last token is read)."""

    name: str
    text: str
    special_tokens: tuple[str, ...]

    def fill(self, prompt: str | None, where: str) -> str:
        """The text for a clip's prompt.

        Raises:
            InputError: the prompt contains one of the special tokens, which would be read as a reward position.
        """
        for token in (*self.special_tokens, "<|im_start|>", "<|im_end|>", "<|video_pad|>"):
            if prompt and token in prompt:
                raise InputError(f"{where}: the prompt contains the special token {token}; remove it from the prompt")
        return self.text.replace(PLACEHOLDER, prompt or "")


def special_token(dimension: str) -> str:
    """VideoReward's spelling, ``<|VQ_reward|>``."""
    return f"<|{dimension}_reward|>"


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


def short_template(dimensions: Sequence[str], blind: int, reward_token: str) -> PromptTemplate:
    """Our template, for any dimensions.

    With special tokens the first ``blind`` dimensions are read before the prompt appears, so that attention, which
    only looks back, cannot tell them of it (the paper's "token positioning"). With the last token the prompt comes
    first and one vector serves all.
    """
    if reward_token == "last":
        text = f"Judge this video, made for the text: {PLACEHOLDER}\nRate {', '.join(dimensions)}:"
        return PromptTemplate("short", text, ())
    tokens = tuple(special_token(d) for d in dimensions)
    lines = [f"{d}: {t}" for d, t in zip(dimensions, tokens, strict=True)]
    text = "\n".join(["Judge this video.", *lines[:blind], f"It was made for the text: {PLACEHOLDER}", *lines[blind:]])
    return PromptTemplate("short_special", text, tokens)
