"""Versions of the files that are written here: each says ``rewardbench.KIND/N`` in its field ``schema``."""

from __future__ import annotations

import re

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
