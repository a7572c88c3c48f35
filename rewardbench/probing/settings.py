"""What a probe can be told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rewardbench.probing.workshop import MOST_FRAMES, SHORT_SIDE
from rewardbench_plugin.clip import Clip


@dataclass(frozen=True)
class ProbeOptions:
    """Everything ``rewardbench probe`` can be told. Times are seconds.

    Attributes:
        clips: what is probed.
        plugin: ``NAME[:PRESET]``.
        only: families or single treatments; all, if empty.
        quick: two doses and fewer levels.
        limit: the first so many clips.
        meanings: what dimensions mean (:data:`rewardbench.probing.expectations.MEANINGS`), where names do not say it.
        out: output folder; None: under ``rewardbench-runs/``.
        short_side, most_frames: of the working copies.
    """

    clips: Sequence[Clip]
    plugin: str
    only: tuple[str, ...] = ()
    quick: bool = False
    limit: int | None = None
    meanings: Mapping[str, str] = field(default_factory=dict)
    out: Path | None = None
    short_side: int = SHORT_SIDE
    most_frames: int = MOST_FRAMES
    weights: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    dimensions: tuple[str, ...] | None = None
    device: str = "auto"
    dtype: str | None = None
    decode_timeout: float = 120.0
    score_timeout: float = 600.0
    batch_size: int | None = None
    workers: int | None = None
    seed: int = 0
    command: str = ""
