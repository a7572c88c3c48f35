"""``report.html`` of a probe: one self-contained page made from its record; only frames of the worst clips are read."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from markupsafe import Markup

from rewardbench.probing.drawings import Curve, dose_chart
from rewardbench.probing.expectations import OVERALL, SAID
from rewardbench.probing.record import ProbeCell, ProbeRecord, ProbeResponse, ProbeTreatment, ProbeWorst
from rewardbench.probing.treatments import FAMILIES
from rewardbench.report import frames, notation
from rewardbench.report.page import TEMPLATES as SHARED
from rewardbench.runfolder import write_text
from rewardbench_plugin.clip import Clip

TEMPLATES = Path(__file__).parent / "templates"
PAGE_FILE = "report.html"
HUES = 8
STRONGEST = 2.0
"""Effects of so many standard deviations and more have the deepest colour."""
_SHADES = 5
MOST_LISTED = 200
MARKS = {
    "as expected": "✓",
    "likely": "(✓)",
    "blind": "∅",
    "doubtful": "(✗)",
    "wrong way": "✗",
    "moves": "✗",
    "open": "?",
}
WANTED = {"fall": "↓", "still": "=", "move": "↕", None: ""}

Shown = Mapping[tuple[str, str, int], Clip | None]
"""Treated clips by (treatment, level, source)."""


@dataclass(frozen=True)
class CellView:
    """One cell of a matrix: its number, its colour class, and what a reader without colour is told."""

    text: str
    css: str
    mark: str
    wanted: str
    said: str
    below: str = ""


@dataclass(frozen=True)
class RowView:
    name: str
    level: str
    title: str
    cells: list[CellView | None]


@dataclass(frozen=True)
class Panel:
    name: str
    title: str
    chart: Markup | None
    notes: list[str]


@dataclass(frozen=True)
class WorstView:
    worst: ProbeWorst
    said: str
    prompt: str
    other_prompt: str
    before: frames.Strip
    after: frames.Strip


def write_page(folder: Path, record: ProbeRecord, references: Mapping[int, Clip], shown: Shown) -> None:
    """Write the page.

    Args:
        folder: of the probe; frames are kept in its ``frames/``.
        record: what is shown.
        references: working copies by source.
        shown: treated clips, for the worst clips' frames.

    Raises:
        InputError: if the folder cannot be written.
    """
    views = _worst(folder, record, references, shown)
    write_text(folder / PAGE_FILE, render_page(record, views).encode("utf-8", "replace").decode("utf-8"))


def render_page(record: ProbeRecord, worst: Sequence[WorstView] = ()) -> str:
    """The page as text."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: notation.plain(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        plain=notation.plain,
        count=notation.count,
        measure=notation.measure,
        signed=signed,
        p_value=p_value,
        share=lambda value: notation.UNDEFINED if value is None else f"{100 * value:.0f} %",
    )
    style = "".join(path.read_text(encoding="utf-8") for path in (SHARED / "report.css", TEMPLATES / "probe.css"))
    script = (SHARED / "report.js").read_text(encoding="utf-8")
    return environment.get_template("probe.html.j2").render(
        record=record,
        style=Markup(style),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        summary=summary(record),
        unit=unit_of(record),
        sensitivity=_rows(record, lambda t: t.family == "degradations"),
        groups=[
            (title, _rows(record, lambda t, family=family: t.family == family))
            for family, title in FAMILIES.items()
            if family != "degradations" and any(t.family == family for t in record.treatments)
        ],
        panels=_panels(record),
        hues={d.name: i % HUES for i, d in enumerate(record.dimensions)},
        worst=worst,
        marks=MARKS,
        wanted=WANTED,
        said=SAID,
        most_listed=MOST_LISTED,
        own_units=any(cell.effect is None and cell.change is not None for cell in record.cells),
    )


def unit_of(record: ProbeRecord) -> str:
    return "units of probability" if record.is_judge else "standard deviations between clips"


def signed(value: float | None, digits: int = 2) -> str:
    """A change with its sign, ``−0.42``; more digits of what is smaller, none that are not there."""
    if value is None:
        return notation.UNDEFINED
    if value == 0:
        return "0"
    if abs(value) >= 10:
        digits = max(0, digits - 1)
    text = f"{value:+.{digits}f}"
    return text.replace("-", "−")


def p_value(value: float | None) -> str:
    if value is None:
        return notation.UNDEFINED
    return "< .0001" if value < 0.0001 else notation.proportion(value)


def summary(record: ProbeRecord) -> list[str]:
    """What was found, in sentences: verdicts counted, then what is wrong, by dimension."""
    judged = [cell for cell in record.cells if cell.verdict is not None]
    if not judged:
        return ["Nothing is expected of these dimensions under these treatments, so there is no verdict."]
    counts = Counter(cell.verdict for cell in judged)
    words = {
        "as expected": "{} as expected",
        "likely": "{} likely so",
        "moves": "{} where a score moves that should not",
        "blind": "{} blind",
        "wrong way": "{} the wrong way",
        "doubtful": "{} doubtful",
        "open": "{} open",
    }
    said = [text.format(counts[word]) for word, text in words.items() if counts[word]]  # type: ignore[index]
    sentences = [f"Of {len(judged)} cells with an expectation: {', '.join(said)}."]
    for word, text in (
        ("as expected", "Answers as it should"),
        ("likely", "Likely answers as it should"),
        ("moves", "Moves though it should not"),
        ("doubtful", "Doubtful, may do what it should not"),
        ("wrong way", "Rises where it should fall"),
        ("blind", "Blind"),
    ):
        found: dict[str, list[str]] = {}
        for cell in judged:
            if cell.verdict == word and (word != "as expected" or cell.expectation != "still"):
                found.setdefault(cell.dimension, []).append(_named(record, cell))
        if found:
            listed = "; ".join(f"{dimension} to {', '.join(names)}" for dimension, names in found.items())
            sentences.append(f"{text}: {listed}.")
    return sentences


def _named(record: ProbeRecord, cell: ProbeCell) -> str:
    treatment = next(t for t in record.treatments if t.name == cell.treatment)
    name = plain_name(cell.treatment)
    several = len(treatment.levels) > 1 and treatment.family != "degradations"
    return f"{name} ({cell.level})" if several else name


def plain_name(treatment: str) -> str:
    return treatment.replace("_", " ")


def _rows(record: ProbeRecord, wanted: Any) -> list[RowView]:
    cells = {(c.treatment, c.level, c.dimension): c for c in record.cells}
    rows = []
    for treatment in record.treatments:
        if not wanted(treatment):
            continue
        has_doses = treatment.family == "degradations"
        for level in treatment.levels[-1:] if has_doses else treatment.levels:
            found = [cells.get((treatment.name, level, d.name)) for d in record.dimensions]
            if any(found):
                views = [None if cell is None else _cell(cell) for cell in found]
                if has_doses:
                    views = _with_strongest(views, found)
                rows.append(
                    RowView(plain_name(treatment.name), "" if has_doses else level, treatment.description, views)
                )
    return rows


def _with_strongest(views: Sequence[CellView | None], cells: Sequence[ProbeCell | None]) -> list[CellView | None]:
    """The dimension that falls most, ``overall`` aside, stands out."""
    falls = {i: c.effect for i, c in enumerate(cells) if c is not None and c.effect is not None and c.effect < 0}
    own = {i: effect for i, effect in falls.items() if (c := cells[i]) is not None and c.dimension != OVERALL} or falls
    first = min(own, key=lambda i: own[i], default=None)
    return [replace(v, css=f"{v.css} most") if v is not None and i == first else v for i, v in enumerate(views)]


def _cell(cell: ProbeCell) -> CellView:
    below = ""
    if cell.n == 0:
        text, css = notation.UNDEFINED, "none"
    elif cell.n_equal == cell.n:
        text, css = "equal", "none equal"
    elif cell.effect is None:
        text, css = f"{notation.measure(cell.change)} u", "none own"
    else:
        text = signed(cell.effect)
        shade = min(_SHADES, round(abs(cell.effect) / STRONGEST * _SHADES))
        css = f"{'down' if cell.effect < 0 else 'up'}-{shade}"
        if cell.family == "batching":
            below = f"at most {notation.measure(cell.largest)} u"
        elif cell.expectation in ("still", "move") and cell.typical is not None:
            below = f"±{cell.typical:.2f}"
    if cell.n and cell.expectation in ("fall", "move"):
        css += " asked"
    wanted = WANTED[cell.expectation] if cell.n else ""
    said = f"{SAID[cell.expectation]}{f': {cell.verdict}' if cell.verdict else ''}; {cell.n} clips"
    return CellView(text, css, MARKS.get(cell.verdict or "", ""), wanted, said, below)


def _panels(record: ProbeRecord) -> list[Panel]:
    panels = []
    for treatment in record.treatments:
        own = [r for r in record.responses if r.treatment == treatment.name]
        if own:
            panels.append(_panel(record, treatment, own))
    return panels


def _panel(record: ProbeRecord, treatment: ProbeTreatment, own: Sequence[ProbeResponse]) -> Panel:
    hues = {d.name: i % HUES for i, d in enumerate(record.dimensions)}
    curves = [
        Curve(r.dimension, hues[r.dimension], known, r.effects_ci95, r.expectation == "fall")
        for r in own
        if r.n and len(known := [e for e in r.effects if e is not None]) == len(r.doses)
    ]
    name = plain_name(treatment.name)
    notes = [
        f"{r.dimension}: Spearman {signed(r.spearman)}"
        + (f" [{signed(r.spearman_ci95[0])}, {signed(r.spearman_ci95[1])}]" if r.spearman_ci95 else "")
        + f", falls with every dose on {round(100 * (r.share_falling or 0))} % of {r.n} clips"
        for r in own
        if r.expectation == "fall" and r.n
    ]
    if not curves:
        return Panel(name, treatment.description, None, ["No dimension has a spread between clips, or a score at all."])
    ends = ", ".join(f"{c.name} {signed(c.effects[-1])}" for c in curves)
    described = f"Change with the dose of {name}, in {unit_of(record)}; at the highest dose: {ends}."
    chart = dose_chart(own[0].doses, curves, record.settings.margin, described)
    return Panel(name, treatment.description, chart, notes)


def _worst(folder: Path, record: ProbeRecord, references: Mapping[int, Clip], shown: Shown) -> list[WorstView]:
    from rewardbench.scoring.decoder import Decoder

    views: list[WorstView] = []
    if not record.worst:
        return views
    with Decoder() as decoder:
        for one in record.worst:
            reference, clip = references[one.source], shown.get((one.treatment, one.level, one.source))
            before = frames.strip(reference.video, None, folder, decoder)
            after = frames.Strip(missing="the treatment changes nothing on this clip")
            if clip is not None:
                after = frames.strip(clip.video, None, folder, decoder)
            other = clip.prompt if clip is not None and clip.prompt != reference.prompt else None
            said = f"{one.dimension} {SAID[one.expectation]}"
            views.append(WorstView(one, said, reference.prompt or "", other or "", before, after))
    return views
