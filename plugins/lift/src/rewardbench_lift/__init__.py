"""The reward plugin ``lift``: LiFT-Critic, three questions about a clip answered Good, Normal or Bad.

Importing this module imports nothing heavy.
"""

from __future__ import annotations

from rewardbench_plugin.hooks import RewardManifest, hookimpl

VERSION = "1.0"


@hookimpl
def rewardbench_rewards() -> list[RewardManifest]:
    target = "rewardbench_lift.model:LiftCritic"
    return [
        RewardManifest(
            name="lift",
            version=VERSION,
            target=target,
            presets={"13b-v1.5": target, "13b": target},
            default_preset="13b-v1.5",
            summary="LiFT-Critic: text agreement, fidelity and motion as Good, Normal or Bad (--weights DIR, base=DIR)",
        )
    ]
