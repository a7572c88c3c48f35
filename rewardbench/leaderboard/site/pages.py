"""The pages. Each is one file without a network: style, script and data stand in it, and no other script may run.

Texts that came with a bundle reach a page in two ways only: escaped by the template, or as JSON that the script writes
with ``textContent``.
"""

from __future__ import annotations

import base64
import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from markupsafe import Markup

import rewardbench
from rewardbench.errors import InputError
from rewardbench.leaderboard.archive import canonical
from rewardbench.leaderboard.board import LEAST_RANKED_COVERAGE, Board
from rewardbench.leaderboard.site.matrix import ProbeView
from rewardbench.leaderboard.site.pictures import write_frames
from rewardbench.leaderboard.site.tables import Published, board_csv, board_json, literature, published_benchmarks
from rewardbench.leaderboard.submission import plain_name
from rewardbench.report import notation

TEMPLATES = Path(__file__).parent / "templates"
STYLES = (Path(notation.__file__).parent / "templates" / "report.css", TEMPLATES / "board.css")
SCRIPTS = ("numbers.js", "statistics.js", "state.js", "table.js", "figures.js", "details.js", "pairs.js", "main.js")
DATA = "leaderboard.json"
BUNDLES = "bundles"


def write_site(
    board: Board,
    out: Path,
    *,
    title: str = "Video reward models",
    published: Sequence[Published] = (),
    probes: Sequence[ProbeView] = (),
    bundles: Sequence[Path] = (),
    frames: bool = True,
) -> Path:
    """Write the site to ``out``, in place of an earlier one; nothing is left of that, and nothing is half written.

    Args:
        board: what was measured.
        title: of the whole site.
        published: the literature's numbers, always shown apart.
        probes: what models react to (``rewardbench probe``).
        bundles: files to offer beside the rows made of them; packed anew, so nothing but their members goes along.
        frames: whether to show frames where a benchmark's licence allows it.

    Returns:
        The first page.

    Raises:
        InputError: if ``out`` holds something that is no such site, or cannot be written.
    """
    try:
        if out.exists() and (not out.is_dir() or (any(out.iterdir()) and not (out / DATA).is_file())):
            raise InputError(f"{out} holds something that is no leaderboard site; name another folder with --out")
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as building:
            made = Path(building) / "site"
            made.mkdir()
            _write(board, made, title, published, probes, bundles, frames)
            if out.exists():
                out.rename(Path(building) / "earlier")
            made.rename(out)
    except OSError as error:
        raise InputError(f"{out} cannot be written ({error.strerror or error}); name another folder") from None
    return out / "index.html"


def _write(
    board: Board,
    site: Path,
    title: str,
    published: Sequence[Published],
    probes: Sequence[ProbeView],
    bundles: Sequence[Path],
    frames: bool,
) -> None:
    pages = page_names(board)
    (site / DATA).write_text(board_json(board), encoding="utf-8")
    (site / "leaderboard.csv").write_text(board_csv(board), encoding="utf-8")
    if bundles:
        (site / BUNDLES).mkdir()
        for path in bundles:
            (site / BUNDLES / path.name).write_bytes(canonical(path))
    common: dict[str, Any] = {
        "site": title,
        "pages": list(zip(board.benchmarks, pages, strict=True)),
        "has_published": any(table.rows for table in published),
        "has_probes": bool(probes),
        "has_bundles": bool(bundles),
    }
    _page(site / "index.html", "index.html.j2", published=published_benchmarks(published), **common)
    for benchmark, page in zip(board.benchmarks, pages, strict=True):
        pictures, why = write_frames(benchmark, site) if frames else ({}, "Frames were left out of this page.")
        data = {"benchmark": asdict(benchmark), "pictures": pictures, "noPictures": why, "bundles": bool(bundles)}
        _page(
            site / page,
            "benchmark.html.j2",
            data=data,
            benchmark=benchmark,
            literature=literature(table.of(benchmark.name) for table in published),
            least_coverage=LEAST_RANKED_COVERAGE,
            **common,
        )
    if common["has_published"]:
        _page(site / "published.html", "published.html.j2", literature=literature(published), **common)
    if probes:
        _page(site / "probes.html", "probes.html.j2", probes=probes, **common)


def page_names(board: Board) -> list[str]:
    """A file name per benchmark: its name, with the version where several have that name."""
    names = [plain_name(benchmark.name).lower() for benchmark in board.benchmarks]
    taken = {"index", "published", "probes"}
    pages = []
    for benchmark, name in zip(board.benchmarks, names, strict=True):
        if names.count(name) > 1 or name in taken:
            pages.append(f"{name}-{plain_name(benchmark.version)}-{benchmark.sha256[:6]}.html")
        else:
            pages.append(f"{name}.html")
    return pages


def _page(path: Path, template: str, *, data: Mapping[str, Any] | None = None, **values: Any) -> None:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_clean,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(proportion=notation.proportion, interval=notation.interval, count=notation.count)
    style = "\n".join(file.read_text(encoding="utf-8") for file in STYLES)
    script = ""
    if data is not None:
        parts = [(TEMPLATES / name).read_text(encoding="utf-8") for name in SCRIPTS]
        script = '"use strict";\n(() => {\n' + "\n".join(parts) + "\n})();\n"
    text = environment.get_template(template).render(
        style=Markup(style),
        style_hash=_hash(style),
        script=Markup(script),
        script_hash=_hash(script),
        data=None if data is None else embedded(data),
        version=rewardbench.__version__,
        here=path.name,
        **values,
    )
    path.write_text(text, encoding="utf-8", errors="replace")


def embedded(data: Mapping[str, Any]) -> Markup:
    """JSON that may stand in a script element: no ``<`` is left to end it or begin a comment, nothing to turn text."""
    text = notation.plain(json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")))
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _clean(value: Any) -> Any:
    return notation.plain(value) if isinstance(value, str) and not isinstance(value, Markup) else value
