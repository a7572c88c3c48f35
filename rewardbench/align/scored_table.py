"""Clips with scores in a table of the user's: what ``rewardbench pairs build`` reads."""

from __future__ import annotations

import math
from pathlib import Path

from rewardbench.align.prompts import Prompt
from rewardbench.align.samples import Sample
from rewardbench.clip_tables import read_clip_table
from rewardbench.errors import InputError
from rewardbench.tables import read_table


def read_scored_clips(table: Path, score: str, generator: str) -> tuple[list[Sample], dict[str, float]]:
    """Clips and their scores (NaN where the cell is empty), grouped by ``prompt_id``, else by prompt and image.

    Raises:
        InputError: no such column, or a cell that is not a number.
    """
    columns, rows = read_table(table)
    if score not in columns:
        raise InputError(f"{table} has no column {score!r} (columns: {', '.join(columns)})")
    samples: list[Sample] = []
    rewards: dict[str, float] = {}
    seen: dict[str, int] = {}
    for clip, row in zip(read_clip_table(table), rows, strict=True):
        prompt_id = row.get("prompt_id") or f"{clip.prompt or ''}\0{clip.image or ''}"
        number = seen[prompt_id] = seen.get(prompt_id, -1) + 1
        name = row.get("prompt_id") or f"prompt-{list(seen).index(prompt_id) + 1:05d}"
        maker = row.get("generator") or row.get("model") or generator
        samples.append(
            Sample(clip.clip_id, clip.video, Prompt(name, clip.prompt or "", clip.image), number, maker, None)
        )
        try:
            rewards[clip.clip_id] = float(row[score]) if row[score].strip() else math.nan
        except ValueError:
            raise InputError(f"{table}: {row[score]!r} in column {score!r} is not a number") from None
        if math.isinf(rewards[clip.clip_id]):
            raise InputError(f"{table}: {row[score]!r} in column {score!r} is infinite; no gap can be taken from it")
    return samples, rewards
