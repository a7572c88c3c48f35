"""``report.html``: one self-contained page made from the tables of a run folder."""

from __future__ import annotations

import base64
import hashlib
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from rewardbench.errors import InputError
from rewardbench.report import figures, frames, notation
from rewardbench.report.evidence import (
    Pairs,
    RowEvidence,
    VideoHashes,
    accuracy_curve,
    disagreements,
    margin_histogram,
)
from rewardbench.results import MetricRecord, Result, read_result

if TYPE_CHECKING:
    from rewardbench.scoring.decoder import Decoder

TEMPLATES = Path(__file__).parent / "templates"
MOST_PAIRS_PER_ROW, MOST_PAIRS, MOST_PICTURE_BYTES = 6, 36, 1_900_000
MOST_LISTED, MOST_SLICES = 200, 400


@dataclass(frozen=True)
class RowView:
    """One metrics row as the template shows it."""

    metric: MetricRecord
    pairing: str
    place: str
    ties_plot: Markup
    strict_plot: Markup
    coverage: float | None


@dataclass(frozen=True)
class Charts:
    """The drawings of one metrics row; ``missing`` says why there are none."""

    row: RowView
    curve: Markup | None = None
    histogram: Markup | None = None
    clipped: int = 0
    missing: str = ""


@dataclass(frozen=True)
class ClipView:
    letter: str
    name: str
    score: float | None
    strip: frames.Strip


@dataclass(frozen=True)
class PairView:
    pair_id: str
    prompt: str
    human: str
    said: str
    margin: float
    clips: tuple[ClipView, ClipView]


@dataclass(frozen=True)
class Sheet:
    """The strongest disagreements of one metrics row."""

    row: RowView
    pairs: list[PairView]
    missing: str = ""


@dataclass(frozen=True)
class SliceView:
    row: RowView
    value: str
    record: Any
    plot: Markup


@dataclass(frozen=True)
class SliceTable:
    column: str
    axis: Markup
    slices: list[SliceView]
    left_out: int


def write_report(folder: Path) -> Path:
    """Make ``report.html`` of a run folder from ``result.json``, ``pairs.parquet`` and ``scores.parquet``.

    The page needs no network and no script to be read. Frames of the contact sheet are kept as small JPEG files in
    ``frames/`` of the folder, so that a rebuilt page decodes nothing again. The page is written atomically.

    Args:
        folder: a run folder with at least ``result.json``; where a table is absent, the page says what it lacks.

    Returns:
        The path of the page.

    Raises:
        InputError: if ``result.json`` or a table cannot be read, or the folder cannot be written.
    """
    result = read_result(folder / "result.json")
    path = folder / "report.html"
    partial = path.with_name(path.name + ".partial")
    try:
        page = render_page(result, folder)
        partial.write_text(page, encoding="utf-8", errors="replace")
        partial.replace(path)
    except OSError as error:
        raise InputError(
            f"{path} cannot be written: {error.strerror or error}; free the folder or name another"
        ) from None
    return path


def render_page(result: Result, folder: Path) -> str:
    """The page as text; see :func:`write_report`."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_clean,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        proportion=notation.proportion,
        interval=notation.interval,
        threshold=notation.threshold,
        measure=notation.measure,
        count=notation.count,
        memory=notation.memory,
        plain=notation.plain,
        folds=_folds,
        nbsp=lambda text: str(text).replace(" ", "\N{NO-BREAK SPACE}"),
    )
    style = (TEMPLATES / "report.css").read_text(encoding="utf-8")
    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    pairs_path = folder / "pairs.parquet"
    pairs = Pairs(pairs_path) if pairs_path.is_file() else None
    ties_domain = figures.accuracy_domain(_accuracies(result, with_ties=True))
    strict_domain = figures.accuracy_domain([*_accuracies(result, with_ties=False), 0.5])
    rows = [_row(metric, ties_domain, strict_domain) for metric in result.metrics]
    evidence = [None if pairs is None else pairs.of(row.metric) for row in rows]
    return environment.get_template("report.html.j2").render(
        result=result,
        title=f"{', '.join(dict.fromkeys(plugin.label for plugin in result.plugins))} on {result.benchmark.name}",
        style=Markup(style),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        rows=rows,
        several=len(result.plugins) > 1,
        ties_axis=figures.interval_axis(ties_domain),
        strict_axis=figures.interval_axis(strict_domain),
        by_label=_by_label(rows),
        summary=_summary(rows),
        charts=[_charts(row, found) for row, found in zip(rows, evidence, strict=True)],
        slice_tables=_slice_tables(rows),
        sheets=_sheets(rows, evidence, pairs, folder) if pairs is not None else [],
        has_pairs=pairs is not None,
        most_listed=MOST_LISTED,
    )


def _clean(value: Any) -> Any:
    """What every expression of the template passes through before it is escaped."""
    return notation.plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _folds(values: Sequence[float | None]) -> str:
    """Thresholds of the folds as a range."""
    known = [value for value in values if value is not None]
    if not known:
        return notation.UNDEFINED
    low, high = notation.threshold(min(known)), notation.threshold(max(known))
    return low if low == high else f"{low} to {high}"


def _accuracies(result: Result, with_ties: bool) -> list[float | None]:
    found: list[float | None] = []
    for metric in result.metrics:
        if with_ties:
            headline = metric.accuracy_with_ties.crossfit
            found += [headline.value, metric.majority_floor, *(headline.ci95 or ())]
        else:
            strict = metric.accuracy_without_ties
            found += [strict.value, *(strict.ci95 or ())]
    return found


def _row(metric: MetricRecord, ties_domain: tuple[float, float], strict_domain: tuple[float, float]) -> RowView:
    headline, strict = metric.accuracy_with_ties.crossfit, metric.accuracy_without_ties
    return RowView(
        metric=metric,
        pairing=notation.pairing(metric),
        place=notation.against_floor(headline.value, headline.ci95, metric.majority_floor),
        ties_plot=figures.interval_plot(headline.value, headline.ci95, metric.majority_floor, ties_domain),
        strict_plot=figures.interval_plot(strict.value, strict.ci95, 0.5, strict_domain, "diamond"),
        coverage=metric.n / labelled if (labelled := metric.n + metric.n_abstained) else None,
    )


def _by_label(rows: list[RowView]) -> dict[str, list[RowView]]:
    """Rows by label in order of appearance: scorers of the same label stand under each other."""
    grouped: dict[str, list[RowView]] = {}
    for row in rows:
        grouped.setdefault(row.metric.label, []).append(row)
    return grouped


def _summary(rows: list[RowView]) -> list[str]:
    """What the headline numbers say, one sentence per plugin."""
    sentences = []
    for plugin in dict.fromkeys(row.metric.plugin for row in rows):
        own = [row for row in rows if row.metric.plugin == plugin]
        above = [row.pairing for row in own if row.place == "above"]
        below = [row.pairing for row in own if row.place == "below"]
        silent = [row.pairing for row in own if row.metric.n == 0 and row.metric.n_abstained]
        many = f"{len(above)} of {len(own)} labels" if len(own) > 1 else ("its label" if above else "no label")
        sentence = (
            f"{notation.plain(plugin, 80)}: the interval of accuracy with ties lies above the majority floor on {many}"
        )
        if below:
            sentence += f"; below it on {', '.join(below[:6])}"
        if silent:
            sentence += f"; abstains throughout on {', '.join(silent[:6])}"
        sentences.append(sentence + ".")
    return sentences


def _applied_threshold(metric: MetricRecord) -> float | None:
    """The tie threshold that stands for the row: the median over the folds, else the best on the same pairs."""
    folds = [value for value in metric.accuracy_with_ties.crossfit.tie_thresholds if value is not None]
    return statistics.median(folds) if folds else metric.accuracy_with_ties.threshold.tie_threshold


def _charts(row: RowView, evidence: RowEvidence | None) -> Charts:
    if evidence is None:
        return Charts(row, missing="pairs.parquet holds no pairs of this row")
    curve = accuracy_curve(evidence)
    histogram = margin_histogram(evidence)
    if curve is None or histogram is None:
        return Charts(row, missing="the scorer abstained on every pair")
    ties, floor = row.metric.accuracy_with_ties, row.metric.majority_floor
    best = ties.threshold
    oracle = None if best.tie_threshold is None or best.value is None else (best.tie_threshold, best.value)
    name = f"{notation.plain(row.metric.plugin, 80)}, {row.pairing}"
    described = (
        f"Accuracy with ties over the tie threshold for {name}: {notation.proportion(float(curve.accuracy[0]))} at "
        f"threshold 0, best {notation.proportion(best.value)} at {notation.threshold(best.tie_threshold)}, "
        f"floor {notation.proportion(floor)}."
    )
    medians = [
        f"{label} {notation.measure(statistics.median(part))}"
        for label, key in (("A", 1), ("tie", 0), ("B", -1))
        if len(part := evidence.margin[(evidence.human == key) & (evidence.margin == evidence.margin)])
    ]
    folds = [value for value in ties.crossfit.tie_thresholds if value is not None]
    return Charts(
        row,
        curve=figures.threshold_curve(curve, floor, oracle, folds, described),
        histogram=figures.margin_histogram(
            histogram,
            _applied_threshold(row.metric),
            f"Margins by human label for {name}; medians: {', '.join(medians)}.",
        ),
        clipped=histogram.clipped,
    )


def _slice_tables(rows: list[RowView]) -> list[SliceTable]:
    tables = []
    for column in dict.fromkeys(column for row in rows for column in row.metric.slices):
        cut = [(row, value, record) for row in rows for value, record in row.metric.slices.get(column, {}).items()]
        accuracies = [record.with_ties_crossfit for _, _, record in cut]
        domain = figures.accuracy_domain(
            [
                *(record.majority_floor for _, _, record in cut),
                *(accuracy.value for accuracy in accuracies),
                *(bound for accuracy in accuracies for bound in accuracy.ci95 or ()),
            ]
        )
        shown = [
            SliceView(
                row,
                value,
                record,
                figures.interval_plot(
                    record.with_ties_crossfit.value, record.with_ties_crossfit.ci95, record.majority_floor, domain
                ),
            )
            for row, value, record in cut[:MOST_SLICES]
        ]
        tables.append(SliceTable(column, figures.interval_axis(domain), shown, len(cut) - len(shown)))
    return tables


def _said(margin: float, tie_threshold: float | None) -> str:
    if tie_threshold is not None and abs(margin) <= tie_threshold:
        return "tie"
    return "A" if margin > 0 else "B"


def _sheets(rows: list[RowView], evidence: list[RowEvidence | None], pairs: Pairs, folder: Path) -> list[Sheet]:
    """The contact sheets, all together at most ``MOST_PAIRS`` pairs (at least one a row) and ``MOST_PICTURE_BYTES``."""
    from rewardbench.scoring.decoder import Decoder

    with Decoder() as decoder:
        return _decoded_sheets(rows, evidence, pairs, folder, decoder)


def _decoded_sheets(
    rows: list[RowView], evidence: list[RowEvidence | None], pairs: Pairs, folder: Path, decoder: Decoder
) -> list[Sheet]:
    hashes = VideoHashes(folder / "scores.parquet")
    per_row = max(1, min(MOST_PAIRS_PER_ROW, MOST_PAIRS // max(1, len(rows))))
    strips: dict[tuple[str, str], frames.Strip] = {}
    embedded = 0
    sheets = []
    for row, found in zip(rows, evidence, strict=True):
        if found is None:
            sheets.append(Sheet(row, [], "pairs.parquet holds no pairs of this row"))
            continue
        views = []
        for pair in disagreements(found, _applied_threshold(row.metric), per_row):
            texts = pairs.texts(pair.row)
            clips = []
            for side, letter in (("a", "A"), ("b", "B")):
                clip_id, video = str(texts.get(f"clip_{side}") or ""), str(texts.get(f"video_{side}") or "")
                if not video:
                    shown = frames.Strip(missing="the table names no clip")
                elif embedded >= MOST_PICTURE_BYTES:
                    shown = frames.Strip(missing="left out to keep the page small")
                else:
                    sha = hashes.of(row.metric.plugin, clip_id)
                    key = (video, sha or "")
                    if key not in strips:
                        strips[key] = frames.strip(video, sha, folder, decoder)
                    shown = strips[key]
                    embedded += len(shown.uri)
                score = texts.get(f"score_{side}")
                name = Path(video).name or clip_id
                clips.append(ClipView(letter, name, score if isinstance(score, float) else None, shown))
            threshold = texts.get("tie_threshold")
            views.append(
                PairView(
                    pair_id=str(texts.get("pair_id") or ""),
                    prompt=str(texts.get("prompt") or ""),
                    human={1: "A", 0: "tie", -1: "B"}[pair.human],
                    said=_said(pair.margin, threshold if isinstance(threshold, float) else None),
                    margin=pair.margin,
                    clips=(clips[0], clips[1]),
                )
            )
        sheets.append(Sheet(row, views, "" if views else "no pair on which people and the scorer disagree"))
    return sheets
