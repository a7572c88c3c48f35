"""Whole runs: from a pairs file to numbers, stopped and resumed, rebuilt without a model."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from rewardbench.benchmark import read_pairs
from rewardbench.cli import main
from rewardbench.errors import InputError
from rewardbench.results import read_result
from rewardbench.runs import RunSettings, rebuild_report, run, run_benchmark


@pytest.fixture
def pairs(tiny_clips: list[Path], tmp_path: Path) -> Path:
    """Six pairs over six clips of rising brightness; labels follow the brightness but for one tie and one miss.

    Three prompts: a file that stands under two of them is two clips, nine in all.
    """
    folder = tmp_path / "data"
    folder.mkdir()
    for clip in tiny_clips:
        (folder / clip.name).write_bytes(clip.read_bytes())
    lines = ["pair_id,prompt,video_a,video_b,label_brightness,kind"]
    human = {"0-1": "B", "2-1": "A", "3-2": "tie", "3-5": "B", "5-4": "B", "4-0": "A"}
    for number, (pair, label) in enumerate(human.items()):
        a, b = pair.split("-")
        lines.append(f"{pair},prompt {number // 2},clip{a}.mp4,clip{b}.mp4,{label},{'odd' if number % 2 else 'even'}")
    file = folder / "pairs.csv"
    file.write_text("\n".join(lines) + "\n")
    return file


def settings(pairs: Path, out: Path, **changes) -> RunSettings:
    base = {"bootstrap": 50, "workers": 2}
    return RunSettings(("brightness",), (str(pairs),), out=out, **{**base, **changes})


def test_a_run_leaves_tables_a_result_and_a_page(brightness, pairs: Path, tmp_path: Path) -> None:
    (outcome,) = run_benchmark(settings(pairs, tmp_path / "out", slices=("kind",), tie_threshold=0.0))
    assert outcome.exit_code == 0
    metric = outcome.result.metrics[0]
    assert (metric.label, metric.score, metric.n, metric.n_abstained) == ("brightness", "brightness", 6, 0)
    assert metric.accuracy_without_ties.value == pytest.approx(4 / 5), "pair 5-4 is judged against people"
    assert metric.accuracy_with_ties.fixed is not None
    assert metric.accuracy_with_ties.fixed.value == pytest.approx(4 / 6)
    assert metric.human_tie_rate == pytest.approx(1 / 6)
    assert metric.majority_floor == pytest.approx(3 / 6)
    assert set(metric.slices["kind"]) == {"even", "odd"}
    assert outcome.result.cluster.n == 3
    assert read_result(tmp_path / "out" / "result.json") == outcome.result
    scores = pq.read_table(tmp_path / "out" / "scores.parquet").to_pylist()
    assert [row["clip_id"] for row in scores[::2]] == list(read_pairs(pairs).clips)
    table = pq.read_table(tmp_path / "out" / "pairs.parquet").to_pylist()
    assert [row["human"] for row in table] == [-1, 1, 0, -1, -1, 1]
    assert all(row["margin"] == pytest.approx(row["score_a"] - row["score_b"]) for row in table)
    assert "<html" in (tmp_path / "out" / "report.html").read_text()


def test_rebuilding_needs_no_plugin_and_gives_the_same_result(
    brightness, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (outcome,) = run_benchmark(settings(pairs, tmp_path / "out", slices=("kind",)))
    result = (tmp_path / "out" / "result.json").read_text()
    (tmp_path / "out" / "result.json").unlink()
    (tmp_path / "out" / "report.html").unlink()
    monkeypatch.setenv("REWARDBENCH_PLUGINS", "")
    assert rebuild_report(tmp_path / "out").result == outcome.result
    assert (tmp_path / "out" / "result.json").read_text() == result
    assert (tmp_path / "out" / "report.html").exists()


def test_a_second_run_scores_nothing_and_changes_no_number(brightness, pairs: Path, tmp_path: Path) -> None:
    log = tmp_path / "asked"
    first = run("brightness", pairs, out=tmp_path / "out", options={"log": str(log)}, bootstrap=50)
    asked = log.read_text()
    second = run("brightness", pairs, out=tmp_path / "out", options={"log": str(log)}, bootstrap=50)
    assert log.read_text() == asked
    assert second.metrics == first.metrics
    assert second.cost == first.cost, "the cost is that of the sessions that did the work"


def test_failed_clips_are_listed_and_cost_only_their_pairs(brightness, pairs: Path, tmp_path: Path) -> None:
    (pairs.parent / "clip5.mp4").unlink()
    (pairs.parent / "clip4.mp4").write_bytes(b"")
    (outcome,) = run_benchmark(settings(pairs, tmp_path / "out"))
    assert outcome.exit_code == 3
    metric = outcome.result.metrics[0]
    assert (metric.n, metric.n_abstained) == (3, 3)
    assert {Path(failure.video).name for failure in outcome.result.failures} == {"clip4.mp4", "clip5.mp4"}


def test_several_plugins_and_benchmarks(brightness, pairs: Path, tmp_path: Path) -> None:
    other = pairs.with_name("others.csv")
    other.write_text(pairs.read_text())
    both = RunSettings(("brightness", "random"), (str(pairs), str(other)), out=tmp_path / "out", bootstrap=20)
    outcomes = run_benchmark(both)
    assert [outcome.folder for outcome in outcomes] == [tmp_path / "out" / "pairs", tmp_path / "out" / "others"]
    assert [metric.plugin for metric in outcomes[0].result.metrics] == ["brightness", "random"]


def test_one_label_against_two_scores(brightness, pairs: Path, tmp_path: Path) -> None:
    maps = (("brightness", "brightness"), ("brightness", "darkness"))
    (outcome,) = run_benchmark(settings(pairs, tmp_path / "out", score_map=maps))
    light, dark = outcome.result.metrics
    assert light.accuracy_without_ties.value == pytest.approx(4 / 5)
    assert dark.accuracy_without_ties.value == pytest.approx(1 / 5)


@pytest.mark.system
@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT])
def test_stopped_and_resumed(brightness, pairs: Path, tmp_path: Path, stop: signal.Signals) -> None:
    """Stopped while scoring, the same command scores only what is missing and ends with equal numbers."""
    log = tmp_path / "asked"
    slow = tmp_path / "third-party-site" / "third_party_brightness.py"
    source = slow.read_text()
    slow.write_text(source.replace("def score(self, batch):", "def score(self, batch):\n        time.sleep(0.7)", 1))
    words = ["run", "--plugin", "brightness", "--benchmark", str(pairs), "--out", str(tmp_path / "out")]
    words += ["--option", f"log={log}", "--batch-size", "1", "--bootstrap", "50"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    process = subprocess.Popen(
        [sys.executable, "-m", "rewardbench.cli", *words], env=environment, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 60
    while (not log.exists() or len(log.read_text().split()) < 3) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(stop)
    _, error = process.communicate(timeout=60)
    if stop == signal.SIGINT:
        assert process.returncode == 130
        assert b"the same command goes on where it stopped" in error
    before = log.read_text().split()
    assert 3 <= len(before) < 9
    assert main(words) == 0
    asked = log.read_text().split()
    # The clip that was being scored when the stop came may be asked for again; finished ones are not.
    assert len(asked) - len(set(asked)) <= 1
    assert set(asked) == set(read_pairs(pairs).clips)
    resumed = read_result(tmp_path / "out" / "result.json")
    (straight,) = run_benchmark(settings(pairs, tmp_path / "straight", options={"log": str(log)}))
    assert resumed.metrics == straight.result.metrics


def test_an_output_folder_of_another_run_is_refused(brightness, pairs: Path, tmp_path: Path) -> None:
    run_benchmark(settings(pairs, tmp_path / "out"))
    with pytest.raises(InputError, match="holds another run \\(brightness on pairs\\).*choose another with --out"):
        run_benchmark(RunSettings(("random",), (str(pairs),), out=tmp_path / "out"))
    with pytest.raises(InputError, match="holds other weights, options or versions"):
        run_benchmark(settings(pairs, tmp_path / "out", options={"fault": "none"}))
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.doc").write_text("precious")
    with pytest.raises(InputError, match="holds something that is no run"):
        run_benchmark(settings(pairs, tmp_path / "full"))
    assert (tmp_path / "full" / "thesis.doc").read_text() == "precious"


def test_a_folder_in_use_is_refused(brightness, pairs: Path, tmp_path: Path) -> None:
    import fcntl

    run_benchmark(settings(pairs, tmp_path / "out"))
    with open(tmp_path / "out" / ".lock", "a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another rewardbench process is at work"):
            run_benchmark(settings(pairs, tmp_path / "out"))


@pytest.mark.shared
@pytest.mark.parametrize(
    ("score", "without", "with_ties", "threshold"),
    [
        ("UMTScore", ".7600", ".5328", 1.56884766),
        ("BLIPScore", ".7362", ".5570", 0.05514091),
        ("Otter-VQA", ".4543", ".4430", 0.43333333),
    ],
)
def test_fetv_numbers(shared: Path, tmp_path: Path, score: str, without: str, with_ties: str, threshold: float) -> None:
    table = str(shared / "data" / "tables" / "fetv_pairs_even.csv")
    words = ["run", "--plugin", "scores", "--scores", table, "--benchmark", table, "--bootstrap", "50"]
    assert main([*words, "--map", f"alignment_majority={score}", "--out", str(tmp_path / "out")]) == 0
    result = read_result(tmp_path / "out" / "result.json")
    (metric,) = result.metrics
    assert metric.n == 1860
    assert f"{metric.human_tie_rate:.4f}" == "0.4355"
    assert f"{metric.accuracy_without_ties.value:.4f}".lstrip("0") == without
    assert f"{metric.accuracy_with_ties.threshold.value:.4f}".lstrip("0") == with_ties
    assert metric.accuracy_with_ties.threshold.tie_threshold == pytest.approx(threshold, abs=5e-9)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("judge", "percent", "unparsed"),
    [("gpt4o", 48.46, 0), ("gemini-1.5-pro", 46.21, 1), ("llava", 30.40, 0), ("random", 25.16, 0)],
)
def test_genai_bench_verdicts(shared: Path, tmp_path: Path, judge: str, percent: float, unparsed: int) -> None:
    table = str(shared / "data" / "tables" / "genai_bench_v1_video_votes.csv")
    words = ["run", "--plugin", "verdicts", "--verdicts", table, "--benchmark", table, "--label-format", "genai"]
    words += ["--bootstrap", "20", "--map", f"human_vote={judge}", "--out", str(tmp_path / "out")]
    assert main(words) == 0
    (metric,) = read_result(tmp_path / "out" / "result.json").metrics
    assert metric.verdict_accuracy is not None
    assert round(100 * metric.verdict_accuracy.genai_v1, 2) == percent
    assert metric.verdict_accuracy.n_unparsed == unparsed
    assert len(pq.read_table(tmp_path / "out" / "comparisons.parquet")) == 1069


def test_score_json_lists_every_clip(brightness, tiny_clips: list[Path], tmp_path: Path, capfd) -> None:
    words = ["score", "--plugin", "brightness", "--format", "json", str(tiny_clips[0]), str(tiny_clips[1])]
    assert main(words) == 0
    rows = json.loads(capfd.readouterr().out)
    assert [row["video"] for row in rows] == [str(tiny_clips[0]), str(tiny_clips[1])]
    assert rows[0]["scores"]["brightness"] == pytest.approx(20 / 255, abs=0.012)
    assert rows[0]["error"] is None


def test_a_listener_that_fails_costs_no_score(
    brightness, install_plugin, pairs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    hooks = "".join(
        f"@hookimpl\ndef rewardbench_{name}():\n    raise RuntimeError('I am broken')\n"
        for name in ("run_start", "item_scored", "run_end")
    )
    install_plugin("listener", "from rewardbench_plugin import hookimpl\n" + hooks)
    words = ["run", "--plugin", "brightness", "--benchmark", str(pairs), "--bootstrap", "10"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    said = capfd.readouterr().err
    for name in ("run_start", "item_scored", "run_end"):
        assert said.count(f"a plugin's rewardbench_{name} failed (RuntimeError: I am broken)") == 1
    assert read_result(tmp_path / "out" / "result.json").metrics[0].n == 6
