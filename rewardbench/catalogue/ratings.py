"""Ratings of single clips by several raters, as pairs: every two systems' clips of a prompt are compared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import combinations, product
from pathlib import Path
from typing import Literal

import numpy as np

from rewardbench.benchmark import Label
from rewardbench.catalogue.building import PairRow, Side
from rewardbench.catalogue.card import BenchmarkCard
from rewardbench.errors import InputError

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

    A system may have several takes of a prompt: each is paired with each of the other system, and takes after the first
    are named ``SYSTEM#2`` … in the pair's id. Pairs that no rater decides in any dimension are left out.

    Raises:
        InputError: a clip stands twice with different content.
    """
    rows = []
    for prompt_id, by_system in _by_prompt(clips).items():
        for (first, a), (second, b) in _couples(by_system, systems):
            labels = {d: label_of(a.ratings[d], b.ratings[d], rule) for d in a.ratings if d in b.ratings}
            if all(label is None for label in labels.values()):
                continue
            rows.append(
                PairRow(
                    f"{id_prefix}{prompt_id}-{first}-{second}",
                    Side(a.video, a.prompt),
                    Side(b.video, b.prompt),
                    labels,
                    {"prompt_id": prompt_id, "model_a": a.system, "model_b": b.system, **a.columns},
                )
            )
    return rows


def rater_views(clips: Sequence[RatedClip], systems: Sequence[str], dimension: str, rule: Rule) -> RaterViews:
    """What each rater said in one dimension, by clip and by pair (the pairs of :func:`rated_pairs`).

    Raises:
        InputError: a clip stands twice with different content.
    """
    rated = _by_prompt([clip for clip in clips if dimension in clip.ratings and clip.system in systems])
    pairs, prompts = [], []
    for by_system in rated.values():
        for (_, a), (_, b) in _couples(by_system, systems):
            pairs.append(_floats(a.ratings[dimension]) - _floats(b.ratings[dimension]))
            prompts.append(a.prompt)
    items = [
        _floats(clip.ratings[dimension])
        for by_system in rated.values()
        for takes in by_system.values()
        for clip in takes
    ]
    return RaterViews(np.array(items), np.array(pairs), tuple(prompts), rule)


def dimensions_of(clips: Iterable[RatedClip]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(dimension for clip in clips for dimension in clip.ratings))


def check_scale(clips: Iterable[RatedClip], card: BenchmarkCard, source: Path) -> None:
    """Refuse a rating outside the scale that the card gives for its dimension.

    Raises:
        InputError: naming the first such rating.
    """
    ranges = {} if card.raters is None else card.raters.ranges
    for clip in clips:
        for dimension, given in clip.ratings.items():
            if dimension not in ranges:
                continue
            low, high = ranges[dimension]
            outside = [value for value in given if value is not None and not low <= value <= high]
            if outside:
                raise InputError(
                    f"{source}: rating {float(outside[0]):g} of {clip.video} (prompt {clip.prompt_id}) in {dimension} "
                    f"lies outside the scale of {card.name}, {low} to {high}"
                )


def _by_prompt(clips: Sequence[RatedClip]) -> dict[str, dict[str, list[RatedClip]]]:
    """Prompt id to system to its takes, in order; the same row twice is one take.

    Raises:
        InputError: one clip with two contents: which of them holds cannot be known.
    """
    found: dict[str, dict[str, list[RatedClip]]] = {}
    for clip in clips:
        takes = found.setdefault(clip.prompt_id, {}).setdefault(clip.system, [])
        same = next((take for take in takes if take.video == clip.video), None)
        if same is not None and same != clip:
            raise InputError(
                f"clip {clip.video!r} of prompt {clip.prompt_id!r} and system {clip.system!r} is rated twice, and "
                "differently; keep one of the rows"
            )
        if same is None:
            takes.append(clip)
    return found


def _couples(
    by_system: Mapping[str, Sequence[RatedClip]], systems: Sequence[str]
) -> Iterator[tuple[tuple[str, RatedClip], tuple[str, RatedClip]]]:
    """Every take of a system with every take of a later one, each with its name for the pair's id."""
    for first, second in combinations([system for system in systems if system in by_system], 2):
        yield from product(_named(first, by_system[first]), _named(second, by_system[second]))


def _named(system: str, takes: Sequence[RatedClip]) -> list[tuple[str, RatedClip]]:
    return [(system if n == 1 else f"{system}#{n}", take) for n, take in enumerate(takes, start=1)]


def _floats(ratings: Ratings) -> np.ndarray:
    return np.array([np.nan if value is None else float(value) for value in ratings])
