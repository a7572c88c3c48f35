"""The reward plugin ``drawn-rules``: pixel rules that know the drawn world, for judging what another judge improved."""

from __future__ import annotations

from rewardbench_plugin.hooks import RewardManifest, hookimpl

VERSION = "1.0"


@hookimpl
def rewardbench_rewards() -> list[RewardManifest]:
    return [
        RewardManifest(
            name="drawn-rules",
            version=VERSION,
            target="rewardbench_drawn_rules.model:DrawnRules",
            summary="pixel rules for clips of the drawn world, without learnt weights",
        )
    ]
