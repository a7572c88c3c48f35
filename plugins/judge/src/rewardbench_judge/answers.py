"""Reading what the judge wrote. Nothing is guessed: an answer that can be read in two ways is no answer.

Markdown around an answer line (emphasis, list signs, quotes, headings, code) is looked through, because models add it
unasked and a bold ``Answer 1:`` says the same thing. Everything else that departs from the format asked for is a
failure, raised as ValueError with the reason.
"""

from __future__ import annotations

import re

from rewardbench_judge.wording import HIGHEST, LOWEST, N_QUESTIONS

_MARKUP = re.compile(r"[*_`>#|~]+")
_LIST_SIGN = re.compile(r"^\s*(?:[-+•]\s+|\d+[.)]\s+)?")
_ANSWER = re.compile(r"answer\s*(\d+)\s*[:：=]\s*(.*)", re.IGNORECASE)
_VALUE = re.compile(r"([-+]?\d+(?:\.\d+)?)(?:\s*/\s*10(?!\d)|\s+out of 10(?!\d))?(?![\d.]*\d)(.*)", re.IGNORECASE)
_VERDICT = re.compile(r"verdict\s*[:：=]\s*(.*)", re.IGNORECASE)
_CHOICE = re.compile(r"(?:(?:video\s*)?([12])(?:\s+is\s+better)?|tie)[.!]?", re.IGNORECASE)
_MEANING = {"1": 1, "2": -1, None: 0}


def parse_rating(text: str) -> tuple[float, ...]:
    """Five numbers in [0, 10], one for each of ``Answer 1:`` to ``Answer 5:``.

    A number may be a decimal and may be followed by ``/10`` and by words without digits. An answer given twice with
    the same number counts once.

    Raises:
        ValueError: an answer is missing, numbered otherwise, given twice with different numbers, no number, or outside
            the range.
    """
    found: dict[int, float] = {}
    for line in text.splitlines():
        match = _ANSWER.fullmatch(_plain(line))
        if match is None:
            continue
        number = int(match[1])
        if not 1 <= number <= N_QUESTIONS:
            raise ValueError(f"answer {number} was not asked for")
        value = _value(match[2], number)
        if found.setdefault(number, value) != value:
            raise ValueError(f"answer {number} stands twice with different numbers")
    missing = [str(number) for number in range(1, N_QUESTIONS + 1) if number not in found]
    if missing:
        raise ValueError(f"answer {', '.join(missing)} missing")
    return tuple(found[number] for number in range(1, N_QUESTIONS + 1))


def parse_verdict(text: str) -> int:
    """1 (the first clip is better), 0 (tie) or -1 (the second), from ``Verdict: 1``, ``Verdict: 2``, ``Verdict: tie``.

    Raises:
        ValueError: no such line, or lines that disagree.
    """
    said = set()
    for line in text.splitlines():
        match = _VERDICT.fullmatch(_plain(line))
        if match is None:
            continue
        choice = _CHOICE.fullmatch(match[1].strip())
        if choice is None:
            raise ValueError(f"verdict {match[1][:40]!r} is none of 1, 2, tie")
        said.add(_MEANING[choice[1]])
    if not said:
        raise ValueError("no verdict line")
    if len(said) > 1:
        raise ValueError("verdicts that disagree")
    return said.pop()


def _value(text: str, number: int) -> float:
    match = _VALUE.fullmatch(text.strip())
    if match is None or any(sign.isdigit() for sign in match[2]):
        raise ValueError(f"answer {number} is not one number ({text.strip()[:40]!r})")
    value = float(match[1])
    if not LOWEST <= value <= HIGHEST:
        raise ValueError(f"answer {number} is {match[1]}, outside {LOWEST} to {HIGHEST}")
    return value


def _plain(line: str) -> str:
    """The line without Markdown and without a list sign."""
    return _LIST_SIGN.sub("", _MARKUP.sub("", line), count=1).strip()
