"""Benchmarks of the catalogue: ids and fingerprints do not depend on where files lie; clips are used where they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rewardbench.catalogue.building import PairRow, Side, build_benchmark, fingerprint
from rewardbench.catalogue.folders import data_folder, find_media, remember_folder
from rewardbench.errors import InputError

ROWS = [
    PairRow("1", Side("a.mp4", "p"), Side("b.mp4", "p"), {"x": 1, "y": None}, {"model_a": "s"}),
    PairRow("2", Side("a.mp4", "q"), Side("c.mp4", "q"), {"x": 0, "y": -1}),
]


def test_without_clips_there_are_ids_and_labels_only(tmp_path: Path) -> None:
    found = build_benchmark("n", "1", ROWS, tmp_path)
    assert not found.has_clips
    assert {clip.video for clip in found.clips.values()} == {""}
    assert [clip.metadata["name"] for clip in found.clips.values()] == ["a.mp4", "b.mp4", "a.mp4", "c.mp4"]
    assert [dict(c.labels) for c in found.comparisons] == [{"x": 1}, {"x": 0, "y": -1}]
    assert found.labels == ("x", "y")
    assert len({c.clip_a for c in found.comparisons}) == 2  # the same file under another prompt is another clip


@pytest.mark.parametrize("where", ["a.mp4", "videos/a.mp4", "media/a.mp4"])
def test_clips_are_found_where_they_are(tmp_path: Path, where: str) -> None:
    (tmp_path / where).parent.mkdir(exist_ok=True)
    (tmp_path / where).write_bytes(b"clip")
    found = build_benchmark("n", "1", ROWS, tmp_path)
    assert found.has_clips
    assert found.clips["a.mp4"].video == str(tmp_path / where)
    assert not Path(found.clips["b.mp4"].video).exists()  # costs itself when it is scored


def test_the_fingerprint_is_of_the_pairs_alone(tmp_path: Path) -> None:
    one = build_benchmark("n", "1", ROWS, tmp_path)
    (tmp_path / "a.mp4").write_bytes(b"clip")
    other = build_benchmark("m", "2", [replace(row, columns={}) for row in ROWS], tmp_path)
    assert one.sha256 == other.sha256 == fingerprint(ROWS)


@pytest.mark.parametrize(
    "changed",
    [
        [*ROWS, replace(ROWS[0], pair_id="3")],
        ROWS[::-1],
        [replace(ROWS[0], labels={"x": -1, "y": None}), ROWS[1]],
        [replace(ROWS[0], a=Side("a.mp4", "other")), ROWS[1]],
        [replace(ROWS[0], a=ROWS[0].b, b=ROWS[0].a), ROWS[1]],
    ],
)
def test_every_change_of_a_pair_changes_the_fingerprint(changed: list[PairRow]) -> None:
    assert fingerprint(changed) != fingerprint(ROWS)


def test_ids_are_unique_and_there_are_pairs(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="pair '1' of benchmark 'n' stands twice"):
        build_benchmark("n", "1", [ROWS[0], ROWS[0]], tmp_path)
    with pytest.raises(InputError, match="holds no pairs"):
        build_benchmark("n", "1", [], tmp_path)


@pytest.mark.parametrize("name", ["../secret.mp4", "/etc/passwd", "x/../../secret.mp4", "", "a\0b", "http://x/y.mp4"])
def test_names_that_lead_out_of_the_folder_are_not_looked_for(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.mp4").write_bytes(b"x")
    (tmp_path / "inner").mkdir()
    assert find_media(tmp_path / "inner", name) is None


def test_a_link_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.mp4").write_bytes(b"x")
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "a.mp4").symlink_to(tmp_path / "secret.mp4")
    with pytest.raises(InputError, match="leads out of the folder"):
        build_benchmark("n", "1", ROWS, inner)


def test_a_folder_that_was_named_is_found_again_while_it_exists(tmp_path: Path, own_cache: Path) -> None:
    assert data_folder("fetv") == own_cache / "benchmarks" / "fetv"
    mine = tmp_path / "mine"
    mine.mkdir()
    remember_folder("fetv", mine)
    assert data_folder("fetv") == mine
    assert data_folder("fetv", tmp_path / "other") == tmp_path / "other"
    mine.rmdir()
    assert data_folder("fetv") == own_cache / "benchmarks" / "fetv"
