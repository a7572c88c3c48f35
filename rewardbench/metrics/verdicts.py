"""Verdicts of pairwise judges: their spellings, their accuracy, and their place on the margin scale.

GenAI-Bench (TIGER-AI-Lab/GenAI-Bench) lets people choose left, right, tie (both good) or both bad, and asks judges for
``[[A>B]]``, ``[[B>A]]``, ``[[A=B=Good]]`` or ``[[A=B=Bad]]``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from rewardbench.errors import InputError
from rewardbench.metrics.accuracy import share
from rewardbench.metrics.inputs import FloatArray, IntArray, same_length

LabelFormat = Literal["genai", "plain"]

# What an answer can mean. "tie" is a tie of no named kind; "much" marks the doubled sign of GenAI-Bench.
_PLAIN = {"a": "A", "b": "B", "tie": "tie", "same": "tie"}
_HUMAN: dict[str, dict[str, str]] = {
    "genai": {"leftvote": "A", "rightvote": "B", "tievote": "good", "bothbad_vote": "bad"},
    "plain": _PLAIN,
}
_BRACKETED = {
    "a>b": "A",
    "a>>b": "A much",
    "b>a": "B",
    "b>>a": "B much",
    "a=b=good": "good",
    "a=b=bad": "bad",
    "a=b": "tie",
}
_IN_BRACKETS = re.compile(r"\[\[([^\[\]]*)\]\]")
_SIGN = {"A": 1, "A much": 1, "B": -1, "B much": -1, "good": 0, "bad": 0, "tie": 0}


@dataclass(frozen=True)
class VerdictAccuracy:
    """Shares in [0, 1] of a judge's verdicts that are right; an unparsed verdict is wrong everywhere.

    genai_v1: GenAI-Bench's rule over left, right, both good, both bad; "[[A=B]]" is right for either kind of tie. Its
        own script compares texts letter by letter, so a verdict in another case, or at the end of an explanation, is
        wrong there and counts here; `rewardbench reproduce` counts as the script does.
    three_way: both kinds of tie are one class.
    strict: one of the four spellings, exactly; "[[A=B]]", "[[A>>B]]" and "[[B>>A]]" are right for nothing.
    without_ties: over the pairs people decided; a tie verdict is wrong.
    n_unparsed: verdicts that say nothing known; n: all pairs, the unparsed among them.
    With the "plain" format there are three classes only: genai_v1 is NaN and strict equals three_way.
    """

    genai_v1: float
    three_way: float
    strict: float
    without_ties: float
    n_unparsed: int
    n: int


def parse_verdict(text: object, label_format: LabelFormat = "genai") -> str | None:
    """Meaning of one verdict: "A", "A much", "B", "B much", "good", "bad", "tie", or None if it says nothing known.

    "genai" reads the last ``[[…]]`` that is a known verdict, so a longer answer may name the choices before it
    decides. "plain" reads A, B, tie or same as the whole text. Upper and lower case and blanks do not matter.
    """
    _check_format(label_format)
    if not isinstance(text, str):
        return None
    if label_format == "plain":
        return _PLAIN.get(text.strip().lower())
    known = [_BRACKETED.get("".join(inside.split()).lower()) for inside in _IN_BRACKETS.findall(text)]
    return next((meaning for meaning in reversed(known) if meaning), None)


def human_votes(human_raw: Sequence[object], label_format: LabelFormat = "genai") -> IntArray:
    """Human votes as labels (n,): 1 (A, left), -1 (B, right), 0 (either kind of tie).

    Raises:
        InputError: a vote in no known spelling, with its row.
    """
    return np.array([_SIGN[meaning] for meaning in _human_meanings(human_raw, label_format)], dtype=np.int64)


def verdict_margins(verdict_raw: Sequence[object], label_format: LabelFormat = "genai") -> FloatArray:
    """Verdicts as margins (n,): 1 (A), -1 (B), 0 (any tie), NaN (unparsed: the judge abstains)."""
    meanings = [parse_verdict(text, label_format) for text in verdict_raw]
    return np.array([np.nan if meaning is None else _SIGN[meaning] for meaning in meanings], dtype=np.float64)


def verdict_accuracy(
    human_raw: Sequence[object], verdict_raw: Sequence[object], label_format: LabelFormat = "genai"
) -> VerdictAccuracy:
    """Accuracy of a judge's verdicts (n,) against human votes (n,), both as spelled in the file.

    Raises:
        InputError: a human vote in no known spelling, unequal lengths, or an unknown format.
    """
    same_length(len(human_raw), len(verdict_raw), "verdicts")
    human = _human_meanings(human_raw, label_format)
    verdict = [parse_verdict(text, label_format) for text in verdict_raw]
    both = list(zip(human, verdict, strict=True))
    three_way = sum(v is not None and _SIGN[h] == _SIGN[v] for h, v in both)
    strict = sum(h == v for h, v in both)
    genai = sum(v is not None and (h == v or (v == "tie" and _SIGN[h] == 0) or v == f"{h} much") for h, v in both)
    decided = sum(_SIGN[h] != 0 for h in human)
    decided_right = sum(v is not None and _SIGN[h] != 0 and _SIGN[h] == _SIGN[v] for h, v in both)
    n = len(human)
    return VerdictAccuracy(
        genai_v1=share(genai, n) if label_format == "genai" else float("nan"),
        three_way=share(three_way, n),
        strict=share(strict, n),
        without_ties=share(decided_right, decided),
        n_unparsed=sum(meaning is None for meaning in verdict),
        n=n,
    )


@dataclass(frozen=True)
class PositionConsistency:
    """Whether a judge says the same of a pair whichever clip is shown first; shares in [0, 1], NaN where n is 0.

    consistency: the verdict is the same in both orders.
    favours_first, favours_second: it changes, towards the clip that is shown first or second. The three sum to 1.
    n: pairs that have a verdict in both orders.
    """

    consistency: float
    favours_first: float
    favours_second: float
    n: int


def position_consistency(said_ab: ArrayLike, said_ba: ArrayLike) -> PositionConsistency:
    """Consistency of verdicts (n,) given with A shown first and with B shown first, both about the pair's own A and B.

    Verdicts are 1 (A), 0 (tie), -1 (B); pairs with NaN in either are left out.

    Raises:
        InputError: unequal lengths.
    """
    ab, ba = np.asarray(said_ab, dtype=np.float64), np.asarray(said_ba, dtype=np.float64)
    if len(ab) != len(ba):
        raise InputError(f"{len(ab)} verdicts with A first came with {len(ba)} with B first.")
    both = ~(np.isnan(ab) | np.isnan(ba))
    change, n = (ab - ba)[both], int(both.sum())
    return PositionConsistency(
        consistency=share(int((change == 0).sum()), n),
        favours_first=share(int((change > 0).sum()), n),
        favours_second=share(int((change < 0).sum()), n),
        n=n,
    )


def likeliest_verdict(p: Sequence[float] | None) -> float:
    """Verdict 1 (A), 0 (tie) or -1 (B) of the largest of the probabilities (A, tie, B); 0 where A and B are equal and
    largest, NaN without probabilities."""
    if p is None:
        return float("nan")
    p_a, p_tie, p_b = p
    return 0.0 if p_tie >= max(p_a, p_b) else float(np.sign(p_a - p_b))


def _human_meanings(human_raw: Sequence[object], label_format: LabelFormat) -> list[str]:
    _check_format(label_format)
    spellings = _HUMAN[label_format]
    meanings = []
    for row, text in enumerate(human_raw):
        meaning = spellings.get(text.strip().lower()) if isinstance(text, str) else None
        if meaning is None:
            raise InputError(f"human vote {text!r} at row {row} is unknown; {label_format} has {', '.join(spellings)}.")
        meanings.append(meaning)
    return meanings


def _check_format(label_format: str) -> None:
    if label_format not in _HUMAN:
        raise InputError(f'label format "{label_format}" is unknown; use one of {", ".join(_HUMAN)}.')
