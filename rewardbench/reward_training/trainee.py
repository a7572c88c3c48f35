"""What the training loop trains, whatever it is made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from rewardbench_plugin.clip import Clip

Normalisation = Mapping[str, tuple[float, float]]
"""Dimension to mean and standard deviation of its raw scores."""


@dataclass(frozen=True)
class Trainee:
    """A model to be trained.

    Attributes:
        network: called with a list of N prepared clips, returns rewards (N, D), float32.
        prepare: a clip as the network takes it; raises ClipError or InputError in one sentence.
        dimensions: D names.
        groups: trained parameters with ``lr`` and ``weight_decay``, as optimisers take them.
        write: ``write(folder, step, normalisation)`` writes the checkpoint and returns the file with the weights.
    """

    network: nn.Module
    prepare: Callable[[Clip], Any]
    dimensions: tuple[str, ...]
    groups: Callable[[], list[dict[str, Any]]]
    write: Callable[[Path, int, Normalisation], Path]
