"""The reward plugin ``random``: a seeded coin, the floor every reward model has to beat."""

from __future__ import annotations

from rewardbench_plugin.hooks import RewardManifest, hookimpl

VERSION = "1.0"


@hookimpl
def rewardbench_rewards() -> list[RewardManifest]:
    return [
        RewardManifest(
            name="random",
            version=VERSION,
            target="rewardbench_random.model:Random",
            summary="seeded random scores, to see what chance gives",
        )
    ]
