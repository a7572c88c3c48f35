"""Recorded scores: written into the package, found again, and a fault where they moved."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from rewardbench.cli.app import main
from rewardbench.conformance import recorded
from rewardbench.conformance.kit import examine
from rewardbench.doctor.examination import examine as doctor
from rewardbench.doctor.references import FILE
from rewardbench.errors import InputError


def place(name: str) -> Path:
    return Path(sys.modules[name.replace("-", "_")].__file__ or "").parent / FILE


def test_what_is_recorded_is_found_by_check_and_doctor_and_a_moved_score_is_a_fault(package, clips, capsys) -> None:
    name = package("reward")
    assert examine(name, clips=clips).found.of("recorded-scores").status == "skipped"
    assert main(["plugins", "check", name, "--record"]) == 0
    printed = capsys.readouterr()
    assert "passed  recorded-scores: recorded now" in printed.out
    assert str(place(name)) in printed.err
    assert examine(name, clips=clips).found.of("recorded-scores").status == "passed"
    findings = {finding.check: finding.status for finding in doctor(name, device="cpu").findings}
    assert findings["reference scores"] == "ok"

    kept = json.loads(place(name).read_text())
    kept["scores"]["wave.mp4"]["contrast"] += 0.01
    place(name).write_text(json.dumps(kept))
    found = examine(name, clips=clips).found
    assert [f.check for f in found.faults] == ["recorded-scores"]
    assert "contrast of wave.mp4" in found.of("recorded-scores").seen
    assert "--record" in found.of("recorded-scores").advice


def test_scores_of_an_earlier_version_are_stale(package, clips, capsys) -> None:
    name = package("judge")
    assert main(["plugins", "check", name, "--record"]) == 0
    capsys.readouterr()
    file = place(name)
    assert set(json.loads(file.read_text())["scores"]["walk.mp4 beside wave.mp4"]) == {"A", "tie", "B"}
    file.write_text(
        file.read_text()
        .replace('"version": "1.0"', '"version": "0.9"')
        .replace('"fingerprint": "', '"fingerprint": "0')
    )
    found = examine(name, clips=clips).found
    assert [f.check for f in found.faults] == ["recorded-scores"]
    assert "is of version 0.9, this is 1.0" in found.of("recorded-scores").seen
    reference = recorded.read_references(file)[0]
    recorded.record(reference.model_copy(update={"version": "1.0", "fingerprint": "f"}), name.replace("-", "_"))
    assert [r.version for r in recorded.read_references(file)] == ["1.0"]


def test_other_presets_and_weights_are_kept(package) -> None:
    module = package("reward").replace("-", "_")
    first = recorded.Reference(plugin="a:x", version="1", fingerprint="f", tolerance=1e-3, scores={})
    for changes in ({}, {"plugin": "a:y"}, {"fingerprint": "g"}, {"fingerprint": "g", "tolerance": 1e-2}):
        recorded.record(first.model_copy(update=changes), module)
    kept = recorded.read_references(recorded.package_folder(module) / FILE)
    assert [(r.plugin, r.fingerprint, r.tolerance) for r in kept] == [
        ("a:x", "f", 1e-3),
        ("a:y", "f", 1e-3),
        ("a:x", "g", 1e-2),
    ]


def test_an_installed_copy_is_not_written_to(monkeypatch) -> None:
    import numpy

    monkeypatch.setattr(recorded.sysconfig, "get_path", lambda name: str(Path(numpy.__file__).parents[1]))
    reference = recorded.Reference(plugin="a", version="1", fingerprint="f", tolerance=1e-3, scores={})
    with pytest.raises(InputError, match="editable"):
        recorded.record(reference, "numpy")


def test_nothing_unsound_is_recorded(package, capsys) -> None:
    name = package("reward", ("        notes = [", "        values = values + 1\n        notes = ["))
    assert main(["plugins", "check", name, "--record"]) == 1
    assert "nothing is recorded" in capsys.readouterr().err
    assert not place(name).exists()
