"""Reproducing a row: manifests, what is missing, a model's row on tiny clips, and the command's exit codes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from rewardbench.benchmark import LABEL_FORMATS
from rewardbench.catalogue.card import Size, need_card
from rewardbench.catalogue.fetching import load_from
from rewardbench.cli import main
from rewardbench.errors import InputError
from rewardbench.metrics import pairwise_accuracy
from rewardbench.registry import load_registry, resolve_spec
from rewardbench.reproduction import find_manifest, manifests, reproduce
from rewardbench.reproduction.manifest import FOLDER, read_manifest
from rewardbench.reproduction.model_rows import RECIPE, RunRequest, fetch_for
from rewardbench.reproduction.recipes import RECIPES
from rewardbench.reproduction.sources import settings_faults, weights_faults, weights_words


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REWARDBENCH_CACHE", str(tmp_path / "cache"))


def test_every_manifest_names_a_benchmark_a_recipe_and_a_plugin_that_exist() -> None:
    known = load_registry()
    for name, manifest in manifests().items():
        assert manifest.benchmark in known.benchmarks
        assert name.endswith(f"@{manifest.benchmark}")
        assert manifest.recipe in (*RECIPES, RECIPE)
        assert (manifest.run is not None) == (manifest.recipe == RECIPE)
        if manifest.run is not None:
            resolve_spec(manifest.run.plugin)
            labels = {cell.name.partition(".")[0] for cell in manifest.cells}
            assert set(manifest.run.score_map) == labels
        assert all(cell.reproduces or cell.why for cell in manifest.cells)


def test_an_unknown_row_has_a_neighbour() -> None:
    with pytest.raises(InputError, match="no published row 'umtscor@fetv'; did you mean 'umtscore@fetv'"):
        find_manifest("umtscor@fetv")
    with pytest.raises(InputError, match=r"no published row 'zzz'; `rewardbench reproduce --list` names all$"):
        find_manifest("zzz")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"cells": []}, "cells: "),
        ({"cells": [{"name": "x", "value": "about"}]}, "cells.0.value: .*as it is printed, in quotes"),
        ({"cells": [{"name": "x", "value": 0.5}]}, "cells.0.value: "),
        ({"tie_rule": "x"}, "tie_rule: Extra inputs"),
        ({"id": "other@fetv"}, "a manifest's file has the name of its row"),
    ],
)
def test_a_malformed_manifest_is_one_sentence(tmp_path: Path, change: dict[str, object], sentence: str) -> None:
    facts = yaml.safe_load((FOLDER / "umtscore@fetv.yaml").read_text(encoding="utf-8"))
    path = tmp_path / "umtscore@fetv.yaml"
    path.write_text(yaml.safe_dump({**facts, **change}), encoding="utf-8")
    with pytest.raises(InputError, match=sentence) as error:
        read_manifest(path)
    assert "\n" not in str(error.value)


def test_a_model_s_row_lists_weights_labels_and_clips_that_are_missing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "videoreward@videogen-rewardbench"]) == 2
    said = capsys.readouterr().out
    assert "weights: KwaiVGI/VideoReward (not pinned: the row's source names no commit); `rewardbench plugins" in said
    assert "data: KlingTeam/VideoGen-RewardBench at 89761f4\n" in said
    assert "labels: benchmark 'videogen-rewardbench' is not at hand" in said
    assert "2 fps, size 448x448 pixels at most" in said


def write_pairs(folder: Path, clips: list[Path]) -> list[dict[str, object]]:
    """Four GenAI pairs of six tiny clips."""
    (folder / "videos").mkdir(parents=True)
    for clip in clips:
        shutil.copy(clip, folder / "videos" / clip.name)
    votes = ("leftvote", "rightvote", "tievote", "leftvote")
    records: list[dict[str, object]] = [
        {
            "id": i,
            "prompt": f"p{i}",
            "video_left": clips[i].name,
            "video_right": clips[i + 1].name,
            "vote_type": vote,
        }
        for i, vote in enumerate(votes)
    ]
    (folder / "data.json").write_text(json.dumps(records), encoding="utf-8")
    return records


def publish(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the benchmark's card have the fingerprint of the pairs in this folder."""
    card = need_card("genai-bench-video")
    found = load_from("genai-bench-video", None, folder)
    own = {"fingerprints": {"": found.sha256}, "size": Size(pairs=len(found.comparisons))}
    monkeypatch.setattr("rewardbench.reproduction.reproducing.need_card", lambda _: card.model_copy(update=own))


def test_a_model_s_row_runs_where_labels_and_clips_are_at_hand(
    tiny_clips: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The numbers are the run's own scores, held against the votes by the published tie search."""
    import pyarrow.parquet as pq

    records = write_pairs(tmp_path / "data", tiny_clips)
    publish(tmp_path / "data", monkeypatch)
    found = reproduce("random@genai-bench-video", data_dir=tmp_path / "data", out=tmp_path / "run")
    assert found.missing == ()
    assert found.n == 4
    assert found.exit_code == 1  # the print is another draw
    table = pq.read_table(tmp_path / "run" / "pairs.parquet").to_pydict()
    human = [LABEL_FORMATS["genai"][str(record["vote_type"])] for record in records]
    assert table["human"] == human
    expected = pairwise_accuracy(human, table["margin"], tie_rule="videoalign")
    ours = {cell.name: cell.ours for cell in found.cells}
    assert ours["human_vote.with_ties"] == pytest.approx(100 * expected.with_ties)
    assert ours["human_vote.without_ties"] == pytest.approx(100 * expected.without_ties)


def test_missing_clips_are_counted_and_a_limited_run_is_not_compared(tiny_clips: list[Path], tmp_path: Path) -> None:
    write_pairs(tmp_path / "data", tiny_clips)
    (tmp_path / "data" / "videos" / tiny_clips[4].name).unlink()
    found = reproduce("random@genai-bench-video", data_dir=tmp_path / "data")
    assert found.exit_code == 2
    assert found.missing[0].startswith("clips: 1 of 8 are not in")
    limited = reproduce("random@genai-bench-video", data_dir=tmp_path / "data", limit=2, out=tmp_path / "run")
    assert limited.missing == ()
    assert {cell.state for cell in limited.cells} == {"not compared"}
    assert {cell.why for cell in limited.cells} == {"first 2 pairs"}
    assert all(cell.ours is not None and cell.difference is None for cell in limited.cells)
    assert (limited.n, limited.state, limited.exit_code) == (2, "limited", 0)


def test_a_limited_run_says_so_and_one_without_its_clips_what_to_bring(
    tiny_clips: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pairs(tmp_path / "data", tiny_clips)
    words = ["reproduce", "random@genai-bench-video", "--data-dir", str(tmp_path / "data"), "--limit", "3"]
    assert main([*words, "--out", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().out
    assert said.splitlines()[-1] == "limited (n = 3)"
    assert said.count("not compared (first 3 pairs)") == 2
    shutil.rmtree(tmp_path / "data" / "videos")
    assert main(words) == 2
    said = capsys.readouterr().out  # of the three pairs' clips, each with its prompt
    assert "clips: 6 of 6 are not in" in said
    assert "put them as <id>.mp4 into the folder videos" in said


def test_other_pairs_than_the_card_s_are_never_held_against_the_print(
    tiny_clips: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Four toy pairs under the name of 1,889: numbers are shown, nothing is compared, and the run's result warns."""
    write_pairs(tmp_path / "data", tiny_clips)
    words = ["reproduce", "random@genai-bench-video", "--data-dir", str(tmp_path / "data")]
    assert main([*words, "--out", str(tmp_path / "run"), "--format", "json"]) == 2
    facts = json.loads(capsys.readouterr().out)
    assert facts["state"] == "not compared"
    assert {cell["state"] for cell in facts["cells"]} == {"not compared"}
    assert facts["notes"][0].startswith("the pairs of genai-bench-video at hand are not the published ones (4 pairs, ")
    result = json.loads((tmp_path / "run" / "result.json").read_text(encoding="utf-8"))
    assert [w for w in result["warnings"] if "are not the published ones (4 pairs, the card says 1,889)" in w]


def test_a_setting_or_commit_that_is_not_the_row_s_stops_the_row(monkeypatch: pytest.MonkeyPatch) -> None:
    run = find_manifest("videoreward@videogen-rewardbench").run
    assert run is not None
    assert settings_faults(run) == []
    other = run.model_copy(update={"fps": 8.0, "max_pixels": 65536})
    assert settings_faults(other) == [
        "settings: the row takes 8 frames a second, plugin videoreward 2",
        "settings: the row takes at most 65,536 pixels a frame, plugin videoreward 200,704",
    ]
    preset = find_manifest("videoreward@genai-bench-video").run
    assert preset is not None
    assert (preset.max_pixels, settings_faults(preset)) == (256 * 256, [])


def test_the_revision_of_a_row_is_fetched_and_held_against_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = find_manifest("videoreward@videogen-rewardbench").run
    assert run is not None
    pinned = run.model_copy(update={"revision": "a" * 40})
    assert weights_words(pinned) == f"KwaiVGI/VideoReward at {'a' * 40}"
    asked: list[object] = []
    monkeypatch.setattr("rewardbench.fetching.fetch", lambda *given: asked.append(given[-1]))
    monkeypatch.setattr("rewardbench.reproduction.model_rows.fetch_benchmark", lambda *_, **__: None)
    manifest = find_manifest("videoreward@videogen-rewardbench").model_copy(update={"run": pinned})
    fetch_for(manifest, RunRequest({}), None)
    assert asked == [{"KwaiVGI/VideoReward": "a" * 40}]
    for commit, faults in (("a" * 40, 0), ("b" * 40, 1)):
        record = {"sources": {"k": {"repo": "KwaiVGI/VideoReward", "commit": commit}}}
        (tmp_path / ".fetched.json").write_text(json.dumps(record), encoding="utf-8")
        assert len(weights_faults(pinned, tmp_path)) == faults
        assert weights_faults(run, tmp_path) == []  # nothing is pinned, so nothing contradicts


def test_a_note_that_the_card_s_map_is_used_is_true() -> None:
    said = 0
    for manifest in manifests().values():
        if manifest.run is not None and "the map of the card is used" in manifest.note:
            assert need_card(manifest.benchmark).answers[manifest.run.plugin] == manifest.run.score_map, manifest.id
            said += 1
    assert said


@pytest.mark.shared
def test_all_rows_show_the_paper_s_numbers_and_what_others_recomputed_apart(
    shared: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With FETV's even ids every printed cell stands in the table, uncompared, and recomputed ones not under paper."""
    assert main(["reproduce", "all", "--data-dir", str(shared / "data" / "tables")]) in (0, 1)
    table = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert table[0][:5] == ["row", "number", "paper", "elsewhere", "ours"]
    rows = [line for line in table if line[0] == "umtscore@fetv"]
    assert [line[1:5] for line in rows] == [
        ["tau_c", "0.309", "-", "-"],
        ["rho", "0.425", "-", "-"],
        ["tau_c", "-", "0.3189", "0.3189"],
        ["rho", "-", "0.4364", "0.4364"],
    ]
    printed = {(line[0], line[2]) for line in table[1:] if line[2] != "-"}
    for name, manifest in manifests().items():
        assert {(name, cell.value) for cell in manifest.cells if cell.origin == "paper"} <= printed


def test_the_command_ends_with_0_1_and_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "ostopa@vbench-i2v"]) == 0
    assert "reproduces (n = 9)" in capsys.readouterr().out
    assert main(["reproduce", "ostopb@vbench-i2v", "--format", "json"]) == 1
    facts = json.loads(capsys.readouterr().out)
    assert facts["state"] == "does not reproduce, as known"
    assert [(cell["paper"], cell["shown"]) for cell in facts["cells"]] == [
        ("86.77", "86.58"),
        ("93.25", "92.88"),
        ("80.28", "80.29"),
    ]
    assert main(["reproduce", "umtscore@fetv"]) == 2
    assert "benchmark 'fetv' is not at hand" in capsys.readouterr().out
    assert main(["reproduce"]) == 2
    assert "name a row as MODEL@BENCHMARK, or see them with --list" in capsys.readouterr().err


def test_the_list_has_every_row(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "--list", "--format", "json"]) == 0
    assert [row["id"] for row in json.loads(capsys.readouterr().out)] == list(manifests())
    assert main(["reproduce", "--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(manifests()) + 1
