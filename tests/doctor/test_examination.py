"""The doctor finds what is wrong with an install, and says so where it cannot know."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from rewardbench.cli.app import main
from rewardbench.doctor import bundle, examination
from rewardbench.doctor.examination import FAULT, OK, UNKNOWN, Examination, examine, largest_difference
from rewardbench.doctor.references import Reference, read_references, write_reference
from rewardbench.errors import InputError, PluginError


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("REWARDBENCH_CACHE", str(tmp_path / "cache"))


def status(found: Examination) -> dict[str, str]:
    return {finding.check: finding.status for finding in found.findings}


def text(found: Examination, check: str) -> str:
    return next(finding.text for finding in found.findings if finding.check == check)


def test_the_bundled_clips_are_those_the_script_draws(tmp_path) -> None:
    bundle.draw(tmp_path)
    drawn = {clip.clip_id: (tmp_path / f"{clip.clip_id}.txt").read_text() for clip in bundle.bundled_clips()}
    assert drawn == {clip.clip_id: clip.prompt for clip in bundle.bundled_clips()}
    from rewardbench.video import read_frames
    from rewardbench_plugin.clip import FrameSpec, Sampling

    every = FrameSpec(sampling=Sampling("all", None))
    for clip in bundle.bundled_clips():
        bundled, again = read_frames(clip.video, [every])[every], read_frames(tmp_path / f"{clip.clip_id}.mp4", [every])
        assert bundled.rgb.shape == (bundle.FRAMES, bundle.HEIGHT, bundle.WIDTH, 3)
        difference = abs(bundled.rgb.astype(int) - again[every].rgb)
        assert difference.mean() < 1  # other builds of the encoder may decide otherwise; the picture is the same
        assert bundled.fps == pytest.approx(bundle.FPS)
    assert bundle.altered() == []


def test_a_sound_model_without_reference_is_unknown_not_ok() -> None:
    found = examine("random", device="cpu")
    assert status(found)["repeatability"] == OK
    assert status(found)["reference scores"] == UNKNOWN
    assert not found.has_fault
    assert set(found.scores) == {"walk.mp4", "wave.mp4", "jump.mp4"}


def test_recorded_scores_are_found_again_and_a_moved_one_is_a_fault(tmp_path) -> None:
    record = tmp_path / "reference.json"
    assert main(["doctor", "random", "--device", "cpu", "--record", str(record)]) == 0
    assert status(examine("random", device="cpu", reference=record))["reference scores"] == OK
    (reference,) = read_references(record)
    reference.scores["wave.mp4"]["overall"] += 0.01
    write_reference(record, reference)
    found = examine("random", device="cpu", reference=record)
    assert status(found)["reference scores"] == FAULT
    assert "0.01 (overall of wave.mp4) (allowed 0.001)" in text(found, "reference scores")
    assert main(["doctor", "random", "--device", "cpu", "--reference", str(record)]) == 1


def test_scores_of_another_model_are_no_reference(tmp_path) -> None:
    record = tmp_path / "reference.json"
    main(["doctor", "random", "--device", "cpu", "--record", str(record)])
    with pytest.raises(InputError, match="no reference scores of this model"):
        examine("random", device="cpu", seed=1, reference=record)


def test_missing_weights_are_a_finding(capsys) -> None:
    found = examine("clip", device="cpu")
    assert status(found) == {"weights": FAULT}
    assert "clip needs weights" in text(found, "weights")
    assert main(["doctor", "clip", "--format", "json"]) == 1
    assert json.loads(capsys.readouterr().out)["findings"][0]["status"] == FAULT


@pytest.mark.system
def test_weights_of_another_model_are_a_finding(tmp_path) -> None:
    from rewardbench.registry import find_reward, instantiate

    own = instantiate("animereward", find_reward("animereward").presets["mini"]).weights["mini"]
    found = examine("clip", weights={"": own}, options={"model": "ViT-B-32"}, device="cpu")
    assert status(found)["loading"] == FAULT


def test_an_unknown_plugin_is_an_error_of_the_command() -> None:
    with pytest.raises(PluginError, match="unknown plugin"):
        examine("nothing")


def test_altered_clips_are_found(tmp_path, monkeypatch) -> None:
    folder = tmp_path / "doctor" / "clips"
    shutil.copytree(Path(bundle.bundled_clips()[0].video).parent, folder)
    (folder / "wave.mp4").write_bytes(b"other")
    monkeypatch.setattr(bundle.resources, "files", lambda name: tmp_path / "doctor")
    found = examine("random", device="cpu")
    assert status(found) == {"bundled clips": FAULT}
    assert "wave.mp4" in text(found, "bundled clips")


def test_scores_that_depend_on_company_are_a_fault(monkeypatch) -> None:
    real = examination.score_clips_in_session

    def by_batch(settings, progress, *, resume):
        rows, session = real(settings, progress, resume=resume)
        for row in rows:
            row["scores"]["overall"] += 0.1 * (settings.batch_size == 1)
        return rows, session

    monkeypatch.setattr(examination, "score_clips_in_session", by_batch)
    assert status(examine("random", device="cpu"))["repeatability"] == FAULT


@pytest.mark.parametrize(
    ("expected", "given", "worst"),
    [
        ({"a": {"x": 1.0, "y": -2.0}}, {"a": {"x": 1.25, "y": -2.0}}, 0.25),
        ({"a": {"x": 10.0}}, {"a": {"x": 11.0}}, 0.1),  # relative above 1
        ({"a": {"x": None}}, {"a": {"x": None}}, 0.0),
        ({"a": {"x": None}}, {"a": {"x": 0.0}}, float("inf")),
        ({"a": {"x": 0.0}}, {"a": {"x": None}}, float("inf")),
        ({"a": {"x": None}}, {"a": {}}, float("inf")),
        ({"a": {"x": 0.0}}, {}, float("inf")),
        ({}, {}, 0.0),
    ],
)
def test_largest_difference(expected, given, worst) -> None:
    assert largest_difference(expected, given)[0] == pytest.approx(worst)


@pytest.mark.parametrize(
    ("content", "words"),
    [("{", "is not a file"), ('{"format": "other"}', "is not a file"), ("3", "is not a file of reference scores")],
)
def test_bad_reference_files_end_in_a_sentence(tmp_path, content, words) -> None:
    path = tmp_path / "r.json"
    path.write_text(content)
    with pytest.raises(InputError, match=words):
        read_references(path)


def test_a_list_of_references_is_searched(tmp_path) -> None:
    found = examine("random", device="cpu")
    assert found.reference is not None
    other = found.reference.model_copy(update={"fingerprint": "f" * 64})
    path = tmp_path / "r.json"
    path.write_text(json.dumps([json.loads(r.model_dump_json()) for r in (other, found.reference)]))
    assert isinstance(read_references(path)[1], Reference)
    assert status(examine("random", device="cpu", reference=path))["reference scores"] == OK


def test_the_shipped_model_has_reference_scores() -> None:
    found = examine("animereward", device="cpu")
    assert status(found)["reference scores"] == OK, text(found, "reference scores")


def test_scores_recorded_beside_a_weights_file_are_found(tmp_path) -> None:
    from rewardbench.registry import find_reward, instantiate

    shipped = Path(instantiate("animereward", find_reward("animereward").presets["mini"]).weights["mini"])
    own = tmp_path / "mini.safetensors"
    shutil.copy(shipped, own)
    given = ["doctor", "animereward:mini", "--device", "cpu", "--weights", str(own)]
    assert main([*given, "--record", str(tmp_path / "doctor.json")]) == 0
    found = examine("animereward:mini", weights={"": str(own)}, device="cpu")
    assert str(tmp_path / "doctor.json") in text(found, "reference scores")


@pytest.mark.parametrize(
    ("dtype", "device", "precision"),
    [
        (None, "cpu", "float32"),
        (None, "cuda", "bfloat16"),
        ("float16", "cpu", "float16"),
        ("float32", "cuda", "float32"),
    ],
)
def test_tolerance_follows_the_precision(dtype, device, precision) -> None:
    assert examination._precision(dtype, examination.Session(device=device)) == precision
