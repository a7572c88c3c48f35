"""Every check finds the defect it is named after, and no other check mistakes it for its own.

Each case of mutants.py breaks a sound package in one place. Where a second check fails too, the case says so.
"""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

from rewardbench.conformance.checks import FAILED, PASSED, SKIPPED
from rewardbench.conformance.kit import all_checks, examine
from rewardbench.conformance.session import Limits

MUTANTS = runpy.run_path(str(Path(__file__).with_name("mutants.py")))["MUTANTS"]


def test_every_check_has_a_mutant() -> None:
    recorded = {"recorded-scores"}  # has a file of its own: test_recorded.py
    assert {mutant.check for mutant in MUTANTS} | recorded == {
        c.name for checks in all_checks().values() for c in checks
    }


@pytest.mark.parametrize("kind", ["reward", "path", "judge", "benchmark", "reporter", "engine", "generator", "latent"])
def test_a_sound_package_passes(kind, package, clips) -> None:
    found = examine(package(kind), clips=clips).found
    assert [(f.check, f.seen) for f in found.faults] == []
    skipped = {f.check for f in found.findings if f.status == SKIPPED}
    assert skipped <= {"recorded-scores", *({"dimension-subset"} if kind == "path" else ())}


@pytest.mark.parametrize("mutant", MUTANTS, ids=str)
def test_a_defect_is_found_by_the_check_that_names_it(mutant, package, clips, tmp_path, monkeypatch) -> None:
    name = package(mutant.kind, *mutant.changes, files={"beside_the_package.py": ""})
    monkeypatch.chdir(tmp_path)
    found = examine(name, clips=clips, limits=Limits(score_timeout=60.0)).found
    failed = {f.check: f for f in found.findings if f.status == FAILED}
    assert set(failed) == {mutant.check, *mutant.also}, [(f.check, f.seen) for f in failed.values()]
    finding = failed[mutant.check]
    assert mutant.words in finding.seen
    assert finding.advice
    assert finding.wants.endswith(".")
    before = [f.check for f in found.findings].index(mutant.check)
    assert all(f.status != SKIPPED for f in found.findings[:before] if f.check != "recorded-scores")
    assert PASSED in {f.status for f in found.findings} or mutant.check == "registers"
