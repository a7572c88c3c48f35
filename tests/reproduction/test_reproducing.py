"""Reproducing a row: manifests, what is missing, a model's row on tiny clips, and the command's exit codes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from rewardbench.benchmark import LABEL_FORMATS
from rewardbench.cli import main
from rewardbench.errors import InputError
from rewardbench.metrics import pairwise_accuracy
from rewardbench.registry import load_registry, resolve_spec
from rewardbench.reproduction import find_manifest, manifests, reproduce
from rewardbench.reproduction.manifest import FOLDER, read_manifest
from rewardbench.reproduction.model_rows import RECIPE
from rewardbench.reproduction.recipes import RECIPES


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
    assert "weights: KwaiVGI/VideoReward at main; `rewardbench plugins fetch videoreward` brings them" in said
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


def test_a_model_s_row_runs_where_labels_and_clips_are_at_hand(tiny_clips: list[Path], tmp_path: Path) -> None:
    """The numbers are the run's own scores, held against the votes by the published tie search."""
    import pyarrow.parquet as pq

    records = write_pairs(tmp_path / "data", tiny_clips)
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
    assert {cell.state for cell in limited.cells} == {"not computed"}
    assert "here is 'first 2 pairs'" in limited.cells[0].why


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
