"""Reading ``--option NAME=VALUE`` texts. Every failure is one sentence that names the option."""

from __future__ import annotations

import math
from typing import Mapping, Optional, Sequence


def whole(
    options: Mapping[str, str], name: str, default: Optional[int], low: int, high: Optional[int] = None
) -> Optional[int]:
    """A whole number in [low, high]; ``default`` where the option is not given.

    Raises:
        ValueError: for anything else.
    """
    text = options.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdecimal() or int(text) < low or (high is not None and int(text) > high):
        most = "up" if high is None else f"to {high}"
        raise ValueError(f"--option {name}={text} is not a whole number from {low} {most}")
    return int(text)


def number(options: Mapping[str, str], name: str, default: float, low: float, high: float = math.inf) -> float:
    """A finite number in [low, high].

    Raises:
        ValueError: for anything else.
    """
    text = options.get(name)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and low <= value <= high):
        most = f"of at least {low:g}" if high == math.inf else f"from {low:g} to {high:g}"
        raise ValueError(f"--option {name}={text} is not a number {most}")
    return value


def flag(options: Mapping[str, str], name: str, default: bool) -> bool:
    """``true`` or ``false``.

    Raises:
        ValueError: for anything else.
    """
    text = options.get(name)
    if text is None:
        return default
    if text not in ("true", "false"):
        raise ValueError(f"--option {name}={text} is neither true nor false")
    return text == "true"


def choice(options: Mapping[str, str], name: str, default: str, allowed: Sequence[str]) -> str:
    """One of ``allowed``.

    Raises:
        ValueError: for anything else.
    """
    text = options.get(name, default)
    if text not in allowed:
        raise ValueError(f"--option {name}={text} is not one of {', '.join(allowed)}")
    return text
