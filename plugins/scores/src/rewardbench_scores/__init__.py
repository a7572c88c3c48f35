"""``scores``: scores somebody else computed, read from a table."""

from __future__ import annotations

from collections.abc import Iterable

from rewardbench_plugin import RewardManifest, hookimpl


@hookimpl
def rewardbench_rewards() -> Iterable[RewardManifest]:
    return [
        RewardManifest(
            name="scores",
            version="1.0",
            target="rewardbench_scores.table:TabulatedScores",
            summary="scores from your own table (--scores FILE --map LABEL=SCORE)",
        )
    ]
