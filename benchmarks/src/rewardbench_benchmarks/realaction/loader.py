"""RealAction: 18 first frames with prompts of human action, and the clips of six systems. No labels are published."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from rewardbench.catalogue.folders import need_file
from rewardbench.catalogue.prompts import SuitePrompt, refuse_to_load
from rewardbench.catalogue.reading import numbered_lines


def load(
    name: str = "realaction",
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
    """Line i of the prompts belongs to image i and to clip i of every system."""
    path = need_file("realaction", folder, "prompts.txt", "vbench_test.txt")
    lines = numbered_lines(path, "images and clips")
    return [SuitePrompt(f"realaction-{i:02d}", {"en": line.strip()}, f"images/{i}.png") for i, line in enumerate(lines)]
