"""The typed result of a comparison, schema ``rewardbench.comparison/1``. Undefined numbers are ``null``."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from rewardbench.results import BenchmarkRecord, ClusterRecord, Interval, Number

SCHEMA: Literal["rewardbench.comparison/1"] = "rewardbench.comparison/1"


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True, protected_namespaces=())


class ComparedRun(_Record):
    """A run folder, by its name and by what its pairs table holds."""

    name: str
    plugins: list[str]
    pairs_sha256: str
    rewardbench: str


class Contender(_Record):
    """One score of one run, held against one label; ``model`` names it in every table of that label."""

    label: str
    model: str
    run: str
    plugin: str
    score: str
    n_abstained: int


class Standing(_Record):
    """A model's accuracy on the pairs that every model answered, and its rank (1 is best) with its 95 % interval.

    All undefined where no pair was answered by every model.
    """

    model: str
    value: Number = None
    ci95: Interval = None
    rank: int | None = None
    rank_low: int | None = None
    rank_high: int | None = None


class PairedRecord(_Record):
    """Two models on the pairs both answered (see :class:`rewardbench.metrics.paired.PairedTest`).

    ``p_holm`` is adjusted for all comparisons under the same rule, over all labels.
    """

    model_a: str
    model_b: str
    n: int
    n_left_out: int
    n_clusters: int
    value_a: Number
    value_b: Number
    difference: Number
    ci95: Interval
    only_a: int
    only_b: int
    p: Number
    p_holm: Number
    exact: bool
    n_permutations: int
    effect_size: Number
    clusters_needed: int | None
    smallest_detectable: Number


class RuleComparison(_Record):
    """One label under one rule. ``n`` pairs in ``n_clusters`` clusters were answered by every model."""

    label: str
    rule: str
    n: int
    n_clusters: int
    standings: list[Standing]
    pairs: list[PairedRecord]


class CalibrationErrorRecord(_Record):
    value: Number
    reference: Number
    reference_high: Number
    n: int


class CalibrationRecord(_Record):
    """Probabilities from one model's margins (see :class:`rewardbench.metrics.calibration.Calibration`)."""

    label: str
    model: str
    n: int
    scale: Number
    theta: Number
    log_loss: Number
    log_loss_ci95: Interval
    brier: Number
    brier_ci95: Interval
    base_log_loss: Number
    base_brier: Number
    decided: CalibrationErrorRecord
    tie: CalibrationErrorRecord


class StrengthRecord(_Record):
    generator: str
    n_pairs: int
    points: Number
    strength: Number
    ci95: Interval
    rank: int | None
    rank_low: int | None
    rank_high: int | None


class GeneratorRecord(_Record):
    """Generators as people and as one model rank them (see :mod:`rewardbench.metrics.generators`)."""

    label: str
    model: str
    n: int
    n_abstained: int
    n_left_out: int
    n_generator_pairs: int
    soft_pairwise_accuracy: Number
    soft_pairwise_accuracy_ci95: Interval
    pair_agreement: Number
    kendall_tau_b: Number
    by_people: list[StrengthRecord]
    by_model: list[StrengthRecord]


class Settings(_Record):
    rules: list[str]
    permutations: int
    bootstrap: int
    seed: int
    alpha: float
    power: float


class Comparison(_Record):
    """Everything ``rewardbench compare`` found; the same runs and settings give the same record, byte for byte."""

    schema_name: Literal["rewardbench.comparison/1"] = Field(default=SCHEMA, alias="schema")
    benchmark: BenchmarkRecord
    cluster: ClusterRecord
    runs: list[ComparedRun]
    settings: Settings
    contenders: list[Contender]
    comparisons: list[RuleComparison]
    calibration: list[CalibrationRecord]
    generators: list[GeneratorRecord] = Field(default_factory=list)
    warnings: list[str] = Field(default_factory=list)
    versions: dict[str, str] = Field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(self.model_dump(by_alias=True), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def json_schema() -> dict[str, Any]:
    """JSON Schema of a comparison; the shipped copy is ``rewardbench/comparing/comparison.schema.json``."""
    schema = Comparison.model_json_schema(by_alias=True)
    schema["$id"] = SCHEMA
    return schema
