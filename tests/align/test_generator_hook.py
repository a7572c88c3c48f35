"""Generators and latent rewards of other packages, found through the hooks as an installed package offers them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.align.conftest import write_tiny_toy

MODULE = """
    from rewardbench.align.families.toy import ToyFamily
    from rewardbench_plugin.hooks import Manifest, hookimpl


    class Theirs(ToyFamily):
        name = "theirs"


    @hookimpl
    def rewardbench_generators():
        return [Manifest("theirs", "their_generators:Theirs", "a generator of another package")]
"""
ASK = """
    import sys
    from rewardbench.align.families import family_name, family_names, load_family

    assert "theirs" in family_names() and "wan" in family_names(), family_names()
    assert family_name("theirs:" + sys.argv[1]) == "theirs"
    found = load_family("theirs:" + sys.argv[1])
    print(type(found).__name__, found.name, list(found.latent_shape))
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder of installed packages that holds one with generators."""
    site = tmp_path / "site"
    info = site / "their_generators-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "their_generators.py").write_text(textwrap.dedent(MODULE), encoding="utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-generators\nVersion: 1.0\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[rewardbench]\ntheirs = their_generators\n", encoding="utf-8")
    return site


def ask(site: Path, *words: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, [str(site), os.environ.get("PYTHONPATH", "")]))
    return subprocess.run(
        [sys.executable, *words], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False
    )


@pytest.mark.system
def test_a_family_of_another_package_is_loaded_by_name(site: Path, tmp_path: Path) -> None:
    done = ask(site, "-c", textwrap.dedent(ASK), str(write_tiny_toy(tmp_path / "toy")))
    assert done.returncode == 0, done.stderr
    assert done.stdout.split(maxsplit=2) == ["Theirs", "theirs", "[8, 2, 4, 4]\n"]


@pytest.mark.system
def test_a_name_that_two_packages_register_is_refused(site: Path) -> None:
    (site / "their_generators.py").write_text(
        textwrap.dedent(MODULE).replace('Manifest("theirs"', 'Manifest("wan"'), encoding="utf-8"
    )
    done = ask(site, "-m", "rewardbench.cli", "align", "--plugin", "random", "--model", "wan:x", "--dry-run")
    assert done.returncode == 2
    assert "two packages register the generator family 'wan'" in done.stderr
    assert json.dumps(done.stderr).count("\\n") == 1  # one sentence
