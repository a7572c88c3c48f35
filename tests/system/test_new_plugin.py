"""A package from ``plugins new``, installed outside the checkout, checked, tested and run by its name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.system


@pytest.fixture(params=["model", "judge"])
def written(installed: Any, empty: Path, request: pytest.FixtureRequest) -> Any:
    """The folder of a new package, installed editable, and the environment with it."""
    words = ["--judge"] if request.param == "judge" else []
    ended = installed.run("plugins", "new", "my-reward", *words, folder=empty)
    assert ended.returncode == 0, ended.stderr
    installed.pip("install", "--no-deps", "-e", str(empty / "rewardbench-my-reward"), folder=empty)
    installed.pip("install", "pytest", folder=empty)
    yield empty / "rewardbench-my-reward", installed
    installed.pip("uninstall", "rewardbench-my-reward", folder=empty)


def test_it_installs_passes_and_keeps_its_scores(written: Any) -> None:
    folder, installed = written
    checked = installed.run("plugins", "check", "my-reward", folder=folder.parent)
    assert checked.returncode == 0, checked.stdout
    assert " 0 failed, 1 skipped" in checked.stdout
    recorded = installed.run("plugins", "check", "my-reward", "--record", folder=folder.parent)
    assert recorded.returncode == 0, recorded.stdout
    assert (folder / "src" / "rewardbench_my_reward" / "doctor.json").is_file()
    # The pytest plugin is found through its entry point.
    tested = installed.python("-m", "pytest", "-q", "-p", "no:cacheprovider", folder=folder)
    assert tested.returncode == 0, tested.stdout
    assert "skipped" not in tested.stdout

    model = folder / "src" / "rewardbench_my_reward" / "model.py"
    model.write_text(model.read_text(encoding="utf-8").replace(".mean()", ".max()"), encoding="utf-8")
    broken = installed.run("plugins", "check", "my-reward", "--format", "json", folder=folder.parent)
    assert broken.returncode == 1
    failed = [check["check"] for check in json.loads(broken.stdout)["checks"] if check["status"] == "failed"]
    assert failed == ["recorded-scores"]


def test_an_installed_copy_is_checked_but_not_recorded_into(written: Any) -> None:
    folder, installed = written
    installed.pip("install", "--no-deps", "--reinstall", str(folder), folder=folder.parent)
    ended = installed.run("plugins", "check", "my-reward", "--record", folder=folder.parent)
    assert ended.returncode == 2
    assert "is an installed copy in" in ended.stderr
