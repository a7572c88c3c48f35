"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("REWARDBENCH_SHARED", ROOT.parent / "shared"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked ``shared`` visibly where the data is absent; in CI its absence is an error."""
    if SHARED.is_dir():
        return
    marked = [item for item in items if item.get_closest_marker("shared")]
    if marked and os.environ.get("CI"):
        raise pytest.UsageError(f"{SHARED} is missing: {len(marked)} tests that need it would be skipped in CI")
    for item in marked:
        item.add_marker(pytest.mark.skip(reason=f"shared data folder {SHARED} is absent"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The shared data folder; use it together with ``@pytest.mark.shared``."""
    return SHARED
