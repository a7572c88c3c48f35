"""Whether a number is the printed one: within half a unit of its last digit, and what rounded inputs add to that."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Literal

from rewardbench.reproduction.manifest import Cell

State = Literal[
    "equal", "equal within rounding of inputs", "differs", "known to differ", "not computed", "not compared"
]
EQUAL_STATES = ("equal", "equal within rounding of inputs")


@dataclass(frozen=True)
class Compared:
    """One cell beside what came out.

    Attributes:
        ours: the number, None where it was not computed.
        shown: the same with the digits of the print.
        difference: ours - paper, in the printed unit, unrounded.
        state: ``equal`` where the print is met to its last digit; ``equal within rounding of inputs`` where only the
            rounding of printed inputs allows it; ``known to differ`` where the manifest says that the printed number
            does not follow from the files; ``not compared`` where ours stands on other pairs than the print.
        why: what the manifest says about it, or why it was not computed or compared.
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
    cells: Sequence[Cell],
    numbers: Mapping[str, float],
    data: str,
    slack: Mapping[str, float] | None = None,
    other_pairs: str = "",
) -> list[Compared]:
    """Every cell beside its number, in the order of the manifest.

    Args:
        data: the part of the data the numbers stand on, which decides the cells they belong to.
        slack: cell name to how far rounding of printed inputs alone can move its number.
        other_pairs: why the numbers stand on other pairs than the print; nothing is compared then. Numbers are shown
            beside the paper's cells.
    """
    found = []
    for cell in cells:
        if other_pairs:
            found.append(_beside(cell, numbers.get(cell.name) if cell.origin == "paper" else None, other_pairs))
            continue
        ours = numbers.get(cell.name) if cell.data == data else None
        if ours is None or not math.isfinite(ours):
            why = cell.why if cell.data == data else f"belongs to the part {cell.data!r} of the data; here is {data!r}"
            found.append(Compared(cell.name, cell.value, cell.origin, None, "-", None, "not computed", why))
            continue
        difference = ours - float(cell.value)
        state = _state(cell, ours, (slack or {}).get(cell.name, 0.0))
        found.append(
            Compared(cell.name, cell.value, cell.origin, ours, _shown(ours, cell), difference, state, cell.why)
        )
    return found


def _state(cell: Cell, ours: float, slack: float) -> State:
    if is_printed(ours, cell.value):
        return "equal"
    if is_printed(ours, cell.value, slack):
        return "equal within rounding of inputs"
    return "differs" if cell.reproduces else "known to differ"


def _beside(cell: Cell, ours: float | None, why: str) -> Compared:
    """Ours beside a print that it is not held against: without a difference."""
    if ours is None or not math.isfinite(ours):
        return Compared(cell.name, cell.value, cell.origin, None, "-", None, "not computed", why)
    return Compared(cell.name, cell.value, cell.origin, ours, _shown(ours, cell), None, "not compared", why)


def _shown(ours: float, cell: Cell) -> str:
    return str(Decimal(ours).quantize(Decimal(1).scaleb(-digits(cell.value)), ROUND_HALF_EVEN))
