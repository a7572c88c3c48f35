"""Is a bundle what it says: every number is computed again from the items, every item held against the benchmark.

What this shows is that the numbers follow from the scores and that the labels are the benchmark's. That the scores are
the model's own is not shown by it; for that somebody else runs the model.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from rewardbench.errors import InputError
from rewardbench.leaderboard.archive import MAX_FAULTS, Refused, quoted
from rewardbench.leaderboard.bundle import Bundle, Manifest, listed, read_bundle
from rewardbench.leaderboard.declared import held_against_cards
from rewardbench.leaderboard.items import entry_faults, item_faults, label_faults, named, range_faults, structure_faults
from rewardbench.leaderboard.known import KnownBenchmark
from rewardbench.leaderboard.recomputing import Recomputed, recompute
from rewardbench.results import CostRecord, PluginCost, Result

SEED, DRAWS = 0, 1000
"""What every number of a board is drawn with: a seed that may be chosen is a number that may be chosen."""
TOLERANCE = 1e-9
"""Absolute, between a stated and a recomputed number: sums may be taken in another order on another machine."""


@dataclass(frozen=True)
class Verification:
    """What was found: ``faults`` (one sentence each; none: the bundle is sound) and, if sound, the bundle's rows.

    ``as_installed`` has the (job, score) whose range and rule for ties are those of a card that is installed here;
    of the others they are only stated.
    """

    source: str
    faults: tuple[str, ...]
    bundle: Bundle | None = None
    benchmark: KnownBenchmark | None = None
    rows: tuple[Recomputed, ...] = ()
    as_installed: frozenset[tuple[int, str]] = frozenset()

    @property
    def sound(self) -> bool:
        return not self.faults


def verify_bundles(paths: Sequence[Path], known: Mapping[str, KnownBenchmark]) -> list[Verification]:
    """Verify each bundle, and that no model stands on a label of a benchmark twice."""
    found = [verify_bundle(path, known) for path in paths]
    first: dict[tuple[str, ...], str] = {}
    checked = []
    for one in found:
        faults = list(one.faults)
        for key in _identities(one):
            if key in first:
                faults.append(
                    f"{quoted(key[1])} on label {quoted(key[0])} of {quoted(key[2])} stands in {first[key]} already"
                )
            else:
                first[key] = one.source
        checked.append(one if not faults else Verification(one.source, tuple(listed(faults))))
    return checked


def _identities(one: Verification) -> list[tuple[str, ...]]:
    if one.bundle is None or not one.sound:
        return []
    benchmark = one.bundle.result.benchmark
    keys: list[tuple[str, ...]] = []
    for row in one.rows:
        plugin = one.bundle.result.plugins[row.row.job]
        fingerprint = plugin.fingerprint if row.facts.score is None else ""
        keys.append((row.row.label, row.facts.name, benchmark.name, benchmark.sha256, fingerprint))
    return keys


def verify_bundle(path: Path, known: Mapping[str, KnownBenchmark]) -> Verification:
    """Verify one bundle against the benchmarks in ``known`` (by SHA-256 of their source).

    Whatever goes wrong is a fault of this bundle: no bundle can end the verification of others.
    """
    try:
        return _verified(path, known)
    except Refused as refused:
        faults = listed(refused.faults)
    except Exception as error:
        reason = quoted(" ".join(str(error).split()), 160)
        faults = [f"it could not be verified: {type(error).__name__} ({reason})"]
    return Verification(str(path), tuple(faults))


def _verified(path: Path, known: Mapping[str, KnownBenchmark]) -> Verification:
    def admit(manifest: Manifest, result: Result) -> list[str]:
        return list(_benchmark_faults(manifest, result, known.get(result.benchmark.sha256)))

    bundle = read_bundle(path, admit)
    benchmark = known[bundle.result.benchmark.sha256]
    _refuse(structure_faults(bundle))
    declared = held_against_cards(bundle)
    faults = [*declared.faults]
    for found in (entry_faults(bundle), item_faults(bundle), label_faults(bundle, benchmark), range_faults(bundle)):
        faults += islice(found, MAX_FAULTS + 1)
    _refuse(faults)
    try:
        rows = recompute(bundle)
    except InputError as error:
        raise Refused([f"its items cannot be evaluated: {error}"]) from None
    _refuse(_number_faults(bundle, rows))
    return Verification(str(path), (), bundle, benchmark, rows, declared.as_installed)


def _refuse(faults: Iterable[str]) -> None:
    found = list(islice(faults, MAX_FAULTS + 1))
    if found:
        raise Refused(found)


def _benchmark_faults(manifest: Manifest, result: Result, known: KnownBenchmark | None) -> Iterator[str]:
    stated, evaluation = result.benchmark, manifest.evaluation
    if known is None:
        yield (
            f"benchmark {quoted(stated.name)} {quoted(stated.version)} (sha256 {quoted(stated.sha256, 12)}) is not "
            "a version that this board knows"
        )
        return
    for name in ("name", "version", "n_pairs", "labels_by"):
        if getattr(stated, name) != getattr(known, name):
            said, true = quoted(getattr(stated, name)), ascii(getattr(known, name))
            yield f"benchmark.{name} is {said} where this version of the benchmark has {true}"
    if (evaluation.seed, evaluation.bootstrap) != (SEED, DRAWS):
        yield (
            f"it was evaluated with seed {evaluation.seed} and {evaluation.bootstrap:,} bootstrap draws, where a board "
            f"takes seed {SEED} and {DRAWS:,} draws"
        )
    if evaluation.cluster != known.cluster:
        yield f"clusters are taken from {quoted(evaluation.cluster)}, where the board takes them from {known.cluster!r}"


def _number_faults(bundle: Bundle, rows: Sequence[Recomputed]) -> Iterator[str]:
    """Every stated number that the items do not give."""
    for stated, row in zip(bundle.result.metrics, rows, strict=True):
        key = named((stated.plugin, stated.label, stated.score))
        if not row.found.n:
            yield f"{key} answers no pair at all"
        yield from _differences(stated.model_dump(), row.metric.model_dump(), key[1:160].rstrip("'"))
    clusters = max((row.found.n_clusters for row in rows), default=0)
    if bundle.result.cluster.n != clusters:
        yield f"cluster.n is {bundle.result.cluster.n}, and the items give {clusters}"
    failed = {(one.plugin, one.clip_id) for one in bundle.scores if one.error}
    failed |= {(one.plugin, one.pair_id) for one in bundle.comparisons if one.error}
    if {(one.plugin, one.clip_id) for one in bundle.result.failures} != failed:
        stated_, real = len(bundle.result.failures), len(failed)
        yield f"result.json lists {stated_:,} failures, and the items have {real:,} or others"
    yield from _cost_faults(bundle)


def _cost_faults(bundle: Bundle) -> Iterator[str]:
    """Speed and memory cannot be recomputed, but they must be possible and agree with each other."""
    cost = bundle.result.cost
    labels = {plugin.label for plugin in bundle.result.plugins}
    labels |= {f"{plugin.label}/{one.name}" for plugin in bundle.result.plugins for one in plugin.dimensions}
    for name, one in cost.plugins.items():
        if name not in labels:
            yield f"there is a cost of {quoted(name)}, which is no plugin of this result"
        numbers = [one.n_scored, one.seconds or 0, one.clips_per_s or 0, *one.peak_memory.values()]
        if any(number < 0 for number in numbers):
            yield f"the cost of {quoted(name)} has a number below 0"
        elif not _same(one.clips_per_s, _speed(one)):
            yield f"the cost of {quoted(name)}: clips_per_s is not n_scored / seconds"
    yield from _differences(cost.model_dump(), CostRecord.of(cost.plugins).model_dump(), "cost")


def _speed(cost: PluginCost) -> float | None:
    """None where no time was taken, so that no speed can be stated."""
    speed = cost.n_scored / cost.seconds if cost.seconds else math.inf
    return speed if math.isfinite(speed) else None


def _differences(stated: Any, found: Any, where: str) -> Iterator[str]:
    if isinstance(stated, dict) and isinstance(found, dict):
        for key in dict.fromkeys([*stated, *found]):
            yield from _differences(stated.get(key), found.get(key), f"{where}, {ascii(key)[1:60].rstrip(chr(39))}")
    elif isinstance(stated, (list, tuple)) and isinstance(found, (list, tuple)) and len(stated) == len(found):
        for index, (one, other) in enumerate(zip(stated, found, strict=True)):
            yield from _differences(one, other, f"{where}[{index}]")
    elif not _same(stated, found):
        yield f"{where} is stated as {_written(stated)}, and the items give {_written(found)}"


def _same(stated: Any, found: Any) -> bool:
    if isinstance(stated, (int, float)) and isinstance(found, (int, float)):
        return abs(stated - found) <= TOLERANCE * max(1.0, abs(found))
    return bool(stated == found)


def _written(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else quoted(value)
