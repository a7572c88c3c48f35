"""What an author of a rewardbench plugin imports. Standard library and numpy only, Python 3.9 or later."""

from rewardbench_plugin.card import Dimension, NativeTieRule, RewardCard
from rewardbench_plugin.clip import PATH, Clip, Frames, FrameSpec, InputSpec, Sampling, Size
from rewardbench_plugin.hooks import BenchmarkManifest, Manifest, RewardManifest, hookimpl
from rewardbench_plugin.reward import (
    Item,
    Judgements,
    LatentReward,
    PairwiseJudge,
    Prepared,
    RewardModel,
    Scores,
)

__all__ = [
    "PATH",
    "BenchmarkManifest",
    "Clip",
    "Dimension",
    "FrameSpec",
    "Frames",
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
    "hookimpl",
]
