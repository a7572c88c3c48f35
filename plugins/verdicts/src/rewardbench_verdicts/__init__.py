"""``verdicts``: verdicts a judge gave earlier, read from a table."""

from __future__ import annotations

from collections.abc import Iterable

from rewardbench_plugin import RewardManifest, hookimpl


@hookimpl
def rewardbench_rewards() -> Iterable[RewardManifest]:
    return [
        RewardManifest(
            name="verdicts",
            version="1.0",
            target="rewardbench_verdicts.table:TabulatedVerdicts",
            summary="a judge's recorded verdicts (--verdicts FILE --map LABEL=JUDGE)",
        )
    ]
