"""The reward plugin ``visionreward``: 29 weighted yes/no questions about a clip.

Importing this module imports nothing heavy.
"""

from __future__ import annotations

from rewardbench_plugin.hooks import RewardManifest, hookimpl

VERSION = "1.0"


@hookimpl
def rewardbench_rewards() -> list[RewardManifest]:
    target = "rewardbench_visionreward.model:VisionReward"
    return [
        RewardManifest(
            name="visionreward",
            version=VERSION,
            target=target,
            presets={"released": target, "chat": target},
            summary="29 weighted yes/no questions about a clip, as one score (--weights DIR)",
        )
    ]
