"""Rows that need a model: what must be at hand, and the run whose accuracies are compared."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rewardbench.catalogue.card import need_card
from rewardbench.catalogue.fetching import fetch_benchmark, load_from
from rewardbench.catalogue.folders import data_folder
from rewardbench.errors import InputError
from rewardbench.reproduction.manifest import Manifest, ModelRun
from rewardbench.reproduction.recipes import Computed
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


def missing_for(manifest: Manifest, request: RunRequest) -> list[str]:
    """What a model row lacks here, one sentence each; empty where it can be run."""
    assert manifest.run is not None
    missing = _missing_weights(manifest.run, request)
    card = need_card(manifest.benchmark)
    folder = data_folder(card.name)
    variant = manifest.benchmark.partition(":")[2] or None
    try:
        benchmark = load_from(card.name, variant, folder)
    except InputError as error:
        return [*missing, f"labels: {error}"]
    absent = sum(not (clip.video and Path(clip.video).is_file()) for clip in benchmark.clips.values())
    if absent and request.limit is None:
        missing.append(
            f"clips: {absent:,} of {len(benchmark.clips):,} are not in {folder}; `rewardbench benchmarks fetch "
            f"{card.name} --media` brings them{f', or {card.by_hand}' if card.by_hand else ''}"
        )
    return missing


def _missing_weights(run: ModelRun, request: RunRequest) -> list[str]:
    """A plugin that can be fetched needs its weights: named, or where ``plugins fetch`` puts them."""
    weights = default_weights(run.plugin)
    if weights is None or request.weights or weights.is_dir():
        return []
    at = f" at {run.revision}" if run.revision else ""
    return [
        f"weights: {run.weights or run.plugin}{at}; `rewardbench plugins fetch {run.plugin}` brings them, or name them "
        "with --weights"
    ]


def default_weights(plugin: str) -> Path | None:
    """Where ``plugins fetch`` puts a plugin's files; None for a plugin that has nothing to fetch."""
    from rewardbench.fetching.assets import default_folder
    from rewardbench.registry import instantiate, resolve_spec

    name, preset, target = resolve_spec(plugin)
    card = instantiate(name, target).card
    return default_folder(name, preset) if card.sources or card.files or card.templates else None


def fetch_for(manifest: Manifest, request: RunRequest, tell: object) -> None:
    """Bring what a model row lacks: weights, labels and clips.

    Raises:
        InputError: naming what could not be brought.
    """
    from rewardbench.fetching import fetch

    assert manifest.run is not None
    say = tell if callable(tell) else lambda _: None
    weights = default_weights(manifest.run.plugin)
    if weights is not None and not request.weights and not weights.is_dir():
        fetch(manifest.run.plugin, None, (), say)
    fetch_benchmark(manifest.benchmark.partition(":")[0], media=True, tell=say)


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
    return computed_of(outcome.result, request.limit)


def computed_of(result: Result, limit: int | None) -> Computed:
    """The accuracies of a result as a row prints them."""
    numbers: dict[str, float] = {}
    for metric in result.metrics:
        numbers |= _of_metric(metric)
    return Computed(numbers, result.benchmark.n_pairs, "all" if limit is None else f"first {limit} pairs")


def _of_metric(metric: MetricRecord) -> dict[str, float]:
    with_ties = metric.accuracy_with_ties.videoalign.value
    without = metric.accuracy_without_ties.value
    half = metric.accuracy_without_ties.half_credit
    found = {"with_ties": with_ties, "without_ties": without, "without_ties_half_credit": half}
    return {f"{metric.label}.{name}": 100 * value for name, value in found.items() if value is not None}
