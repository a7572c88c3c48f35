"""How numbers and foreign text are written, the same on the page and on the terminal."""

from __future__ import annotations

import math
import re
import unicodedata

from rewardbench.results import MetricRecord

UNDEFINED = "–"

# Control characters would reach the terminal as commands, bidirectional overrides reorder what is read, and what XML
# cannot hold would break the drawings.
_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufdd0-\ufdef\ufffe\uffff\ud800-\udfff]"
)


def proportion(value: float | None, digits: int = 4) -> str:
    """A number in [0, 1] without its leading zero: ``.5328``; ``–`` where undefined."""
    if value is None or not math.isfinite(value):
        return UNDEFINED
    text = f"{value:.{digits}f}"
    return text[1:] if text.startswith("0.") else text.replace("-0.", "−.", 1).replace("-", "−")


def interval(bounds: tuple[float, float] | None, digits: int = 4, dash: str = "–") -> str:
    """A 95 % interval: ``.5101–.5560``; empty where undefined."""
    if bounds is None:
        return ""
    return f"{proportion(bounds[0], digits)}{dash}{proportion(bounds[1], digits)}"


def threshold(value: float | None) -> str:
    """A tie threshold, in units of the score, to eight decimals (more where it is smaller than that)."""
    if value is None or not math.isfinite(value):
        return UNDEFINED
    if value != 0 and (abs(value) < 1e-4 or abs(value) >= 1e7):
        return f"{value:.8g}"
    return f"{value:.8f}".rstrip("0").rstrip(".")


def measure(value: float | None) -> str:
    """A score or margin to four significant digits."""
    if value is None or not math.isfinite(value):
        return UNDEFINED
    return f"{value:.4g}".replace("-", "−")


def count(value: int) -> str:
    """A whole number with thousands separated: ``26,457``."""
    return f"{value:,}"


def memory(size: int) -> str:
    """Bytes as MiB or GiB."""
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"


def plain(text: object, limit: int = 0) -> str:
    """Foreign text without control characters and direction overrides, cut to ``limit`` characters (0: not cut)."""
    cleaned = _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", str(text).replace("\r\n", "\n"))
    if limit and len(cleaned) > limit:
        cut = cleaned[:limit]
        while cut and unicodedata.combining(cut[-1]):
            cut = cut[:-1]
        return f"{cut}… ({count(len(cleaned))} characters)"
    return cleaned


def pairing(metric: MetricRecord, arrow: str = "←") -> str:
    """Which label is held against which score: ``VQ ← appeal``, or only the name where both are called the same."""
    if metric.label == metric.score or not metric.score:
        return plain(metric.label, 80)
    return f"{plain(metric.label, 80)} {arrow} {plain(metric.score, 80)}"


def against_floor(value: float | None, ci95: tuple[float, float] | None, floor: float | None) -> str:
    """Where an accuracy lies: ``above`` or ``below`` (its whole interval does), ``level``, or ``unknown``."""
    if value is None or ci95 is None or floor is None:
        return "unknown"
    if ci95[0] > floor:
        return "above"
    return "below" if ci95[1] < floor else "level"
