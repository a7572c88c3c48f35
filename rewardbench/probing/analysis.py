"""From measured scores to the cells and curves of the record."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rewardbench.metrics.paired import holm
from rewardbench.probing import statistics
from rewardbench.probing.expectations import Expectation, expected
from rewardbench.probing.record import ProbeCell, ProbeDimension, ProbeResponse
from rewardbench.probing.treatments import Treatment
from rewardbench_plugin.card import Dimension
from rewardbench_plugin.clip import Clip

Floats = NDArray[np.float64]
Scores = Mapping[str, float]


@dataclass(frozen=True)
class Point:
    """Scores before and after one treatment and level: by dimension, arrays (clips,) with NaN for what is missing.

    ``sources`` are the clips' numbers, ``shown`` the treated clips (None where the treatment changed nothing).
    """

    treatment: Treatment
    level: str
    sources: tuple[int, ...]
    shown: tuple[Clip | None, ...]
    before: Mapping[str, Floats]
    after: Mapping[str, Floats]


def column(rows: Sequence[Scores | None], dimension: str) -> Floats:
    """One dimension of many clips; NaN where there is no score."""
    return np.array([math.nan if row is None else row.get(dimension, math.nan) for row in rows], dtype=np.float64)


def describe_dimensions(
    cards: Sequence[Dimension], rows: Sequence[Scores | None], meanings: Mapping[str, str | None]
) -> list[ProbeDimension]:
    """What is known of each dimension, and its unit (:func:`rewardbench.probing.statistics.unit_of`)."""
    found = []
    for card in cards:
        name = card.name
        scores = column(rows, name)
        known = scores[~np.isnan(scores)]
        spread = statistics.spread_between(scores)
        found.append(
            ProbeDimension(
                name=name,
                meaning=meanings[name],
                higher_is_better=card.higher_is_better,
                spread=spread,
                unit=statistics.unit_of(spread, card.low, card.high, len(known)),
                n=len(known),
                n_abstained=sum(row is not None for row in rows) - len(known),
                mean=float(known.mean()) if len(known) else None,
            )
        )
    return found


def make_cells(
    points: Sequence[Point], dimensions: Sequence[ProbeDimension], *, uses_image: bool, margin: float, seed: int
) -> list[ProbeCell]:
    """One cell a point and dimension, with tests corrected over all that expect something and changed."""
    changes: list[tuple[Point, ProbeDimension, Expectation | None, statistics.Change]] = []
    for point in points:
        for dimension in dimensions:
            found = statistics.change(
                point.before[dimension.name],
                point.after[dimension.name],
                sign=1.0 if dimension.higher_is_better else -1.0,
                unit=dimension.unit or 0.0,
                margin=margin,
                seed=seed,
            )
            wanted = expected(point.treatment.name, point.level, dimension.meaning, uses_image=uses_image)
            changes.append((point, dimension, wanted, found))
    tested = [_is_tested(point, wanted, found) for point, _, wanted, found in changes]
    corrected = holm(
        [found.p_for(what) if asked else math.nan for asked, (_, _, what, found) in zip(tested, changes, strict=True)]
    ).tolist()
    cells = []
    for (point, dimension, wanted, found), p_holm in zip(changes, corrected, strict=True):
        cells.append(
            ProbeCell(
                family=point.treatment.family,
                treatment=point.treatment.name,
                level=point.level,
                dimension=dimension.name,
                expectation=wanted,
                verdict=statistics.verdict(wanted, found, p_holm, margin=margin) if _is_judged(point) else None,
                n=found.n,
                n_abstained=found.abstained,
                n_equal=found.equal,
                change=found.mean,
                effect=found.effect,
                effect_ci95=found.effect_ci95,
                typical=found.typical,
                typical_ci95=found.typical_ci95,
                largest=found.largest,
                p=found.p_for(wanted),
                p_holm=p_holm,
            )
        )
    return cells


def _is_judged(point: Point) -> bool:
    """Of the doses of a degradation only the highest gets a verdict; the others make the curve."""
    return not point.treatment.has_doses or point.level == point.treatment.levels[-1]


def _is_tested(point: Point, wanted: Expectation | None, found: statistics.Change) -> bool:
    """What did not change at all is decided by that: no test is made, and none has to be corrected for."""
    return wanted is not None and _is_judged(point) and found.equal < found.n


def make_responses(
    points: Sequence[Point], dimensions: Sequence[ProbeDimension], *, uses_image: bool, seed: int
) -> list[ProbeResponse]:
    """One curve a degradation and dimension, over the clips that have a score at every dose."""
    by_treatment: dict[str, list[Point]] = {}
    for point in points:
        if point.treatment.has_doses:
            by_treatment.setdefault(point.treatment.name, []).append(point)
    curves = []
    for name, doses in by_treatment.items():
        for dimension in dimensions:
            scores = np.stack(
                [doses[0].before[dimension.name], *(point.after[dimension.name] for point in doses)], axis=1
            )
            levels = [0.0, *(float(point.level) for point in doses)]
            found = statistics.response(
                scores,
                levels,
                sign=1.0 if dimension.higher_is_better else -1.0,
                unit=dimension.unit or 0.0,
                seed=seed,
            )
            top = doses[0].treatment.levels[-1]
            curves.append(
                ProbeResponse(
                    treatment=name,
                    dimension=dimension.name,
                    expectation=expected(name, top, dimension.meaning, uses_image=uses_image),
                    doses=levels,
                    effects=list(found.effects),
                    effects_ci95=list(found.effects_ci95),
                    n=found.n,
                    spearman=found.rho,
                    spearman_ci95=found.rho_ci95,
                    share_falling=found.falling,
                    share_flat=found.flat,
                )
            )
    return curves
