"""Totals of VBench-I2V against published rows, printed with two decimals of a percentage."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from rewardbench_vbench.totals import I2V, QUALITY, i2v_totals

EIGHT = (
    "i2v_subject",
    "i2v_background",
    "subject_consistency",
    "background_consistency",
    "motion_smoothness",
    "dynamic_degree",
    "aesthetic_quality",
    "imaging_quality",
)
ANIMEREWARD = {  # arXiv 2504.10044, Tables 1 and 6: total, then the eight dimensions
    "baseline": (85.73, 95.20, 93.15, 93.76, 95.49, 98.70, 57.33, 53.95, 68.44),
    "sft": (85.72, 95.53, 93.37, 94.12, 95.63, 98.87, 47.33, 54.55, 69.60),
    "ours": (86.24, 96.35, 94.11, 95.20, 96.41, 99.13, 43.33, 54.28, 68.98),
    "more motion": (85.81, 95.43, 93.29, 94.16, 95.54, 98.58, 56.00, 54.01, 68.45),
}


@pytest.mark.parametrize("row", ANIMEREWARD.values(), ids=ANIMEREWARD)
def test_without_camera_motion_the_published_totals_come_out(row) -> None:
    totals = i2v_totals({name: value / 100 for name, value in zip(EIGHT, row[1:], strict=True)})
    assert totals.label == "total_8dim"
    assert f"{100 * totals.total:.2f}" == f"{row[0]:.2f}"
    assert totals.total == pytest.approx((totals.i2v + totals.quality) / 2)


def test_a_missing_camera_motion_is_not_a_camera_motion_of_zero() -> None:
    row = ANIMEREWARD["baseline"]
    scores = {name: value / 100 for name, value in zip(EIGHT, row[1:], strict=True)}
    as_zero = i2v_totals({**scores, "camera_motion": 0.0})
    assert as_zero.label == "total"
    assert f"{100 * as_zero.total:.2f}" == "83.53"


@pytest.mark.shared
def test_with_camera_motion_the_published_totals_come_out(shared: Path) -> None:
    with open(shared / "data" / "tables" / "vbench_i2v_step.csv", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert rows
    for row in rows:
        totals = i2v_totals({name: float(row[name]) / 100 for name in {**I2V, **QUALITY}})
        assert totals.label == "total"
        assert 100 * totals.total == pytest.approx(float(row["total_published"]), abs=0.011)
        assert 100 * totals.i2v == pytest.approx(float(row["i2v_published"]), abs=0.011)
        assert 100 * totals.quality == pytest.approx(float(row["quality_published"]), abs=0.011)


def test_the_ends_of_the_ranges_are_zero_and_one() -> None:
    constants = {**I2V, **QUALITY}
    assert i2v_totals({name: low for name, (low, _, _) in constants.items()}).total == pytest.approx(0)
    assert i2v_totals({name: high for name, (_, high, _) in constants.items()}).total == pytest.approx(1)
    assert sum(weight for _, _, weight in QUALITY.values()) == 5.5


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"imaging_quality": None}, "the totals of VBench-I2V need imaging_quality"),
        ({"imaging_quality": 68.44}, "not between 0 and 1: imaging_quality 68.44"),
        ({"i2v_subject": float("nan")}, "not between 0 and 1: i2v_subject nan"),
    ],
)
def test_what_cannot_be_totalled_is_named(change, sentence) -> None:
    scores = dict.fromkeys(EIGHT, 0.5) | change
    with pytest.raises(ValueError, match=sentence):
        i2v_totals({name: value for name, value in scores.items() if value is not None})
