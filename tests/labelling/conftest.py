"""Folders of clips to label (bytes that no test decodes), and a headless browser.

Nothing heavy is imported here: the browser's test is also collected where only pytest is installed.
"""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path

import pytest

browser = runpy.run_path(str(Path(__file__).parents[1] / "report" / "conftest.py"))["browser"]


def write_clips(
    folder: Path, systems: tuple[str, ...] = ("ltx", "wan"), stems: tuple[str, ...] = ("cat", "fox")
) -> Path:
    for system in systems:
        (folder / system).mkdir(parents=True)
        for stem in stems:
            (folder / system / f"{stem}.mp4").write_bytes(f"clip of {stem} by {system} ".encode() * 40)
    rows = "".join(f"{stem},a {stem} runs\n" for stem in stems)
    (folder / "prompts.csv").write_text(f"name,prompt\n{rows}")
    return folder


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Two systems, two prompts."""
    return write_clips(tmp_path / "clips")


@pytest.fixture
def make_clips() -> Callable[..., Path]:
    return write_clips
