"""What an author of a rewardbench plugin imports. Standard library and numpy only, Python 3.9 or later.

Names are loaded on first use: a module that only registers manifests does not pay for numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from rewardbench_plugin.hooks import BenchmarkManifest, Manifest, RewardManifest, hookimpl

if TYPE_CHECKING:
    from rewardbench_plugin.assets import HubFiles, Template, WebFile
    from rewardbench_plugin.card import Dimension, NativeTieRule, RewardCard
    from rewardbench_plugin.clip import PATH, Clip, Frames, FrameSpec, InputSpec, Sampling, Size
    from rewardbench_plugin.reward import (
        Item,
        Judgements,
        LatentReward,
        PairwiseJudge,
        Prepared,
        RewardModel,
        Scores,
    )

_HOME = {
    **dict.fromkeys(("HubFiles", "Template", "WebFile"), "assets"),
    **dict.fromkeys(("Dimension", "NativeTieRule", "RewardCard"), "card"),
    **dict.fromkeys(("PATH", "Clip", "Frames", "FrameSpec", "InputSpec", "Sampling", "Size"), "clip"),
    **dict.fromkeys(
        ("Item", "Judgements", "LatentReward", "PairwiseJudge", "Prepared", "RewardModel", "Scores"), "reward"
    ),
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'rewardbench_plugin' has no attribute {name!r}")
    return getattr(importlib.import_module(f"rewardbench_plugin.{_HOME[name]}"), name)


__all__ = [
    "PATH",
    "BenchmarkManifest",
    "Clip",
    "Dimension",
    "FrameSpec",
    "Frames",
    "HubFiles",
    "InputSpec",
    "Item",
    "Judgements",
    "LatentReward",
    "Manifest",
    "NativeTieRule",
    "PairwiseJudge",
    "Prepared",
    "RewardCard",
    "RewardManifest",
    "RewardModel",
    "Sampling",
    "Scores",
    "Size",
    "Template",
    "WebFile",
    "hookimpl",
]
