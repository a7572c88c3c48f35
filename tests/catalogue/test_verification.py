"""Verification finds what is not as published, and says nothing where all is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rewardbench.catalogue.folders import data_folder
from rewardbench.catalogue.verification import verify_benchmark
from rewardbench.cli import main

PAIR = {"id": 0, "prompt": "p", "video_left": "a.mp4", "video_right": "b.mp4", "vote_type": "leftvote"}


@pytest.mark.shared
def test_published_files_are_as_published(tmp_path: Path, shared: Path) -> None:
    """The file as its repository has it: checksum, number of pairs and fingerprint agree; the folder is remembered."""
    mine = tmp_path / "mine"
    mine.mkdir()
    source = shared / "data" / "tables" / "genai_bench_video_pairs.json"
    (mine / "data.json").write_bytes(source.read_bytes())
    found = verify_benchmark("genai-bench-video", data_dir=mine)
    assert found.faults == ()
    assert (found.files, found.media) == ((1, 1), (0, 3778))
    assert data_folder("genai-bench-video") == mine


@pytest.mark.shared
def test_one_changed_vote_is_found_twice(tmp_path: Path, shared: Path) -> None:
    records = json.loads((shared / "data" / "tables" / "genai_bench_video_pairs.json").read_text(encoding="utf-8"))
    records[100]["vote_type"] = "leftvote" if records[100]["vote_type"] != "leftvote" else "rightvote"
    (tmp_path / "data.json").write_text(json.dumps(records), encoding="utf-8")
    found = verify_benchmark("genai-bench-video", data_dir=tmp_path)
    assert len(found.faults) == 2
    assert "data.json is not the published file" in found.faults[0]
    assert "gives other pairs than the published files: 1,889 pairs" in found.faults[1]
    assert data_folder("genai-bench-video") != tmp_path


def test_a_clip_that_changes_after_it_was_verified_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text(json.dumps([PAIR]), encoding="utf-8")
    (tmp_path / "a.mp4").write_bytes(b"one")
    first = verify_benchmark("genai-bench-video", data_dir=tmp_path)
    assert first.media == (1, 2)
    assert not any("changed" in fault for fault in first.faults)
    (tmp_path / "b.mp4").write_bytes(b"new")  # a clip that was not there before is no fault
    assert not any("changed" in fault for fault in verify_benchmark("genai-bench-video", data_dir=tmp_path).faults)
    (tmp_path / "a.mp4").write_bytes(b"two")
    faults = verify_benchmark("genai-bench-video", data_dir=tmp_path).faults
    assert [fault for fault in faults if "a.mp4 changed since it was first verified" in fault]


def test_missing_labels_are_a_fault_and_the_command_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmarks", "verify", "tvge", "--data-dir", str(tmp_path), "--format", "json"]) == 1
    (facts,) = json.loads(capsys.readouterr().out)
    assert facts["ok"] is False
    assert facts["files"] == [0, 3]
    assert any("2 files of part 'labels' are not in" in fault for fault in facts["faults"])
    assert any("1 files of part 'scores' are not in" in note for note in facts["notes"])


def test_what_nobody_has_seen_is_a_note(tmp_path: Path) -> None:
    assert "layout unseen: the label files" in verify_benchmark("videogen-rewardbench", data_dir=tmp_path).notes


def test_show_prints_a_card(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmarks", "show", "videogen-rewardbench"]) == 0
    said = capsys.readouterr().out
    assert "layout: unseen: the label files" in said
    assert "videoreward: VQ=VQ, MQ=MQ, TA=TA, Overall=overall" in said
    assert "hub: KlingTeam/VideoGen-RewardBench at 89761f4: media, 13.4 GB" in said


@pytest.mark.shared
def test_show_has_the_raters_where_their_ratings_are_at_hand(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = str(shared / "data" / "tables")
    assert main(["benchmarks", "show", "fetv", "--data-dir", folder, "--format", "json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [one["label"] for one in facts["agreement"]] == ["static_quality", "temporal_quality", "alignment"]
    assert all(one["n_pairs"] == 1860 and one["n_raters"] == 3 for one in facts["agreement"])
    assert main(["benchmarks", "show", "fetv", "--data-dir", folder]) == 0
    assert "one rater against the others" in capsys.readouterr().out


def test_fetch_all_goes_on_after_a_failure_and_ends_with_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from rewardbench.errors import InputError

    asked: list[str] = []

    def nothing(url: str, path: Path, **_: object) -> None:
        asked.append(url)
        raise InputError("no")

    monkeypatch.setattr("rewardbench.catalogue.fetching.download", nothing)
    monkeypatch.setattr("rewardbench.fetching.hub.listing", nothing)
    monkeypatch.setattr("rewardbench.catalogue.fetching._whole_revision", lambda source: source.revision)
    assert main(["benchmarks", "fetch", "all", "--data-dir", str(tmp_path), "--format", "json"]) == 2
    facts = json.loads(capsys.readouterr().out)
    assert {one["name"] for one in facts["failed"]} >= {"fetv", "tvge", "vbench"}
    assert len(asked) >= 10
