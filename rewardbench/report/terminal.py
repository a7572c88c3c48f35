"""The table on the terminal: one row per plugin and label, in three layouts for wide, usual and narrow terminals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rewardbench.report import notation
from rewardbench.results import MetricRecord, Result

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

WIDE, USUAL = 100, 72
"""From ``WIDE`` columns on, intervals stand beside their values; below ``USUAL``, every row becomes a small block."""

_COLOUR = {"above": "green", "below": "red", "level": "", "unknown": ""}


def _signs(ascii_only: bool) -> tuple[str, str, dict[str, str]]:
    if ascii_only:
        return "<-", "-", {"above": "+", "below": "-", "level": "", "unknown": ""}
    return "←", "–", {"above": "▲", "below": "▼", "level": "", "unknown": ""}


def _value(
    value: float | None, ci95: tuple[float, float] | None, floor: float | None, join: str, ascii_only: bool
) -> Text:
    from rich.text import Text

    _, dash, marks = _signs(ascii_only)
    place = notation.against_floor(value, ci95, floor)
    shown = notation.proportion(value) if value is not None or not ascii_only else "-"
    text = Text(shown + (marks[place] or " "), style=_COLOUR[place])
    bounds = notation.interval(ci95, 3, dash)
    if bounds:
        text.append(f"{join}{bounds}", style="dim")
    return text


def _n(metric: MetricRecord) -> str:
    count = notation.count(metric.n)
    return f"{count} (-{notation.count(metric.n_abstained)})" if metric.n_abstained else count


def _rate(value: float | None, ascii_only: bool) -> str:
    return "-" if ascii_only and value is None else notation.proportion(value)


def _plugin(metric: MetricRecord) -> str:
    return notation.plain(metric.plugin, 60)


def _legend(result: Result, ascii_only: bool) -> str:
    _, _, marks = _signs(ascii_only)
    lines = [
        "w/ ties: threshold chosen on other prompts (crossfit); oracle: on the same pairs, as papers do; "
        "w/o ties: strict. Intervals: 95 %."
    ]
    places = {
        notation.against_floor(
            m.accuracy_with_ties.crossfit.value, m.accuracy_with_ties.crossfit.ci95, m.majority_floor
        )
        for m in result.metrics
    }
    if "above" in places:
        lines.append(f"{marks['above']} the interval lies above the majority floor.")
    if "below" in places:
        lines.append(f"{marks['below']} the interval lies below the majority floor.")
    if any(metric.n_abstained for metric in result.metrics):
        lines.append("n (-k): k pairs abstained.")
    if result.benchmark.labels_by == "construction":
        lines.append("The labels are known by construction; no human was asked.")
    return " ".join(lines)


def render_table(result: Result, width: int = WIDE, ascii_only: bool = False) -> Table:
    """The accuracies of a result as a rich table.

    Args:
        result: what to show; undefined numbers are dashes.
        width: columns of the terminal; from 100 on, intervals stand beside their values, else below them.
        ascii_only: draw arrows and marks in ASCII, for terminals that cannot show others.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    stacked = width < WIDE
    join = "\n" if stacked else " "
    arrow, _, _ = _signs(ascii_only)
    several = len({metric.plugin for metric in result.metrics}) > 1
    scorers = ", ".join(dict.fromkeys(notation.plain(plugin.label, 60) for plugin in result.plugins))
    title = f"{scorers} on {notation.plain(result.benchmark.name, 80)}"
    table = Table(
        title=Text(title),
        caption=Text(_legend(result, ascii_only)) if result.metrics else Text("no label was held against a score"),
        title_justify="left",
        caption_justify="left",
        box=box.ASCII2 if ascii_only else box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        show_edge=False,
    )
    if several and not stacked:
        table.add_column("plugin", overflow="fold", min_width=8)
    table.add_column(Text(f"label {arrow} score"), overflow="fold", min_width=10)
    for heading in ("n", "ties", "floor"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("w/ ties", justify="right", no_wrap=True)
    table.add_column("oracle", justify="right", no_wrap=True)
    table.add_column("w/o ties", justify="right", no_wrap=True)
    previous = None
    for metric in result.metrics:
        if several and previous not in (None, metric.plugin):
            table.add_section()
        ties, strict = metric.accuracy_with_ties, metric.accuracy_without_ties
        name = Text(notation.pairing(metric, arrow))
        if several and stacked:
            name.append(f"\n{_plugin(metric)}", style="dim")
        cells: list[Text | str] = [
            name,
            _n(metric),
            _rate(metric.human_tie_rate, ascii_only),
            _rate(metric.majority_floor, ascii_only),
            _value(ties.crossfit.value, ties.crossfit.ci95, metric.majority_floor, join, ascii_only),
            _rate(ties.threshold.value, ascii_only),
            _value(strict.value, strict.ci95, None, join, ascii_only),
        ]
        if several and not stacked:
            cells.insert(0, Text(_plugin(metric)) if metric.plugin != previous else "")
        table.add_row(*cells)
        previous = metric.plugin
    return table


def _print_blocks(result: Result, console: Console, ascii_only: bool) -> None:
    from rich.text import Text

    arrow, _, _ = _signs(ascii_only)
    for metric in result.metrics:
        ties, strict = metric.accuracy_with_ties, metric.accuracy_without_ties
        console.print(Text(f"{_plugin(metric)}: {notation.pairing(metric, arrow)}", style="bold"))
        lines = [
            ("  n        ", Text(_n(metric))),
            ("  ties     ", Text(_rate(metric.human_tie_rate, ascii_only))),
            ("  floor    ", Text(_rate(metric.majority_floor, ascii_only))),
            ("  w/ ties  ", _value(ties.crossfit.value, ties.crossfit.ci95, metric.majority_floor, " ", ascii_only)),
            ("  oracle   ", Text(_rate(ties.threshold.value, ascii_only))),
            ("  w/o ties ", _value(strict.value, strict.ci95, None, " ", ascii_only)),
        ]
        for heading, value in lines:
            console.print(Text(heading).append_text(value))
    console.print(Text(_legend(result, ascii_only) if result.metrics else "no label was held against a score", "dim"))


def print_table(result: Result, console: Console) -> None:
    """Print the accuracies of a result in the layout that fits the console's width."""
    ascii_only = console.options.ascii_only
    if console.width < USUAL:
        _print_blocks(result, console, ascii_only)
    else:
        console.print(render_table(result, console.width, ascii_only))
    _print_undefined(result, console, ascii_only)
    _print_raters(result, console)
    _print_verdicts(result, console, ascii_only)
    _print_positions(result, console, ascii_only)


def _print_undefined(result: Result, console: Console, ascii_only: bool) -> None:
    """Why a row has dashes instead of accuracies; one line each."""
    from rich.text import Text

    arrow, _, _ = _signs(ascii_only)
    failed = {failure.plugin for failure in result.failures}
    for metric in result.metrics:
        if metric.n:
            continue
        pairs = f"{notation.count(metric.n_abstained)} pairs" if metric.n_abstained != 1 else "1 pair"
        why = "clips of it failed, see below" if metric.plugin in failed else "it abstained"
        said = f"no score for any of the {pairs}: {why}" if metric.n_abstained else "no pair carries this label"
        console.print(Text(f"{_plugin(metric)}: {notation.pairing(metric, arrow)} has no accuracies: {said}"))


def _print_raters(result: Result, console: Console) -> None:
    """What one rater scores against the others; one line for each label."""
    from rich.text import Text

    for label, one in result.raters.items():
        values = (("w/ ties", one.with_ties), ("w/o ties, half credit", one.half_credit))
        parts = [f"{name} {'-' if value is None else notation.proportion(value)}" for name, value in values]
        count = f"{one.n_raters} raters, n {notation.count(one.n)}"
        console.print(Text(f"one rater {notation.plain(label, 60)}: {', '.join(parts)} ({count})"))


def _print_verdicts(result: Result, console: Console, ascii_only: bool) -> None:
    """Recorded verdicts have accuracies of their own (GenAI-Bench's rule); one line each, in per cent as published."""
    from rich.text import Text

    arrow, _, _ = _signs(ascii_only)
    for metric in result.metrics:
        verdict = metric.verdict_accuracy
        if verdict is None:
            continue
        parts = [
            f"{name} {'-' if value is None else f'{100 * value:.2f} %'}"
            for name, value in (
                ("genai_v1", verdict.genai_v1),
                ("three_way", verdict.three_way),
                ("strict", verdict.strict),
                ("w/o ties", verdict.without_ties),
            )
        ]
        unparsed = f", {verdict.n_unparsed} unparsed" if verdict.n_unparsed else ""
        shown = (
            f"verdicts {notation.pairing(metric, arrow)}: {', '.join(parts)} (n {notation.count(verdict.n)}{unparsed})"
        )
        console.print(Text(shown))


def _print_positions(result: Result, console: Console, ascii_only: bool) -> None:
    """Whether judges that were asked in both orders said the same in both; one line each."""
    from rich.text import Text

    arrow, _, _ = _signs(ascii_only)
    for metric in result.metrics:
        position = metric.position_consistency
        if position is None:
            continue
        parts = [
            f"{name} {'-' if value is None else f'{100 * value:.2f} %'}"
            for name, value in (
                ("consistent", position.consistency),
                ("favours first", position.favours_first),
                ("favours second", position.favours_second),
            )
        ]
        said = f"both orders {notation.pairing(metric, arrow)}: {', '.join(parts)} (n {notation.count(position.n)})"
        console.print(Text(said))
