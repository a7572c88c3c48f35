"""Sampling times that a ``FlowMatchEulerDiscreteScheduler`` would use, from its configuration.

LTX-Video and HunyuanVideo both come with this scheduler. Its object shifts a table when it is made and again when steps
are set; the numbers of its file are enough.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rewardbench.align.noise import FlowSchedule, shifted
from rewardbench.errors import InputError

SCHEDULER = "FlowMatchEulerDiscreteScheduler"
OTHER_TABLES = (
    "use_karras_sigmas",
    "use_exponential_sigmas",
    "use_beta_sigmas",
    "invert_sigmas",
    "stochastic_sampling",
)
"""Switches of the scheduler that no checkpoint of these families turns on, and that are not reproduced."""


@dataclass(frozen=True)
class StretchedFlowSchedule(FlowSchedule):
    """Rectified flow whose sampling steps end above zero before the last jump.

    Attributes:
        terminal: noise level of the last step; the shifted levels are stretched so that 1 stays and the last becomes
            this (HaCohen et al., 2024, arXiv:2501.00103, as released). None for no stretching. A single step stays 1.
    """

    terminal: float | None = None

    def steps(self, n: int) -> Tensor:
        t = shifted(torch.linspace(1.0, 0.0, n + 1, dtype=torch.float64), self.shift)
        if self.terminal is not None and n > 1:
            t[:-1] = 1.0 - (1.0 - t[:-1]) * (1.0 - self.terminal) / (1.0 - t[-2])
        return t.float()

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "sampling_terminal": self.terminal}


def euler_schedule(config: Mapping[str, Any], *, tokens: int | None = None) -> StretchedFlowSchedule:
    """The schedule of a scheduler's configuration.

    Args:
        config: ``scheduler_config.json``, with the class's defaults for what it does not say.
        tokens: latent positions of a clip, where the pipeline shifts by them (``use_dynamic_shifting``); None where the
            pipeline does not tell its scheduler.

    Raises:
        InputError: another scheduler, or a switch of it that is not reproduced.
    """
    name = config.get("_class_name", SCHEDULER)
    if name != SCHEDULER:
        raise InputError(f"the scheduler of this pipeline is a {name}, where a {SCHEDULER} is needed")
    for switch in OTHER_TABLES:
        if config.get(switch):
            raise InputError(f"the scheduler of this pipeline has {switch}, which is not supported: turn it off")
    shift = float(config["shift"])
    if config["use_dynamic_shifting"]:
        if tokens is None:
            raise InputError(
                "the scheduler of this pipeline has use_dynamic_shifting, and nothing to take a shift from: turn it off"
            )
        shift = dynamic_shift(config, tokens)
    terminal = config["shift_terminal"]
    scale = float(config["num_train_timesteps"])
    return StretchedFlowSchedule(shift=shift, scale=scale, terminal=float(terminal) if terminal else None)


def dynamic_shift(config: Mapping[str, Any], tokens: int) -> float:
    """The shift s of σ' = s·σ / (1 + (s − 1)·σ) that grows with the clip.

    mu is on the line through (``base_image_seq_len``, ``base_shift``) and (``max_image_seq_len``, ``max_shift``); s is
    exp(mu) for ``time_shift_type`` exponential, since exp(mu) / (exp(mu) + 1/σ − 1) is the formula above, and mu for
    linear.
    """
    low, high = config["base_image_seq_len"], config["max_image_seq_len"]
    slope = (config["max_shift"] - config["base_shift"]) / (high - low)
    mu = config["base_shift"] + slope * (tokens - low)
    return math.exp(mu) if config["time_shift_type"] == "exponential" else float(mu)
