"""The literature's numbers: every one has a source, a protocol and a tie rule, and agrees with its manifest."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from rewardbench.catalogue.published import published_folder, read_published
from rewardbench.errors import InputError
from rewardbench.reproduction import manifests


def test_every_number_has_its_source_protocol_and_tie_rule() -> None:
    found = read_published()
    assert len(found) > 200
    assert all(one.source and one.protocol and one.tie_rule for one in found)
    assert {path.stem for path in published_folder().glob("*.csv")} == {one.benchmark.lower() for one in found}


def test_the_same_model_has_different_numbers_in_different_papers() -> None:
    """VideoReward on VideoGen-RewardBench, with ties: 61.26, 60.1 and 59.69, which only the source tells apart."""
    overall = [
        one
        for one in read_published()
        if (one.benchmark, one.dimension, one.model, one.metric)
        == ("videogen-rewardbench", "Overall", "VideoReward", "accuracy_with_ties")
    ]
    assert {one.value for one in overall} == {"61.26", "60.1", "59.69"}
    assert len({one.source for one in overall}) == 3
    assert len({one.tie_rule for one in overall}) == 3


def test_rows_that_can_be_reproduced_have_the_same_digits_in_both_places() -> None:
    """Each number that names a row stands in the row's manifest, and each printed cell of a manifest stands here."""
    printed: dict[str, set[str]] = {}
    for one in read_published():
        if one.row:
            printed.setdefault(one.row, set()).add(one.value)
    for name, manifest in manifests().items():
        assert printed[name] == {cell.value for cell in manifest.cells if cell.origin == "paper"}, name
    assert set(printed) == set(manifests())


def test_no_model_s_name_ends_in_the_middle_of_a_sentence() -> None:
    names = {one.model for one in read_published()}
    assert {name for name in names if name != name.strip(" ,;:")} == set()
    assert {"AnimeReward's paper, baseline", "AnimeReward's paper, more-motion"} <= names


@pytest.mark.shared
def test_no_number_of_the_collected_table_is_lost(shared: Path) -> None:
    with open(shared / "data" / "tables" / "published_leaderboards.csv", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    expected = sorted((row["model"], float(row[c])) for row in rows for c in row if c.startswith("acc_") and row[c])
    ours = [(one.model, one.number) for one in read_published()]
    for item in expected:
        ours.remove(item)  # each as often as it is printed


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"source": ""}, "source is empty; a published number needs its source"),
        ({"tie_rule": ""}, "tie_rule is empty"),
        ({"value": "about 60"}, "'about 60' in unit 'percent' is not a number"),
        ({"value": "nan"}, "'nan' in unit 'percent' is not a number"),
        ({"unit": "%"}, ".* in unit '%' is not a number"),
    ],
)
def test_a_number_without_its_papers_is_refused(tmp_path: Path, change: dict[str, str], sentence: str) -> None:
    path = next(iter(sorted(published_folder().glob("*.csv"))))
    with open(path, encoding="utf-8") as stream:
        first = next(csv.DictReader(stream))
    with open(tmp_path / "t.csv", "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(first))
        writer.writeheader()
        writer.writerow({**first, **change})
    with pytest.raises(InputError, match=f"t.csv, row 1: {sentence}"):
        read_published([tmp_path / "t.csv"])
    (tmp_path / "u.csv").write_text("model,value\nx,1\n", encoding="utf-8")
    with pytest.raises(InputError, match="u.csv must have the columns benchmark, dimension"):
        read_published([tmp_path / "u.csv"])
