"""The reward plugin ``aesthetic``: a linear aesthetic head on the image tower of any open_clip model.

Importing this module imports nothing heavy.
"""

from __future__ import annotations

from rewardbench_plugin.hooks import RewardManifest, hookimpl

VERSION = "1.0"


@hookimpl
def rewardbench_rewards() -> list[RewardManifest]:
    return [
        RewardManifest(
            name="aesthetic",
            version=VERSION,
            target="rewardbench_aesthetic.model:LinearAesthetic",
            summary="linear aesthetic head on open_clip frames (--weights HEAD --weights base=FILE)",
        )
    ]
