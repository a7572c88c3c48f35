"""A comparison on the terminal: per label and rule the standings and every two models, then generators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rewardbench.comparing.record import Comparison, GeneratorRecord, PairedRecord, RuleComparison
from rewardbench.report import notation

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_RULES = {"crossfit": "accuracy with ties (crossfit)", "without-ties": "accuracy without ties (strict)"}
MANY_PROMPTS = 1_000_000
_IN_ASCII = str.maketrans("−–", "--")


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Print all tables; undefined numbers are dashes, differences are A − B."""
    from rich.text import Text

    ascii_only = console.options.ascii_only
    for one in comparison.comparisons:
        console.print(Text(_written(_heading(comparison, one), ascii_only), style="bold"))
        console.print(_standings_table(comparison, one, ascii_only))
        console.print(_pairs_table(one, comparison.cluster.column, ascii_only))
        console.print()
    for found in comparison.generators:
        console.print(Text(_written(_generator_heading(found), ascii_only), style="bold"))
        console.print(_generators_table(found, ascii_only))
        console.print()
    console.print(Text(_written(_legend(comparison), ascii_only), style="dim"))


def _heading(comparison: Comparison, one: RuleComparison) -> str:
    label = notation.plain(one.label, 80)
    return (
        f"{notation.plain(comparison.benchmark.name, 80)}, {label}: {_RULES[one.rule]}, "
        f"{notation.count(one.n)} pairs, {notation.count(one.n_clusters)} clusters by {comparison.cluster.column}"
    )


def _standings_table(comparison: Comparison, one: RuleComparison, ascii_only: bool) -> Table:
    calibration = {(found.label, found.model): found for found in comparison.calibration}
    rows = []
    for place in one.standings:
        found = calibration[one.label, place.model]
        ranks = _ranks(place.rank_low, place.rank_high)
        rows.append(
            [
                ranks,
                notation.plain(place.model, 60),
                f"{notation.proportion(place.value)} {notation.interval(place.ci95, 3)}".rstrip(),
                notation.proportion(found.log_loss, 3),
                notation.proportion(found.base_log_loss, 3),
                notation.proportion(found.brier, 3),
                f"{notation.proportion(found.decided.value, 3)} ({notation.proportion(found.decided.reference, 3)})",
            ]
        )
    headings = ["rank", "model", "accuracy", "log loss", "(ties alone)", "Brier", "ECE (by chance)"]
    return _table(headings, rows, left=("model",), ascii_only=ascii_only)


def _pairs_table(one: RuleComparison, cluster: str, ascii_only: bool) -> Table:
    rows = [
        [
            notation.plain(test.model_a, 60),
            notation.plain(test.model_b, 60),
            notation.count(test.n),
            signed(test.difference),
            "" if test.ci95 is None else f"{signed(test.ci95[0])} to {signed(test.ci95[1])}",
            _p(test.p, test),
            _p(test.p_holm, test),
            signed(test.effect_size, 2),
            f"{test.only_a}–{test.only_b}",
            _needed(test.clusters_needed),
            notation.proportion(test.smallest_detectable, 3),
        ]
        for test in one.pairs
    ]
    headings = [
        "A",
        "B",
        "n",
        "A − B",
        "95 %",
        "p",
        "Holm p",
        "effect",
        "only A–B right",
        f"{cluster}s needed",
        "would show",
    ]
    return _table(headings, rows, left=("A", "B"), ascii_only=ascii_only)


def _generator_heading(found: GeneratorRecord) -> str:
    interval = notation.interval(found.soft_pairwise_accuracy_ci95, 3)
    return (
        f"Generators by {notation.plain(found.model, 60)} on {notation.plain(found.label, 80)}: soft pairwise accuracy "
        f"{notation.proportion(found.soft_pairwise_accuracy)} {interval}, same order "
        f"{notation.proportion(found.pair_agreement)} of {found.n_generator_pairs} compared pairs of generators, "
        f"tau-b {notation.proportion(found.kendall_tau_b, 3)}, {notation.count(found.n)} pairs"
    )


def _generators_table(found: GeneratorRecord, ascii_only: bool) -> Table:
    rows = []
    order = sorted(
        range(len(found.by_people)), key=lambda k: (found.by_people[k].rank or 0, found.by_people[k].generator)
    )
    for k in order:
        row = [notation.plain(found.by_people[k].generator, 60)]
        for one in (found.by_people[k], found.by_model[k]):
            ranks = _ranks(one.rank_low, one.rank_high)
            bounds = "" if one.ci95 is None else f" {signed(one.ci95[0], 2)} to {signed(one.ci95[1], 2)}"
            row += [ranks, signed(one.strength, 2) + bounds, notation.proportion(one.points, 3)]
        rows.append(row)
    headings = [
        "generator",
        *[f"{by}: {what}" for by in ("people", "model") for what in ("rank", "strength", "points")],
    ]
    return _table(headings, rows, left=("generator",), ascii_only=ascii_only)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, left: Sequence[str], ascii_only: bool) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=box.ASCII2 if ascii_only else box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0)
    )
    for heading in headings:
        table.add_column(
            Text(_written(heading, ascii_only)), justify="left" if heading in left else "right", overflow="fold"
        )
    for row in rows:
        table.add_row(*(Text(_written(cell, ascii_only)) for cell in row))
    return table


def _written(text: str, ascii_only: bool) -> str:
    """Signs that this module writes, in ASCII where the terminal has no others."""
    return text.translate(_IN_ASCII) if ascii_only else text


def _legend(comparison: Comparison) -> str:
    settings, column = comparison.settings, comparison.cluster.column
    parts = [
        f"p: two-sided sign-flip permutation by {column} ({settings.permutations:,} draws; all if 16 or fewer differ).",
        "Holm p: adjusted over all comparisons under a rule.",
        f"Effect: difference / standard deviation over {column}s.",
        f"Needed: {column}s that would tell these two apart with {settings.power:.0%} power;",
        f"would show: the smallest difference that the {column}s here would.",
        "Ranks: 95 % intervals.",
        "Log loss, Brier, ECE: of probabilities made from margins, fitted on other prompts.",
    ]
    return " ".join(parts)


def signed(value: float | None, digits: int = 4) -> str:
    """A difference with its sign: ``+.0317``; ``–`` where undefined."""
    if value is None:
        return notation.UNDEFINED
    text = notation.proportion(abs(value), digits)
    if float(f"{value:.{digits}f}") == 0:
        return text
    return ("+" if value > 0 else "−") + text


def _ranks(low: int | None, high: int | None) -> str:
    if low is None:
        return ""
    return str(low) if low == high else f"{low}–{high}"


def _p(value: float | None, test: PairedRecord) -> str:
    if value is None:
        return notation.UNDEFINED
    return f"{value:.4f}".lstrip("0") if value < 0.99995 else "1"


def _needed(value: int | None) -> str:
    if value is None:
        return notation.UNDEFINED
    return notation.count(value) if value <= MANY_PROMPTS else f"> {notation.count(MANY_PROMPTS)}"
