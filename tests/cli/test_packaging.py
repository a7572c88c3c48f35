"""What the project declares: every import has its dependency, and no version is held back."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PLUGINS = sorted(path for path in (ROOT / "plugins").iterdir() if (path / "src").is_dir())
# Not imported by name: reward plugins that run in the host's environment may count on the first, transformers' trainer
# on the second.
FOR_PLUGINS = {"sklearn", "torchvision", "transformers", "accelerate"}
# Imported in an isolated environment only, where the plugin's own requirements bring them.
FROM_ITS_ENVIRONMENT = {"vbench": {"clip", "dreamsim", "easydict", "pyiqa", "torch", "vbench", "vbench2_beta_i2v"}}
# Recorded verdicts are read by the host's one definition of their spellings.
MAY_USE_THE_HOST = {"verdicts"}
# Import names that are not the distribution's name with another separator.
IMPORTED_AS = {"pillow": "PIL", "pyyaml": "yaml", "scikit_learn": "sklearn", "open_clip_torch": "open_clip"}


def import_name(requirement: str) -> str:
    name = re.split(r"[\s;<>=!~\[]", requirement, maxsplit=1)[0].lower().replace("-", "_")
    return IMPORTED_AS.get(name, name)


def declared(*, extras: bool) -> set[str]:
    requirements = list(PROJECT["project"]["dependencies"])
    if extras:
        requirements += [one for group in PROJECT["project"]["optional-dependencies"].values() for one in group]
    return {import_name(requirement) for requirement in requirements}


def imports_of(folder: Path) -> dict[str, Path]:
    """Top-level names a package imports from elsewhere, with one file each; type-checking imports included."""
    found: dict[str, Path] = {}
    for file in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                names = [node.module]
            else:
                continue
            found.update((name.partition(".")[0], file) for name in names)
    return {name: file for name, file in found.items() if name not in sys.stdlib_module_names}


def packaged() -> list[Path]:
    return [ROOT / name for name in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]]


@pytest.mark.parametrize("package", packaged(), ids=lambda path: path.name)
def test_every_import_is_declared(package: Path) -> None:
    ours = {path.name for path in packaged()}
    known = declared(extras=True) | ours | FROM_ITS_ENVIRONMENT.get(package.name.removeprefix("rewardbench_"), set())
    assert {name: file for name, file in imports_of(package).items() if name not in known} == {}


def test_the_plugin_api_needs_numpy_only() -> None:
    optional = {"pluggy", "torch", "safetensors"}  # absent, hooks do nothing, `auto` means cpu, no checkpoint is read
    assert set(imports_of(ROOT / "rewardbench_plugin")) <= {"numpy", "rewardbench_plugin"} | optional


def test_every_dependency_is_used() -> None:
    used = {name for package in packaged() for name in imports_of(package)}
    assert declared(extras=True) - used <= FOR_PLUGINS | {"torchcodec"}  # imported by name, in video/


def test_no_version_is_held_back() -> None:
    requirements = [
        *PROJECT["project"]["dependencies"],
        *(one for group in PROJECT["project"]["optional-dependencies"].values() for one in group),
        *(one for group in PROJECT["dependency-groups"].values() for one in group),
        *PROJECT["build-system"]["requires"],
    ]
    versions = [requirement.partition(";")[0] for requirement in requirements]
    assert [requirement for requirement in versions if re.search(r"<|==|~=|!=", requirement)] == []


@pytest.mark.parametrize("plugin", PLUGINS, ids=lambda path: path.name)
def test_each_plugin_s_own_package_declares_the_same_entry_point(plugin: Path) -> None:
    own = tomllib.loads((plugin / "pyproject.toml").read_text(encoding="utf-8"))
    entry_points = own["project"]["entry-points"]["rewardbench"]
    assert entry_points == {plugin.name: f"rewardbench_{plugin.name.replace('-', '_')}"}
    assert PROJECT["project"]["entry-points"]["rewardbench"][plugin.name] == entry_points[plugin.name]
    assert (plugin / "README.md").read_text(encoding="utf-8").splitlines()[0].endswith(plugin.name)
    ours = {path.name for path in packaged()}
    extras = [one for group in own["project"].get("optional-dependencies", {}).values() for one in group]
    requirements = {import_name(requirement) for requirement in [*own["project"]["dependencies"], *extras]}
    brought = FROM_ITS_ENVIRONMENT.get(plugin.name, set())
    assert set(imports_of(plugin / "src")) - ours - {"rewardbench"} <= requirements | brought


@pytest.mark.parametrize("plugin", [p for p in PLUGINS if p.name not in MAY_USE_THE_HOST], ids=lambda path: path.name)
def test_a_plugin_uses_the_plugin_api_only(plugin: Path) -> None:
    assert "rewardbench" not in imports_of(plugin / "src")


def test_both_libraries_are_typed() -> None:
    assert (ROOT / "rewardbench" / "py.typed").exists()
    assert (ROOT / "rewardbench_plugin" / "py.typed").exists()
