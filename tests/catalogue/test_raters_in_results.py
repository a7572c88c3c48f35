"""What one rater scores stands beside a model's accuracies: in the result, on the page and on the terminal."""

from __future__ import annotations

import csv
import io
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from rewardbench.catalogue.folders import remember_folder
from rewardbench.leaderboard.board import make_board
from rewardbench.leaderboard.known import admit, fingerprint, known_benchmarks
from rewardbench.leaderboard.site.tables import board_csv
from rewardbench.leaderboard.submission import make_bundle
from rewardbench.leaderboard.verification import verify_bundles
from rewardbench.report import print_table
from rewardbench.results import RaterRecord, Result, read_result
from rewardbench.runs import RunSettings, rebuild_report, run_benchmark

SYSTEMS = ("cogvideo", "text2video-zero", "modelscope-t2v", "zeroscope")
LABELS = ("static_quality", "temporal_quality", "alignment")
COLUMNS = [f"{label}_r{rater}" for label in LABELS for rater in range(3)]


def brute_force(rows: list[dict[str, str]], label: str) -> tuple[float, float, float]:
    """With ties, half credit and strict: each rater's own comparison against the sum of the other two's differences."""
    by_prompt: dict[str, dict[str, list[int]]] = {}
    for row in rows:
        if row["system"] in SYSTEMS:
            own = [int(row[f"{label}_r{rater}"]) for rater in range(3)]
            by_prompt.setdefault(row["prompt_id"], {})[row["system"]] = own
    found = []
    for rater in range(3):
        right = decided_right = half = n = decided = 0
        for ratings in by_prompt.values():
            for a, b in combinations([system for system in SYSTEMS if system in ratings], 2):
                differences = [x - y for x, y in zip(ratings[a], ratings[b], strict=True)]
                mine = np.sign(differences.pop(rater))
                others = np.sign(sum(differences))
                n += 1
                right += mine == others
                if others:
                    decided += 1
                    decided_right += mine == others
                    half += 0.5 if mine == 0 else mine == others
        found.append((right / n, half / decided, decided_right / decided))
    return tuple(np.mean(found, axis=0).tolist())  # type: ignore[return-value]


def run_fetv(
    folder: Path, rows: list[dict[str, str]], out: Path, limit: int | None = None, bootstrap: int = 0
) -> Result:
    """A table of scores (each clip's number in the table) on the FETV ratings of ``folder``."""
    remember_folder("fetv", folder)
    scores = out.with_suffix(".csv")
    lines = [f"{row['system']}/{int(row['prompt_id']):04d}.mp4,{i % 17}" for i, row in enumerate(rows)]
    scores.write_text("video,mine\n" + "\n".join(lines) + "\n", encoding="utf-8")
    settings = RunSettings(
        ("scores",), ("fetv",), (("alignment", "mine"),), scores=scores, out=out, bootstrap=bootstrap, limit=limit
    )
    return run_benchmark(settings)[0].result


def printed(result: Result, width: int = 100) -> str:
    stream = io.StringIO()
    print_table(result, Console(file=stream, width=width, color_system=None))
    return stream.getvalue()


@pytest.fixture
def rated(tmp_path: Path) -> tuple[Path, list[dict[str, str]]]:
    """Eight prompts with ratings drawn at random."""
    rng = np.random.default_rng(7)
    rows = [
        {"prompt_id": str(p), "system": system, **{c: str(rng.integers(1, 6)) for c in COLUMNS}}
        for p in range(8)
        for system in SYSTEMS
    ]
    folder = tmp_path / "fetv"
    folder.mkdir()
    with open(folder / "fetv_ratings.csv", "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder, rows


def test_a_run_holds_what_one_rater_scores_on_its_labels(
    rated: tuple[Path, list[dict[str, str]]], tmp_path: Path
) -> None:
    folder, rows = rated
    result = run_fetv(folder, rows, tmp_path / "run")
    assert list(result.raters) == ["alignment"]  # of the labels that were run
    one = result.raters["alignment"]
    assert (one.n, one.n_raters) == (8 * 6, 3)
    expected = brute_force(rows, "alignment")
    assert (one.with_ties, one.half_credit, one.without_ties) == pytest.approx(expected)
    assert read_result(tmp_path / "run" / "result.json") == result
    assert rebuild_report(tmp_path / "run").result.raters == result.raters


def test_the_page_and_the_terminal_show_it(rated: tuple[Path, list[dict[str, str]]], tmp_path: Path) -> None:
    folder, rows = rated
    result = run_fetv(folder, rows, tmp_path / "run")
    with_ties, half, strict = (f"{value:.4f}".removeprefix("0") for value in brute_force(rows, "alignment"))
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    table = page[page.index('id="raters"') :].partition("</table>")[0]
    assert [number in table for number in (with_ties, half, strict)] == [True] * 3
    assert "no ceiling" in page
    assert f"one rater alignment: w/ ties {with_ties}, w/o ties, half credit {half} (3 raters, n 48)" in printed(result)


def test_a_board_shows_it_from_the_ratings_of_who_admitted_the_benchmark(
    rated: tuple[Path, list[dict[str, str]]], tmp_path: Path
) -> None:
    folder, rows = rated
    result = run_fetv(folder, rows, tmp_path / "run", bootstrap=1000)
    admit(tmp_path / "board", fingerprint("fetv"))
    bundle = tmp_path / "run.zip"
    bundle.write_bytes(make_bundle(tmp_path / "run"))
    board = make_board(verify_bundles([bundle], known_benchmarks(tmp_path / "board")))
    (dimension,) = board.benchmarks[0].dimensions
    assert dimension.raters == result.raters["alignment"].model_dump()
    with_ties, half, _ = brute_force(rows, "alignment")
    (line,) = csv.DictReader(io.StringIO(board_csv(board)))
    assert (float(line["rater_with_ties"]), float(line["rater_half_credit"])) == pytest.approx((with_ties, half))


def test_a_part_of_the_pairs_and_a_benchmark_without_raters_have_none(
    rated: tuple[Path, list[dict[str, str]]], tmp_path: Path
) -> None:
    folder, rows = rated
    limited = run_fetv(folder, rows, tmp_path / "limited", limit=10)
    assert limited.raters == {}
    assert 'id="raters"' not in (tmp_path / "limited" / "report.html").read_text(encoding="utf-8")
    pairs = tmp_path / "fetv.csv"  # a pairs file with the name of the benchmark
    pairs.write_text("prompt,video_a,video_b,label_alignment\np,a.mp4,b.mp4,A\n", encoding="utf-8")
    scores = tmp_path / "scores.csv"
    scores.write_text("video,mine\na.mp4,1\nb.mp4,0\n", encoding="utf-8")
    settings = RunSettings(
        ("scores",), (str(pairs),), (("alignment", "mine"),), scores=scores, out=tmp_path / "f", bootstrap=0
    )
    assert run_benchmark(settings)[0].result.raters == {}


def test_a_result_without_the_field_is_read_as_before(rated: tuple[Path, list[dict[str, str]]], tmp_path: Path) -> None:
    import json

    folder, rows = rated
    run_fetv(folder, rows, tmp_path / "run")
    for name in ("result.json", "run.json"):
        path = tmp_path / "run" / name
        facts = json.loads(path.read_text(encoding="utf-8"))
        del facts["raters"]
        path.write_text(json.dumps(facts), encoding="utf-8")
    assert read_result(tmp_path / "run" / "result.json").raters == {}
    assert rebuild_report(tmp_path / "run").result.raters == {}
    assert RaterRecord(n=0, n_raters=2, alpha=float("nan")).alpha is None


@pytest.mark.shared
def test_fetv_s_even_half_is_warned_of_and_its_strict_number_is_no_ceiling(shared: Path, tmp_path: Path) -> None:
    """UMTScore, whose scores have no ties, passes one rater's strict number (0.545) and not the half credit."""
    tables = shared / "data" / "tables"
    with open(tables / "fetv_ratings_even.csv", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["system"] in SYSTEMS]
    remember_folder("fetv", tables)
    scores = tmp_path / "scores.csv"
    lines = [f"{row['system']}/{int(row['prompt_id']):04d}.mp4,{row['UMTScore']}" for row in rows]
    scores.write_text("video,UMT\n" + "\n".join(lines) + "\n", encoding="utf-8")
    settings = RunSettings(
        ("scores",), ("fetv",), (("alignment", "UMT"),), scores=scores, out=tmp_path / "run", bootstrap=0
    )
    result = run_benchmark(settings)[0].result
    assert [w for w in result.warnings if "only the part 'even' of fetv is at hand" in w and "1,860 pairs" in w]
    one, model = result.raters["alignment"], result.metrics[0].accuracy_without_ties
    assert (one.with_ties, one.half_credit, one.without_ties) == pytest.approx(brute_force(rows, "alignment"))
    assert model.value is not None
    assert one.without_ties is not None
    assert one.half_credit is not None
    assert one.without_ties < model.value < one.half_credit
