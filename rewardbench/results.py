"""The versioned result schema: what ``result.json`` holds, and how it is written, read and migrated.

Numbers that are not defined (an accuracy without any decided pair, an interval from one cluster) are ``null``.
Accuracies and rates lie in [0, 1]; ``ci95`` is a (low, high) percentile interval.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from rewardbench.schemas import read_record

SCHEMA: Literal["rewardbench.result/1"] = "rewardbench.result/1"


def _undefined_to_none(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _interval(value: Any) -> Any:
    if value is None or any(v is None or not math.isfinite(v) for v in value):
        return None
    return value


Number = Annotated[float | None, BeforeValidator(_undefined_to_none)]
Interval = Annotated[tuple[float, float] | None, BeforeValidator(_interval)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class DimensionRecord(_Record):
    name: str
    low: Number = None
    high: Number = None
    higher_is_better: bool = True


class PluginRecord(_Record):
    """One scorer of the run. ``label`` names it in the tables (``name`` or ``name:preset``).

    ``environment`` has what is installed (package to version) where the plugin has an environment of its own.
    """

    label: str
    name: str
    version: str
    preset: str | None = None
    fingerprint: str
    weights: dict[str, str] = Field(default_factory=dict)
    options: dict[str, str] = Field(default_factory=dict)
    dimensions: list[DimensionRecord]
    inputs: dict[str, Any] = Field(default_factory=dict)
    environment: dict[str, str] = Field(default_factory=dict)
    notes: str = ""
    training_data: str = "unknown"
    citation: str = ""


class BenchmarkRecord(_Record):
    name: str
    version: str
    sha256: str
    n_pairs: int
    n_clips: int
    source: str = ""
    labels_by: str = "people"


class Crossfit(_Record):
    """Threshold chosen on the other folds' prompts: the headline number."""

    value: Number
    ci95: Interval = None
    tie_thresholds: list[Number] = Field(default_factory=list)


class Thresholded(_Record):
    value: Number
    tie_threshold: Number = None
    ci95: Interval = None


class VideoAlignAccuracy(_Record):
    """Bug-compatible with the published VideoAlign function; only for comparison with published tables."""

    value: Number


class AccuracyWithTies(_Record):
    crossfit: Crossfit
    threshold: Thresholded
    videoalign: VideoAlignAccuracy
    native: Thresholded | None = None
    fixed: Thresholded | None = None


class AccuracyWithoutTies(_Record):
    value: Number
    half_credit: Number
    ci95: Interval = None
    half_credit_ci95: Interval = None


class SliceRecord(_Record):
    n: int
    n_abstained: int
    human_tie_rate: Number
    majority_floor: Number
    with_ties_crossfit: Crossfit
    without_ties: AccuracyWithoutTies


class VerdictRecord(_Record):
    """Accuracy of recorded verdicts; values in [0, 1]."""

    genai_v1: Number
    three_way: Number
    strict: Number
    without_ties: Number
    n: int
    n_unparsed: int


class PositionRecord(_Record):
    """Whether a judge says the same in both orders, over the pairs it judged in both; three shares that sum to 1."""

    consistency: Number
    favours_first: Number
    favours_second: Number
    n: int


class MetricRecord(_Record):
    """One label of the benchmark held against one score of a plugin."""

    plugin: str
    label: str
    score: str
    n: int
    n_abstained: int
    human_tie_rate: Number
    majority_floor: Number
    accuracy_with_ties: AccuracyWithTies
    accuracy_without_ties: AccuracyWithoutTies
    kendall_tau_b: Number = None
    verdict_accuracy: VerdictRecord | None = None
    position_consistency: PositionRecord | None = None
    slices: dict[str, dict[str, SliceRecord]] = Field(default_factory=dict)


class RaterRecord(_Record):
    """One rater held against the others as if a model, about one label, on the pairs of the run; each left out in turn.

    ``n`` pairs have a rating, ``n_raters`` people rated. Shares are means over the raters, a rater's tie taken at its
    word; ``half_credit`` counts it one half on pairs that the others decided, ``without_ties`` counts it wrong there.
    ``alpha`` is Krippendorff's (ordinal) of the ratings as given, at most 1. None where undefined.
    """

    n: int
    n_raters: int
    with_ties: Number = None
    half_credit: Number = None
    without_ties: Number = None
    alpha: Number = None


class ClusterRecord(_Record):
    column: str
    n: int


class BootstrapRecord(_Record):
    n: int
    seed: int
    refit: str


class PluginCost(_Record):
    """What one plugin's scores cost, over all sessions that made them. Memory in bytes by kind of process."""

    n_scored: int = 0
    seconds: Number = None
    clips_per_s: Number = None
    peak_memory: dict[str, int] = Field(default_factory=dict)
    device: str | None = None
    batch_size: int | None = None


class CostRecord(_Record):
    """Speed and memory of the scoring: of the slowest plugin, the largest process, and of each plugin."""

    clips_per_s: Number = None
    peak_memory: dict[str, int] = Field(default_factory=dict)
    plugins: dict[str, PluginCost] = Field(default_factory=dict)

    @classmethod
    def of(cls, plugins: dict[str, PluginCost]) -> CostRecord:
        speeds = [cost.clips_per_s for cost in plugins.values() if cost.clips_per_s]
        peaks: dict[str, int] = {}
        for cost in plugins.values():
            peaks |= {kind: max(size, peaks.get(kind, 0)) for kind, size in cost.peak_memory.items()}
        return cls(clips_per_s=min(speeds) if speeds else None, peak_memory=peaks, plugins=plugins)


class FailureRecord(_Record):
    plugin: str
    clip_id: str
    video: str
    error: str


class Provenance(_Record):
    rewardbench: str
    python: str
    torch: str | None = None
    transformers: str | None = None
    packages: dict[str, str] = Field(default_factory=dict)
    platform: str = ""
    device: str | None = None
    dtype: str | None = None
    batch_size: int | None = None
    decoder: dict[str, str] = Field(default_factory=dict)
    resize_filter: list[str] = Field(default_factory=list)
    seed: int = 0
    command: str = ""
    git: str | None = None
    started: str = ""
    finished: str = ""


class Result(_Record):
    """Everything a run found; derived only from ``scores.parquet``, ``comparisons.parquet`` and ``pairs.parquet``.

    ``raters`` (label to what one rater scores) stands beside them: it comes from the benchmark's own ratings, and is
    there only where single raters were published and the run took all pairs.
    """

    schema_name: Literal["rewardbench.result/1"] = Field(default=SCHEMA, alias="schema")
    plugins: list[PluginRecord]
    benchmark: BenchmarkRecord
    metrics: list[MetricRecord]
    raters: dict[str, RaterRecord] = Field(default_factory=dict)
    cluster: ClusterRecord
    bootstrap: BootstrapRecord
    cost: CostRecord = Field(default_factory=CostRecord)
    failures: list[FailureRecord] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)
    provenance: Provenance

    def to_json(self) -> str:
        return json.dumps(self.model_dump(by_alias=True), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def write_result(result: Result, path: Path) -> None:
    """Write ``result.json`` atomically."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(result.to_json(), encoding="utf-8")
    partial.replace(path)


def read_result(path: Path) -> Result:
    """Read a result file of any known schema version.

    Raises:
        InputError: if the file is missing, is not JSON, or does not follow a known schema.
    """
    missing = f"{path} does not exist; name a result.json or the folder of a finished run"
    return read_record(path, Result, SCHEMA, missing=missing, remedy="run the benchmark again")


def json_schema() -> dict[str, Any]:
    """JSON Schema of ``result.json``; the shipped copy is ``rewardbench/result.schema.json``."""
    schema = Result.model_json_schema(by_alias=True)
    schema["$id"] = SCHEMA
    return schema
