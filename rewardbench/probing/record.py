"""``probe.json``, schema ``rewardbench.probe/1``: what a probe found, written and read.

Numbers that are not defined are ``null``. Effects are in standard deviations between clips, for judges in
units of probability.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from rewardbench.results import FailureRecord, Interval, Number, PluginCost, PluginRecord, Provenance
from rewardbench.schemas import read_record

SCHEMA: Literal["rewardbench.probe/1"] = "rewardbench.probe/1"
Expected = Literal["fall", "still", "move"]
Word = Literal["as expected", "likely", "blind", "doubtful", "wrong way", "moves", "open"]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class ProbeDimension(_Record):
    """One score of the model; ``meaning`` is null where its name says nothing to us, and little is then expected.

    ``spread`` is the standard deviation of the working copies' scores between clips. ``unit`` is what an effect of 1 is
    in the model's own units: the spread, but at least 1 % of the declared range (1 for judges); 0 where it is unknown.
    """

    name: str
    meaning: str | None = None
    higher_is_better: bool = True
    spread: Number = None
    unit: Number = None
    n: int = 0
    n_abstained: int = 0
    mean: Number = None


class ProbeTreatment(_Record):
    family: str
    name: str
    levels: list[str]
    description: str


class ProbeCell(_Record):
    """One dimension under one treatment and level.

    ``change`` is the mean in the model's own units, ``effect`` the same in units of the spread, ``typical`` the mean of
    its size. ``p`` is that the mean is 0 where a fall or nothing is expected, else that the typical change is at most
    the margin; ``p_holm`` is corrected over all cells with an expectation in which any score changed.
    """

    family: str
    treatment: str
    level: str
    dimension: str
    expectation: Expected | None = None
    verdict: Word | None = None
    n: int
    n_abstained: int
    n_equal: int
    change: Number
    effect: Number
    effect_ci95: Interval = None
    typical: Number
    typical_ci95: Interval = None
    largest: Number
    p: Number
    p_holm: Number


class ProbeResponse(_Record):
    """How one dimension answers to the dose of one degradation; dose 0 is the working copy."""

    treatment: str
    dimension: str
    expectation: Expected | None = None
    doses: list[float]
    effects: list[Number]
    effects_ci95: list[Interval]
    n: int
    spearman: Number
    spearman_ci95: Interval = None
    share_falling: Number
    share_flat: Number


class ProbeWorst(_Record):
    """One clip that did least of what was expected; scores in own units, ``source`` its place in the list."""

    clip: str
    source: int
    treatment: str
    level: str
    dimension: str
    expectation: Expected
    before: float
    after: float
    effect: float


class LeftOut(_Record):
    """A treatment that was asked for and not made, wholly or for some clips, and why."""

    treatment: str
    n_clips: int
    reason: str


class ProbeClips(_Record):
    """``n`` clips were measured; ``n_shrunk`` working copies are smaller or shorter than their files.

    ``sha256`` is over the contents, prompts and images: two probes with equal ones measured the same clips.
    """

    n: int
    n_failed: int
    n_prompts: int
    n_images: int
    n_first_frames: int
    n_shrunk: int
    sha256: str


class Settings(_Record):
    only: list[str]
    quick: bool
    limit: int | None
    seed: int
    short_side: int
    most_frames: int
    margin: float
    alpha: float
    fewest_clips: int
    bootstrap: int
    rule: str


class ProbeRecord(_Record):
    schema_name: Literal["rewardbench.probe/1"] = Field(default=SCHEMA, alias="schema")
    plugin: PluginRecord
    is_judge: bool = False
    dimensions: list[ProbeDimension]
    clips: ProbeClips
    treatments: list[ProbeTreatment]
    cells: list[ProbeCell]
    responses: list[ProbeResponse]
    worst: list[ProbeWorst] = Field(default_factory=list)
    left_out: list[LeftOut] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)
    failures: list[FailureRecord] = Field(default_factory=list)
    settings: Settings
    cost: PluginCost = Field(default_factory=PluginCost)
    provenance: Provenance

    def to_json(self) -> str:
        return json.dumps(self.model_dump(by_alias=True), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def read_probe(path: Path) -> ProbeRecord:
    """Read ``probe.json``.

    Raises:
        InputError: if the file is missing, is not JSON, or does not follow the schema.
    """
    missing = f"{path} does not exist; name the probe.json of a finished probe"
    return read_record(path, ProbeRecord, SCHEMA, missing=missing, remedy="probe again")


def json_schema() -> dict[str, Any]:
    """JSON Schema of ``probe.json``; the shipped copy is ``rewardbench/probing/probe.schema.json``."""
    schema = ProbeRecord.model_json_schema(by_alias=True)
    schema["$id"] = SCHEMA
    return schema
