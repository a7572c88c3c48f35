"""AnimeReward as a rewardbench plugin. Importing this module imports nothing heavy."""

from __future__ import annotations

from rewardbench_plugin import RewardManifest, hookimpl

VERSION = "0.1.0"


@hookimpl
def rewardbench_rewards() -> list[RewardManifest]:
    return [
        RewardManifest(
            name="animereward",
            version=VERSION,
            target="rewardbench_animereward.mini:MiniAnimeReward",
            presets={
                "mini": "rewardbench_animereward.mini:MiniAnimeReward",
                "released": "rewardbench_animereward.released:ReleasedAnimeReward",
                "paper": "rewardbench_animereward.paper:PaperAnimeReward",
            },
            default_preset="mini",
            summary="six dimensions of anime clips; mini (a small stand-in trained on a drawn world, not on people) "
            "ships, released and paper take the published weights",
        )
    ]
