"""Files of every version of every schema, frozen as they were written, are still read, and say what they said.

The labels of ``frozen/run-1`` are A, B, A, B, tie, A on three prompts. Score ``s`` is right on all decided pairs but
the fourth, ``t`` on the first and the last alone; both tie on the fifth. A new schema version adds its files beside
these; none is ever changed.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from rewardbench.align.evidence import read_result as read_alignment
from rewardbench.align.report import write_report as write_alignment_report
from rewardbench.comparing.record import Comparison
from rewardbench.errors import InputError
from rewardbench.labelling.session import all_answers
from rewardbench.labelling.settings import read_settings
from rewardbench.leaderboard.known import FILE_NAME, known_benchmarks
from rewardbench.leaderboard.verification import verify_bundles
from rewardbench.probing.record import read_probe
from rewardbench.results import read_result
from rewardbench.runs import rebuild_report
from rewardbench.schemas import schema_fault

FROZEN = Path(__file__).with_name("frozen")
WITHOUT_TIES = {"s": 4 / 5, "t": 2 / 5}


def test_result_1() -> None:
    found = read_result(FROZEN / "run-1" / "result.json")
    assert {m.score: m.accuracy_without_ties.value for m in found.metrics} == WITHOUT_TIES
    assert {m.score: m.human_tie_rate for m in found.metrics} == dict.fromkeys("st", 1 / 6)


def test_run_1_gives_its_result_anew(tmp_path: Path) -> None:
    shutil.copytree(FROZEN / "run-1", tmp_path / "run")
    before = json.loads((tmp_path / "run" / "result.json").read_text(encoding="utf-8"))["metrics"]
    (tmp_path / "run" / "result.json").unlink()
    rebuild_report(tmp_path / "run")
    after = json.loads((tmp_path / "run" / "result.json").read_text(encoding="utf-8"))["metrics"]
    assert after == before


def test_comparison_1() -> None:
    found = Comparison.model_validate_json((FROZEN / "comparison-1.json").read_text(encoding="utf-8"))
    (pair,) = next(one for one in found.comparisons if one.rule == "without-ties").pairs
    assert (pair.value_a, pair.value_b, pair.only_a, pair.only_b) == (4 / 5, 2 / 5, 2, 0)
    assert pair.p == 2 / 4  # two prompts differ: of four sign flips, two reach the sum


def test_bundle_1_and_known_benchmarks_1(tmp_path: Path) -> None:
    shutil.copy(FROZEN / "known-benchmarks-1.json", tmp_path / FILE_NAME)
    (found,) = verify_bundles([FROZEN / "bundle-1.zip"], known_benchmarks(tmp_path))
    assert found.faults == ()
    assert [(row.row.score, row.metric.accuracy_without_ties.value) for row in found.rows] == [("s", 4 / 5)]


def test_probe_1() -> None:
    found = read_probe(FROZEN / "probe-1.json")
    assert found.plugin.label == "random"
    assert [d.name for d in found.dimensions] == ["overall"]


def test_labelling_1_and_labels_1() -> None:
    assert read_settings(FROZEN / "labelling-1").dimensions == ("motion",)
    better = {"first": 1, "tie": 0, "second": -1}
    said = {
        rater: [better[a.choice] * (-1 if a.swapped else 1) for a in sorted(given, key=lambda a: a.pair_id)]
        for rater, given in all_answers(FROZEN / "labelling-1").items()
    }
    assert said == {"Ann": [1, 0, -1], "Bob": [1, -1, -1]}


def test_align_1(tmp_path: Path) -> None:
    shutil.copy(FROZEN / "align-1.json", tmp_path / "result.json")
    found = read_alignment(tmp_path)
    assert (found["algorithm"], found["prompts"]["compared_on"]) == ("sft", 2)
    write_alignment_report(tmp_path)
    assert "decided by <bdi>drawn-rules:flicker</bdi>" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ("rewardbench.result/2", "x is of the newer schema rewardbench.result/2; .* so update rewardbench"),
        ("rewardbench.result/0", "x is of the older schema rewardbench.result/0; .* so run it again"),
        ("rewardbench.probe/1", r"x is of a foreign schema \('rewardbench.probe/1'\)"),
        ("rewardbench.result/1" + "0" * 999, r"x is of a foreign schema \('rewardbench.result/10{59}\.\.\.\)"),
        (None, r"x is of a foreign schema \(None\)"),
        (["<b>\u202e"], r"x is of a foreign schema \(\['<b>\\u202e'\]\)"),
    ],
)
def test_another_schema_is_told_in_a_sentence(found: object, said: str) -> None:
    sentence = schema_fault(found, "rewardbench.result/1", "x", remedy="run it again")
    assert sentence is not None
    assert re.match(said, sentence)


def test_the_known_schema_has_no_fault() -> None:
    assert schema_fault("rewardbench.result/1", "rewardbench.result/1", "x", remedy="run it again") is None


@pytest.mark.parametrize("version", [0, 2])
@pytest.mark.parametrize("name", ["result.json", "run.json"])
def test_a_run_of_another_version_is_refused(name: str, version: int, tmp_path: Path) -> None:
    shutil.copytree(FROZEN / "run-1", tmp_path / "run")
    path = tmp_path / "run" / name
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace(f"rewardbench.{path.stem}/1", f"rewardbench.{path.stem}/{version}"), encoding="utf-8")
    again = {"result.json": lambda: read_result(path), "run.json": lambda: rebuild_report(tmp_path / "run")}[name]
    with pytest.raises(InputError, match="is of the (older|newer) schema"):
        again()
