"""The reward plugin ``clip``: text-video similarity of any open_clip model whose weights the user names."""

from __future__ import annotations

from rewardbench_plugin.hooks import RewardManifest, hookimpl

VERSION = "1.0"


@hookimpl
def rewardbench_rewards() -> list[RewardManifest]:
    return [
        RewardManifest(
            name="clip",
            version=VERSION,
            target="rewardbench_clip.model:ClipSimilarity",
            summary="mean cosine of frames and prompt under an open_clip model (--option model=NAME --weights FILE)",
        )
    ]
