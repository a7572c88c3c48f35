"""The pytest plugin: a test for each check, and nothing for anybody else."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import rewardbench


def run_pytest(folder: Path, test: str, *words: str, site: Path | None = None) -> str:
    (folder / "test_it.py").write_text(textwrap.dedent(test), encoding="utf-8")
    path = [str(site)] if site else []
    path += [str(Path(rewardbench.__file__).parents[1]), *filter(None, sys.path)]
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider", *words, "test_it.py"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path), "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    return ended.stdout + ended.stderr


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "theirs"
    made.mkdir()
    return made


def loaded(words: tuple[str, ...]) -> tuple[str, ...]:
    """The plugin, unless this install's entry point brings it anyway."""
    from importlib.metadata import entry_points

    known = [e for e in entry_points(group="pytest11") if e.value == "rewardbench.testing"]
    return words if known else ("-p", "rewardbench.testing", *words)


def test_each_check_is_a_test_of_its_own(package, folder, tmp_path) -> None:
    name = package("reward", ("        notes = [", "        values = values + 1\n        notes = ["))
    said = run_pytest(
        folder,
        f"""
        from rewardbench.testing import conformance
        test_conformance = conformance({name!r})
        """,
        *loaded(()),
        site=tmp_path / "site",
    )
    assert "PASSED test_it.py::test_conformance[dtype]" in said
    assert "FAILED test_it.py::test_conformance[range]" in said
    assert "walk.mp4: brightness is 1." in said
    assert "do: declare the range the model really has" in said
    assert "SKIPPED" in said  # recorded-scores
    failed = [line for line in said.splitlines() if line.startswith("FAILED")]
    assert all(f"[{check}]" in line for check, line in zip(("range", "missing-inputs"), failed, strict=False))


def test_weights_that_cannot_be_used_fail_with_the_sentence(folder) -> None:
    said = run_pytest(
        folder,
        """
        from rewardbench.testing import conformance
        test_conformance = conformance("random")
        """,
        *loaded(("--rewardbench-option", "size=3", "-k", "answers")),
    )
    assert "plugin 'random' has no option 'size'; it takes no options" in said


def test_other_people_s_tests_import_nothing_and_see_nothing(folder) -> None:
    said = run_pytest(
        folder,
        """
        import sys

        def test_nothing_is_imported(request):
            ours = sorted(m for m in sys.modules if m.partition(".")[0].startswith("rewardbench"))
            assert set(ours) <= {"rewardbench", "rewardbench.testing"}
            assert not {"numpy", "torch", "av", "pydantic", "pluggy._rewardbench"} & set(sys.modules)
            assert not [f for f in request.fixturenames if "rewardbench" in f]
        """,
        *loaded(("-p", "no:xdist", "-p", "no:hypothesispytest")),
    )
    assert "1 passed" in said, said


def test_its_options_are_listed(folder) -> None:
    said = run_pytest(folder, "def test_one(): ...", *loaded(("--help",)))
    for option in (
        "--rewardbench-weights=[PART=]PATH",
        "--rewardbench-option=KEY=VALUE",
        "--rewardbench-device=DEVICE",
    ):
        assert option in said
