"""VBench: 946 entries, each a prompt and the dimensions it is for."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from rewardbench.catalogue.folders import need_file
from rewardbench.catalogue.prompts import SuitePrompt, refuse_to_load
from rewardbench.catalogue.reading import as_list, field, read_json, text


def load(
    name: str = "vbench",
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
    """The entries in their order; the same prompt may stand twice with other dimensions."""
    path = need_file("vbench", folder, "VBench_full_info.json", "vbench_full_info.json")
    found = []
    for number, record in enumerate(as_list(read_json(path), path)):
        where = f"{path}, record {number}"
        dimensions = ";".join(map(str, field(record, "dimension", where)))
        found.append(
            SuitePrompt(
                f"vbench-{number:04d}", {"en": text(record, "prompt_en", where)}, "", {"dimensions": dimensions}
            )
        )
    return found
