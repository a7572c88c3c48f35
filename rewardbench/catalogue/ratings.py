"""Ratings of single clips by several raters, as pairs: every two systems' clips of a prompt are compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import combinations
from typing import Literal

import numpy as np

from rewardbench.benchmark import Label
from rewardbench.catalogue.building import PairRow, Side

Rule = Literal["mean", "majority"]
Ratings = Sequence[Fraction | int | None]
"""One number per rater, in a fixed order of raters; None where that rater gave none."""


@dataclass(frozen=True)
class RatedClip:
    """A clip, what every rater said about it by dimension, and published scores of it (``metric`` to number)."""

    prompt_id: str
    prompt: str
    system: str
    video: str
    ratings: Mapping[str, Ratings]
    scores: Mapping[str, float] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RaterViews:
    """What raters said, for `rewardbench.metrics.agreement`; NaN where a rater said nothing.

    Attributes:
        items: (n_items, n_raters) ratings as given.
        pairs: (n_pairs, n_raters) rating(A) - rating(B), or the label a rater gave.
        prompts: prompt of each pair.
        combine: how the label is made of the views.
    """

    items: np.ndarray
    pairs: np.ndarray
    prompts: tuple[str, ...]
    combine: Rule


def label_of(a: Ratings, b: Ratings, rule: Rule) -> Label | None:
    """+1 where A is rated higher, -1 where B is, 0 for a tie; None where no rater decides.

    ``mean``: the sign of the difference of the exact means over the raters who rated. ``majority``: what more than
    half of the raters who rated both say, else a tie.
    """
    if rule == "mean":
        of_a, of_b = [v for v in a if v is not None], [v for v in b if v is not None]
        if not of_a or not of_b:
            return None
        return _sign(sum(of_a) * len(of_b) - sum(of_b) * len(of_a))  # whole numbers stay whole: no rounding, and fast
    said = [_sign(x - y) for x, y in zip(a, b, strict=True) if x is not None and y is not None]
    if not said:
        return None
    return next((value for value in (1, -1) if 2 * said.count(value) > len(said)), 0)


def _sign(value: Fraction | int) -> Label:
    return (value > 0) - (value < 0)


def rated_pairs(clips: Sequence[RatedClip], systems: Sequence[str], rule: Rule, id_prefix: str = "") -> list[PairRow]:
    """All pairs of two systems' clips of the same prompt id, in the order of ``clips``' prompts and of ``systems``.

    Pairs that no rater decides in any dimension are left out.
    """
    rows = []
    for prompt_id, by_system in _by_prompt(clips).items():
        for first, second in combinations([system for system in systems if system in by_system], 2):
            a, b = by_system[first], by_system[second]
            labels = {d: label_of(a.ratings[d], b.ratings[d], rule) for d in a.ratings if d in b.ratings}
            if all(label is None for label in labels.values()):
                continue
            rows.append(
                PairRow(
                    f"{id_prefix}{prompt_id}-{first}-{second}",
                    Side(a.video, a.prompt),
                    Side(b.video, b.prompt),
                    labels,
                    {"prompt_id": prompt_id, "system_a": first, "system_b": second, **a.columns},
                )
            )
    return rows


def rater_views(clips: Sequence[RatedClip], systems: Sequence[str], dimension: str, rule: Rule) -> RaterViews:
    """What each rater said in one dimension, by clip and by pair (the pairs of :func:`rated_pairs`)."""
    rated = [clip for clip in clips if dimension in clip.ratings and clip.system in systems]
    pairs, prompts = [], []
    for by_system in _by_prompt(rated).values():
        for first, second in combinations([system for system in systems if system in by_system], 2):
            a, b = _floats(by_system[first].ratings[dimension]), _floats(by_system[second].ratings[dimension])
            pairs.append(a - b)
            prompts.append(by_system[first].prompt)
    items = [_floats(clip.ratings[dimension]) for clip in rated]
    return RaterViews(np.array(items), np.array(pairs), tuple(prompts), rule)


def dimensions_of(clips: Iterable[RatedClip]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(dimension for clip in clips for dimension in clip.ratings))


def _by_prompt(clips: Sequence[RatedClip]) -> dict[str, dict[str, RatedClip]]:
    found: dict[str, dict[str, RatedClip]] = {}
    for clip in clips:
        found.setdefault(clip.prompt_id, {})[clip.system] = clip
    return found


def _floats(ratings: Ratings) -> np.ndarray:
    return np.array([np.nan if value is None else float(value) for value in ratings])
