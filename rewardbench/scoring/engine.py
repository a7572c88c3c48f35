"""What every scoring engine is told, and what it gives back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from rewardbench.scoring.plan import Work
from rewardbench.scoring.process import SILENCE_SECONDS


@dataclass(frozen=True)
class EngineSettings:
    """How work is done. Times are seconds; ``log_folder`` takes what workers print (None: thrown away),
    ``engine`` is where it is done: ``local``, or the name of a registered engine.

    The timeouts are for an answer, ``silence`` for any sign of life of a busy process.
    """

    workers: int
    device: str = "auto"
    dtype: str | None = None
    batch_size: int | None = None
    decode_timeout: float = 120.0
    score_timeout: float = 600.0
    load_timeout: float = 1800.0
    silence: float = SILENCE_SECONDS
    log_folder: Path | None = None
    engine: str = "local"


@dataclass
class Session:
    """How one plugin's scores were computed in this run."""

    device: str | None = None
    python: str | None = None
    packages: dict[str, str] = field(default_factory=dict)
    batch_size: int = 0
    n_scored: int = 0
    seconds: float = 0.0
    peak_memory: dict[str, int] = field(default_factory=dict)


class Sink(Protocol):
    """Where results go; ``scored`` must make them durable before it returns."""

    def scored(self, job: int, batch: Sequence[Work], values: np.ndarray, raw: np.ndarray, notes: list[str]) -> None:
        """Rows of ``values`` and ``raw`` (N, D), or (N, 3) probabilities for a judge, with N notes."""

    def failed(self, job: int, work: Work, error: str) -> None:
        """One clip (or pair) could not be scored."""
