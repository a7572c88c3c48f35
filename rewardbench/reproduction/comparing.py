"""Whether a number is the printed one: within half a unit of its last digit, and what rounded inputs add to that."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Literal

from rewardbench.reproduction.manifest import Cell

State = Literal["equal", "differs", "known to differ", "not computed"]


@dataclass(frozen=True)
class Compared:
    """One cell beside what came out.

    Attributes:
        ours: the number, None where it was not computed.
        shown: the same with the digits of the print.
        difference: ours - paper, in the printed unit, unrounded.
        state: ``known to differ`` where the manifest says that the printed number does not follow from the files.
        why: what the manifest says about it, or why it was not computed.
    """

    name: str
    paper: str
    origin: str
    ours: float | None
    shown: str
    difference: float | None
    state: State
    why: str = ""


def digits(printed: str) -> int:
    """Digits behind the point."""
    exponent = Decimal(printed).as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def is_printed(ours: float, printed: str, slack: float = 0.0) -> bool:
    """Whether ``ours`` may have been printed so: |ours - printed| <= half a unit of the last digit + ``slack``.

    A number that lies half way between two prints is both (rounding conventions differ); 1e-9 absorbs the float.
    """
    half = 0.5 * 10.0 ** -digits(printed)
    return abs(ours - float(printed)) <= half + slack + 1e-9


def compare(
    cells: Sequence[Cell], numbers: Mapping[str, float], data: str, slack: Mapping[str, float] | None = None
) -> list[Compared]:
    """Every cell beside its number, in the order of the manifest."""
    found = []
    for cell in cells:
        ours = numbers.get(cell.name) if cell.data == data else None
        if ours is None or not math.isfinite(ours):
            why = cell.why if cell.data == data else f"belongs to the part {cell.data!r} of the data; here is {data!r}"
            found.append(Compared(cell.name, cell.value, cell.origin, None, "-", None, "not computed", why))
            continue
        same = is_printed(ours, cell.value, (slack or {}).get(cell.name, 0.0))
        state: State = "equal" if same else "differs" if cell.reproduces else "known to differ"
        shown = str(Decimal(ours).quantize(Decimal(1).scaleb(-digits(cell.value)), ROUND_HALF_EVEN))
        difference = ours - float(cell.value)
        found.append(Compared(cell.name, cell.value, cell.origin, ours, shown, difference, state, cell.why))
    return found
