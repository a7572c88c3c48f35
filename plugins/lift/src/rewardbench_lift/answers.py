"""Reading an answer, and the two published ways to make numbers of three answers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

GRADES = ("Good", "Normal", "Bad")
_FIRST = re.compile(r"\s*([A-Za-z]+)(?=$|[\s.,:;!])")
_DECIDED = re.compile(r"\s*(?:[A-Za-z]+[^A-Za-z]|[^A-Za-z\s])")


@dataclass(frozen=True)
class ScoreMapping:
    """Numbers of the three grades, and the decimals the mean of three is rounded to (None: not at all)."""

    name: str
    values: Mapping[str, float]
    digits: int | None

    @property
    def low(self) -> float:
        return min(self.values.values())

    @property
    def high(self) -> float:
        return max(self.values.values())


PUBLISHED = ScoreMapping("published", MappingProxyType({"Good": 0.9, "Normal": 0.2, "Bad": 0.05}), 2)
"""LiFT's own ``process_reward_score.py``: a Good outweighs two Bad (0.33) against three Normal (0.2)."""
LEVELS = ScoreMapping("levels", MappingProxyType({"Good": 3.0, "Normal": 2.0, "Bad": 1.0}), None)
"""VideoAlign's comparison: 1..3, where one Good and two Bad (1.67) lose against three Normal (2)."""
MAPPINGS: Mapping[str, ScoreMapping] = MappingProxyType({one.name: one for one in (PUBLISHED, LEVELS)})


def read_grade(answer: str) -> str | None:
    """The first word of an answer where it is exactly one of the three grades, else None.

    Later words do not count: ``Bad. Normal gait, but …`` is Bad (the published script, which looks for the words
    anywhere, reads Normal, and takes whatever it cannot read for Good).
    """
    found = _FIRST.match(answer)
    return found.group(1) if found and found.group(1) in GRADES else None


def is_decided(text: str) -> bool:
    """Whether an answer that begins with ``text`` reads the same however it goes on."""
    return _DECIDED.match(text) is not None


def mean_score(values: Sequence[float], digits: int | None) -> float:
    """Mean, added up in order, rounded to ``digits`` decimals as Python rounds."""
    mean = sum(values) / len(values)
    return mean if digits is None else round(mean, digits)
