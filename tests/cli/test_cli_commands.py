"""What ``run``, ``report``, ``score`` and ``show`` hand to the library, and what they print of its answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rewardbench.cli.app import main
from rewardbench.results import Result
from rewardbench.runs import RunOutcome, RunSettings
from rewardbench_plugin import Clip

FAILURE = {"plugin": "random", "clip_id": "a", "video": "a.mp4", "error": "a.mp4 is not a video"}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, make_result: Callable[..., Result], tmp_path: Path) -> list[RunSettings]:
    """Settings that ``run`` hands over; the answer is one outcome per benchmark, the second with a failed clip."""
    settings_seen: list[RunSettings] = []

    def run_benchmark(settings: RunSettings, progress: Any) -> list[RunOutcome]:
        settings_seen.append(settings)
        print("a plugin's stray print")
        progress.start_phase("scoring", 1)
        outcomes = []
        for number, name in enumerate(settings.benchmarks):
            failures = [{**FAILURE, "error": f"frame {k} is damaged"} for k in range(12)] if number else []
            failures += failures[:1] * 4
            result = make_result(failures=failures, warnings=["all scores are equal"])
            outcomes.append(RunOutcome(name, tmp_path / name, result, 3 if failures else 0))
        return outcomes

    monkeypatch.setattr("rewardbench.runs.run_benchmark", run_benchmark)
    return settings_seen


def test_run_hands_every_option_over(asked: list[RunSettings]) -> None:
    words = (
        "run --plugin random --plugin clip --benchmark p.csv --map VQ=a --map VQ=b --weights w.pt --weights text=t.pt "
        "--option k=v --dimension a --dimension b --out o --scores s.csv --verdicts v.csv --label-format genai "
        "--tie-threshold 0.5 --cluster group --bootstrap 10 --slice x --slice y --limit 7 --device cpu --dtype float16 "
        "--engine local --batch-size 2 --workers 1 --decode-timeout 3 --score-timeout 4.5 --seed 9 --format json"
    )
    assert main(words.split()) == 0
    settings = asked[0]
    assert settings == RunSettings(
        plugins=("random", "clip"),
        benchmarks=("p.csv",),
        score_map=(("VQ", "a"), ("VQ", "b")),
        weights={"": "w.pt", "text": "t.pt"},
        options={"k": "v"},
        dimensions=("a", "b"),
        out=Path("o"),
        device="cpu",
        dtype="float16",
        engine="local",
        limit=7,
        slices=("x", "y"),
        seed=9,
        scores=Path("s.csv"),
        verdicts=Path("v.csv"),
        label_format="genai",
        tie_threshold=0.5,
        cluster="group",
        bootstrap=10,
        decode_timeout=3.0,
        score_timeout=4.5,
        batch_size=2,
        workers=1,
        command=f"rewardbench {words}",
    )


def test_run_leaves_the_rest_to_the_library_s_defaults(asked: list[RunSettings]) -> None:
    assert main(["run", "--plugin", "random"]) == 0
    assert asked[0] == RunSettings(plugins=("random",), command="rewardbench run --plugin random")


def test_run_json_is_the_result_and_nothing_else(
    asked: list[RunSettings], make_result: Callable[..., Result], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--plugin", "random", "--format", "json"]) == 0
    written = capsys.readouterr()
    expected = make_result(warnings=["all scores are equal"])
    assert Result.model_validate(json.loads(written.out)) == expected
    assert "a plugin's stray print" in written.err
    assert "warning: all scores are equal" in written.err


def test_run_on_two_benchmarks_prints_a_list_and_ends_with_the_worse_code(
    asked: list[RunSettings], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["run", "--plugin", "random", "--benchmark", "p", "--benchmark", "q", "--format", "json"]) == 3
    written = capsys.readouterr()
    assert [len(result["failures"]) for result in json.loads(written.out)] == [0, 16]
    assert written.err.count("is damaged") == 10
    assert "failed: a.mp4 and 4 more: frame 0 is damaged (random)" in written.err
    assert f"2 more, listed in {tmp_path / 'q' / 'result.json'}" in written.err


def test_run_prints_a_table_and_names_the_folder(
    asked: list[RunSettings], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["run", "--plugin", "random", "--benchmark", "p"]) == 0
    written = capsys.readouterr()
    assert "overall" in written.out
    assert "0.50" in written.out or ".500" in written.out or "50.0" in written.out
    assert "stray" not in written.out
    assert str(tmp_path / "p") in written.err


def test_report_prints_the_rebuilt_result(
    monkeypatch: pytest.MonkeyPatch, make_result: Callable[..., Result], capsys: pytest.CaptureFixture[str]
) -> None:
    result = make_result(failures=[FAILURE])
    monkeypatch.setattr(
        "rewardbench.runs.rebuild_report", lambda folder, progress: RunOutcome("tiny", folder, result, 3)
    )
    assert main(["report", "out", "--format", "json"]) == 3
    assert Result.model_validate(json.loads(capsys.readouterr().out)) == result


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    settings_seen = []

    def score_clips(settings: Any, progress: Any) -> list[dict[str, Any]]:
        settings_seen.append(settings)
        return [
            {"video": "a.mp4", "prompt": None, "scores": {"x": 0.25, "y": None}, "raw": {"x": 0.25}, "error": None},
            {"video": "b.mp4", "prompt": None, "scores": {}, "raw": {}, "error": "b.mp4: is empty"},
        ]

    monkeypatch.setattr("rewardbench.clip_scores.score_clips", score_clips)
    return settings_seen


def test_score_hands_clips_over_with_unique_ids(scored: list[Any], tmp_path: Path) -> None:
    video, image = tmp_path / "a.mp4", tmp_path / "first.png"
    video.touch()
    image.touch()
    words = ["score", str(video), str(video), "--plugin", "clip", "--prompt", "a fox", "--image", str(image)]
    assert main(words) == 3
    assert scored[0].plugin == "clip"
    assert list(scored[0].clips) == [
        Clip(str(video), str(video), "a fox", str(image)),
        Clip(f"{video}#2", str(video), "a fox", str(image)),
    ]


def test_score_reads_a_clip_table(scored: list[Any], tmp_path: Path) -> None:
    table = tmp_path / "clips.csv"
    table.write_text("video,prompt\na.mp4,a fox\nb.mp4,\n")
    assert main(["score", "--clips", str(table), "--plugin", "random"]) == 3
    assert [(clip.video, clip.prompt) for clip in scored[0].clips] == [
        (str(tmp_path / "a.mp4"), "a fox"),
        (str(tmp_path / "b.mp4"), None),
    ]


def test_score_prints_json_rows(scored: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.mp4").touch()
    assert main(["score", str(tmp_path / "a.mp4"), "--plugin", "random", "--format", "json"]) == 3
    rows = json.loads(capsys.readouterr().out)
    assert set(rows[0]) == {"video", "prompt", "scores", "raw", "error"}
    assert rows[1]["error"] == "b.mp4: is empty"


def test_score_prints_a_table_with_a_dash_for_abstaining(
    scored: list[Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.mp4").touch()
    main(["score", str(tmp_path / "a.mp4"), "--plugin", "random"])
    written = capsys.readouterr()
    assert [line.split() for line in written.out.splitlines()] == [
        ["video", "x", "y"],
        ["a.mp4", "0.2500", "-"],
        ["b.mp4", "-", "-"],
    ]
    assert "failed: b.mp4: is empty" in written.err


def test_plugins_show_prints_the_card(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plugins", "show", "random", "--format", "json"]) == 0
    card = json.loads(capsys.readouterr().out)
    assert card["name"] == "random"
    assert card["dimensions"][0] == {
        "name": "overall",
        "low": 0.0,
        "high": 1.0,
        "higher_is_better": True,
        "description": "uniform on [0, 1), independent of what is seen",
    }
    assert card["inputs"]["overall"]["sampling"]["rule"] == "head"
    assert main(["plugins", "show", "random"]) == 0
    assert "overall [0, 1], higher is better" in capsys.readouterr().out


def test_benchmarks_show_counts_labels_of_a_pairs_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("prompt,video_a,video_b,label_overall\np,a.mp4,b.mp4,A\np,b.mp4,c.mp4,tie\nq,a.mp4,c.mp4,\n")
    assert main(["benchmarks", "show", str(pairs), "--format", "json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["pairs"], facts["prompts"]) == (3, 2)
    assert facts["labels"] == {"overall": {"A": 1, "tie": 1, "B": 0, "undecided": 1}}
    assert main(["benchmarks", "show", str(pairs)]) == 0
    assert "overall: A 1, tie 1, B 0, undecided 1" in capsys.readouterr().out


def test_benchmarks_show_describes_a_registered_one_without_making_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmarks", "show", "anime-probe", "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "anime-probe"


def test_benchmarks_make_hands_its_options_over_and_prints_the_pairs_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: dict[str, Any] = {}

    def make_probe(clips: Path, out: Path, *, progress: Callable[[str, int, int], None], **settings: Any) -> Path:
        progress("degrading", 1, 2)
        settings.pop("tell")("2 clips of 9 left out")
        seen.update(settings, clips=clips, out=out)
        return out / "pairs.csv"

    monkeypatch.setattr("rewardbench.synth.make.make_probe", make_probe)
    words = "benchmarks make clips out --pairs 12 --dimension motion --dimension appeal --seconds 2 --seed 5"
    assert main(words.split()) == 0
    written = capsys.readouterr()
    assert written.out == "out/pairs.csv\n"
    assert "degrading" in written.err
    assert "rewardbench: 2 clips of 9 left out" in written.err
    assert "the labels are known by construction, nobody was asked" in written.err
    assert seen == {
        "clips": Path("clips"),
        "out": Path("out"),
        "pairs_per_dimension": 12,
        "dimensions": ("motion", "appeal"),
        "seconds": 2.0,
        "seed": 5,
    }
