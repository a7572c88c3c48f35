"""Environments built by the real uv: another Python, another numpy, and no network the second time."""

from __future__ import annotations

import json
import os
import platform
import runpy
import subprocess
from pathlib import Path

import numpy as np
import pytest

from rewardbench import environments, installer
from rewardbench.clip_scores import ScoreSettings, score_clips
from rewardbench.errors import PluginError
from rewardbench.scoring.progress import Silent
from rewardbench_plugin import Clip

pytestmark = pytest.mark.system

SOURCE = runpy.run_path(str(Path(__file__).parents[1] / "scoring" / "isolated.py"))["SOURCE"]
HOST = ".".join(platform.python_version_tuple()[:2])


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REWARDBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def other_python(monkeypatch: pytest.MonkeyPatch) -> str:
    """A Python of another version that uv finds on this machine, or skip."""
    versions = sorted(Path.home().glob(".pyenv/versions/3.*/bin"))
    monkeypatch.setenv("PATH", os.pathsep.join([*map(str, versions), os.environ["PATH"]]))
    uv = installer.find_uv()
    for version in ("3.9", "3.10", "3.12", "3.13"):
        words = [uv, "python", "find", "--no-project", "--no-python-downloads", version]
        if version != HOST and subprocess.run(words, capture_output=True, check=False).returncode == 0:
            return version
    pytest.skip("there is no other Python on this machine")


def install(install_plugin, **fields) -> None:
    card = "".join(f"{name}={value!r}, " for name, value in fields.items())
    install_plugin("faulty", SOURCE.replace('requires=("numpy",)', card.rstrip(", ")))


def score(clips: list[Path], **settings):
    wanted = [Clip(path.name, str(path)) for path in clips]
    rows = score_clips(ScoreSettings(wanted, "faulty", workers=1, device="cpu", **settings), Silent())
    assert [row["error"] for row in rows] == [None] * len(clips), rows
    return rows


def test_another_python_and_another_numpy(cache, install_plugin, tiny_clips, other_python, monkeypatch) -> None:
    older = "numpy<2" if int(np.__version__.split(".")[0]) >= 2 else "numpy>=2"
    install(install_plugin, requires=(older,), python=other_python)
    rows = score(tiny_clips)
    assert [row["scores"]["python"] for row in rows] == [float(other_python.split(".")[1])] * len(rows)
    assert [row["scores"]["size"] for row in rows] == [path.stat().st_size / 1e6 for path in tiny_clips]
    (built,) = environments.installed()
    (found,) = [line for line in _record(built)["packages"] if line.startswith("numpy==")]
    assert (int(found.removeprefix("numpy==").split(".")[0]) < 2) == (older == "numpy<2")

    # The second run asks nobody: not the network, and not uv.
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setattr(installer, "find_uv", lambda: pytest.fail("uv was asked for"))
    again = score(tiny_clips)
    assert again == rows


def test_the_hosts_python_with_another_numpy_has_nothing_of_the_host(cache, install_plugin, tiny_clips) -> None:
    older = "numpy<2" if int(np.__version__.split(".")[0]) >= 2 else "numpy>=2"
    install(install_plugin, requires=(older,))
    assert score(tiny_clips)[0]["scores"]["python"] == float(HOST.split(".")[1])
    (built,) = environments.installed()
    python = built.folder / "bin" / "python"
    statement = (
        "import importlib.util as u; print([n for n in ('rewardbench', 'pluggy', 'torch', 'av') if u.find_spec(n)])"
    )
    seen = subprocess.run([str(python), "-c", statement], capture_output=True, text=True, check=True, env={}, cwd=cache)
    assert seen.stdout.strip() == "[]"


def test_requirements_that_cannot_be_met_are_one_sentence(cache, install_plugin, tiny_clips) -> None:
    install(install_plugin, requires=("numpy<2", "numpy>=2"))
    with pytest.raises(PluginError, match="could not be built: .*numpy.*; the whole message is in ") as caught:
        score(tiny_clips)
    assert "\n" not in str(caught.value)
    assert environments.installed() == []


def test_offline_before_the_first_build_is_one_sentence(
    cache, install_plugin, tiny_clips, tmp_path, monkeypatch
) -> None:
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "empty"))
    install(install_plugin, requires=("numpy",))
    with pytest.raises(PluginError, match="could not be built: .*; the whole message is in "):
        score(tiny_clips)


def _record(environment: environments.Environment) -> dict[str, list[str]]:
    return json.loads((environment.folder / environments.RECORD).read_text(encoding="utf-8"))
