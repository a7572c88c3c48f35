"""Rows that need a model: what must be at hand, and the run whose accuracies are compared."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rewardbench.benchmark import Benchmark
from rewardbench.catalogue.card import need_card
from rewardbench.catalogue.fetching import bringing_clips, fetch_benchmark, load_from
from rewardbench.catalogue.folders import data_folder, remember_folder
from rewardbench.errors import InputError
from rewardbench.reproduction.manifest import Manifest, ModelRun
from rewardbench.reproduction.recipes import Computed
from rewardbench.reproduction.sources import settings_faults, weights_faults, weights_words
from rewardbench.results import MetricRecord, Result

RECIPE = "model"


@dataclass(frozen=True)
class RunRequest:
    """What the user says about a model's run; None where the manifest or the plugin decides."""

    weights: Mapping[str, str]
    device: str = "auto"
    dtype: str | None = None
    limit: int | None = None
    out: Path | None = None


def missing_for(
    manifest: Manifest, request: RunRequest, data_dir: str | os.PathLike[str] | None = None
) -> tuple[list[str], Benchmark | None]:
    """What a model row lacks here, one sentence each (none where it can be run), and the pairs at hand.

    With a limit only the clips of the first pairs count. A ``data_dir`` that has the labels is where the run will find
    the benchmark.
    """
    assert manifest.run is not None
    missing = [*settings_faults(manifest.run), *_missing_weights(manifest.run, request)]
    card = need_card(manifest.benchmark)
    folder = data_folder(card.name, data_dir)
    try:
        benchmark = load_from(card.name, manifest.benchmark.partition(":")[2] or None, folder)
    except InputError as error:
        return [*missing, f"labels: {error}"], None
    if data_dir is not None:
        remember_folder(card.name, folder)
    clips = benchmark.limited(request.limit).clips.values()
    absent = sum(not (clip.video and Path(clip.video).is_file()) for clip in clips)
    if absent:
        missing.append(f"clips: {absent:,} of {len(clips):,} are not in {folder}; {bringing_clips(card)}")
    return missing, benchmark


def _missing_weights(run: ModelRun, request: RunRequest) -> list[str]:
    """A plugin that can be fetched needs its weights: named, or those of the row where ``plugins fetch`` puts them."""
    weights = default_weights(run.plugin)
    if weights is None or request.weights:
        return []
    faults = weights_faults(run, weights)
    if faults or weights.is_dir():
        return faults
    return [
        f"weights: {weights_words(run) if run.weights else run.plugin}; `rewardbench plugins fetch {run.plugin}` "
        "brings them, or name them with --weights"
    ]


def default_weights(plugin: str) -> Path | None:
    """Where ``plugins fetch`` puts a plugin's files; None for a plugin that has nothing to fetch."""
    from rewardbench.fetching.assets import default_folder
    from rewardbench.registry import instantiate, resolve_spec

    name, preset, target = resolve_spec(plugin)
    card = instantiate(name, target).card
    return default_folder(name, preset) if card.sources or card.files or card.templates else None


def fetch_for(
    manifest: Manifest, request: RunRequest, tell: object, data_dir: str | os.PathLike[str] | None = None
) -> None:
    """Bring what a model row lacks: weights, labels and clips.

    Raises:
        InputError: naming what could not be brought.
    """
    from rewardbench.fetching import fetch

    assert manifest.run is not None
    say = tell if callable(tell) else lambda _: None
    weights = default_weights(manifest.run.plugin)
    run = manifest.run
    if weights is not None and not request.weights and not weights.is_dir() and not weights_faults(run, weights):
        fetch(run.plugin, None, (), say, {run.weights: run.revision} if run.revision else None)
    fetch_benchmark(manifest.benchmark.partition(":")[0], data_dir=data_dir, media=True, tell=say)


def run_model(manifest: Manifest, request: RunRequest) -> Computed:
    """Run the model on the benchmark; accuracies in percent as ``LABEL.with_ties`` and ``LABEL.without_ties``.

    ``with_ties`` is by VideoAlign's published function (its own tie search), because that is what papers print.

    Raises:
        InputError, PluginError: what the run refuses.
    """
    from rewardbench.runs import RunSettings, run_benchmark

    run = manifest.run
    assert run is not None
    default = default_weights(run.plugin)
    weights = dict(request.weights) or ({} if default is None else {"": str(default)})
    outcome = run_benchmark(
        RunSettings(
            plugins=(run.plugin,),
            benchmarks=(manifest.benchmark,),
            score_map=tuple(run.score_map.items()),
            weights=weights,
            options=run.options,
            out=request.out,
            device=request.device,
            dtype=request.dtype,
            limit=request.limit,
            bootstrap=0,
        )
    )[0]
    return computed_of(outcome.result)


def computed_of(result: Result) -> Computed:
    """The accuracies of a result as a row prints them."""
    numbers: dict[str, float] = {}
    for metric in result.metrics:
        numbers |= _of_metric(metric)
    return Computed(
        numbers, result.benchmark.n_pairs, abstained=max((m.n_abstained for m in result.metrics), default=0)
    )


def _of_metric(metric: MetricRecord) -> dict[str, float]:
    with_ties = metric.accuracy_with_ties.videoalign.value
    without = metric.accuracy_without_ties.value
    half = metric.accuracy_without_ties.half_credit
    found = {"with_ties": with_ties, "without_ties": without, "without_ties_half_credit": half}
    return {f"{metric.label}.{name}": 100 * value for name, value in found.items() if value is not None}
