"""``report.html`` and ``README.md`` of an alignment: what changed, by which recipe, and was the reward hacked."""

from __future__ import annotations

import base64
import hashlib
import io
import math
import mimetypes
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from markupsafe import Markup

from rewardbench.align import curves, evidence
from rewardbench.align.evidence import Look, Row, Take, Watch, points_of
from rewardbench.align.model_card import model_card
from rewardbench.align.recipe import PREFERENCE
from rewardbench.align.sources import settings_by_subject, source_of, value_text
from rewardbench.errors import ClipError, InputError
from rewardbench.report import figures, notation
from rewardbench.report.page import TEMPLATES as SHARED

if TYPE_CHECKING:
    from rewardbench.scoring.decoder import Decoder

TEMPLATES = Path(__file__).parent / "templates"
MOST_EMBEDDED_BYTES = 20_000_000
"""Clips of less than this together stand in the page itself; of more, beside it, and the page links to them."""
_POSTER_SIDE = 480
_MOST_CURVES = 6
"""Dimensions in one drawing: as many as the style sheet has colours that can be told apart."""


@dataclass(frozen=True)
class Panel:
    """One drawing with its name, its legend (class and name of each line) and what is to be said of it."""

    name: str
    chart: Markup
    note: str = ""
    legend: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class ClipView:
    """A clip as the page plays it; ``source`` is a data URI or a link, ``missing`` says why there is none."""

    source: str
    poster: str
    missing: str = ""


@dataclass(frozen=True)
class TakeView:
    take: Take
    image: str
    base: ClipView
    aligned: ClipView


def write_report(out: Path) -> None:
    """Write ``report.html`` and ``README.md`` from the files of an alignment's folder; nothing else is read.

    The page needs no network, and no script but for playing two clips at once. Clips stand in the page as long as they
    are smaller than :data:`MOST_EMBEDDED_BYTES` together, else it links to the files beside it. Both files are written
    atomically.

    Args:
        out: folder with ``result.json``; where tables of scores, clips or logs are absent, the page says what it lacks.

    Raises:
        InputError: ``result.json`` is missing or not an alignment's, a table cannot be read, or the folder cannot be
            written.
    """
    result = evidence.read_result(out)
    mix = evidence.read_mix(out, result["optimised"])
    rows = evidence.change_rows(result, mix)
    watch = evidence.watch_of(out, result)
    _write(out / "report.html", render_page(out, result, mix, rows, watch))
    _write(out / "README.md", model_card(result, mix, rows, watch))


def _write(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    try:
        partial.write_text(text, encoding="utf-8", errors="replace")
        os.replace(partial, path)
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{path} cannot be written: {reason}; free the folder or name another") from None


def render_page(
    out: Path, result: Mapping[str, Any], mix: Mapping[str, float], rows: Sequence[Row], watch: Watch
) -> str:
    """The page as text; see :func:`write_report`."""
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
        win_rate=evidence.win_rate,
        value=value_text,
        capitalize_first=lambda text: text[:1].upper() + text[1:],
        fixed=evidence.fixed,
        measure=notation.measure,
        signed=lambda value: evidence.fixed(value, 2, signed=True),
        size=_size,
    )
    style, script = (
        "".join((folder / f"{name}.{kind}").read_text(encoding="utf-8") for folder, name in _PARTS)
        for kind in ("css", "js")
    )
    domain = figures.accuracy_domain(
        [0.5, *(v for row in rows if row.change for v in (row.change.win_rate, *row.change.win_rate_ci95))]
    )
    takes = evidence.choose_takes(out, result, evidence.clip_rewards(out, result, mix))
    views, size, embedded = _views(takes, out)
    recipe, looks = result["recipe"], evidence.looks_of(result)
    return environment.get_template("alignment.html.j2").render(
        result=result,
        style=Markup(style),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        optimised=rows[0],
        rows=rows,
        mix=mix,
        plots={
            row.name: figures.interval_plot(row.change.win_rate, row.change.win_rate_ci95, 0.5, domain)
            for row in rows
            if row.change
        },
        plots_axis=figures.interval_axis(domain),
        watch=watch,
        rule=evidence.RULE,
        looks=sorted(looks, key=lambda look: [k.name for k in looks].index(look.name)),
        look_steps=sorted({look.step for look in looks}),
        movements=_movements(result, looks),
        takes=views,
        takes_size=size,
        takes_embedded=embedded,
        ranked=any(take.gain is not None for take in takes),
        panels=_panels(result),
        histograms=_histograms(result["pairs"]),
        settings=settings_by_subject(recipe, result["preset"]),
        source=source_of(result["preset"]),
        guidance=result.get("guidance"),
        steps=recipe["steps"],
    )


_PARTS = ((SHARED, "report"), (TEMPLATES, "alignment"))


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{math.ceil(size / 1e3)} kB"


# ---------------------------------------------------------------------- drawings


def _marks(recipe: Mapping[str, Any]) -> list[int]:
    """Steps at which a round ended and another began."""
    return [recipe["steps"] // recipe["rounds"] * n for n in range(1, recipe["rounds"])]


def _movements(result: Mapping[str, Any], looks: Sequence[Look]) -> list[Panel]:
    """How far each judge had moved from base at every look, a panel a judge; and how far the policy had.

    All judges' panels have the same vertical axis, and the optimised reward in each of them.
    """
    marks, own = _marks(result["recipe"]), result["optimised"].rpartition(":")[0]
    optimised = [look for look in looks if look.role == "optimised"]
    groups: dict[tuple[str, str], dict[str, list[Look]]] = {}
    for look in looks:
        if look.role != "optimised":
            groups.setdefault((look.role, look.name.rpartition(":")[0]), {}).setdefault(look.name, []).append(look)
    known = [look.standardised for look in looks if math.isfinite(look.standardised)]
    reach = (min(0.0, *known), max(0.0, *known)) if known else (0.0, 0.0)
    panels: list[Panel] = []

    def add(name: str, drawn: Sequence[Sequence[Look]], alarm: float | None = None) -> None:
        lines, legend = [], []
        for number, found in enumerate([optimised, *drawn]):
            if any(math.isfinite(look.standardised) for look in found):
                lines.append(_since_base(found, "optimised" if number == 0 else f"judge-{number - 1}"))
                said = "optimised reward" if number == 0 else found[0].name.rpartition(":")[2]
                end = found[-1].standardised
                legend.append((number > 0, math.inf if math.isnan(end) else -end, lines[-1].css, said))
        names = [found[0].name.rpartition(":")[2] for found in drawn]
        absent = [n for n, f in zip(names, drawn, strict=True) if all(math.isnan(look.standardised) for look in f)]
        note = f"Not drawn, because undefined: {', '.join(notation.plain(n, 40) for n in absent)}." if absent else ""
        chart = curves.line_chart(
            lines, "standard deviations of base", name, level=0.0, marks=marks, dots=True, alarm=alarm, span=reach
        )
        if chart is None:
            return
        ends = tuple((css, f"{evidence.fixed(-end, 2, signed=True)} {said}") for _, end, css, said in sorted(legend))
        panels.append(Panel(name, chart, note, ends))

    for (role, plugin), by_name in groups.items():
        names = list(by_name)
        parts = [names[i : i + _MOST_CURVES] for i in range(0, len(names), _MOST_CURVES)]
        kind = "held out" if role == "held_out" else "dimensions of the same model" if plugin == own else "watched"
        for number, part in enumerate(parts, start=1):
            place = f" ({number} of {len(parts)})" if len(parts) > 1 else ""
            alarm = -evidence.RULE.smallest_fall if role == "held_out" else None
            add(f"{notation.plain(plugin, 80)}, {kind}{place}", [by_name[name] for name in part], alarm)
    if not groups:
        add("Optimised reward", [])
    distances = evidence.distances_of(result)
    if distances:
        line = curves.Line("distance", "distance", [(0.0, 0.0), *distances])
        chart = curves.line_chart([line], "RMS in latents", "Distance from the reference", marks=marks, dots=True)
        note = (
            f"{notation.measure(distances[-1][1])} at the end: root of the mean squared difference, in latents, "
            "between clips of the policy and of base from the same noise."
        )
        if chart is not None:
            panels.append(Panel("Distance from the reference", chart, note))
    return panels


def _since_base(looks: Sequence[Look], css: str) -> curves.Line:
    """A judge's curve, which starts from base: 0 at step 0."""
    points = {0.0: 0.0} | {float(look.step): look.standardised for look in looks}
    hollow = frozenset(float(look.step) for look in looks if look.few)
    return curves.Line(looks[0].name, f"{css} motion" if looks[0].tells_motion else css, list(points.items()), hollow)


def _panels(result: Mapping[str, Any]) -> list[Panel]:
    """Curves over the steps of all rounds; those whose values the log does not have are left out."""
    recipe, training = result["recipe"], result["training"]
    steps = recipe["steps"] // recipe["rounds"]
    marks = _marks(recipe)
    compares = recipe["algorithm"] in PREFERENCE
    plain = compares and recipe["pair_weight"] == "none" and not recipe["sft_weight"]

    def lines(*wanted: tuple[str, str, str]) -> list[curves.Line]:
        found = [curves.Line(name, css, points_of(training, steps, key)) for name, css, key in wanted]
        return [line for line in found if line.points]

    def above_reference(side: str) -> list[tuple[float, float]]:
        mine, theirs = (points_of(training, steps, f"error_{side}{who}") for who in ("", "_reference"))
        return [(x, y - r) for (x, y), (_, r) in zip(mine, theirs, strict=True)] if len(mine) == len(theirs) else []

    panels: list[Panel] = []

    def add(name: str, y_name: str, found: Sequence[curves.Line], note: str = "", **options: Any) -> None:
        shown = [line for line in found if line.points]
        chart = curves.line_chart(shown, y_name, name, marks=marks, **options)
        if chart is not None:
            ends = "; ".join(
                f"{line.name} {curves.ends_of(line.points)}" if len(shown) > 1 else curves.ends_of(line.points)
                for line in shown
            )
            legend = tuple((line.css, line.name) for line in shown) if len(shown) > 1 else ()
            panels.append(Panel(name, chart, f"{ends[:1].upper()}{ends[1:]}. {note}".strip(), legend))

    level = math.log(2) if plain else None
    mixed = compares and recipe["sft_weight"]
    note = "Dashed: ln 2, policy equal to reference." if plain else ""
    if mixed:
        note = f"The preference part, plus {recipe['sft_weight']:g} times the winners’ squared error (SFT)."
    add("Loss", "loss", lines(("loss", "main", "loss")), note, level=level)
    if mixed:
        add("Preference part of the loss", "loss", lines(("preference part", "main", "preference_loss")))
    add(
        "Implicit accuracy",
        "share of pairs",
        lines(("accuracy", "main", "accuracy")),
        "Share of pairs whose winner the policy prefers more than the reference does. Dashed: one half.",
        level=0.5,
        share=True,
    )
    add(
        "Pairwise accuracy",
        "share of labels",
        lines(("accuracy", "main", "pairwise_accuracy")),
        "Share of labels whose better clip the latent reward prefers. Dashed: one half.",
        level=0.5,
        share=True,
    )
    add("Margin", "implicit reward", lines(("margin", "main", "margin")), "Dashed: 0, no preference.", level=0.0)
    add(
        "Squared errors",
        f"{recipe['error_space']} error",
        lines(
            ("winner", "win", "error_win"),
            ("winner, reference", "win dashed", "error_win_reference"),
            ("loser", "lose", "error_lose"),
            ("loser, reference", "lose dashed", "error_lose_reference"),
        ),
    )
    add(
        "Errors above the reference's",
        "policy − reference",
        [curves.Line("winner", "win", above_reference("win")), curves.Line("loser", "lose", above_reference("lose"))],
        "Above 0 the policy fits such clips worse than before; a loss can fall while both rise.",
        level=0.0,
    )
    limit = recipe["max_grad_norm"]
    norms = lines(("gradient norm", "main", "gradient_norm"))
    note = f"Clipped at {limit:g} (dashed)." if limit > 0 else "Not clipped."
    add("Gradient norm", "norm before clipping", norms, note, level=limit if limit > 0 else None)
    if limit > 0:
        add("Clipped steps", "share of steps", lines(("clipped", "main", "clipped")), share=True)
    panels += _seconds(training, steps)
    add(
        "Arithmetic share",
        "share of a step",
        lines(("share", "main", "arithmetic_share")),
        "Time that a step's arithmetic would take at this device's own speed of matrix products, over its real time.",
    )
    return panels


def _seconds(training: Sequence[Sequence[Mapping[str, Any]]], steps: int) -> list[Panel]:
    names = dict.fromkeys(name for lines in training for line in lines for name in line.get("seconds", {}))
    ordered = sorted(names, key=lambda n: curves.PHASES.index(n) if n in curves.PHASES else 99)
    phases = [(name, points_of(training, steps, f"seconds/{name}")) for name in ordered]
    chart = curves.stacked_seconds(phases, "Seconds a step by phase")
    if chart is None:
        return []
    said = "; ".join(f"{name} {curves.ends_of(points)}" for name, points in phases)
    legend = tuple((curves.phase_class(name), name) for name in ordered)
    return [Panel("Seconds a step, by phase", chart, f"{said[:1].upper()}{said[1:]}.", legend)]


def _histograms(rounds: Sequence[Mapping[str, Any]]) -> list[Panel]:
    panels = []
    for number, pairs in enumerate(rounds, start=1):
        name = f"Round {number}" if len(rounds) > 1 else "Reward gaps"
        gaps = sorted(g for g in pairs["gaps"] if math.isfinite(g))
        if gaps:
            middle = (gaps[(len(gaps) - 1) // 2] + gaps[len(gaps) // 2]) / 2
            said = (
                f"{notation.count(len(gaps))} pairs; smallest {notation.measure(gaps[0])}, median (dotted) "
                f"{notation.measure(middle)}, largest {notation.measure(gaps[-1])}."
            )
            chart = curves.gap_histogram(gaps, f"{name}: {said}")
            assert chart is not None
            panels.append(Panel(name, chart, said))
    return panels


# ---------------------------------------------------------------------- clips


def _views(takes: Sequence[Take], out: Path) -> tuple[list[TakeView], int, bool]:
    """Clips as the page plays them, their size in bytes, and whether they stand in the page itself."""
    from rewardbench.scoring.decoder import Decoder

    files = [path for take in takes for path in (take.base, take.aligned) if path is not None]
    size = sum(path.stat().st_size for path in files)
    embedded = size < MOST_EMBEDDED_BYTES
    source = _data_uri if embedded else _link_from(out)
    with Decoder() as decoder:
        views = [
            TakeView(
                take,
                "" if take.image is None else _picture(take.image),
                _clip_view(take.base, source, decoder),
                _clip_view(take.aligned, source, decoder),
            )
            for take in takes
        ]
    return views, size, embedded


def _clip_view(path: Path | None, source: Callable[[Path], str], decoder: Decoder) -> ClipView:
    from rewardbench_plugin.clip import FrameSpec, Sampling

    if path is None:
        return ClipView("", "", "the clip is not in the run's folder")
    try:
        middle = decoder.read(path, FrameSpec(sampling=Sampling("middle", 1)))[0]
    except ClipError as error:
        return ClipView("", "", notation.plain(error, 200))
    return ClipView(source(path), _jpeg(middle))


def _data_uri(path: Path) -> str:
    kind = mimetypes.guess_type(path.name)[0] or "video/mp4"
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode('ascii')}"


def _link_from(out: Path) -> Callable[[Path], str]:
    return lambda path: quote(path.relative_to(out.resolve()).as_posix())


def _picture(path: Path) -> str:
    """A first frame as a small data URI; empty where it cannot be read."""
    from rewardbench.video import read_image

    try:
        return _jpeg(read_image(path))
    except ClipError:
        return ""


def _jpeg(rgb: Any) -> str:
    """uint8 (H, W, 3) as a JPEG data URI of at most :data:`_POSTER_SIDE` pixels a side."""
    from PIL import Image

    image = Image.fromarray(rgb)
    image.thumbnail((_POSTER_SIDE, _POSTER_SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
