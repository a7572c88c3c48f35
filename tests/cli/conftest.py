"""Running the command in a process of its own, and results to show."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import rewardbench
from rewardbench.results import Result

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environment() -> dict[str, str]:
    """This process's environment, with the package under test importable from any folder."""
    package_home = str(Path(rewardbench.__file__).parent.parent)
    return {**os.environ, "PYTHONPATH": os.pathsep.join([package_home, os.environ.get("PYTHONPATH", "")])}


@pytest.fixture
def command(environment: dict[str, str], tmp_path: Path) -> Command:
    """``command("plugins", "list")`` runs ``rewardbench plugins list`` in an empty folder."""

    def run(*words: str, variables: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "rewardbench.cli", *words],
            env={**environment, **(variables or {})},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return run


@pytest.fixture
def make_result() -> Callable[..., Result]:
    """A small valid result; keyword arguments replace its fields."""

    def make(**fields: Any) -> Result:
        metric = {
            "plugin": "random",
            "label": "overall",
            "score": "overall",
            "n": 4,
            "n_abstained": 0,
            "human_tie_rate": 0.25,
            "majority_floor": 0.5,
            "accuracy_with_ties": {
                "crossfit": {"value": 0.5, "ci95": (0.25, 0.75)},
                "threshold": {"value": 0.75, "tie_threshold": 0.1, "ci95": (0.25, 1.0)},
                "videoalign": {"value": 0.75},
            },
            "accuracy_without_ties": {"value": 2 / 3, "half_credit": 2 / 3, "ci95": (0.0, 1.0)},
        }
        content: dict[str, Any] = {
            "plugins": [
                {
                    "label": "random",
                    "name": "random",
                    "version": "1.0",
                    "fingerprint": "00",
                    "dimensions": [{"name": "overall", "low": 0.0, "high": 1.0}],
                }
            ],
            "benchmark": {"name": "tiny", "version": "1", "sha256": "00", "n_pairs": 4, "n_clips": 5},
            "metrics": [metric],
            "cluster": {"column": "prompt", "n": 2},
            "bootstrap": {"n": 1000, "seed": 0, "refit": "threshold"},
            "provenance": {"rewardbench": "0.1.0", "python": "3.11"},
        }
        return Result.model_validate({**content, **fields})

    return make
