"""One published row: where it stands, what it was computed from, under which rule, and the digits it has."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from rewardbench.errors import InputError
from rewardbench.registry import nearest
from rewardbench.schemas import first_fault

FOLDER = Path(__file__).parent / "manifests"


def _printed(value: str) -> str:
    try:
        finite = Decimal(value).is_finite()
    except InvalidOperation:
        finite = False
    if not finite:
        raise ValueError("must be the number as it is printed, in quotes")
    return value


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Cell(_Part):
    """One printed number.

    Attributes:
        name: what it is called in the output, e.g. ``tau_c`` or ``VQ.without_ties``.
        value: as printed; its digits decide how exactly it is compared.
        data: ``all``, or the part of the data it belongs to (``even``: FETV's even prompt ids).
        origin: ``paper``, or ``recomputed`` where somebody else computed it from the same files (not in print).
        reproduces: False where it is known that the printed number does not follow from the files; ``why`` says more.
    """

    name: str
    value: Annotated[str, AfterValidator(_printed)]
    data: str = "all"
    origin: Literal["paper", "recomputed"] = "paper"
    reproduces: bool = True
    why: str = ""


class ModelRun(_Part):
    """How a reward model is run for a row; what is None is the plugin's own default, or not said by the paper.

    Attributes:
        weights: repository on the hub.
        revision: commit of it that the row used; empty where none is known, so that the row is not pinned.
        fps, max_pixels: what the plugin (with its preset) must be set to for this row; it is checked, not passed.
        size: the same in words.
    """

    plugin: str
    weights: str = ""
    revision: str = ""
    fps: float | None = None
    size: str = ""
    max_pixels: int | None = None
    options: dict[str, str] = Field(default_factory=dict)
    score_map: dict[str, str] = Field(default_factory=dict)


class Manifest(_Part):
    """One row. ``recipe`` names the computation in :mod:`rewardbench.reproduction.recipes`."""

    id: str
    title: str
    source: str
    benchmark: str
    recipe: str
    rule: str
    cells: tuple[Cell, ...] = Field(min_length=1)
    parameters: dict[str, Any] = Field(default_factory=dict)
    run: ModelRun | None = None
    note: str = ""

    @property
    def model(self) -> str:
        return self.id.partition("@")[0]


def read_manifest(path: Path) -> Manifest:
    """Read one manifest.

    Raises:
        InputError: naming the file and the field that is wrong.
    """
    import yaml

    try:
        facts = yaml.safe_load(path.read_text(encoding="utf-8"))
        found = Manifest.model_validate(facts)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path} is not readable YAML: {' '.join(str(error).split())}") from None
    except ValidationError as error:
        raise InputError(f"{path}: {first_fault(error)}") from None
    if found.id != path.stem:
        raise InputError(f"{path} describes {found.id!r}; a manifest's file has the name of its row")
    return found


@lru_cache(maxsize=1)
def manifests() -> dict[str, Manifest]:
    """All rows that are shipped, by ``MODEL@BENCHMARK``, in the order of benchmark and model."""
    found = [read_manifest(path) for path in sorted(FOLDER.glob("*.yaml"))]
    return {one.id: one for one in sorted(found, key=lambda one: (one.benchmark, one.id))}


def find_manifest(name: str) -> Manifest:
    """The row of that name.

    Raises:
        InputError: there is none, with the nearest.
    """
    known = manifests()
    if name not in known:
        hint = nearest(name, known) if get_close_matches(name, known, n=1, cutoff=0.5) else ""
        raise InputError(f"no published row {name!r}{hint or '; `rewardbench reproduce --list` names all'}")
    return known[name]
