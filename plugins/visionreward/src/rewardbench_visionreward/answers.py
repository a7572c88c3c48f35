"""From the distribution over the first answer token to an answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Decode = Callable[[Sequence[int]], str]
YES, NO = "yes", "no"


@dataclass(frozen=True)
class AnswerTokens:
    """The tokens that are exactly ``yes`` and ``no``, and how a token is read."""

    yes: int
    no: int
    decode: Decode

    def reference(self, logits: Any) -> list[float]:
        """Answers (Q,) of 1 or -1 for logits (Q, V): 1 where the likeliest token reads exactly ``yes``.

        ``Yes``, `` yes`` and anything else count as no, as in the published script.
        """
        return [1.0 if self.decode([int(token)]) == YES else -1.0 for token in logits.argmax(dim=-1)]

    def soft(self, logits: Any) -> list[float]:
        """P(yes) - P(no) in [-1, 1] for logits (Q, V). Not of the publication; it leaves no ties."""
        probabilities = logits.float().softmax(dim=-1)
        return [float(value) for value in probabilities[:, self.yes] - probabilities[:, self.no]]


def find_answer_tokens(tokenizer: Any, source: Any) -> AnswerTokens:
    """The answer tokens of a tokenizer.

    Raises:
        ValueError: where an answer is not a single token.
    """
    tokens = []
    for word in (YES, NO):
        ids = tokenizer.encode(word, add_special_tokens=False)
        if len(ids) != 1 or tokenizer.decode(ids) != word:
            raise ValueError(
                f"the tokenizer of {source} has no single token {word!r}; visionreward cannot read its answers"
            )
        tokens.append(int(ids[0]))
    return AnswerTokens(tokens[0], tokens[1], tokenizer.decode)


def refuse_special_tokens(tokenizer: Any, prompt: str) -> str | None:
    """Why a prompt that spells out a special token cannot be asked about; None for every other prompt.

    Such a token would change what the model takes for the video or for the end of a turn.
    """
    special = {*tokenizer.all_special_tokens, *getattr(tokenizer, "get_added_vocab", dict)()}
    for token in sorted(special, key=len, reverse=True):
        if token and token in prompt:
            return f"its prompt contains {token!r}, a token with a meaning of its own to the model"
    return None


def common_prefix(sequences: Sequence[Sequence[int]]) -> int:
    """How many leading tokens all sequences share, at least one token of each being left."""
    shortest = min(len(sequence) for sequence in sequences) - 1
    first = sequences[0]
    for position in range(shortest):
        if any(sequence[position] != first[position] for sequence in sequences):
            return position
    return shortest
