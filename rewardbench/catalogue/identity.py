"""Whether pairs that were read are those the card promises, a part of them, or others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rewardbench.benchmark import Benchmark
from rewardbench.catalogue.card import BenchmarkCard

ALL = "all"
State = Literal["published", "part", "other", "unknown"]


@dataclass(frozen=True)
class Identity:
    """What was read, by fingerprint.

    Attributes:
        state: ``published`` (the card's pairs), ``part`` (a part that the card knows), ``other``, or ``unknown`` where
            the card has no fingerprint to compare with.
        part: ``all``, the name of the part, or empty where it is neither.
        sentence: what a reader of the numbers has to know; empty where they are the card's pairs, and where nothing
            can be said.
    """

    state: State
    part: str
    sentence: str = ""


def identify(card: BenchmarkCard, variant: str, benchmark: Benchmark) -> Identity:
    """Hold the pairs of a benchmark (the whole of what its loader gave) against its card."""
    named = f"{card.name}:{variant}" if variant else card.name
    expected = card.fingerprints.get(variant, "")
    count = len(benchmark.comparisons)
    promised = card.size.pairs if not variant else None
    beside = "" if promised is None else f", the card says {promised:,}"
    if expected == benchmark.sha256:
        return Identity("published", ALL)
    for name, subset in card.subsets.items():
        if benchmark.sha256 in subset.fingerprints.get(variant, ()):
            return Identity(
                "part",
                name,
                f"only the part {name!r} of {named} is at hand ({subset.meaning}): {count:,} pairs{beside}; numbers "
                "are not those of the whole benchmark",
            )
    if expected or (promised is not None and promised != count):
        return Identity(
            "other",
            "",
            f"the pairs of {named} at hand are not the published ones ({count:,} pairs{beside}); numbers are not "
            f"comparable with others on {named}, and `rewardbench benchmarks verify {card.name}` says more",
        )
    return Identity("unknown", ALL)
