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
    assert any("1 file of part 'scores' is not in" in note for note in facts["notes"])


@pytest.mark.shared
@pytest.mark.parametrize("name", ["ta-hard", "vbench", "vbench-i2v", "videogen-eval"])
def test_the_published_bytes_under_a_loader_s_other_name_are_as_published(name: str, shared: Path) -> None:
    found = verify_benchmark(name, data_dir=shared / "data" / "prompts")
    assert (found.faults, found.files) == ((), (1, 1))


@pytest.mark.shared
@pytest.mark.parametrize(("name", "right"), [("genai-bench-video", 1), ("genai-bench-video-v1", 0), ("tvge", 0)])
def test_published_pairs_in_other_files_are_no_fault(
    name: str, right: int, shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file under another name, and tables that others made of the files: the fingerprint decides."""
    folder = shared / "data" / "tables"
    found = verify_benchmark(name, data_dir=folder)
    assert (found.faults, found.files[0]) == ((), right)
    assert right or any(
        "of part 'labels'" in note and "the pairs are the published ones" in note for note in found.notes
    )
    assert main(["benchmarks", "verify", name, "--data-dir", str(folder)]) == 0
    assert ("pairs as published (" in capsys.readouterr().out) == (not right)


@pytest.mark.shared
def test_half_of_the_pairs_is_a_fault_and_loading_says_so(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from rewardbench.benchmark import load_benchmark
    from rewardbench.catalogue.folders import remember_folder

    tables = shared / "data" / "tables"
    assert any("gives other pairs" in fault for fault in verify_benchmark("fetv", data_dir=tables).faults)
    remember_folder("fetv", tables)
    (warning,) = load_benchmark("fetv").warnings
    assert warning.startswith(
        "only the part 'even' of fetv is at hand (the even prompt ids): 1,860 pairs, the card says"
    )
    remember_folder("video-bench", tables / "video_bench_human")  # three of nine dimensions
    (warning,) = load_benchmark("video-bench").warnings
    assert "not the published ones (16,065 pairs, the card says 47,691)" in warning
    assert load_benchmark("video-bench:scene").warnings == ()
    remember_folder("genai-bench-video", tables)
    assert load_benchmark("genai-bench-video").warnings == ()
    assert main(["benchmarks", "fetch", "fetv", "--data-dir", str(tables)]) == 0
    said = capsys.readouterr().out
    assert "fetv: nothing fetched, found in" in said
    assert "only the part 'even' of fetv is at hand" in said


def test_another_number_of_pairs_is_told_where_no_fingerprint_is_known(tmp_path: Path) -> None:
    from rewardbench.benchmark import load_benchmark
    from rewardbench.catalogue.folders import remember_folder

    rating = "visual quality,temporal consistency,dynamic degree,text-to-video alignment,factual consistency"
    rows = "".join(f"v{i},p,1,2,3,4,1\n" for i in range(4))
    (tmp_path / "videofeedback_test.csv").write_text(f"id,text prompt,{rating}\n{rows}", encoding="utf-8")
    remember_folder("videofeedback-test", tmp_path)
    (warning,) = load_benchmark("videofeedback-test").warnings
    assert "(2 pairs, the card says 340)" in warning


def test_one_fault_is_one_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmarks", "verify", "ta-hard", "--data-dir", str(tmp_path)]) == 1
    assert "2 faults (0 of 1 files)" in capsys.readouterr().out  # cannot be read, and the file is not there
    (tmp_path / "TA_hard.csv").write_text("prompt,prompt_zh\n" + "a,b\n" * 72, encoding="utf-8")
    assert main(["benchmarks", "verify", "ta-hard", "--data-dir", str(tmp_path)]) == 1
    assert "1 fault (0 of 1 files)" in capsys.readouterr().out


def test_a_variant_that_does_not_exist_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmarks", "show", "video-bench:nope"]) == 2
    assert "benchmark 'video-bench' has no variant 'nope'" in capsys.readouterr().err
    assert main(["benchmarks", "show", "video-bench:scene"]) == 0
    assert main(["benchmarks", "show", "tvge:x"]) == 2
    assert "benchmark 'tvge' has no variant 'x'; it has none" in capsys.readouterr().err


def test_a_model_is_told_how_the_clips_of_the_catalogue_come(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from rewardbench.catalogue.folders import remember_folder

    (tmp_path / "data.json").write_text(json.dumps([PAIR]), encoding="utf-8")
    remember_folder("genai-bench-video", tmp_path)
    words = ["run", "--plugin", "random", "--benchmark", "genai-bench-video", "--out", str(tmp_path / "run")]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "plugin 'random' has to read the clips of benchmark 'genai-bench-video', and none of them is in" in said
    assert "put them as <id>.mp4 into the folder videos" in said
    assert "video_a" not in said


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
