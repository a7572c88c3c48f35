"""Is a bundle what it says: every number is computed again from the items, every item held against the benchmark.

What this shows is that the numbers follow from the scores and that the labels are the benchmark's. That the scores are
the model's own is not shown by it; for that somebody else runs the model.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardbench.errors import InputError
from rewardbench.leaderboard.archive import Refused, quoted
from rewardbench.leaderboard.bundle import Bundle, listed, read_bundle
from rewardbench.leaderboard.known import KnownBenchmark, labels_digest
from rewardbench.leaderboard.recomputing import Recomputed, is_of, recompute
from rewardbench.results import CostRecord, DimensionRecord

SEED, DRAWS = 0, 1000
"""What every number of a board is drawn with: a seed that may be chosen is a number that may be chosen."""
TOLERANCE = 1e-9
"""Absolute, between a stated and a recomputed number: sums may be taken in another order on another machine."""


@dataclass(frozen=True)
class Verification:
    """What was found: ``faults`` (one sentence each; none: the bundle is sound) and, if sound, the bundle's rows."""

    source: str
    faults: tuple[str, ...]
    bundle: Bundle | None = None
    benchmark: KnownBenchmark | None = None
    rows: tuple[Recomputed, ...] = ()

    @property
    def sound(self) -> bool:
        return not self.faults


def verify_bundles(paths: Sequence[Path], known: Mapping[str, KnownBenchmark]) -> list[Verification]:
    """Verify each bundle, and that no model stands on a benchmark twice."""
    found = [verify_bundle(path, known) for path in paths]
    first: dict[tuple[str, ...], str] = {}
    checked = []
    for one in found:
        faults = list(one.faults)
        for key in _identities(one):
            if key in first:
                faults.append(f"{quoted(key[1])} ({key[0]}) on {quoted(key[2])} stands in {first[key]} already")
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
        identity = (f"{row.row.label} ← {row.row.score}", row.facts.name, benchmark.name, benchmark.sha256, fingerprint)
        keys.append(identity)
    return keys


def verify_bundle(path: Path, known: Mapping[str, KnownBenchmark]) -> Verification:
    """Verify one bundle against the benchmarks in ``known`` (by SHA-256 of their source)."""
    try:
        bundle = read_bundle(path)
    except Refused as refused:
        return Verification(str(path), tuple(listed(refused.faults)))
    benchmark = known.get(bundle.result.benchmark.sha256)
    faults = [*_benchmark_faults(bundle, benchmark), *_structure_faults(bundle)]
    if not faults:
        faults += [*_item_faults(bundle), *_label_faults(bundle, benchmark), *_range_faults(bundle)]
    rows: tuple[Recomputed, ...] = ()
    if not faults:
        try:
            rows = recompute(bundle)
        except InputError as error:
            faults.append(f"its items cannot be evaluated: {error}")
        else:
            faults += _number_faults(bundle, rows)
    if faults:
        return Verification(str(path), tuple(listed(faults)))
    return Verification(str(path), (), bundle, benchmark, rows)


def _benchmark_faults(bundle: Bundle, known: KnownBenchmark | None) -> Iterator[str]:
    stated = bundle.result.benchmark
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
    evaluation = bundle.manifest.evaluation
    if (evaluation.seed, evaluation.bootstrap) != (SEED, DRAWS):
        yield (
            f"it was evaluated with seed {evaluation.seed} and {evaluation.bootstrap:,} bootstrap draws, where a board "
            f"takes seed {SEED} and {DRAWS:,} draws"
        )
    if bundle.manifest.evaluation.cluster != known.cluster:
        yield (
            f"clusters are taken from {quoted(bundle.manifest.evaluation.cluster)}, where the board takes them "
            f"from {known.cluster!r}"
        )


def _structure_faults(bundle: Bundle) -> Iterator[str]:
    """Rows, models, plugins and metrics that do not belong to each other."""
    rows, plugins = bundle.manifest.evaluation.rows, bundle.result.plugins
    if not rows or not bundle.pairs:
        yield "it holds no rows or no pairs, so there is nothing to verify"
        return
    keys = [(row.plugin, row.label, row.score) for row in rows]
    for key, count in Counter(keys).items():
        if count > 1:
            yield f"row {_named(key)} stands {count} times"
    stated = [(metric.plugin, metric.label, metric.score) for metric in bundle.result.metrics]
    if stated != keys:
        yield "the metrics of result.json are not those of the rows in bundle.json"
    for row in rows:
        if row.native_threshold is not None and not (math.isfinite(row.native_threshold) and row.native_threshold >= 0):
            yield f"row {_named((row.plugin, row.label, row.score))} has a native threshold that is no number from 0 up"
        if not 0 <= row.job < len(plugins) or plugins[row.job].label != row.plugin:
            yield f"row {_named((row.plugin, row.label, row.score))} names a plugin that result.json does not have"
            continue
        dimension = _dimension(bundle, row.job, row.score)
        if dimension is None:
            yield f"row {_named((row.plugin, row.label, row.score))} names a score that its plugin does not have"
        elif dimension.higher_is_better != row.higher_is_better:
            yield f"row {_named((row.plugin, row.label, row.score))} turns its score round"
        if sum(is_of(facts, row.job, row.score) for facts in bundle.manifest.models) != 1:
            yield f"row {_named((row.plugin, row.label, row.score))} has not exactly one entry among the models"
    evaluation, result = bundle.manifest.evaluation, bundle.result
    if (result.bootstrap.n, result.bootstrap.seed) != (evaluation.bootstrap, evaluation.seed):
        yield "result.json and bundle.json state different bootstraps"
    if result.cluster.column != evaluation.cluster:
        yield "result.json and bundle.json state different cluster columns"


def _item_faults(bundle: Bundle) -> Iterator[str]:
    """Items that stand twice, are missing or belong to nothing."""
    yield from _twice("pair", [pair.pair_id for pair in bundle.pairs])
    yield from _twice("score of", [f"{one.clip_id} by {one.plugin}" for one in bundle.scores])
    yield from _twice(
        "verdict on", [f"{one.pair_id} ({one.order}) by {one.plugin} {one.score}" for one in bundle.comparisons]
    )
    stated = bundle.result.benchmark
    clips = {clip for pair in bundle.pairs for clip in (pair.clip_a, pair.clip_b)}
    judges, models = _judges(bundle), _models(bundle)
    pairs = {pair.pair_id for pair in bundle.pairs}
    for plugin in models:
        scored = {one.clip_id for one in bundle.scores if one.plugin == plugin}
        missing = clips - scored
        if missing:
            yield (
                f"{quoted(plugin)} has no score for {len(missing):,} of {len(clips):,} clips, "
                f"first {quoted(min(missing))}: every clip needs a line, with an error where it failed"
            )
        if len(scored) > stated.n_clips:
            yield f"{quoted(plugin)} has scores of {len(scored):,} clips, but the benchmark has {stated.n_clips:,}"
    for plugin, score in judges:
        judged = {one.pair_id for one in bundle.comparisons if (one.plugin, one.score) == (plugin, score)}
        if pairs - judged:
            named = f"{quoted(plugin)} {quoted(score)}"
            yield f"{named} has no verdict on {len(pairs - judged):,} of {len(pairs):,} pairs"
        if judged - pairs:
            yield f"{quoted(plugin)} judged {len(judged - pairs):,} pairs that are not in pairs.jsonl"
    strangers = {one.plugin for one in bundle.scores} - set(models)
    strangers |= {one.plugin for one in bundle.comparisons} - {plugin for plugin, _ in judges}
    for plugin in sorted(strangers):
        yield f"there are items of {quoted(plugin)}, which no row names"


def _label_faults(bundle: Bundle, known: KnownBenchmark | None) -> Iterator[str]:
    """Pairs that are missing, or labels and clusters that are not the benchmark's."""
    assert known is not None, "checked before"
    for label in dict.fromkeys(row.label for row in bundle.manifest.evaluation.rows):
        truth = known.labels.get(label)
        if truth is None:
            yield f"the benchmark has no label {quoted(label)}"
            continue
        rows = [(pair.pair_id, pair.cluster, pair.labels[label]) for pair in bundle.pairs if label in pair.labels]
        if len(rows) < truth.n:
            yield f"label {label!r} is incomplete: {len(rows):,} of {truth.n:,} pairs are there"
        elif len(rows) > truth.n:
            yield f"label {label!r} has {len(rows):,} pairs where the benchmark has {truth.n:,}"
        elif labels_digest(rows) != truth.sha256:
            yield f"label {label!r}: pair ids, clusters, answers or their order are not the benchmark's"


def _range_faults(bundle: Bundle) -> Iterator[str]:
    """Scores outside what the plugin declares."""
    used = {(row.plugin, row.score): row.job for row in bundle.manifest.evaluation.rows}
    declared: dict[tuple[str, str], DimensionRecord | None] = {}
    for one in bundle.scores:
        for name, value in one.values.items():
            key = (one.plugin, name)
            if key not in declared:
                jobs = [job for job, plugin in enumerate(bundle.result.plugins) if plugin.label == one.plugin]
                declared[key] = next(filter(None, (_dimension(bundle, job, name) for job in jobs)), None)
            dimension = declared[key]
            if dimension is None:
                yield f"clip {quoted(one.clip_id)} has a score {quoted(name)}, which {quoted(one.plugin)} does not"
            elif value is not None and not _inside(value, dimension):
                low, high = (_bound(bound) for bound in (dimension.low, dimension.high))
                yield (
                    f"clip {quoted(one.clip_id)}: {quoted(name)} {value:g} is outside the declared range "
                    f"{low} to {high}"
                )
        if one.error and any(value is not None for value in one.values.values()):
            yield f"clip {quoted(one.clip_id)} has both scores and an error"
        lacking = [score for plugin, score in used if plugin == one.plugin and score not in one.values]
        if lacking:
            yield f"clip {quoted(one.clip_id)} has no value (nor null) for {ascii(lacking[0])[:60]}"


def _bound(value: float | None) -> str:
    return "any" if value is None else f"{value:g}"


def _inside(value: float, dimension: DimensionRecord) -> bool:
    return (dimension.low is None or value >= dimension.low) and (dimension.high is None or value <= dimension.high)


def _twice(what: str, names: Sequence[str]) -> Iterator[str]:
    for name, count in Counter(names).items():
        if count > 1:
            yield f"{what} {quoted(name)} stands {count} times"


def _judges(bundle: Bundle) -> list[tuple[str, str]]:
    said = {one.plugin for one in bundle.comparisons}
    rows = [(row.plugin, row.score) for row in bundle.manifest.evaluation.rows if row.plugin in said]
    return list(dict.fromkeys(rows))


def _models(bundle: Bundle) -> list[str]:
    said = {one.plugin for one in bundle.comparisons}
    return list(dict.fromkeys(row.plugin for row in bundle.manifest.evaluation.rows if row.plugin not in said))


def _dimension(bundle: Bundle, job: int, score: str) -> DimensionRecord | None:
    return next((d for d in bundle.result.plugins[job].dimensions if d.name == score), None)


def _named(key: tuple[str, str, str]) -> str:
    return ascii(f"{key[0]}: {key[1]} <- {key[2]}")[:200]


def _number_faults(bundle: Bundle, rows: Sequence[Recomputed]) -> Iterator[str]:
    """Every stated number that the items do not give."""
    for stated, row in zip(bundle.result.metrics, rows, strict=True):
        if not row.found.n:
            yield f"{_named((stated.plugin, stated.label, stated.score))} answers no pair at all"
        name = f"{stated.plugin}: {stated.label} <- {stated.score}"
        yield from _differences(stated.model_dump(), row.metric.model_dump(), ascii(name)[1:160].rstrip("'"))
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
    for name, one in cost.plugins.items():
        numbers = [one.n_scored, one.seconds or 0, one.clips_per_s or 0, *one.peak_memory.values()]
        if any(number < 0 for number in numbers):
            yield f"the cost of {quoted(name)} has a number below 0"
        if one.seconds and not _same(one.clips_per_s, one.n_scored / one.seconds):
            yield f"the cost of {quoted(name)}: clips_per_s is not n_scored / seconds"
    yield from _differences(cost.model_dump(), CostRecord.of(cost.plugins).model_dump(), "cost")


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
