"""The card of a benchmark or prompt suite: ``card.yaml`` and, for its files, ``files.csv`` beside it."""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal
from urllib.parse import unquote

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from rewardbench.errors import InputError
from rewardbench.schemas import first_fault

CARD_FILE = "card.yaml"
FILES_FILE = "files.csv"
MEDIA = "media"
"""The part of the files that is large: clips and images. Fetched only where it is asked for."""

_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PINNED = re.compile(r"[0-9a-f]{7,40}")


def _named(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("use lower-case letters, digits and '-'")
    return value


def _relative(value: str) -> str:
    path = PurePosixPath(value)
    if not value or path.is_absolute() or ".." in path.parts or "\\" in value:
        raise ValueError("must be a path inside the benchmark's folder")
    return value


def _digest(value: str) -> str:
    if value and not _SHA256.fullmatch(value):
        raise ValueError("must be 64 hexadecimal digits, or empty where no checksum is known")
    return value


Layout = Literal["seen", "unseen"]
RelativePath = Annotated[str, AfterValidator(_relative)]
Sha256 = Annotated[str, AfterValidator(_digest)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Licence(_Part):
    """Of the labels (or prompts) and of the clips; ``none stated`` where the source says nothing."""

    labels: str
    media: str = ""


class Size(_Part):
    """How much there is; None where it is not known."""

    pairs: int | None = None
    prompts: int | None = None
    clips: int | None = None
    systems: int | None = None


class Raters(_Part):
    """Who decided: raters per item, their scale, the mark for "no rating", and how they make one label.

    ``ranges``: dimension to the lowest and highest rating there can be; a loader refuses others.
    """

    per_item: int | None
    scale: str
    rule: str
    missing: str = ""
    ranges: dict[str, tuple[int, int]] = Field(default_factory=dict)


class CardFile(_Part):
    """One published file.

    Attributes:
        path: where it goes in the benchmark's folder.
        part: ``labels``, ``scores`` (numbers of models that were published with the labels), ``prompts`` or ``media``.
        sha256: of its bytes; empty where it could not be seen.
        bytes: its size; 0 where it could not be seen.
        url: where it is published, at a pinned commit.
    """

    path: RelativePath
    part: str
    sha256: Sha256
    bytes: int = Field(ge=0)
    url: str


class HubSource(_Part):
    """Files on the Hugging Face hub.

    Attributes:
        revision: a commit (7 to 40 digits; a short one is completed from the repository's history), or a branch, which
            is not pinned.
        layout: ``unseen`` where nobody of this project has looked at the files: the loader then follows the source's
            description, and says what it expected where it is wrong.
        unpack: archives among the files to be unpacked.
    """

    repo: str
    revision: str = "main"
    part: str = MEDIA
    folder: str = ""
    patterns: tuple[str, ...] = ()
    layout: Layout = "unseen"
    unpack: tuple[str, ...] = ()
    size: str = ""

    @property
    def pinned(self) -> bool:
        return _PINNED.fullmatch(self.revision) is not None


class Subset(_Part):
    """A part of the pairs that goes round by itself: what it is, and variant to fingerprints its pairs may have."""

    meaning: str
    fingerprints: dict[str, tuple[Sha256, ...]]


class BenchmarkCard(_Part):
    """What is known of a benchmark.

    Attributes:
        kind: ``pairs`` (people's decisions about pairs of clips) or ``prompts`` (a suite to generate clips for).
        dimensions: label to its meaning.
        labels: what A, B and a tie mean, and how they come about.
        sampling: how the source chose prompts and clips.
        answers: plugin to (label to the score that answers it); ``none`` says that no score of the plugin does. Where
            a plugin is not named here, a label is answered by the score of its own name, else by its default score.
        layout: whether the label files were read when the loader was written.
        fingerprints: variant to the SHA-256 of its pairs as :func:`rewardbench.catalogue.building.fingerprint`
            computes it from the published files.
        subsets: parts of the pairs that are known by name, with their fingerprints.
        by_hand: what to do where the files cannot be fetched.
        files: the rows of ``files.csv``.
    """

    name: Annotated[str, AfterValidator(_named)]
    title: str
    kind: Literal["pairs", "prompts"] = "pairs"
    version: str = "1"
    summary: str
    citation: str
    url: str
    licence: Licence
    dimensions: dict[str, str] = Field(default_factory=dict)
    labels: str = ""
    size: Size = Size()
    sampling: str = ""
    raters: Raters | None = None
    variants: dict[str, str] = Field(default_factory=dict)
    answers: dict[str, dict[str, str]] = Field(default_factory=dict)
    layout: Layout = "seen"
    hub: tuple[HubSource, ...] = ()
    by_hand: str = ""
    fingerprints: dict[str, Sha256] = Field(default_factory=dict)
    subsets: dict[str, Subset] = Field(default_factory=dict)
    notes: str = ""
    files: tuple[CardFile, ...] = ()

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts that can be fetched, in the order of the files."""
        return tuple(dict.fromkeys([*(file.part for file in self.files), *(source.part for source in self.hub)]))

    @property
    def unseen(self) -> tuple[str, ...]:
        """What this project has not looked at, in words."""
        found = ["the label files"] if self.layout == "unseen" else []
        found += [f"{source.repo} on the hub ({source.part})" for source in self.hub if source.layout == "unseen"]
        without = sum(not file.sha256 for file in self.files)
        return tuple(found + ([f"{without} files without a known checksum"] if without else []))

    def score_map(self, plugin: str, scores: tuple[str, ...]) -> dict[str, str]:
        """Label to the score of ``plugin`` (one of ``scores``) that answers it; empty where the card does not say."""
        wanted = self.answers.get(plugin.partition(":")[0], {})
        return {label: score for label, score in wanted.items() if score in scores}


def read_card(folder: Path) -> BenchmarkCard:
    """Read ``card.yaml`` and, where it is there, ``files.csv`` of a folder.

    Raises:
        InputError: one sentence naming the file and the field that is wrong.
    """
    import yaml

    path = folder / CARD_FILE
    try:
        facts: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; a benchmark's folder holds its {CARD_FILE}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{path} is not readable YAML: {' '.join(str(error).split())}") from None
    if not isinstance(facts, dict):
        raise InputError(f"{path} must hold fields and values, as docs/benchmarks.md shows")
    if "files" in facts:
        raise InputError(f"{path}: files stand in {FILES_FILE} beside it, not in the card")
    table = folder / FILES_FILE
    files = _read_files(table) if table.is_file() else []
    try:
        return BenchmarkCard.model_validate({**facts, "files": files})
    except ValidationError as error:
        raise InputError(f"{path}: {first_fault(error)}") from None


def _read_files(path: Path) -> list[Mapping[str, Any]]:
    try:
        with open(path, newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            missing = {"path", "part", "sha256", "bytes", "url"} - set(reader.fieldnames or ())
            if missing:
                raise InputError(f"{path} has no column {sorted(missing)[0]!r}")
            return [{**row, "bytes": row["bytes"] or 0} for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read: {' '.join(str(error).split())}") from None


def find_card(name: str) -> BenchmarkCard | None:
    """The card of a registered benchmark (a variant after ``:`` is ignored); None where its package has none.

    The card lies beside the module that the benchmark's manifest names; the module itself is not imported.

    Raises:
        InputError: an unknown benchmark, or a card that cannot be used.
    """
    folder = card_folder(name)
    return None if folder is None or not (folder / CARD_FILE).is_file() else read_card(folder)


def need_card(name: str) -> BenchmarkCard:
    """The same, for what cannot go on without.

    Raises:
        InputError: where there is no card.
    """
    card = find_card(name)
    if card is None:
        raise InputError(f"benchmark {name!r} has no card: it is made on this machine, so nothing has to be fetched")
    return card


def card_folder(name: str) -> Path | None:
    """The folder of the module that loads a registered benchmark."""
    from importlib.util import find_spec

    from rewardbench.registry import find_benchmark

    module = find_benchmark(name.partition(":")[0]).target.partition(":")[0]
    try:
        spec = find_spec(module)
    except ImportError:
        return None
    return None if spec is None or spec.origin is None else Path(spec.origin).parent


def cards() -> dict[str, BenchmarkCard]:
    """Every card of what is installed, by name."""
    from rewardbench.registry import load_registry

    found = {name: find_card(name) for name in sorted(load_registry().benchmarks)}
    return {name: card for name, card in found.items() if card is not None}


def repositories(card: BenchmarkCard) -> dict[str, str]:
    """The GitHub repositories a card's files come from, each with its commit (12 digits)."""
    found = {}
    for file in card.files:
        match = re.match(r"https://github\.com/([^/]+/[^/]+)/(?:blob|raw)/([0-9a-f]{40})/", unquote(file.url))
        if match:
            found[match[1]] = match[2][:12]
    return found
