"""The anime half of Step-Video-TI2V-Eval: 120 first frames with a prompt each, in Chinese."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from rewardbench.catalogue.folders import need_file
from rewardbench.catalogue.prompts import SuitePrompt, refuse_to_load


def load(
    name: str = "anime-prompts",
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
    """The prompts by file name; the letter is the folder they are sorted into at the source."""
    need_file("anime-prompts", folder, "*/*.txt")
    found = []
    for path in sorted(folder.glob("*/*.txt")):
        group, stem = path.parent.name, path.stem
        prompt = " ".join(path.read_text(encoding="utf-8").split())
        found.append(SuitePrompt(f"anime-{group}-{stem}", {"zh": prompt}, f"{group}/{stem}.png", {"group": group}))
    return found
