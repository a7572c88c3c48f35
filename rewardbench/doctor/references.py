"""Reference scores: what a model gave on the bundled clips where it was known to be right."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from rewardbench.errors import InputError
from rewardbench.schemas import first_fault

FILE = "doctor.json"
TOLERANCE = {"float32": 1e-3, "float16": 2e-2, "bfloat16": 2e-2}
"""Largest difference allowed, per unit of max(1, |score|), where a reference states none: room for other decoders and
other processors in float32, for other kernels in half precision. Chosen, not measured on any published model."""


class Reference(BaseModel):
    """Scores of one configured model on the bundled clips.

    ``fingerprint`` is the model's own (name, version, preset, options, weights by content): the scores of other
    weights are no reference. ``tolerance`` is relative to max(1, |score|). None among the scores: it abstained.
    """

    model_config = ConfigDict(extra="forbid")

    format: Literal["rewardbench.doctor/1"] = "rewardbench.doctor/1"
    plugin: str
    version: str
    fingerprint: str
    tolerance: float
    scores: dict[str, dict[str, float | None]]
    packages: dict[str, str] = {}
    device: str | None = None
    dtype: str | None = None


def read_references(path: Path) -> list[Reference]:
    """References of a file: one, or a list of them.

    Raises:
        InputError: if the file is missing or something else.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return [Reference.model_validate(one) for one in (data if isinstance(data, list) else [data])]
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    except ValidationError as error:
        raise InputError(f"{path} is not a file of reference scores: {first_fault(error)}") from None
    except ValueError as error:
        raise InputError(f"{path} is not a file of reference scores: {error}") from None


def find_reference(
    fingerprint: str, *, named: Path | None, weights: Mapping[str, str], package: str
) -> tuple[Reference, Path] | None:
    """The reference of this very model: in the file named, beside its weights, or shipped with its plugin.

    Raises:
        InputError: if the file named holds no reference of this model.
    """
    if named is not None:
        for reference in read_references(named):
            if reference.fingerprint == fingerprint:
                return reference, named
        raise InputError(
            f"{named} holds no reference scores of this model: plugin version, options or weights are others"
        )
    places = [(Path(path) if Path(path).is_dir() else Path(path).parent) / FILE for path in weights.values()]
    spec = importlib.util.find_spec(package)
    places += [Path(folder) / FILE for folder in (spec.submodule_search_locations or [])] if spec else []
    for place in places:
        if place.is_file():
            for reference in read_references(place):
                if reference.fingerprint == fingerprint:
                    return reference, place
    return None


def write_reference(path: Path, reference: Reference) -> None:
    """Write one reference.

    Raises:
        InputError: if the file cannot be written.
    """
    try:
        path.write_text(reference.model_dump_json(indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}") from None
