"""Starting the command imports nothing heavy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = (
    "torch torchvision transformers decord datasets sklearn "  # the list, and what else would be felt:
    "scipy pandas pyarrow matplotlib av open_clip pydantic numpy rich"
)


@pytest.mark.parametrize("words", [["--help"], ["run", "--help"], ["plugins", "list"], ["benchmarks", "list"], ["-h"]])
def test_nothing_heavy_is_imported(words: list[str], environment: dict[str, str], tmp_path: Path) -> None:
    program = (
        "import json, sys\n"
        "from rewardbench.cli.app import main\n"
        f"code = main({words!r})\n"
        "print(json.dumps([code, sorted(m for m in sys.modules if '.' not in m)]), file=sys.stderr)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    code, loaded = json.loads(ended.stderr.splitlines()[-1])
    assert code == 0
    assert ended.stdout
    assert not set(HEAVY.split()) & set(loaded)


def test_the_built_in_plugins_are_listed(command) -> None:
    ended = command("plugins", "list", "--format", "json")
    assert ended.returncode == 0
    listed = {plugin["name"]: plugin["source"] for plugin in json.loads(ended.stdout)["plugins"]}
    for name in ("animereward", "clip", "random", "scores", "verdicts"):
        assert listed[name] == "rewardbench-video"


def test_the_environment_chooses_which_plugins_load(command) -> None:
    ended = command("plugins", "list", "--format", "json", variables={"REWARDBENCH_PLUGINS": "random"})
    assert [plugin["name"] for plugin in json.loads(ended.stdout)["plugins"]] == ["random"]


def test_the_embedded_benchmark_is_listed(command) -> None:
    ended = command("benchmarks", "list", "--format", "json")
    assert "anime-probe" in [benchmark["name"] for benchmark in json.loads(ended.stdout)]


def test_a_plugin_that_cannot_be_imported_is_listed_with_its_reason(
    command, environment: dict[str, str], tmp_path: Path
) -> None:
    site = tmp_path / "site"
    info = site / "broken_reward-2.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-reward\nVersion: 2.0\n")
    (info / "entry_points.txt").write_text("[rewardbench]\nbroken = broken_reward\n")
    (site / "broken_reward.py").write_text("import a_module_that_does_not_exist\n")
    path = f"{site}:{environment['PYTHONPATH']}"
    listed = command("plugins", "list", variables={"PYTHONPATH": path})
    assert listed.returncode == 0
    assert "random" in listed.stdout
    assert "plugin broken of broken-reward could not be loaded" in listed.stderr
    assert "a_module_that_does_not_exist" in listed.stderr
    asked = command("plugins", "show", "broken", variables={"PYTHONPATH": path})
    assert asked.returncode == 2
    assert "a_module_that_does_not_exist" in asked.stderr
