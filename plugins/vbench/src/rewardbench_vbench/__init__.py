"""The reward plugin ``vbench``: the dimensions of the ``vbench`` package, computed by that package itself."""

from __future__ import annotations

from rewardbench_plugin.hooks import RewardManifest, hookimpl

VERSION = "1.0"


@hookimpl
def rewardbench_rewards() -> list[RewardManifest]:
    return [
        RewardManifest(
            name="vbench",
            version=VERSION,
            target="rewardbench_vbench.model:VBench",
            summary="the dimensions of VBench and VBench-I2V, by the vbench package in an environment of its own",
        )
    ]
