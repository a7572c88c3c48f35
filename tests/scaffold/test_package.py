"""A new package: what is written, what is refused, and that it passes as it is."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from rewardbench.cli.app import main
from rewardbench.conformance.kit import examine
from rewardbench.errors import InputError
from rewardbench.registry import load_registry
from rewardbench.scaffold.package import LICENCES, write_package

FILES = {
    ".github/workflows/test.yml",
    ".gitignore",
    "LICENSE",
    "README.md",
    "pyproject.toml",
    "src/rewardbench_my_reward/__init__.py",
    "src/rewardbench_my_reward/card.py",
    "src/rewardbench_my_reward/model.py",
    "tests/test_conformance.py",
    "tests/test_model.py",
}


def files(folder: Path) -> dict[str, str]:
    every = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8") for path in every}


@pytest.mark.parametrize("is_judge", [False, True])
@pytest.mark.parametrize("licence", LICENCES)
def test_the_package_is_complete_and_no_word_is_left_open(tmp_path, is_judge, licence) -> None:
    written = files(write_package("my-reward", tmp_path / "p", is_judge=is_judge, licence=licence))
    assert set(written) == FILES
    for name, text in written.items():
        assert not re.search(r"__[A-Z]+(_[A-Z]+)*__", text), name
    project = tomllib.loads(written["pyproject.toml"])
    assert project["project"]["name"] == "rewardbench-my-reward"
    assert project["project"]["license"] == LICENCES[licence]
    assert f'code_licence="{LICENCES[licence]}"' in written["src/rewardbench_my_reward/card.py"]
    assert project["project"]["entry-points"]["rewardbench"] == {"my-reward": "rewardbench_my_reward"}
    assert {"Apache-2.0": "Apache License", "MIT": "MIT License", "BSD-3-Clause": "BSD 3-Clause", "none": "All rights"}[
        licence
    ] in written["LICENSE"]


def test_the_same_words_give_the_same_bytes(tmp_path) -> None:
    assert files(write_package("a-b", tmp_path / "x")) == files(write_package("a-b", tmp_path / "y"))


@pytest.mark.parametrize("words", [[], ["--judge"]])
def test_the_written_code_is_in_the_style_it_states(tmp_path, words) -> None:
    ruff = shutil.which("ruff") or str(Path(sys.executable).with_name("ruff"))
    if not Path(ruff).exists():
        pytest.skip("ruff belongs to the style group")
    assert main(["plugins", "new", "my-reward", "--dir", str(tmp_path / "p"), *words]) == 0
    for command in (["check", "--select", "E,F,I,B,UP,N"], ["format", "--check"]):
        ended = subprocess.run([ruff, *command, "."], cwd=tmp_path / "p", capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stdout


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("My-Reward", "small letters"),
        ("my_reward", "small letters"),
        ("-x", "small letters"),
        ("3d", "small letters"),
        ("a--b", "small letters"),
        ("../x", "small letters"),
        ("rewardbench-x", "leave rewardbench out"),
        ("random", "is registered by rewardbench-video"),
    ],
)
def test_names_that_cannot_be_used_are_refused(tmp_path, name, words) -> None:
    with pytest.raises(InputError, match=words):
        write_package(name, tmp_path / "p")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmp_path, capsys) -> None:
    kept = tmp_path / "p" / "notes.txt"
    kept.parent.mkdir()
    kept.write_text("mine")
    assert main(["plugins", "new", "my-reward", "--dir", str(tmp_path / "p")]) == 2
    assert "not an empty folder" in capsys.readouterr().err
    assert files(tmp_path) == {"p/notes.txt": "mine"}
    kept.unlink()
    assert main(["plugins", "new", "my-reward", "--dir", str(tmp_path / "p")]) == 0
    assert main(["plugins", "new", "other", "--dir", str(tmp_path / "q"), "--licence", "GPL"]) == 2
    assert "choose one of Apache-2.0, MIT" in capsys.readouterr().err


def test_without_a_folder_it_is_named_after_the_package(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["plugins", "new", "my-reward"]) == 0
    printed = capsys.readouterr()
    assert printed.out == "rewardbench-my-reward\n"
    assert "pip install -e rewardbench-my-reward" in printed.err
    assert set(files(tmp_path / "rewardbench-my-reward")) == FILES


@pytest.mark.system
@pytest.mark.parametrize("is_judge", [False, True], ids=["model", "judge"])
def test_it_passes_the_conformance_checks_and_its_own_tests(tmp_path, monkeypatch, is_judge) -> None:
    folder = write_package("my-reward", tmp_path / "p", is_judge=is_judge)
    source, info = folder / "src", folder / "src" / "rewardbench_my_reward-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: rewardbench-my-reward\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("[rewardbench]\nmy-reward = rewardbench_my_reward\n")
    monkeypatch.syspath_prepend(str(source))
    importlib.invalidate_caches()
    load_registry.cache_clear()
    try:
        found = examine("my-reward").found
    finally:
        load_registry.cache_clear()
        for module in [m for m in sys.modules if m.partition(".")[0] == "rewardbench_my_reward"]:
            del sys.modules[module]
    assert found.faults == []
    assert [f.check for f in found.findings if f.status == "skipped"] == ["recorded-scores"]
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/test_model.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(source), *filter(None, sys.path)])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    assert re.search(r"[34] passed", ended.stdout)
