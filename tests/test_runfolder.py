"""A run folder's record: read as it was written, and otherwise refused with one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rewardbench.errors import InputError
from rewardbench.results import BenchmarkRecord, CostRecord, Provenance
from rewardbench.runfolder import RUN_FILE, RunRecord, read_run, write_run


@pytest.fixture
def record() -> RunRecord:
    return RunRecord(
        identity={"plugins": [["scores", "f"]], "benchmark": ["votes", "1", "a"]},
        plugins=[],
        benchmark=BenchmarkRecord(name="votes", version="1", sha256="a" * 64, n_pairs=2, n_clips=4),
        rows=[],
        cluster="prompt",
        bootstrap=10,
        seed=0,
        tie_threshold=None,
        label_format="plain",
        cost=CostRecord(),
        warnings=[],
        provenance=Provenance(rewardbench="0.1.0", python="3.11"),
    )


def test_what_was_written_is_read(record: RunRecord, tmp_path: Path) -> None:
    write_run(tmp_path, record)
    assert read_run(tmp_path) == record


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda d: d.update(schema="rewardbench.run/2"),
            "is of the newer schema rewardbench.run/2; .* so update rewardbench",
        ),
        (
            lambda d: d.update(schema="rewardbench.run/0"),
            "is of the older schema rewardbench.run/0; .* run the benchmark again",
        ),
        (lambda d: d.update(schema="rewardbench.result/1"), "is of a foreign schema \\('rewardbench.result/1'\\)"),
        (lambda d: d.pop("schema"), "is of a foreign schema \\(None\\)"),
        (lambda d: d.pop("rows"), "does not follow rewardbench.run/1: rows: Field required"),
    ],
)
def test_a_record_of_another_schema_is_refused(record: RunRecord, tmp_path: Path, change: Any, sentence: str) -> None:
    write_run(tmp_path, record)
    data = json.loads((tmp_path / RUN_FILE).read_text(encoding="utf-8"))
    change(data)
    (tmp_path / RUN_FILE).write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(InputError, match=sentence):
        read_run(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_record_is_one_plain_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / RUN_FILE).write_bytes(content)
    with pytest.raises(InputError) as refused:
        read_run(tmp_path)
    place = tmp_path / RUN_FILE
    assert str(refused.value) == f"{place} is not a readable JSON file; run the benchmark again"


def test_a_list_is_of_no_schema(tmp_path: Path) -> None:
    (tmp_path / RUN_FILE).write_text("[]")
    with pytest.raises(InputError, match="is of a foreign schema"):
        read_run(tmp_path)
