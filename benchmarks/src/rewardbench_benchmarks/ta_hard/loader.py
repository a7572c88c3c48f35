"""TA-Hard: 72 prompts that video generators find hard to follow."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from rewardbench.catalogue.folders import need_file
from rewardbench.catalogue.prompts import SuitePrompt, refuse_to_load
from rewardbench.catalogue.reading import columns_of
from rewardbench.tables import read_table


def load(
    name: str = "ta-hard",
    variant: str | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> NoReturn:
    """A suite has no labels to load.

    Raises:
        InputError: always, saying what the suite is for.
    """
    refuse_to_load(name)


def read_prompts(folder: Path) -> list[SuitePrompt]:
    """The prompts in their order, in English and Chinese."""
    path = need_file("ta-hard", folder, "TA_hard.csv", "ta_hard.csv")
    columns, rows = read_table(path)
    columns_of(columns, ("prompt", "prompt_zh"), path)
    return [
        SuitePrompt(f"ta-hard-{number:03d}", {"en": row["prompt"], "zh": row["prompt_zh"]})
        for number, row in enumerate(rows)
    ]
