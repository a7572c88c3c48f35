"""Do the items of a bundle belong to each other and to the benchmark: structure, completeness, labels, ranges.

Every function gives one sentence a fault, and takes time in proportion to the bundle.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from rewardbench.leaderboard.archive import quoted
from rewardbench.leaderboard.bundle import Bundle, ComparisonItem
from rewardbench.leaderboard.declared import kind_of
from rewardbench.leaderboard.known import KnownBenchmark, clips_digest, labels_digest
from rewardbench.leaderboard.recomputing import is_of
from rewardbench.results import DimensionRecord
from rewardbench.scoring.scorer import ORDERS


def structure_faults(bundle: Bundle) -> Iterator[str]:
    """Rows, models, plugins and metrics that do not belong to each other."""
    rows, plugins = bundle.manifest.evaluation.rows, bundle.result.plugins
    if not rows or not bundle.pairs:
        yield "it holds no rows or no pairs, so there is nothing to verify"
        return
    keys = [(row.plugin, row.label, row.score) for row in rows]
    for key, count in Counter(keys).items():
        if count > 1:
            yield f"row {named(key)} stands {count} times"
    stated = [(metric.plugin, metric.label, metric.score) for metric in bundle.result.metrics]
    if stated != keys:
        yield "the metrics of result.json are not those of the rows in bundle.json"
    for row, key in zip(rows, keys, strict=True):
        if row.native_threshold is not None and not (math.isfinite(row.native_threshold) and row.native_threshold >= 0):
            yield f"row {named(key)} has a native threshold that is no number from 0 up"
        if not 0 <= row.job < len(plugins) or plugins[row.job].label != row.plugin:
            yield f"row {named(key)} names a plugin that result.json does not have"
            continue
        dimension = _dimension(bundle, row.job, row.score)
        if dimension is None:
            yield f"row {named(key)} names a score that its plugin does not have"
        elif dimension.higher_is_better != row.higher_is_better:
            yield f"row {named(key)} turns its score round"
        if sum(is_of(facts, row.job, row.score) for facts in bundle.manifest.models) != 1:
            yield f"row {named(key)} has not exactly one entry among the models"
    evaluation, result = bundle.manifest.evaluation, bundle.result
    if (result.bootstrap.n, result.bootstrap.seed) != (evaluation.bootstrap, evaluation.seed):
        yield "result.json and bundle.json state different bootstraps"
    if result.cluster.column != evaluation.cluster:
        yield "result.json and bundle.json state different cluster columns"


def entry_faults(bundle: Bundle) -> Iterator[str]:
    """Models that enter a label with more than one score: the best of many columns is no score of a model."""
    entered: dict[tuple[int, str], list[str]] = {}
    for row in bundle.manifest.evaluation.rows:
        if kind_of(bundle, row.job) != "recorded":
            entered.setdefault((row.job, row.label), []).append(row.score)
    for (job, label), scores in entered.items():
        if len(scores) > 1:
            shown = ", ".join(quoted(score, 40) for score in scores[:3])
            yield (
                f"{quoted(bundle.result.plugins[job].label)} enters label {quoted(label)} with {len(scores)} scores "
                f"({shown}); a model has one answer to a label, so choose with --map"
            )


def item_faults(bundle: Bundle) -> Iterator[str]:
    """Items that stand twice, are missing or belong to nothing."""
    yield from _twice("pair", [pair.pair_id for pair in bundle.pairs])
    yield from _twice("score of", [f"{one.clip_id} by {one.plugin}" for one in bundle.scores])
    yield from _twice(
        "verdict on", [f"{one.pair_id} ({one.order}) by {one.plugin} {one.score}" for one in bundle.comparisons]
    )
    rows = bundle.manifest.evaluation.rows
    judges = dict.fromkeys((row.plugin, row.score, row.job) for row in rows if row.plugin in bundle.judged)
    models = dict.fromkeys(row.plugin for row in rows if row.plugin not in bundle.judged)
    yield from _score_faults(bundle, list(models))
    said: dict[tuple[str, str], list[ComparisonItem]] = {}
    for one in bundle.comparisons:
        said.setdefault((one.plugin, one.score), []).append(one)
    for plugin, score, job in judges:
        yield from _verdict_faults(bundle, plugin, score, job, said.get((plugin, score), []))
    strangers = {one.plugin for one in bundle.scores} - set(models)
    strangers |= {plugin for plugin, score in said if (plugin, score) not in {(p, s) for p, s, _ in judges}}
    for plugin in sorted(strangers):
        yield f"there are items of {quoted(plugin)}, which no row names"


def _score_faults(bundle: Bundle, models: Sequence[str]) -> Iterator[str]:
    clips = {clip for pair in bundle.pairs for clip in (pair.clip_a, pair.clip_b)}
    scored: dict[str, set[str]] = {}
    for one in bundle.scores:
        scored.setdefault(one.plugin, set()).add(one.clip_id)
    n_clips = bundle.result.benchmark.n_clips
    for plugin in models:
        has = scored.get(plugin, set())
        missing = clips - has
        if missing:
            yield (
                f"{quoted(plugin)} has no score for {len(missing):,} of {len(clips):,} clips, "
                f"first {quoted(min(missing))}: every clip needs a line, with an error where it failed"
            )
        if len(has) > n_clips:
            yield f"{quoted(plugin)} has scores of {len(has):,} clips, but the benchmark has {n_clips:,}"


def _verdict_faults(bundle: Bundle, plugin: str, score: str, job: int, said: Sequence[ComparisonItem]) -> Iterator[str]:
    """A judge answers every pair in both orders, so that none can be left out for what was said in it.

    Recorded verdicts were given in one order, which is the first one for every pair.
    """
    of, recorded = f"{quoted(plugin)} {quoted(score)}", kind_of(bundle, job) == "recorded"
    pairs = {pair.pair_id for pair in bundle.pairs}
    for order in ORDERS:
        judged = {one.pair_id for one in said if one.order == order}
        if recorded and order != ORDERS[0]:
            if judged:
                yield f"{of} has recorded verdicts in the order {order}; they all stand in the order {ORDERS[0]}"
        elif pairs - judged:
            yield (
                f"{of} has no verdict on {len(pairs - judged):,} of {len(pairs):,} pairs in the order {order}: every "
                f"pair needs a line in {'that order' if recorded else 'both orders'}, with an error where it failed"
            )
        if judged - pairs:
            yield f"{quoted(plugin)} judged {len(judged - pairs):,} pairs that are not in pairs.jsonl"


def label_faults(bundle: Bundle, known: KnownBenchmark) -> Iterator[str]:
    """Pairs that are missing, or prompts, clips, labels and clusters that are not the benchmark's."""
    by_side = all((pair.clip_a, pair.clip_b) == (f"{pair.pair_id}#A", f"{pair.pair_id}#B") for pair in bundle.pairs)
    n_clips = 2 * known.n_pairs if by_side else known.n_clips
    if bundle.result.benchmark.n_clips != n_clips:
        yield f"benchmark.n_clips is {bundle.result.benchmark.n_clips:,} where this version has {n_clips:,}"
    for label in dict.fromkeys(row.label for row in bundle.manifest.evaluation.rows):
        truth = known.labels.get(label)
        if truth is None:
            yield f"the benchmark has no label {quoted(label)}"
            continue
        pairs = [pair for pair in bundle.pairs if label in pair.labels]
        if len(pairs) < truth.n:
            yield f"label {label!r} is incomplete: {len(pairs):,} of {truth.n:,} pairs are there"
        elif len(pairs) > truth.n:
            yield f"label {label!r} has {len(pairs):,} pairs where the benchmark has {truth.n:,}"
        elif labels_digest((p.pair_id, p.prompt, p.cluster, p.labels[label]) for p in pairs) != truth.sha256:
            yield f"label {label!r}: pair ids, prompts, clusters, answers or their order are not the benchmark's"
        elif not by_side and clips_digest((p.pair_id, p.clip_a, p.clip_b) for p in pairs) != truth.clips_sha256:
            yield f"label {label!r}: the clips of its pairs are not the benchmark's"


def range_faults(bundle: Bundle) -> Iterator[str]:
    """Scores outside what the plugin declares."""
    needed: dict[str, list[str]] = {}
    for row in bundle.manifest.evaluation.rows:
        needed.setdefault(row.plugin, []).append(row.score)
    declared: dict[tuple[str, str], DimensionRecord] = {}
    for plugin in bundle.result.plugins:
        for dimension in plugin.dimensions:
            declared.setdefault((plugin.label, dimension.name), dimension)
    for one in bundle.scores:
        for name, value in one.values.items():
            known = declared.get((one.plugin, name))
            if known is None:
                yield f"clip {quoted(one.clip_id)} has a score {quoted(name)}, which {quoted(one.plugin)} does not"
            elif value is not None and not _inside(value, known):
                low, high = (_bound(bound) for bound in (known.low, known.high))
                where = f"clip {quoted(one.clip_id)}: {quoted(name)} {value:g}"
                yield f"{where} is outside the declared range {low} to {high}"
        if one.error and any(value is not None for value in one.values.values()):
            yield f"clip {quoted(one.clip_id)} has both scores and an error"
        lacking = next((score for score in needed.get(one.plugin, ()) if score not in one.values), None)
        if lacking is not None:
            yield f"clip {quoted(one.clip_id)} has no value (nor null) for {ascii(lacking)[:60]}"


def named(key: tuple[str, str, str]) -> str:
    """A row in a sentence."""
    return ascii(f"{key[0]}: {key[1]} <- {key[2]}")[:200]


def _bound(value: float | None) -> str:
    return "any" if value is None else f"{value:g}"


def _inside(value: float, dimension: DimensionRecord) -> bool:
    return (dimension.low is None or value >= dimension.low) and (dimension.high is None or value <= dimension.high)


def _twice(what: str, names: Sequence[str]) -> Iterator[str]:
    for name, count in Counter(names).items():
        if count > 1:
            yield f"{what} {quoted(name)} stands {count} times"


def _dimension(bundle: Bundle, job: int, score: str) -> DimensionRecord | None:
    return next((d for d in bundle.result.plugins[job].dimensions if d.name == score), None)
