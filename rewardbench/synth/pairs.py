"""Pairs with known answers and known ties, and the files a set of them is written to."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import numpy as np

from rewardbench.synth.recipes import DIMENSIONS, EFFECTS, MIN_GAP, MOTION_TIE, SEED_TIES

DECIDED_PER_CLUSTER = 3
"""So many decided pairs a dimension are taken from one base scene, at most."""
TIE_SHARE = 1 / 3
"""Share of ties among a dimension's pairs."""


@dataclass(frozen=True)
class Specimen:
    """One clip of a set: which base scene it belongs to, what was done to it, and its known levels.

    Attributes:
        video: path relative to the set's folder.
        cluster: the base scene; pairs are made within a cluster.
        prompt, image: what all clips of the cluster are judged against ('' where there is none).
        treatment, severity, seed: see :class:`rewardbench.synth.recipes.Recipe`.
        levels: known level per dimension.
        slices: further columns (style, background, action).
    """

    video: str
    cluster: str
    prompt: str
    image: str
    treatment: str
    severity: float
    seed: int
    levels: Mapping[str, float]
    slices: Mapping[str, str] = field(default_factory=dict)

    def intact(self, dimension: str) -> bool:
        """Whether its treatment leaves ``dimension`` as it was."""
        return self.severity == 0 or dimension not in EFFECTS[self.treatment].lowers


def verdict(dimension: str, a: Specimen, b: Specimen) -> str | None:
    """The known answer for two clips of one cluster: ``A``, ``B``, ``tie``, or None where none is known.

    Levels decide where at most one of the clips is lowered in the dimension, or where both are lowered by the same
    treatment with the same draws (then the fault of one contains the fault of the other). Equal levels are a tie only
    by construction: both clips intact in the dimension, or one treatment at one severity (see ``SEED_TIES``).
    """
    if a.cluster != b.cluster or dimension not in a.levels or dimension not in b.levels:
        return None
    difference = a.levels[dimension] - b.levels[dimension]
    if a.intact(dimension) and b.intact(dimension):
        return "tie" if abs(difference) <= (MOTION_TIE if dimension == "motion" else 0.0) else None
    if not a.intact(dimension) and not b.intact(dimension):
        comparable = a.treatment == b.treatment and (a.seed == b.seed or a.treatment in SEED_TIES)
        if not comparable:
            return None
        if a.severity == b.severity:
            return "tie"
    if abs(difference) < MIN_GAP[dimension] - 1e-9:
        return None
    return "A" if difference > 0 else "B"


@dataclass(frozen=True)
class Pair:
    """Two clips of one cluster and the answers that are asked for."""

    a: Specimen
    b: Specimen
    labels: Mapping[str, str]


def choose_pairs(
    specimens: Sequence[Specimen],
    rng: np.random.Generator,
    *,
    per_dimension: int | None = None,
    per_cluster: int = DECIDED_PER_CLUSTER,
) -> list[Pair]:
    """Pairs of every dimension: decided ones from every cluster, then ties up to :data:`TIE_SHARE`.

    Sides are random, with as many ``A`` as ``B`` among the decided pairs of a dimension (they differ by one at most
    for the dimension a pair was chosen for). A pair that serves several dimensions carries several labels.

    Args:
        specimens: all clips.
        rng: chooses and orders.
        per_dimension: at most so many pairs a dimension; all that can be had if None.
        per_cluster: at most so many decided pairs a dimension from one base scene.
    """
    clusters: dict[str, list[int]] = {}
    for i, specimen in enumerate(specimens):
        clusters.setdefault(specimen.cluster, []).append(i)
    wanted: dict[tuple[int, int], dict[str, str]] = {}
    flipped: dict[tuple[int, int], bool] = {}
    for dimension in DIMENSIONS:
        decided: list[tuple[int, int]] = []
        ties: list[tuple[int, int]] = []
        for members in clusters.values():
            plain = [(i, j) for i, j in combinations(members, 2) if _plain(specimens[i], specimens[j])]
            answers = {(i, j): verdict(dimension, specimens[i], specimens[j]) for i, j in plain}
            here = [pair for pair, answer in answers.items() if answer in ("A", "B")]
            decided += [here[k] for k in rng.permutation(len(here))[:per_cluster]]
            ties += [pair for pair, answer in answers.items() if answer == "tie"]
        decided = [decided[k] for k in rng.permutation(len(decided))]
        if per_dimension is not None:
            decided = decided[: round(per_dimension * (1 - TIE_SHARE))]
        n_ties = round(len(decided) * TIE_SHARE / (1 - TIE_SHARE))
        for count, pair in enumerate(decided):
            first_wins = verdict(dimension, specimens[pair[0]], specimens[pair[1]]) == "A"
            flipped.setdefault(pair, first_wins == bool(count % 2))
            wanted.setdefault(pair, {})[dimension] = "decided"
        for pair in _spread_ties(ties, specimens, rng)[:n_ties]:
            flipped.setdefault(pair, bool(rng.integers(2)))
            wanted.setdefault(pair, {})[dimension] = "tie"
    pairs = []
    for (i, j), dimensions in sorted(wanted.items()):
        a, b = (specimens[j], specimens[i]) if flipped[i, j] else (specimens[i], specimens[j])
        pairs.append(Pair(a, b, {d: verdict(d, a, b) or "" for d in DIMENSIONS if d in dimensions}))
    return pairs


def _plain(a: Specimen, b: Specimen) -> bool:
    """Whether a pair is about one treatment only, so that it can be sliced by it."""
    return a.treatment == b.treatment or {a.treatment, b.treatment} & {"none", "replay"} != set()


def _spread_ties(
    ties: list[tuple[int, int]], specimens: Sequence[Specimen], rng: np.random.Generator
) -> list[tuple[int, int]]:
    """Ties in an order that takes the kinds (same treatment twice, each neutral treatment, replay) in turn."""
    kinds: dict[str, list[tuple[int, int]]] = {}
    for k in rng.permutation(len(ties)):
        i, j = ties[k]
        kinds.setdefault(_degradation(specimens[i], specimens[j]), []).append(ties[k])
    order = []
    queues = [kinds[name] for name in sorted(kinds)]
    while any(queues):
        order += [queue.pop() for queue in queues if queue]
    return order


def _degradation(a: Specimen, b: Specimen) -> str:
    """The treatment a pair is about; ``none`` where both clips are clean."""
    names = sorted({a.treatment, b.treatment} - {"none", "replay"})
    return "+".join(names) or "none"


# --- files ---------------------------------------------------------------------------------------------------------


def write_tables(folder: Path, specimens: Iterable[Specimen], pairs: Iterable[Pair]) -> Path:
    """Write ``clips.csv`` and, as the very last file, ``pairs.csv``; returns the latter's path.

    ``pairs.csv`` has a label column for every dimension that some pair asks about, blank where a pair does not.
    """
    clip_rows = []
    for s in specimens:
        row = {"video": s.video, "prompt": s.prompt, "image": s.image, "treatment": s.treatment}
        row |= {"severity": _number(s.severity), **s.slices}
        row |= {f"level_{d}": _number(s.levels[d]) if d in s.levels else "" for d in DIMENSIONS}
        clip_rows.append(row)
    pair_rows = []
    pairs = list(pairs)
    asked = [d for d in DIMENSIONS if any(d in p.labels for p in pairs)]
    for number, p in enumerate(pairs, start=1):
        row = {"pair_id": f"p{number:05d}", "prompt": p.a.prompt, "video_a": p.a.video, "video_b": p.b.video}
        row |= {"image": p.a.image} | {f"label_{d}": p.labels.get(d, "") for d in asked}
        row |= {"dimension": " ".join(p.labels), "degradation": _degradation(p.a, p.b)}
        row |= {"severity_a": _number(p.a.severity), "severity_b": _number(p.b.severity), "cluster": p.a.cluster}
        pair_rows.append(row | dict(p.a.slices))
    _write_csv(folder / "clips.csv", clip_rows)
    return _write_csv(folder / "pairs.csv", pair_rows)


def _number(value: float) -> str:
    return f"{value:.4f}".rstrip("0").rstrip(".")


def _write_csv(path: Path, rows: Sequence[Mapping[str, str]]) -> Path:
    partial = path.with_suffix(".partial")
    with partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    os.replace(partial, path)
    return path
