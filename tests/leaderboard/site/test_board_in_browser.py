"""The board in headless Chromium: sorting, filtering, comparing, links, narrow screens, and 1,000 models."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.system
SIZES = [(390, 844), (1280, 900)]


def installed() -> None:
    if importlib.util.find_spec("rewardbench") is None:
        if os.environ.get("CI"):
            pytest.fail("rewardbench is not installed beside the tests, so there is no page to open")
        pytest.skip("rewardbench is not installed here")


@pytest.fixture(scope="module")
def site(synthetic: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    installed()
    from rewardbench.leaderboard.site import write_site

    return write_site(synthetic(), tmp_path_factory.mktemp("board") / "site").parent


@pytest.fixture(scope="module")
def large(synthetic: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    installed()
    from rewardbench.leaderboard.site import write_site

    made = synthetic(1000, n_clusters=60, labels=("VQ", "MQ", "TA"))
    return write_site(made, tmp_path_factory.mktemp("large") / "site").parent / "votes.html"


def settle(browser: Any) -> None:
    """Until everything that waits for the next frame was drawn."""
    wait = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 0))))"
    browser.call("Runtime.evaluate", expression=wait, awaitPromise=True)


def show(
    browser: Any, page: Path, width: int = 1280, height: int = 900, dark: bool = False, fragment: str = ""
) -> None:
    """Open the page anew, with a fragment as if a link had been followed."""
    browser.open(Path(os.devnull), width, height, dark)
    browser.events.clear()
    browser.call("Page.navigate", url=page.resolve().as_uri() + (f"#{fragment}" if fragment else ""))
    while not any(event.get("method") == "Page.loadEventFired" for event in browser.events):
        browser.events.append(browser._receive())
    settle(browser)


def set_value(browser: Any, selector: str, value: str, event: str = "change") -> None:
    browser.evaluate(
        f"(() => {{ const e = document.querySelector({json.dumps(selector)}); e.value = {json.dumps(value)};"
        f" e.dispatchEvent(new Event({json.dumps(event)})); }})()"
    )
    settle(browser)


def click(browser: Any, selector: str) -> None:
    browser.evaluate(f"document.querySelector({json.dumps(selector)}).click()")
    settle(browser)


MODELS = "[...document.querySelectorAll('#rows tbody tr .name')].map(e => e.textContent)"
COLUMN = "[...document.querySelectorAll('#rows tbody tr')].map(r => r.cells[{}].firstChild.textContent)"


def column(browser: Any, place: int) -> list[str]:
    found: list[str] = browser.evaluate(COLUMN.format(place))
    return found


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", ["index.html", "votes.html"])
def test_pages_open_quietly_and_fit(browser: Any, site: Path, width: int, height: int, dark: bool, name: str) -> None:
    page = site / name
    show(browser, page, width, height, dark)
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    sticking_out = browser.evaluate(
        "[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1"
        " && !e.closest('.scroll, nav ul, svg, .skip, .visually-hidden')).map(e => e.outerHTML.slice(0, 80))"
    )
    assert sticking_out == []
    background = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(20, 23, 26)" if dark else "rgb(255, 255, 255)")
    assert browser.complaints() == []
    assert browser.requests() == [page.resolve().as_uri()]


def test_nothing_foreign_runs_and_its_text_is_shown(browser: Any, site: Path) -> None:
    show(browser, site / "votes.html")
    assert browser.evaluate("document.querySelectorAll('img, iframe').length") == 0
    assert any("<script>alert(1)</script>" in name for name in browser.evaluate(MODELS))
    dialogs = [event for event in browser.events if event.get("method") == "Page.javascriptDialogOpening"]
    assert dialogs == []
    assert browser.complaints() == []


def test_columns_sort_both_ways_and_unknown_numbers_stay_last(browser: Any, site: Path) -> None:
    show(browser, site / "votes.html")
    click(browser, "#rows th[data-key=with_ties] button")
    down = column(browser, 3)
    assert down[-1] == "–"
    assert down[:-1] == sorted(down[:-1], reverse=True)
    assert browser.evaluate("document.querySelector('#rows th[data-key=with_ties]').ariaSort") == "descending"
    click(browser, "#rows th[data-key=with_ties] button")
    up = column(browser, 3)
    assert up[-1] == "–"
    assert up[:-1] == sorted(up[:-1])
    click(browser, "#rows th[data-key=clips_per_s] button")
    speeds = [float(text) for text in column(browser, 6)]
    assert speeds == sorted(speeds, reverse=True)


def test_words_and_training_data_filter_and_the_count_is_said(browser: Any, site: Path) -> None:
    show(browser, site / "votes.html")
    set_value(browser, "#find", "cc-by-nc overlaps", "input")
    assert browser.evaluate("document.getElementById('count').textContent") == "4 of 12 models"
    set_value(browser, "#find", "", "input")
    set_value(browser, "#training", "clean")
    assert set(column(browser, 11)) == {"clean"}
    assert browser.evaluate("document.querySelectorAll('#forest circle').length") == 4
    click(browser, "#reset")
    assert browser.evaluate("document.getElementById('count').textContent") == "12 models"


def test_what_one_rater_scores_stands_above_the_table(browser: Any, site: Path) -> None:
    show(browser, site / "votes.html")
    facts = browser.evaluate("document.getElementById('label-facts').textContent")
    assert "one of 3 raters against the others: with ties .5378, half credit for ties .6231" in facts


def test_the_published_rule_and_the_oracle_are_one_click_away(browser: Any, site: Path) -> None:
    show(browser, site / "votes.html")
    assert browser.evaluate("document.getElementById('rule').value") == "crossfit"
    set_value(browser, "#rule", "native")
    assert column(browser, 3).count("–") == 6, (
        "every second model has no rule of its own, among them the one without numbers"
    )
    set_value(browser, "#rule", "videoalign")
    assert column(browser, 3).count("–") == 1


def python_test(board: Any, label: str, first: str, second: str) -> Any:
    """The same comparison by ``rewardbench.metrics.paired_test``, on pairs that have the rows' sums by cluster."""
    from rewardbench.metrics.paired import paired_test

    dimension = next(one for one in board.benchmarks[0].dimensions if one.label == label)
    rows = {row.model: row for row in dimension.rows}
    a, b, groups = [], [], []
    for cluster, size in enumerate(dimension.cluster_sizes):
        for values, row in ((a, rows[first]), (b, rows[second])):
            right = row.right[cluster]
            values.extend([1.0] * right + [0.0] * (size - right))
        groups += [str(cluster)] * size
    return paired_test(a, b, groups)


@pytest.mark.parametrize(("first", "second"), [("model-0003", "model-0004"), ("model-0000", "model-0005")])
def test_two_models_compare_as_the_library_compares_them(
    browser: Any, site: Path, synthetic: Callable[..., Any], first: str, second: str
) -> None:
    truth = python_test(synthetic(), "VQ", first, second)
    show(browser, site / "votes.html")
    for name in (first, second):
        browser.evaluate(f"document.querySelector('#rows input[aria-label=\"Compare {name}\"]').click()")
    settle(browser)
    cells = browser.evaluate("[...document.querySelectorAll('#comparison tbody tr')][0].innerText.split('\\t')")
    p = browser.evaluate("Number(document.querySelector('#comparison [data-p]').dataset.p)")

    def number(text: str) -> float:
        return float(text.replace("−", "-"))

    assert number(cells[1]) == pytest.approx(truth.value_a, abs=1e-4)
    assert number(cells[2]) == pytest.approx(truth.value_b, abs=1e-4)
    assert number(cells[3]) == pytest.approx(truth.difference, abs=1e-4)
    low, high = (number(text) for text in cells[4].split(" to "))
    assert (low, high) == pytest.approx(truth.ci95, abs=0.03), "other draws of the same bootstrap"
    exact = browser.evaluate("document.querySelector('#comparison .small').textContent").count("exact") == 1
    assert exact == truth.exact
    assert p == pytest.approx(truth.p, abs=1e-12 if exact else 0.02)


def test_a_third_tick_takes_the_place_of_the_first(browser: Any, site: Path) -> None:
    show(browser, site / "votes.html")
    for k in (3, 4, 5):
        browser.evaluate(f"document.querySelector('#rows input[aria-label=\"Compare model-{k:04d}\"]').click()")
    settle(browser)
    ticked = browser.evaluate("[...document.querySelectorAll('#rows input:checked')].map(e => e.ariaLabel)")
    assert sorted(ticked) == ["Compare model-0004", "Compare model-0005"]


def test_a_link_brings_back_the_view(browser: Any, site: Path) -> None:
    show(browser, site / "votes.html")
    click(browser, "#labels input[value=TA]")
    set_value(browser, "#find", "model", "input")
    set_value(browser, "#rule", "oracle")
    set_value(browser, "#cost", "parameters")
    click(browser, "#rows th[data-key=host_memory] button")
    for k in (3, 6):
        browser.evaluate(f"document.querySelector('#rows input[aria-label=\"Compare model-{k:04d}\"]').click()")
    settle(browser)
    fragment = browser.evaluate("location.hash")[1:]
    before = [browser.evaluate(MODELS), browser.evaluate("document.getElementById('comparison').innerText")]
    show(browser, site / "votes.html", fragment=fragment)
    assert [browser.evaluate(MODELS), browser.evaluate("document.getElementById('comparison').innerText")] == before
    state = "['rule', 'cost', 'find'].map(id => document.getElementById(id).value)"
    assert browser.evaluate(state) == ["oracle", "parameters", "model"]
    assert browser.evaluate("document.querySelector('#labels input:checked').value") == "TA"
    assert browser.evaluate("location.hash")[1:] == fragment


@pytest.mark.parametrize(
    "fragment",
    [
        "d=none&sort=evil&rule=x&c=nobody&c=<img>&x=y&t=z&pairs=q",
        "%",
        "=&&=",
        "a" * 5000,
        "sort=choose",
        "sort=-choose",
    ],
)
def test_a_link_that_means_nothing_shows_the_first_view(browser: Any, site: Path, fragment: str) -> None:
    show(browser, site / "votes.html", fragment=fragment)
    assert browser.evaluate("document.querySelector('#labels input:checked').value") == "VQ"
    assert len(browser.evaluate(MODELS)) == 12
    assert browser.complaints() == []


def test_details_open_by_keyboard_and_say_where_numbers_come_from(browser: Any, site: Path) -> None:
    show(browser, site / "votes.html")
    browser.evaluate("document.querySelector('#rows .name').focus()")
    for kind in ("keyDown", "keyUp"):
        browser.call(
            "Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", windowsVirtualKeyCode=13, text="\r"
        )
    settle(browser)
    text = browser.evaluate("document.querySelector('dialog[open]').innerText")
    for said in ("with ties, oracle", "VideoAlign", "Kendall", "a" * 64, "votes--x.zip", "training data"):
        assert said in text
    for kind in ("keyDown", "keyUp"):
        browser.call("Input.dispatchKeyEvent", type=kind, key="Escape", code="Escape", windowsVirtualKeyCode=27)
    settle(browser)
    assert browser.evaluate("document.querySelector('dialog[open]')") is None
    assert browser.evaluate("document.activeElement.className") == "name", "the reader is where they were"


def test_the_pair_browser_filters_by_a_model_that_is_wrong(browser: Any, site: Path) -> None:
    show(browser, site / "votes.html")
    assert browser.evaluate("document.querySelectorAll('#pairs article').length") == 3
    key = browser.evaluate(
        "[...document.querySelectorAll('#pair-filter option')].find(o => o.text.includes('model-0004')).value"
    )
    set_value(browser, "#pair-filter", key)
    assert browser.evaluate("document.querySelectorAll('#pairs article').length") == 2, "it says A of each, people once"


def test_how_sure_a_model_was_is_said_of_an_a_or_a_b_only(
    browser: Any, site: Path, synthetic: Callable[..., Any]
) -> None:
    show(browser, site / "votes.html")
    shown = "[...document.querySelectorAll('#pairs li')].map(e => [e.querySelector('.chip').textContent, e.innerText])"
    answers = browser.evaluate(shown)
    assert {chip for chip, _ in answers} == {"A", "B", "tie", "–"}
    assert all(("surer than on" in text) == (chip in "AB") for chip, text in answers)
    texts = browser.evaluate("[...document.querySelectorAll('#pairs .verdict')].map(e => e.innerText)")
    said = "50 % of models answered otherwise"
    assert sum(f"{said}, 25 % not at all" in text for text in texts) == 1
    assert sum(said in text for text in texts) == 3


def test_the_radar_joins_labels_that_came_in_several_bundles(
    browser: Any, synthetic: Callable[..., Any], tmp_path: Path
) -> None:
    """Every label from a bundle of its own: no model is drawn at the centre for that."""
    from dataclasses import replace

    from rewardbench.leaderboard.site import write_site

    board = synthetic()
    (one,) = board.benchmarks
    dimensions = [
        replace(dimension, rows=[replace(row, submission=k) for row in dimension.rows])
        for k, dimension in enumerate(one.dimensions)
    ]
    several = replace(one, dimensions=dimensions, submissions=one.submissions * len(dimensions))
    page = write_site(replace(board, benchmarks=[several]), tmp_path / "site").parent / "votes.html"
    show(browser, page)
    middle = browser.evaluate("Number(document.querySelector('#radar .spoke[x1]').getAttribute('x1'))")
    points = browser.evaluate("[...document.querySelectorAll('#radar .area')].map(e => e.getAttribute('points'))")
    height = browser.evaluate("Number(document.querySelector('#radar .spoke[x1]').getAttribute('y1'))")
    assert len(points) == 3
    centre = f"{middle:.1f},{height:.1f}"
    assert [text for text in points if centre in text.split()] == []


def test_memory_of_host_and_gpu_stand_apart(browser: Any, site: Path) -> None:
    show(browser, site / "votes.html")
    names = browser.evaluate("[...document.querySelectorAll('#rows thead th')].map(e => e.textContent)")
    assert names[7:9] == ["Host mem.", "GPU mem."]
    assert browser.evaluate(f"{MODELS}.length") == 12
    assert column(browser, 8).count("–") == 6, "every second model used no GPU"


def test_a_page_shows_the_pictures_beside_it_and_asks_for_nothing_else(
    browser: Any, synthetic: Callable[..., Any], tmp_path: Path
) -> None:
    from PIL import Image

    from rewardbench.leaderboard.site import pages, write_site

    def two_pictures(board: Any, site: Path) -> tuple[Any, str]:
        (site / "frames").mkdir()
        for side, colour in (("A", "red"), ("B", "blue")):
            Image.new("RGB", (64, 16), colour).save(site / "frames" / f"{side}.jpg")
        files = {side: {"file": f"frames/{side}.jpg", "width": 64, "height": 16} for side in "AB"}
        return {"pair-1": files, "pair-2": {"B": files["B"]}}, ""

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(pages, "write_frames", two_pictures)
        page = write_site(synthetic(), tmp_path / "site").parent / "votes.html"
    show(browser, page)
    browser.evaluate("document.querySelectorAll('#pairs img').forEach(e => e.scrollIntoView())")
    wait = "Promise.all([...document.querySelectorAll('#pairs img')].map(e => e.decode())).then(() => 1)"
    browser.call("Runtime.evaluate", expression=wait, awaitPromise=True)
    shown = browser.evaluate(
        "[...document.querySelectorAll('#pairs article')].map(a => [a.ariaLabel, [...a.querySelectorAll('figure')]"
        ".map(f => f.querySelector('img')?.getAttribute('src') ?? '')])"
    )
    a, b = "frames/A.jpg", "frames/B.jpg"
    assert dict(shown) == {"Pair pair-0": ["", ""], "Pair pair-1": [a, b], "Pair pair-2": ["", b]}
    assert browser.evaluate("[...document.images].every(e => e.naturalWidth === 64 && e.alt)")
    there = page.resolve().parent
    assert set(browser.requests()) == {uri.as_uri() for uri in (page.resolve(), there / a, there / b)}
    assert browser.complaints() == []


def test_every_control_is_reached_by_keyboard_and_named(browser: Any, site: Path) -> None:
    show(browser, site / "votes.html")
    unnamed = browser.evaluate(
        "[...document.querySelectorAll('a, button, input, select, [tabindex]')].filter(e => e.checkVisibility())"
        ".filter(e => e.tabIndex < 0 || !(e.textContent.trim() || e.getAttribute('aria-label') || e.labels?.length))"
        ".map(e => e.outerHTML.slice(0, 100))"
    )
    assert unnamed == []
    unreachable = browser.evaluate(
        "[...document.querySelectorAll('*')].filter(e => getComputedStyle(e).overflowX === 'auto' &&"
        " e.scrollWidth > e.clientWidth && e.tabIndex < 0 && !e.querySelector('a')).map(e => e.outerHTML.slice(0, 80))"
    )
    assert unreachable == []
    assert browser.evaluate("[...document.querySelectorAll('svg')].every(e => e.role === 'img' && e.ariaLabel)")


def test_text_is_readable_against_its_background(browser: Any, site: Path) -> None:
    """WCAG AA: contrast of at least 4.5 for the text colours of both schemes."""
    contrast = """(() => {
      const lum = c => { const v = c.match(/[\\d.]+/g).slice(0, 3).map(x => x / 255)
        .map(x => x <= .04045 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4);
        return .2126 * v[0] + .7152 * v[1] + .0722 * v[2]; };
      const ratio = (a, b) => (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
      const behind = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor;
        if (!/, 0\\)|transparent/.test(c)) return c; } };
      return ['h1', '.small', '.ci95', '.scorer', 'nav a', '#rows .name', '.tag.clean', '.tag.overlaps', '.tag.unknown',
        '.tick', '#labels input:checked + span', '.prompt', '.chip.a', '.chip.b', '.chip.tie'].map(s => {
        const e = document.querySelector(s), style = getComputedStyle(e);
        return [s, ratio(lum(s === '.tick' ? style.fill : style.color), lum(behind(e)))];
      }).filter(([, r]) => r < 4.5);
    })()"""
    for dark in (False, True):
        show(browser, site / "votes.html", dark=dark)
        assert browser.evaluate(contrast) == []


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_screenshot_is_not_blank(browser: Any, site: Path, width: int, height: int) -> None:
    from PIL import Image

    show(browser, site / "votes.html", width, height)
    shot = Image.open(io.BytesIO(browser.screenshot())).convert("L")
    assert shot.size == (width, height)
    assert 0.005 < sum(shot.histogram()[:128]) / (width * height) < 0.5


def test_without_scripts_the_order_is_still_there(browser: Any, site: Path) -> None:
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(site / "votes.html", 390, 844)
        root = browser.call("DOM.getDocument", depth=-1)["root"]["nodeId"]
        found = browser.call("DOM.querySelectorAll", nodeId=root, selector="noscript tbody tr")["nodeIds"]
        assert len(found) == 4 * 12
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)


def test_a_thousand_models_sort_filter_and_change_labels_rightly(browser: Any, large: Path) -> None:
    """What comes out is asserted, not how long it takes; docs/leaderboard.md has the times."""
    show(browser, large)
    assert browser.evaluate("document.getElementById('count').textContent") == "1,000 models"
    assert len(browser.evaluate(MODELS)) == 100
    click(browser, "#more button:last-child")
    assert len(browser.evaluate(MODELS)) == 1000
    assert browser.evaluate("document.getElementById('more').textContent") == ""
    click(browser, "#rows th[data-key=with_ties] button")
    numbers = [text for text in column(browser, 3) if text != "–"]
    assert numbers == sorted(numbers, reverse=True)
    set_value(browser, "#find", "model-099", "input")
    assert sorted(browser.evaluate(MODELS)) == [f"model-099{k}" for k in range(10)]
    click(browser, "#labels input[value=TA]")
    assert len(browser.evaluate(MODELS)) == 10
    click(browser, "#reset")
    assert len(browser.evaluate(MODELS)) == 100
    assert browser.complaints() == []
    assert browser.requests() == [large.resolve().as_uri()]


def test_a_served_site_works_like_one_on_the_disk(browser: Any, site: Path) -> None:
    from rewardbench.leaderboard.serving import HOST, open_server

    server = open_server(site, 0)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        browser.events.clear()
        address = f"http://{HOST}:{server.server_port}/votes.html"
        browser.call("Page.navigate", url=address)
        deadline = time.monotonic() + 30
        while browser.evaluate("document.readyState + (document.getElementById('app')?.hidden)") != "completefalse":
            assert time.monotonic() < deadline
        settle(browser)
        assert len(browser.evaluate(MODELS)) == 12
        assert browser.complaints() == []
        assert set(browser.requests()) == {address}
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
