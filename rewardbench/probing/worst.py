"""The clips on which a model did least of what was expected of it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from rewardbench.probing.analysis import Point
from rewardbench.probing.expectations import OVERALL, Expectation, expected
from rewardbench.probing.record import ProbeDimension, ProbeWorst

MOST, MOST_OF_A_CLIP, MOST_OF_A_TREATMENT = 12, 3, 2


def find_worst(
    points: Sequence[Point],
    dimensions: Sequence[ProbeDimension],
    names: Mapping[int, str],
    *,
    uses_image: bool,
    margin: float,
) -> list[ProbeWorst]:
    """At most 12 of the single changes furthest from what was expected, the furthest first.

    A change that should be a fall is off by how far it stays above minus ``margin``; one that should be none, by how
    far it exceeds ``margin`` either way. Of a degradation the highest dose counts. ``overall`` is left out where other
    dimensions have a meaning, because it repeats them. A clip is shown at most 3 times, a treatment twice.

    Args:
        points: with the clips they were measured on.
        names: of the clips by source number.
        uses_image, margin: as elsewhere.
    """
    several = sum(d.meaning not in (None, OVERALL) for d in dimensions) > 0
    found: list[tuple[float, ProbeWorst]] = []
    for point in points:
        if point.treatment.family in ("batching", "order"):
            continue
        if point.treatment.has_doses and point.level != point.treatment.levels[-1]:
            continue
        for dimension in dimensions:
            wanted = expected(point.treatment.name, point.level, dimension.meaning, uses_image=uses_image)
            if wanted is None or not dimension.unit or (several and dimension.meaning == OVERALL):
                continue
            found += _of_cell(point, dimension, wanted, names, margin)
    found.sort(key=lambda pair: (-pair[0], pair[1].treatment, pair[1].level, pair[1].dimension, pair[1].source))
    clips: Counter[int] = Counter()
    treatments: Counter[str] = Counter()
    kept: list[ProbeWorst] = []
    for _, one in found:
        if clips[one.source] < MOST_OF_A_CLIP and treatments[one.treatment] < MOST_OF_A_TREATMENT and len(kept) < MOST:
            clips[one.source] += 1
            treatments[one.treatment] += 1
            kept.append(one)
    return kept


def _of_cell(
    point: Point, dimension: ProbeDimension, wanted: Expectation, names: Mapping[int, str], margin: float
) -> list[tuple[float, ProbeWorst]]:
    sign, unit = (1.0 if dimension.higher_is_better else -1.0), dimension.unit or math.nan
    found = []
    for source, before, after in zip(
        point.sources, point.before[dimension.name], point.after[dimension.name], strict=True
    ):
        effect = sign * (float(after) - float(before)) / unit
        if math.isnan(effect):
            continue
        off = (
            abs(effect) - margin if wanted == "still" else margin - abs(effect) if wanted == "move" else effect + margin
        )
        if off > 0:
            one = ProbeWorst(
                clip=names[source],
                source=source,
                treatment=point.treatment.name,
                level=point.level,
                dimension=dimension.name,
                expectation=wanted,
                before=float(before),
                after=float(after),
                effect=effect,
            )
            found.append((off, one))
    return found
