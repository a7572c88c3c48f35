"""Clips per second of a reward model three ways, in turn within each round: alone, in a loop, through the engine."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

GOALS = {"end_to_end_over_forward": 0.85, "end_to_end_over_loop": 2.0}


def end_to_end(
    choice: Any, model: Any, clips: Sequence[Any], device: str, workers: int, batch: int
) -> tuple[float, Any]:
    """Clips per second from the first batch's scores to the last's, and the engine's session."""
    from rewardbench.scoring.engine import EngineSettings
    from rewardbench.scoring.local import LocalEngine
    from rewardbench.scoring.plan import Job, Work
    from rewardbench.scoring.progress import Silent

    class Times:
        """Notes when how many clips were scored."""

        def __init__(self) -> None:
            self.at: list[tuple[float, int]] = []

        def scored(self, job: int, batch: Sequence[Work], *_: Any) -> None:
            self.at.append((time.perf_counter(), len(batch)))

        def failed(self, job: int, work: Work, error: str) -> None:
            sys.exit(error)

    times = Times()
    settings = EngineSettings(workers=workers, device=device, batch_size=batch)
    work = [Work(i, (clip,), (0,)) for i, clip in enumerate(clips)]
    with LocalEngine([Job(choice, model, None)], settings, Silent(), times) as engine:
        (session,) = engine.run(work)
    seconds = times.at[-1][0] - times.at[0][0]
    return sum(count for _, count in times.at[1:]) / seconds, session


def in_turn(ways: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Clips per second of every way in every round; the ways take turns, so that other load falls on all of them."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            rates[name].append(way())
    return rates


def compared(rates: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Print and return rates, and the medians of the ratios within rounds.

    Nothing runs faster than its own forward pass: where that comes out, the machine was busy with something else, and
    ``met`` is None for both goals.
    """
    for name, values in rates.items():
        print(
            f"{name:<14}{statistics.median(values):.2f} clips per second (of {', '.join(f'{v:.2f}' for v in values)})"
        )
    ratios = {}
    for name, against in (("end_to_end_over_forward", "forward_only"), ("end_to_end_over_loop", "loop")):
        ratios[name] = statistics.median(a / b for a, b in zip(rates["end_to_end"], rates[against], strict=True))
    disturbed = ratios["end_to_end_over_forward"] > 1.02
    found: dict[str, Any] = {}
    for name, value in ratios.items():
        met = None if disturbed else value >= GOALS[name]
        found[name] = {"value": value, "target": GOALS[name], "met": met}
        verdict = {None: "not decided: the machine was disturbed", True: "met", False: "MISSED"}[met]
        print(f"{name}: {value:.2f} (goal {GOALS[name]:g}: {verdict})")
    return {"clips_per_s": {name: list(values) for name, values in rates.items()}, "ratios": found}
