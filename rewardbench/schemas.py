"""Files that are written here, read back: each says ``rewardbench.KIND/N`` in its field ``schema``."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from rewardbench.errors import InputError

Record = TypeVar("Record", bound=BaseModel)

_VERSIONED = re.compile(r"(rewardbench\.[a-z-]+)/(\d{1,6})")


def schema_fault(found: object, known: str, name: object, *, remedy: str) -> str | None:
    """What is wrong with a ``schema`` field, in a sentence; None where it is the known one.

    Args:
        found: the field's value, from a file that may be anybody's.
        known: the schema that this version reads.
        name: the file, as the sentence calls it.
        remedy: what to do about a file of an older schema.
    """
    if found == known:
        return None
    match = _VERSIONED.fullmatch(found) if isinstance(found, str) else None
    kind, _, number = known.rpartition("/")
    if match is None or match[1] != kind:
        quoted = ascii(found)
        shown = quoted if len(quoted) <= 80 else f"{quoted[:80]}..."
        return f"{name} is of a foreign schema ({shown}); this version reads {known}"
    if int(match[2]) > int(number):
        return f"{name} is of the newer schema {match[0]}; this version reads {known}, so update rewardbench"
    return f"{name} is of the older schema {match[0]}; this version reads {known}, so {remedy}"


def first_fault(error: ValidationError) -> str:
    """The first field that is wrong and what is wrong with it, on one line."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {' '.join(str(first['msg']).split())}"


def read_record(path: Path, record: type[Record], known: str, *, missing: str, remedy: str) -> Record:
    """Read a JSON file of ours.

    Args:
        path: the file.
        record: what it holds.
        known: the schema that this version reads.
        missing: what to say where there is no such file: a sentence.
        remedy: what to do about a file of an older schema, or a damaged one.

    Raises:
        InputError: it is missing, is not JSON, is of another schema, or does not follow its own.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(missing) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError):
        raise InputError(f"{path} is not a readable JSON file; {remedy}") from None
    fault = schema_fault(data.get("schema") if isinstance(data, dict) else None, known, path, remedy=remedy)
    if fault is not None:
        raise InputError(fault)
    try:
        return record.model_validate(data)
    except ValidationError as error:
        raise InputError(f"{path} does not follow {known}: {first_fault(error)}") from None
