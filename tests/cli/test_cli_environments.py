"""``rewardbench environments``: what was built, building ahead of time, and removing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rewardbench import environments
from rewardbench.cli.app import main


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One environment as a build leaves it."""
    monkeypatch.setenv("REWARDBENCH_CACHE", str(tmp_path))
    folder = environments.environments_folder() / "vbench-0123456789abcdef"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").write_bytes(bytes(1000))
    record = {"plugin": "vbench", "requires": ["vbench==0.1.5"], "python": "3.11", "built": "2026-01-01T00:00:00+00:00"}
    (folder / environments.RECORD).write_text(json.dumps({**record, "packages": []}))
    return folder


def test_list(built, capsys) -> None:
    assert main(["environments", "list"]) == 0
    header, line = capsys.readouterr().out.splitlines()
    assert header.split() == ["environment", "plugin", "python", "size", "built"]
    assert line.split()[:3] == ["vbench-0123456789abcdef", "vbench", "3.11"]
    assert main(["environments", "list", "--format", "json"]) == 0
    (facts,) = json.loads(capsys.readouterr().out)
    assert (facts["folder"], facts["requires"]) == (str(built), ["vbench==0.1.5"])
    assert facts["bytes"] == sum(path.stat().st_size for path in built.rglob("*") if path.is_file())


def test_remove(built, capsys) -> None:
    assert main(["environments", "remove", "vbench"]) == 0
    assert capsys.readouterr().out.split() == [str(built)]
    assert not built.exists()
    assert main(["environments", "remove", "vbench"]) == 2
    assert "no environment named 'vbench'" in capsys.readouterr().err


def test_build_says_where_it_is(built, capsys, monkeypatch) -> None:
    from rewardbench.scoring.process import Interpreter

    asked = []

    def ensure(recipe, progress) -> Interpreter:
        asked.append(recipe.plugin)
        return Interpreter(built / "bin" / "python", built)

    monkeypatch.setattr(environments, "ensure", ensure)
    monkeypatch.setenv("VBENCH_CACHE_DIR", "/nowhere")
    assert main(["environments", "build", "vbench"]) == 0
    assert (capsys.readouterr().out.strip(), asked) == (str(built), ["vbench"])


def test_what_shares_our_environment_has_none_to_build(built, capsys) -> None:
    assert main(["environments", "build", "random"]) == 2
    assert "there is nothing to build" in capsys.readouterr().err
