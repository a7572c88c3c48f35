"""The site as files: self-contained, its own script only, whole or not there, and a table for every number."""

from __future__ import annotations

import base64
import csv
import hashlib
import html.parser
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rewardbench.errors import InputError
from rewardbench.leaderboard import archive
from rewardbench.leaderboard.site import write_site
from rewardbench.leaderboard.site.matrix import Cell, MatrixRow, ProbeView
from rewardbench.leaderboard.site.pages import embedded, page_names
from rewardbench.leaderboard.site.tables import COLUMNS, Published, board_csv, harmless, literature, read_published


class Elements(html.parser.HTMLParser):
    """Collects what a browser would make of a page: elements with attributes, and the text of each script."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._inside = tag
        if tag in ("script", "style"):
            self.scripts.append("")

    def handle_data(self, data: str) -> None:
        if self._inside in ("script", "style"):
            self.scripts[-1] += data

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""


@pytest.fixture(scope="module")
def site(synthetic: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory, hostile: str) -> Path:
    folder = tmp_path_factory.mktemp("board")
    bundle = folder / "votes--x.zip"
    bundle.write_bytes(b"before" + archive.pack({archive.MANIFEST: b"{}", archive.RESULT: b"{}", archive.PAIRS: b""}))
    literature = Published(
        "papers.csv",
        ("benchmark", "model", "acc", "source"),
        ({"benchmark": "Votes", "model": hostile, "acc": "61.26", "source": "a paper"},),
    )
    rows = (
        MatrixRow("blur", "degradation", "softer", (Cell(-1.5, "strong", "as expected", 9), None)),
        MatrixRow(hostile, "degradation", "x", (Cell(0.0, "", "blind", 9), Cell(2.0, hostile, "wrong way", 9))),
    )
    probe = ProbeView(hostile, "1", 9, "c" * 64, ("VQ", "MQ"), rows, "2026")
    write_site(synthetic(), folder / "site", published=[literature], probes=[probe], bundles=[bundle], title=hostile)
    return folder / "site"


PAGES = ("index.html", "votes.html", "published.html", "probes.html")


@pytest.mark.parametrize("page", PAGES)
def test_no_page_holds_foreign_markup_or_asks_for_anything_outside(site: Path, page: str) -> None:
    text = (site / page).read_text(encoding="utf-8")
    found = Elements(text)
    assert not [tag for tag, _ in found.found if tag in ("iframe", "object", "embed", "base")]
    assert not [attributes for tag, attributes in found.found if tag == "img"]
    for tag, attributes in found.found:
        assert not [name for name in attributes if name.startswith("on") or name in ("style", "srcdoc")], (
            tag,
            attributes,
        )
        for name in ("href", "src", "action"):
            address = attributes.get(name) or ""
            assert not re.match(r"(?i)\s*(javascript|https?|//|data:(?!,$))", address), (tag, address)
    assert "\u202e" not in text
    outside = [match for match in re.findall(r"https?://[\w./-]+", text) if match != "http://www.w3.org/2000/svg"]
    assert outside == []


@pytest.mark.parametrize("page", PAGES)
def test_the_policy_names_the_pages_own_script_and_style_and_nothing_else(site: Path, page: str) -> None:
    text = (site / page).read_text(encoding="utf-8")
    policy = next(a["content"] for tag, a in Elements(text).found if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    directives = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert directives["default-src"] == "'none'"
    assert directives["img-src"] == "'self' data:"

    def named(content: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"

    style = text[text.index("<style>") + 7 : text.index("</style>")]
    assert directives["style-src"] == named(style)
    script = text[text.rindex("<script>") + 8 : text.rindex("</script>")] if "<script>" in text else ""
    assert directives["script-src"] == named(script)


def test_data_in_a_page_cannot_end_its_element(hostile: str) -> None:
    text = embedded({"a": hostile + "<!--\u2028"})
    assert not set("<\u2028\u202e\x00") & set(text)
    read = json.loads(text)["a"]
    assert read == (hostile + "<!--\u2028").replace("\u202e", "\ufffd"), "shown as it is, but for what turns text round"


def test_the_site_has_pages_tables_and_bundles_and_no_more(site: Path) -> None:
    found = sorted(path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file())
    assert found == sorted([*PAGES, "leaderboard.json", "leaderboard.csv", "bundles/votes--x.zip"])


def test_a_second_build_leaves_nothing_of_the_first(synthetic: Callable[..., Any], tmp_path: Path) -> None:
    out = tmp_path / "site"
    write_site(synthetic(3), out)
    (out / "old.html").write_text("left over")
    write_site(synthetic(3), out)
    assert not (out / "old.html").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["site"], "nothing half made is left"


def test_the_same_board_gives_the_same_files(synthetic: Callable[..., Any], tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_site(synthetic(5), tmp_path / name)
    for path in (tmp_path / "one").rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()


def test_a_folder_with_something_else_is_left_alone(synthetic: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="holds something that is no leaderboard site"):
        write_site(synthetic(3), tmp_path)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_failed_build_keeps_the_earlier_site(
    synthetic: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rewardbench.leaderboard.site import pages

    out = tmp_path / "site"
    write_site(synthetic(3), out)
    before = (out / "index.html").read_text()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pages, "board_csv", full)
    with pytest.raises(InputError, match="cannot be written \\(No space left on device\\)"):
        write_site(synthetic(4), out)
    assert (out / "index.html").read_text() == before
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


def test_the_csv_has_a_line_for_every_row_and_no_formula(synthetic: Callable[..., Any]) -> None:
    board = synthetic(6)
    board.benchmarks[0].dimensions[0].rows[0].__dict__["model"] = "=HYPERLINK(1)"
    lines = list(csv.DictReader(io.StringIO(board_csv(board))))
    assert len(lines) == 6 * 4
    assert tuple(lines[0]) == COLUMNS
    assert lines[0]["model"] == "'=HYPERLINK(1)"
    first = board.benchmarks[0].dimensions[0].rows[0]
    assert float(lines[0]["with_ties_crossfit"]) == first.with_ties.value
    assert lines[0]["majority_floor"] == "0.4"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\t=1"])
def test_cells_that_a_spreadsheet_would_compute_are_marked(text: str) -> None:
    assert harmless(text) == f"'{text}"
    assert harmless("plain") == "plain"


def test_published_numbers_are_read_as_printed_and_found_by_benchmark(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(
        "benchmark,model,value,source,protocol,tie_rule\n"
        "VideoGen-RewardBench,X,61.260,a,all pairs,none\nGenAI-Bench,X,49.41,a,all pairs,none\n"
    )
    (table,) = read_published(tmp_path)
    assert [row["value"] for row in table.of("videogen_rewardbench").rows] == ["61.260"]
    assert read_published(tmp_path / "none") == []


@pytest.mark.parametrize("missing", ["benchmark", "model", "value", "source", "protocol", "tie_rule"])
def test_a_published_number_needs_its_source_protocol_and_tie_rule(tmp_path: Path, missing: str) -> None:
    names = ["benchmark", "model", "value", "source", "protocol", "tie_rule"]
    path = tmp_path / "q.csv"
    path.write_text(",".join(name for name in names if name != missing) + "\na,b,c,d,e\n")
    with pytest.raises(InputError, match=f"q.csv has no column '{missing}'"):
        read_published(tmp_path)
    path.write_text(",".join(names) + "\na,b,c,d,e,f\n" + ",".join("" if n == missing else "x" for n in names) + "\n")
    with pytest.raises(InputError, match=f"q.csv, row 2: {missing} is empty"):
        read_published(tmp_path)


def test_the_tables_that_ship_are_whole() -> None:
    from rewardbench.catalogue.published import published_folder

    assert sum(len(table.rows) for table in read_published(published_folder())) > 50


def test_what_all_numbers_of_a_source_share_is_said_once() -> None:
    columns = ("benchmark", "model", "value", "unit", "source", "protocol", "note")
    rows = [
        dict(zip(columns, cells, strict=True))
        for cells in (
            ("votes", "X", "61.26", "percent", "paper 1", "all pairs", ""),
            ("votes", "Y", "50.00", "percent", "paper 1", "all pairs", ""),
            ("votes", "X", "60.00", "percent", "paper 2", "all pairs", "second-hand"),
        )
    ]
    one, two = literature([Published("p.csv", columns, tuple(rows))])
    assert one.facts == (("unit", "percent"), ("source", "paper 1"), ("protocol", "all pairs"))
    assert (one.columns, one.rows) == (("model", "value"), (("X", "61.26"), ("Y", "50.00")))
    assert two.columns == ("model", "value", "note")
    assert two.rows == (("X", "60.00", "second-hand"),)


def test_published_numbers_stand_apart_and_outside_the_ranking(site: Path) -> None:
    page = (site / "votes.html").read_text(encoding="utf-8")
    assert page.index('id="rows"') < page.index("Published, not measured here") < page.index("61.26")
    assert "61.26" not in (site / "leaderboard.json").read_text() + (site / "leaderboard.csv").read_text()


def test_benchmarks_of_one_name_have_pages_of_their_own(synthetic: Callable[..., Any]) -> None:
    from dataclasses import replace

    board = synthetic(3)
    one = board.benchmarks[0]
    two = replace(one, version="2", sha256="c" * 64)
    index = replace(one, name="Index", sha256="d" * 64)
    names = page_names(replace(board, benchmarks=[one, two, index]))
    assert names == ["votes-1-bbbbbb.html", "votes-2-cccccc.html", "index-1-dddddd.html"]
