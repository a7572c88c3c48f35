"""What a submission bundle holds (``rewardbench.bundle/1``), and how one is read.

A bundle has every item a result was derived from: labels and clusters of all pairs, scores of all clips, verdicts of
all judges. Margins, folds, thresholds and accuracies follow from them (``rewardbench.leaderboard.verification``).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rewardbench.leaderboard import archive
from rewardbench.leaderboard.archive import MAX_FAULTS, Refused, quoted
from rewardbench.results import SCHEMA as RESULT_SCHEMA
from rewardbench.results import Result
from rewardbench.runfolder import RowRecord
from rewardbench.schemas import schema_fault

SCHEMA: Literal["rewardbench.bundle/1"] = "rewardbench.bundle/1"
MAX_ID = 512
MAX_TEXT = 8_000
"""Characters of a prompt or a note."""
MAX_ROWS = 500
"""Of the result, and as many models: what is computed again grows with them."""
MAX_PLUGINS = 100
MAX_DIMENSIONS = 500
"""Of one plugin."""
SPARE_LINES = 1_000
"""A table may be that much longer than the benchmark makes it: what stands twice is then named, not only counted."""

Declaration = Literal["clean", "overlaps", "unknown"]
ShortText = Annotated[str, Field(max_length=MAX_ID)]
LongText = Annotated[str, Field(max_length=MAX_TEXT)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True, strict=True)


class TrainingData(_Record):
    """Whether the model has seen the benchmark: ``clean``, ``overlaps`` or ``unknown``, as its submitter declares."""

    declaration: Declaration = "unknown"
    note: LongText = ""


class ModelFacts(_Record):
    """What a reader must know of one model. ``job`` is its place in the result's ``plugins``.

    ``score`` is set where one plugin stands for several models, as recorded tables do: the score that is this model.
    """

    job: Annotated[int, Field(ge=0)]
    score: ShortText | None = None
    name: Annotated[str, Field(min_length=1, max_length=120)]
    kind: Literal["model", "judge", "recorded"] = "model"
    parameters: Annotated[int, Field(ge=0, le=10**15)] | None = None
    code_licence: ShortText = "unknown"
    weights_licence: ShortText = "unknown"
    training_data: TrainingData = Field(default_factory=TrainingData)
    citation: LongText = ""


class Evaluation(_Record):
    """How the result follows from the items: which score answers which label, and the settings of the metrics."""

    rows: Annotated[list[RowRecord], Field(max_length=MAX_ROWS)]
    cluster: ShortText
    bootstrap: Annotated[int, Field(ge=0, le=100_000)]
    seed: Annotated[int, Field(ge=0)]
    tie_threshold: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None
    label_format: Literal["plain", "genai"] = "plain"


class Manifest(_Record):
    """``bundle.json``. ``files`` has the SHA-256 of every other member."""

    schema_name: Literal["rewardbench.bundle/1"] = Field(default=SCHEMA, alias="schema")
    models: Annotated[list[ModelFacts], Field(max_length=MAX_ROWS)]
    evaluation: Evaluation
    submitted_by: ShortText = ""
    files: dict[str, str]


@dataclass(frozen=True, slots=True)
class PairItem:
    """One pair. ``labels`` has 1 (A), 0 (tie), -1 (B); ``texts`` their spelling where a verdict is held against it."""

    pair_id: str
    prompt: str
    cluster: str
    clip_a: str
    clip_b: str
    labels: Mapping[str, int]
    texts: Mapping[str, str]
    slices: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ScoreItem:
    """Scores of one clip by one plugin; None where it abstained or ``error`` says why there is none."""

    plugin: str
    clip_id: str
    video_sha256: str
    values: Mapping[str, float | None]
    error: str


@dataclass(frozen=True, slots=True)
class ComparisonItem:
    """What a judge said of a pair in one order: ``p`` for A, tie and B of the pair, None where it said nothing."""

    plugin: str
    score: str
    pair_id: str
    order: str
    p: tuple[float, float, float] | None
    text: str
    error: str


@dataclass(frozen=True)
class Bundle:
    """A bundle in memory. ``digest`` is the SHA-256 of ``bundle.json``, which pins every other member."""

    manifest: Manifest
    result: Result
    pairs: tuple[PairItem, ...]
    scores: tuple[ScoreItem, ...]
    comparisons: tuple[ComparisonItem, ...]
    digest: str
    source: str = ""

    @cached_property
    def judged(self) -> frozenset[str]:
        """Labels of the plugins that said something of pairs."""
        return frozenset(one.plugin for one in self.comparisons)


Admit = Callable[[Manifest, Result], Sequence[str]]
"""What speaks against reading the tables of a bundle at all, one sentence each."""


def read_bundle(path: Path, admit: Admit | None = None) -> Bundle:
    """Read a bundle without trusting it; what it says is not checked yet (see ``verification``).

    Documents before tables: a bundle that was changed, or that ``admit`` has something against, costs no more than
    its documents, and no table is longer than the benchmark that ``admit`` let in makes it.

    Raises:
        Refused: what keeps it from being read.
    """
    members = archive.unpack(path)
    faults: list[str] = []
    manifest = _manifest(members, faults)
    result = _result(members, faults)
    if manifest is not None:
        faults += _changed(manifest, members)
    if not faults and manifest is not None and result is not None:
        faults += [*_oversized(result), *(admit(manifest, result) if admit else ())]
    if faults or manifest is None or result is None:
        raise Refused(faults)
    reader = _Tables()
    clips = 2 * max(0, result.benchmark.n_pairs)
    tables = (
        (archive.PAIRS, reader.pair, max(0, result.benchmark.n_pairs)),
        (archive.SCORES, reader.score, len(result.plugins) * clips),
        (archive.COMPARISONS, reader.said, len(manifest.evaluation.rows) * clips),
    )
    for name, read, expected in tables:
        most = min(archive.MAX_LINES, expected + SPARE_LINES)
        faults += archive.read_lines(members.pop(name, b""), name, read, most=most)
    if faults:
        raise Refused(faults)
    digest = hashlib.sha256(members[archive.MANIFEST]).hexdigest()
    return Bundle(
        manifest, result, tuple(reader.pairs), tuple(reader.scores), tuple(reader.comparisons), digest, path.name
    )


def listed(faults: Sequence[str]) -> list[str]:
    """At most ``MAX_FAULTS`` sentences; one more says that there are more, which were not all looked for."""
    return [*faults[:MAX_FAULTS], *(["and more"] if len(faults) > MAX_FAULTS else [])]


def _oversized(result: Result) -> list[str]:
    if len(result.plugins) > MAX_PLUGINS:
        return [f"{archive.RESULT} has {len(result.plugins):,} plugins, more than the {MAX_PLUGINS} it may have"]
    faults = []
    for plugin in result.plugins:
        names = [plugin.label, plugin.name, plugin.preset or "", *(one.name for one in plugin.dimensions)]
        if len(plugin.dimensions) > MAX_DIMENSIONS:
            count = len(plugin.dimensions)
            faults.append(f"{quoted(plugin.label)} has {count:,} scores, more than the {MAX_DIMENSIONS} it may have")
        if any(len(name) > MAX_ID for name in names):
            faults.append(f"{quoted(plugin.label)} has a name of more than {MAX_ID} characters")
    return faults


def _manifest(members: Mapping[str, bytes], faults: list[str]) -> Manifest | None:
    return _document(members, archive.MANIFEST, SCHEMA, Manifest, faults)


def _result(members: Mapping[str, bytes], faults: list[str]) -> Result | None:
    return _document(members, archive.RESULT, RESULT_SCHEMA, Result, faults)


_R = TypeVar("_R", bound=BaseModel)


def _document(members: Mapping[str, bytes], name: str, schema: str, record: type[_R], faults: list[str]) -> _R | None:
    try:
        value = archive.read_json(members[name], name)
    except ValueError as error:
        faults.append(str(error))
        return None
    if not isinstance(value, dict):
        faults.append(f"{name} is not an object")
        return None
    fault = schema_fault(value.get("schema"), schema, name, remedy="make the bundle again")
    if fault is not None:
        faults.append(fault)
        return None
    try:
        return record.model_validate(value)
    except ValidationError as error:
        for one in error.errors(include_url=False, include_input=False, include_context=False)[: MAX_FAULTS + 1]:
            where = ".".join(quoted(part).strip("'") for part in one["loc"])
            faults.append(f"{name} does not follow {schema} at {where or 'its top'}: {one['msg'].lower()}")
        return None


def _changed(manifest: Manifest, members: Mapping[str, bytes]) -> list[str]:
    faults = []
    others = {name: content for name, content in members.items() if name != archive.MANIFEST}
    for name in sorted(set(others) | set(manifest.files)):
        if name not in others:
            faults.append(f"{archive.MANIFEST} names the member {quoted(name)}, which is missing")
        elif name not in manifest.files:
            faults.append(f"{archive.MANIFEST} does not name the member {name}")
        elif hashlib.sha256(others[name]).hexdigest() != manifest.files[name]:
            faults.append(
                f"{name} was changed after the bundle was made: its SHA-256 is not the one {archive.MANIFEST} has"
            )
    return faults


@dataclass
class _Tables:
    """Takes the lines of the three tables; every method raises ValueError with one clause."""

    pairs: list[PairItem] = field(default_factory=list)
    scores: list[ScoreItem] = field(default_factory=list)
    comparisons: list[ComparisonItem] = field(default_factory=list)

    def pair(self, line: dict[str, Any], number: int) -> None:
        at = _Line(line, archive.PAIRS, number)
        at.only("pair_id", "prompt", "cluster", "clip_a", "clip_b", "labels", "texts", "slices")
        labels = at.mapping("labels")
        for label, value in labels.items():
            if type(value) is not int or value not in (-1, 0, 1):
                raise at.fault(f"label {quoted(label)} is {quoted(value)}, not 1, 0 or -1")
        prompt = at.text("prompt", MAX_TEXT)
        self.pairs.append(
            PairItem(
                at.text("pair_id", needed=True),
                prompt,
                at.text("cluster", MAX_TEXT, default=prompt),
                at.text("clip_a", needed=True),
                at.text("clip_b", needed=True),
                labels,
                at.texts("texts"),
                at.texts("slices"),
            )
        )

    def score(self, line: dict[str, Any], number: int) -> None:
        at = _Line(line, archive.SCORES, number)
        at.only("plugin", "clip_id", "video_sha256", "values", "error")
        values = at.mapping("values")
        for name, value in values.items():
            if value is not None and not _finite(value):
                raise at.fault(f"score {quoted(name)} is {quoted(value)}, not a finite number or null")
        plugin, clip_id = at.text("plugin", needed=True), at.text("clip_id", needed=True)
        self.scores.append(ScoreItem(plugin, clip_id, at.text("video_sha256"), values, at.text("error", MAX_TEXT)))

    def said(self, line: dict[str, Any], number: int) -> None:
        at = _Line(line, archive.COMPARISONS, number)
        at.only("plugin", "score", "pair_id", "order", "p", "text", "error")
        p = line.get("p")
        if p is not None and not (
            isinstance(p, list)
            and len(p) == 3
            and all(_finite(v) and 0 <= v <= 1 for v in p)
            and abs(sum(p) - 1) < 1e-6
        ):
            raise at.fault("p is not three numbers in [0, 1] that sum to 1, or null")
        if line.get("order") not in ("AB", "BA"):
            raise at.fault("order is neither AB nor BA")
        self.comparisons.append(
            ComparisonItem(
                at.text("plugin", needed=True),
                at.text("score", needed=True),
                at.text("pair_id", needed=True),
                str(line["order"]),
                None if p is None else (float(p[0]), float(p[1]), float(p[2])),
                at.text("text", MAX_TEXT),
                at.text("error", MAX_TEXT),
            )
        )


class _Line:
    """One line of a table, and where it stands."""

    def __init__(self, line: dict[str, Any], name: str, number: int) -> None:
        self.line, self.where = line, f"{name}, line {number}"

    def fault(self, what: str) -> ValueError:
        return ValueError(f"{self.where}: {what}")

    def only(self, *names: str) -> None:
        for name in self.line:
            if name not in names:
                raise self.fault(f"unknown key {quoted(name)}")

    def text(self, name: str, most: int = MAX_ID, *, needed: bool = False, default: str = "") -> str:
        value = self.line.get(name, default)
        if not isinstance(value, str):
            raise self.fault(f"{name} is not a text")
        if needed and not value:
            raise self.fault(f"{name} is missing or empty")
        if len(value) > most:
            raise self.fault(f"{name} has {len(value):,} characters, more than the {most:,} it may have")
        return value

    def mapping(self, name: str) -> dict[str, Any]:
        value = self.line.get(name, {})
        if not isinstance(value, dict) or len(value) > 1000:
            raise self.fault(f"{name} is not an object of at most 1,000 entries")
        for key in value:
            if len(key) > MAX_ID:
                raise self.fault(f"a name in {name} has {len(key):,} characters, more than the {MAX_ID} it may have")
        return value

    def texts(self, name: str) -> dict[str, str]:
        value = self.mapping(name)
        for text in value.values():
            if not isinstance(text, str) or len(text) > MAX_ID:
                raise self.fault(f"{name} holds something other than texts of at most {MAX_ID} characters")
        return value


def _finite(value: object) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300 and math.isfinite(value)  # type: ignore[arg-type]
