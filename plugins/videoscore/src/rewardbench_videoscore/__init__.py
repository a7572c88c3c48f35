"""The reward plugin ``videoscore``: VideoScore v1, v1.1, anno-only (Idefics2) and its Qwen2-VL variant.

Importing this module imports nothing heavy.
"""

from __future__ import annotations

from rewardbench_plugin.hooks import RewardManifest, hookimpl

VERSION = "1.0"


@hookimpl
def rewardbench_rewards() -> list[RewardManifest]:
    idefics2 = "rewardbench_videoscore.model:VideoScore"
    return [
        RewardManifest(
            name="videoscore",
            version=VERSION,
            target=idefics2,
            presets={
                "v1": idefics2,
                "v1.1": idefics2,
                "anno-only": idefics2,
                "qwen2-vl": "rewardbench_videoscore.model:VideoScoreQwen2VL",
            },
            default_preset="v1",
            summary="five quality scores of 1..4 for text-to-video clips, and their mean (--weights DIR)",
        )
    ]
