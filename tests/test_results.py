"""The result schema: what is written is read back, and the shipped JSON Schema is the one in force."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import rewardbench
from rewardbench.errors import InputError
from rewardbench.results import Result, json_schema, read_result, write_result

RECORD = {
    "schema": "rewardbench.result/1",
    "plugins": [],
    "benchmark": {"name": "b", "version": "1", "sha256": "0" * 64, "n_pairs": 1, "n_clips": 2},
    "metrics": [
        {
            "plugin": "p",
            "label": "l",
            "score": "s",
            "n": 1,
            "n_abstained": 0,
            "human_tie_rate": 0.0,
            "majority_floor": 1.0,
            "accuracy_with_ties": {
                "crossfit": {"value": 1.0, "ci95": [float("nan"), float("nan")], "tie_thresholds": [0.0]},
                "threshold": {"value": 1.0, "tie_threshold": 0.0, "ci95": [0.5, 1.0]},
                "videoalign": {"value": float("nan")},
            },
            "accuracy_without_ties": {"value": 1.0, "half_credit": 1.0},
            "kendall_tau_b": float("nan"),
        }
    ],
    "cluster": {"column": "prompt", "n": 1},
    "bootstrap": {"n": 1000, "seed": 0, "refit": "threshold"},
    "provenance": {"rewardbench": "0", "python": "3"},
}


def test_written_results_are_read_back(tmp_path: Path) -> None:
    result = Result.model_validate(RECORD)
    write_result(result, tmp_path / "result.json")
    assert read_result(tmp_path / "result.json") == result
    assert list(tmp_path.iterdir()) == [tmp_path / "result.json"], "no partial file is left"


def test_what_is_undefined_is_null_and_the_file_is_plain_json(tmp_path: Path) -> None:
    def refuse(text: str) -> float:
        raise AssertionError(f"{text} is not JSON")

    data = json.loads(Result.model_validate(RECORD).to_json(), parse_constant=refuse)
    ties = data["metrics"][0]["accuracy_with_ties"]
    assert ties["videoalign"]["value"] is None
    assert ties["crossfit"]["ci95"] is None
    assert ties["threshold"]["ci95"] == [0.5, 1.0]
    assert data["metrics"][0]["kendall_tau_b"] is None


def test_the_shipped_schema_is_in_force() -> None:
    shipped = Path(rewardbench.__file__).with_name("result.schema.json")
    assert json.loads(shipped.read_text()) == json.loads(json.dumps(json_schema()))


def test_unknown_fields_are_refused(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps({**RECORD, "metrics": [], "surprise": 1}))
    with pytest.raises(InputError, match="surprise"):
        read_result(tmp_path / "result.json")
