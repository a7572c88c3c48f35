"""Environments of plugins: built once, whole or not at all, by one process at a time, and named by their inputs.

A stand-in for uv makes "environments" of this Python; tests/system/test_isolated_environments.py uses the real one.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rewardbench import environments, installer
from rewardbench.environments import Recipe, ensure, installed, recipe_of, remove
from rewardbench.errors import InputError, PluginError
from rewardbench.scoring.progress import Silent
from rewardbench_plugin import Dimension, RewardCard

UV = """#!{python}
import os, sys, time
from pathlib import Path
words = sys.argv[1:]
with open({log!r}, "a") as stream:
    stream.write(" ".join(words) + chr(10))
time.sleep(float(os.environ.get("STUB_SECONDS", "0")))
if words[0] == "venv":
    python = Path(words[-1]) / "bin" / "python"
    python.parent.mkdir(parents=True, exist_ok=True)
    python.write_text("#!/bin/sh{newline}exec {python} " + chr(34) + "$@" + chr(34) + chr(10))
    python.chmod(0o755)
elif words[1] == "install":
    if "impossible" in words:
        print("warning: a line before", file=sys.stderr)
        print("  × No solution found when resolving dependencies:", file=sys.stderr)
        print("  ╰─▶ Because impossible was not found in the", file=sys.stderr)
        print("      package registry, we cannot go on.", file=sys.stderr)
        sys.exit(1)
    print("Resolved 2 packages in 3ms", file=sys.stderr)
elif words[1] == "freeze":
    print("numpy==1.26.4")
"""


class Lines(Silent):
    """Progress that keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def start_phase(self, name: str, total: int | None) -> None:
        self.said.append(name)

    def message(self, text: str) -> None:
        self.said.append(text)


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with one line for each call of the stand-in for uv; the cache is empty."""
    log = tmp_path / "calls"
    log.touch()
    uv = tmp_path / "uv"
    uv.write_text(UV.format(python=sys.executable, log=str(log), newline="\\n"))
    uv.chmod(0o755)
    monkeypatch.setattr(installer, "find_uv", lambda: str(uv))
    monkeypatch.setenv("REWARDBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PYTHONPATH", "/nowhere")
    return log


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    package = tmp_path / "source" / "tiny_isolated"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("VALUE = 1\n")
    (package / "data.bin").write_bytes(bytes(range(256)))
    return package


def recipe(plugin: Path, *, requires=("numpy<2",), python="3.11", module="tiny_isolated") -> Recipe:
    import rewardbench_plugin

    ours = Path(rewardbench_plugin.__file__).parent
    return Recipe("tiny", tuple(requires), python, python, (ours, plugin), module)


def test_it_is_built_once_and_then_used_as_it_is(calls, plugin) -> None:
    progress = Lines()
    first = ensure(recipe(plugin), progress)
    assert progress.said[0] == "building the environment of plugin tiny (once)"
    assert "tiny: Resolved 2 packages in 3ms" in progress.said
    asked = calls.read_text().splitlines()
    assert [words.split()[:2] for words in asked] == [["venv", "--relocatable"], ["pip", "install"], ["pip", "freeze"]]
    assert "numpy<2" in asked[1].split()
    silent = Lines()
    assert ensure(recipe(plugin), silent) == first
    assert silent.said == []
    assert calls.read_text().splitlines() == asked, "uv is not even asked"
    assert first.python.exists()
    assert (first.packages / "tiny_isolated" / "data.bin").read_bytes() == bytes(range(256))
    assert (first.packages / "rewardbench_plugin" / "worker.py").is_file()


def test_the_host_is_not_copied(calls, plugin) -> None:
    built = ensure(recipe(plugin), Silent())
    assert sorted(path.name for path in built.packages.iterdir()) == ["rewardbench_plugin", "tiny_isolated"]
    assert not list(built.packages.rglob("*.pyc"))


@pytest.mark.parametrize("changed", [{"requires": ("numpy<3",)}, {"python": "3.12"}])
def test_other_inputs_are_another_environment(calls, plugin, changed) -> None:
    assert ensure(recipe(plugin), Silent()).python != ensure(recipe(plugin, **changed), Silent()).python
    assert len(installed()) == 2


def test_the_order_of_requirements_means_nothing(calls, plugin) -> None:
    one, other = recipe(plugin, requires=("a", "b")), recipe(plugin, requires=("b", "a"))
    assert one.folder == other.folder


def test_an_edited_plugin_takes_effect_without_installing_again(calls, plugin) -> None:
    before = ensure(recipe(plugin), Silent())
    asked = calls.read_text()
    (plugin / "__init__.py").write_text("VALUE = 2\n")
    after = ensure(recipe(plugin), Silent())
    assert (after.python, calls.read_text()) == (before.python, asked)
    assert after.packages != before.packages
    assert (after.packages / "tiny_isolated" / "__init__.py").read_text() == "VALUE = 2\n"
    assert (before.packages / "tiny_isolated" / "__init__.py").read_text() == "VALUE = 1\n", "a run may be using it"


def test_a_failed_build_is_one_sentence_and_leaves_only_its_log(calls, plugin) -> None:
    with pytest.raises(PluginError) as caught:
        ensure(recipe(plugin, requires=("impossible",)), Silent())
    sentence = str(caught.value)
    log = Path(sentence.rsplit(" ", 1)[-1])
    assert sentence == (
        "the environment of plugin 'tiny' could not be built: No solution found when resolving dependencies: Because "
        f"impossible was not found in the package registry, we cannot go on.; the whole message is in {log}"
    )
    assert "warning: a line before" in log.read_text()
    assert {path.suffix for path in environments.environments_folder().iterdir()} == {".log", ".lock"}
    assert installed() == []


def test_a_module_that_cannot_be_imported_there_is_found_while_building(calls, plugin) -> None:
    (plugin / "__init__.py").write_text("import a_package_it_forgot\n")
    with pytest.raises(
        PluginError, match="tiny_isolated cannot be imported there: ModuleNotFoundError: No module named"
    ):
        ensure(recipe(plugin), Silent())
    assert installed() == []


def test_a_python_that_is_gone_means_building_again(calls, plugin) -> None:
    first = ensure(recipe(plugin), Silent())
    first.python.unlink()
    first.python.symlink_to("/nowhere/python3")
    assert installed() == []
    again = ensure(recipe(plugin), Silent())
    assert again == first
    assert again.python.exists()
    assert calls.read_text().count("venv") == 2


def _build(plugin: Path, uv: str, done: multiprocessing.Queue) -> None:
    installer.find_uv = lambda: uv
    progress = Lines()
    ensure(recipe(plugin), progress)
    done.put(progress.said)


def test_two_processes_build_one_environment(calls, plugin, monkeypatch) -> None:
    monkeypatch.setenv("STUB_SECONDS", "0.5")
    context = multiprocessing.get_context("fork")
    done = context.Queue()
    both = [context.Process(target=_build, args=(plugin, installer.find_uv(), done)) for _ in range(2)]
    for process in both:
        process.start()
    said = sorted((done.get(timeout=60) for _ in both), key=len)
    for process in both:
        process.join(60)
    assert calls.read_text().count("venv") == 1
    assert said[0] == ["tiny: waiting for another process that builds its environment"]
    assert said[1][0].startswith("building the environment")


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_build_leaves_nothing_half_usable(calls, plugin, monkeypatch, ending) -> None:
    monkeypatch.setenv("STUB_SECONDS", "30")
    context = multiprocessing.get_context("fork")
    process = context.Process(target=_build, args=(plugin, installer.find_uv(), context.Queue()))
    process.start()
    patience = time.monotonic() + 60
    while not calls.read_text() and time.monotonic() < patience:
        time.sleep(0.05)
    os.kill(process.pid, ending)
    process.join(60)
    assert not process.is_alive()
    assert installed() == []
    if ending == signal.SIGINT:
        assert not list(environments.environments_folder().glob("*.partial-*"))
    monkeypatch.setenv("STUB_SECONDS", "0")
    assert ensure(recipe(plugin), Silent()).python.exists()
    assert not list(environments.environments_folder().glob("*.partial-*"))


def test_what_is_installed_can_be_listed_and_removed(calls, plugin) -> None:
    folder = ensure(recipe(plugin), Silent()).python.parent.parent
    (one,) = installed()
    assert (one.plugin, one.requires, one.python, one.folder) == ("tiny", ("numpy<2",), "3.11", folder)
    assert one.bytes > 256
    assert json.loads((folder / environments.RECORD).read_text())["packages"] == ["numpy==1.26.4"]
    assert remove("tiny") == [folder]
    assert installed() == []
    with pytest.raises(InputError, match="no environment named 'tiny'"):
        remove("tiny")


def test_a_cache_that_cannot_be_written_is_named(calls, plugin, tmp_path, monkeypatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("REWARDBENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(PluginError, match="cannot be kept: .*REWARDBENCH_CACHE names another place"):
        ensure(recipe(plugin), Silent())


def test_uv_is_found_where_pip_put_it() -> None:
    ended = subprocess.run([installer.find_uv(), "--version"], capture_output=True, text=True, check=True)
    assert ended.stdout.startswith("uv ")


def card(**fields) -> RewardCard:
    return RewardCard(name="x", version="1", dimensions=(Dimension("d"),), **fields)


def test_the_recipe_is_what_the_card_says() -> None:
    assert recipe_of(card(), "json:JSONDecoder") is None
    found = recipe_of(card(environment="isolated", requires=("a==1",), python="3.9"), "json.decoder:JSONDecoder")
    assert found is not None
    assert (found.requires, found.python, found.version, found.module) == (("a==1",), "3.9", "3.9", "json.decoder")
    assert [source.name for source in found.sources] == ["rewardbench_plugin", "json"]
    assert found.folder.name.startswith("x-")


def test_without_a_wish_it_is_the_hosts_python() -> None:
    found = recipe_of(card(environment="isolated"), "json:JSONDecoder")
    assert found is not None
    assert (found.python, found.version) == (sys.executable, f"{sys.version_info[0]}.{sys.version_info[1]}")


@pytest.mark.parametrize("target", ["math:sqrt", "a_module_that_is_not_there:X"])
def test_what_cannot_be_copied_is_refused(target) -> None:
    with pytest.raises(PluginError, match="is no plain Python package, so it cannot be copied"):
        recipe_of(card(environment="isolated"), target)
