"""Registers the embedded benchmark; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterable

from rewardbench_plugin import BenchmarkManifest, hookimpl

_LOAD = "rewardbench.synth.probe:load"


@hookimpl
def rewardbench_benchmarks() -> Iterable[BenchmarkManifest]:
    """The drawn benchmark `anime-probe`, small and full."""
    return [
        BenchmarkManifest(
            name="anime-probe",
            target=_LOAD,
            summary="drawn anime clips with known answers and known ties for AnimeReward's six dimensions (embedded)",
            version="1",
            labels_by="construction",
            variants={"": _LOAD, "full": _LOAD},
        )
    ]
