"""The tables of a comparison: what they show, in ASCII where asked, and without control characters."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from rewardbench.catalogue.folders import remember_folder
from rewardbench.cli.app import main
from rewardbench.comparing import compare_runs
from rewardbench.comparing.terminal import print_comparison, signed

from .conftest import MakeRun, scores

GOOD, POOR = scores(0.3, 1), scores(5.0, 3)


def test_the_command_prints_tables_and_json(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    one = make_run("one", {("good", "VQ", "q"): GOOD}, slices=True)
    two = make_run("two", {("poor", "VQ", "q"): POOR}, slices=True)
    words = ["compare", str(one), str(two / "result.json"), "--permutations", "999", "--bootstrap", "50"]
    assert main([*words, "--generators"]) == 0
    shown = capsys.readouterr()
    for part in ("drawn, VQ: accuracy with ties (crossfit), 120 pairs, 20 clusters by prompt", "prompts needed"):
        assert part in shown.out
    assert "Generators by good on VQ: soft pairwise accuracy" in shown.out
    assert "rewardbench: warning: label 'VQ': 4 generators are few" in shown.err
    assert main([*words, "--rule", "crossfit", "--label", "VQ", "--seed", "1", "--format", "json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["schema"] == "rewardbench.comparison/1"
    assert record["settings"] == {
        "rules": ["crossfit"],
        "permutations": 999,
        "bootstrap": 50,
        "seed": 1,
        "alpha": 0.05,
        "power": 0.8,
    }


def test_wrong_words_end_in_one_sentence(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    one = make_run("one", {("good", "VQ", "q"): GOOD, ("poor", "VQ", "q"): POOR})
    for words, sentence in (
        (["--generator-columns", "a"], "--generator-columns a is not of the form A,B"),
        (["--generators"], "names none in 'model_a' and 'model_b', and "),
        (["--rule", "oracle"], "rule 'oracle' is unknown"),
    ):
        assert main(["compare", str(one), *words]) == 2
        errors = capsys.readouterr().err.strip()
        assert sentence in errors
        assert errors.count("\n") == 0


def test_ascii_terminals_and_foreign_names(make_run: MakeRun) -> None:
    folder = make_run("one", {("good", "VQ", "q"): GOOD, ("poor\x1b[31m", "VQ", "q"): POOR}, slices=True)
    found = compare_runs([folder], n_permutations=999, n_bootstrap=50, generator_columns=("model_a", "model_b"))
    stream = io.StringIO()
    print_comparison(found, Console(file=stream, width=220))
    assert "\x1b" not in stream.getvalue()
    plain = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="replace")
    print_comparison(found, Console(file=plain, width=220))
    plain.seek(0)
    text = plain.read()
    assert "A - B" in text
    assert text.count("?") == text.count("poor")  # nothing but the replacement in the foreign name


def test_differences_show_their_sign() -> None:
    assert [signed(value) for value in (0.0317, -0.5, 0.0, -0.00001, None, 1.25)] == [
        "+.0317",
        "−.5000",
        ".0000",
        ".0000",
        "–",
        "+1.2500",
    ]


def test_a_run_on_a_benchmark_of_the_catalogue_answers_for_generators_by_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The benchmark's own columns are called A_model and B_model; its files are gone when the runs are compared."""
    monkeypatch.setenv("REWARDBENCH_CACHE", str(tmp_path / "cache"))
    home = tmp_path / "files"
    home.mkdir()
    remember_folder("videogen-rewardbench", home)
    sides = [("kl", "mo"), ("mo", "pi"), ("pi", "kl")]
    won = "AABABBA"  # by turns, so that everyone wins and loses
    lines = ["path_A,path_B,A_model,B_model,prompt,VQ,MQ,TA"]
    scores = ["video,one,two"]
    for k in range(14):
        (a, b), label = sides[k % 3], won[k % 7]
        lines.append(f"videos/{a}{k}.mp4,videos/{b}{k}.mp4,{a},{b},prompt {k},{label},{label},{label}")
        scores += [f"videos/{a}{k}.mp4,{k % 5},{int(label == 'A')}", f"videos/{b}{k}.mp4,2,{int(label == 'B')}"]
    (home / "videogen-rewardbench.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "scores.csv").write_text("\n".join(scores) + "\n")
    words = [
        "run",
        "--benchmark",
        "videogen-rewardbench",
        "--plugin",
        "scores",
        "--scores",
        str(tmp_path / "scores.csv"),
    ]
    out = tmp_path / "out"
    assert main([*words, "--map", "VQ=one", "--map", "VQ=two", "--bootstrap", "20", "--out", str(out)]) == 0
    (home / "videogen-rewardbench.csv").unlink()
    capsys.readouterr()
    words = ["compare", str(out), "--generators", "--permutations", "999", "--bootstrap", "20", "--format", "json"]
    assert main(words) == 0
    record = json.loads(capsys.readouterr().out)
    said = {one["model"]: one for one in record["generators"]}
    assert [one["generator"] for one in said["scores/two"]["by_people"]] == ["kl", "mo", "pi"]
    assert sum(one["n_pairs"] for one in said["scores/two"]["by_people"]) == 2 * 14
    assert said["scores/two"]["soft_pairwise_accuracy"] == 1.0  # the second score says what people say


@pytest.mark.shared
def test_recorded_scores_of_fetv_from_run_to_comparison(shared: object, tmp_path: object, capsys: object) -> None:
    table = str(shared / "data" / "tables" / "fetv_pairs_even.csv")  # type: ignore[operator]
    out = str(tmp_path / "out")  # type: ignore[operator]
    words = ["run", "--plugin", "scores", "--scores", table, "--benchmark", table, "--out", out, "--limit", "240"]
    maps = [f"--map=alignment_majority={score}" for score in ("UMTScore", "CLIPScore")]
    assert main([*words, *maps, "--bootstrap", "50", "--format", "json"]) == 0
    result = json.loads(capsys.readouterr().out)  # type: ignore[attr-defined]
    words = ["compare", out, "--permutations", "999", "--bootstrap", "50", "--format", "json"]
    assert main([*words, "--generator-columns", "system_A,system_B"]) == 0
    record = json.loads(capsys.readouterr().out)  # type: ignore[attr-defined]
    values = {metric["score"]: metric["accuracy_with_ties"]["crossfit"]["value"] for metric in result["metrics"]}
    shown = {place["model"].partition("/")[2]: place["value"] for place in record["comparisons"][0]["standings"]}
    assert shown == pytest.approx(values, abs=1e-12)
    assert len(record["generators"][0]["by_people"]) == 4
