"""The reward plugin ``judge``: a chat-tuned video model that is asked what it sees."""

from __future__ import annotations

from rewardbench_plugin.hooks import RewardManifest, hookimpl

VERSION = "1.0"


@hookimpl
def rewardbench_rewards() -> list[RewardManifest]:
    return [
        RewardManifest(
            name="judge",
            version=VERSION,
            target="rewardbench_judge.rating:RatingJudge",
            summary="any chat-tuned video model of transformers, asked for ratings or for the better of two clips",
            presets={
                "rating": "rewardbench_judge.rating:RatingJudge",
                "pair": "rewardbench_judge.pair:PairJudge",
            },
            default_preset="rating",
        )
    ]
