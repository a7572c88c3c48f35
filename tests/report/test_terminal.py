"""The terminal table shows every headline number, at any width, whatever the names hold."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from rewardbench.report import print_table, render_table


def printed(result: Any, width: int = 120, encoding: str = "utf-8") -> str:
    stream = io.TextIOWrapper(io.BytesIO(), encoding)
    console = Console(file=stream, width=width, color_system=None)
    print_table(result, console)
    stream.flush()
    return stream.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]


@pytest.mark.parametrize("width", [160, 120, 100, 80, 72, 60, 40])
def test_numbers_are_whole_and_lines_fit_at_every_width(make: Any, width: int) -> None:
    rows = [make.metric(label=label) for label in ("VQ", "text_video", "temporal_quality_majority")]
    text = printed(make.result(rows), width)
    for number in (".5188", ".5328", ".7600", ".2500", ".4000", "200"):
        assert text.count(number) >= 3, (number, text)
    assert max(len(line) for line in text.splitlines()) <= width


def test_forty_rows_of_two_scorers_name_the_scorer(make: Any) -> None:
    rows = [make.metric(plugin, f"label_{k}", "s") for plugin in ("first:mini", "second") for k in range(20)]
    text = printed(make.result(rows), 110)
    assert all(f"label_{k} " in text for k in range(20))
    assert "first:mini" in text
    assert "second" in text


def test_an_accuracy_above_and_one_below_its_floor_are_marked(make: Any) -> None:
    above, below = make.metric(label="up"), make.metric(label="down", majority_floor=0.7)
    lines = {line.split()[0]: line for line in printed(make.result([above, below])).splitlines() if ".5188" in line}
    assert "▲" in lines["up"]
    assert "▼" in lines["down"]


def test_abstentions_stand_beside_n_and_undefined_numbers_are_dashes(make: Any) -> None:
    text = printed(make.result([make.undefined(), make.metric(label="TA", n=150, n_abstained=50)]))
    assert "0 (-200)" in text
    assert "150 (-50)" in text
    assert "–" in text
    assert "nan" not in text


def test_a_row_without_any_score_says_why(make: Any) -> None:
    text = printed(make.result([make.undefined(label="motion"), make.metric()]), 100)
    assert text.count("has no accuracies") == 1
    assert "motion ← " in text.partition(" has no accuracies: ")[0].splitlines()[-1]
    assert "no score for any of the 200 pairs: it abstained" in text


def test_a_result_without_rows_says_so(make: Any) -> None:
    assert "no label was held against a score" in printed(make.result([]))
    assert "no label was held against a score" in printed(make.result([]), 40)


@pytest.mark.parametrize("width", [120, 80, 50])
def test_names_cannot_style_or_command_the_terminal(make: Any, width: int) -> None:
    rows = [make.metric("[bold]p[/bold]", "\x1b[2J[/red]", "[link=x]s")]
    text = printed(make.result(rows), width)
    assert "\x1b" not in text
    assert "[link=x]s" in text.replace("\n", "")


@pytest.mark.parametrize("width", [120, 80, 50])
def test_a_terminal_without_unicode_gets_ascii(make: Any, width: int) -> None:
    text = printed(make.result([make.metric(), make.undefined(label="TA")]), width, "ascii")
    assert "VQ <- quality" in text
    assert ".5188+" in text


def test_verdict_accuracy_is_printed_in_per_cent(make: Any) -> None:
    from rewardbench.results import VerdictRecord

    verdict = VerdictRecord(genai_v1=0.48457, three_way=0.5, strict=0.4, without_ties=None, n=1891, n_unparsed=1)
    text = printed(make.result([make.metric(verdict_accuracy=verdict)]))
    assert "genai_v1 48.46 %" in text
    assert "n 1,891, 1 unparsed" in text


def test_position_consistency_is_printed_for_judges_asked_in_both_orders(make: Any) -> None:
    from rewardbench.results import PositionRecord

    position = PositionRecord(consistency=0.8125, favours_first=0.125, favours_second=0.0625, n=1600)
    text = printed(make.result([make.metric(position_consistency=position)]))
    assert "consistent 81.25 %, favours first 12.50 %, favours second 6.25 % (n 1,600)" in " ".join(text.split())
    assert "consistent" not in printed(make.result([make.metric()]))


def test_render_table_has_one_row_per_metric(make: Any) -> None:
    assert render_table(make.result([make.metric(), make.metric(label="TA")])).row_count == 2
