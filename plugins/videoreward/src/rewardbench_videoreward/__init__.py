"""The reward plugin ``videoreward``. Importing this module imports nothing heavy."""

from __future__ import annotations

from rewardbench_plugin.hooks import RewardManifest, hookimpl

VERSION = "1.0"
TARGET = "rewardbench_videoreward.model:VideoReward"


@hookimpl
def rewardbench_rewards() -> list[RewardManifest]:
    return [
        RewardManifest(
            name="videoreward",
            version=VERSION,
            target=TARGET,
            summary="VideoReward (VideoAlign): visual quality, motion quality, text alignment, by Qwen2-VL",
            presets={"released": TARGET, "genai-bench": TARGET},
            default_preset="released",
        )
    ]
