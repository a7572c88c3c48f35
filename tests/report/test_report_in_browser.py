"""The page in headless Chromium, at phone and desktop width, light and dark."""

from __future__ import annotations

import importlib.util
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.system
SIZES = [(390, 844), (1280, 900)]


@pytest.fixture(scope="module")
def page(make: Any, write_clip: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with every section: two scorers, long names, hostile prompts, slices, failures, frames."""
    if importlib.util.find_spec("rewardbench") is None:
        if os.environ.get("CI"):
            pytest.fail("rewardbench is not installed beside the tests, so there is no page to open")
        pytest.skip("rewardbench is not installed here")
    from rewardbench import results
    from rewardbench.report import write_report

    folder = tmp_path_factory.mktemp("run")
    clip = str(write_clip(folder / "clip.mp4", height=120, width=208))
    cut = results.SliceRecord(
        n=40,
        n_abstained=3,
        human_tie_rate=0.2,
        majority_floor=0.45,
        with_ties_crossfit=results.Crossfit(value=0.6123, ci95=(0.5, 0.7)),
        without_ties=results.AccuracyWithoutTies(value=0.8234, half_credit=0.8345, ci95=(0.7, 0.9)),
    )
    labels = ("smoothness", "a_label_whose_name_is_much_longer_than_any_phone_is_wide_and_has_no_spaces", "overall")
    metrics = [
        make.metric(plugin, label, "score", slices={"model_a": {"wan": cut, "x" * 90: cut}})
        for plugin in ("animereward:mini", "clip", "third", "fourth")
        for label in labels
    ]
    metrics[1] = make.undefined("animereward:mini", labels[1], "score")
    prompts = ["<script>alert(1)</script>", '"><img src=x onerror=alert(3)>', "w" * 300, "少女が歩く " * 30]
    rows = [
        row | {"prompt": prompts[k % 4], "pair_id": f"pair_{k}_" + "z" * 70}
        for seed, metric in enumerate(metrics)
        for k, row in enumerate(make.pairs(metric, 80, seed, video_a=clip, video_b=str(folder / ("q" * 90 + ".mp4"))))
    ]
    result = make.result(
        metrics,
        failures=[results.FailureRecord(plugin="clip", clip_id="c" * 120, video="v" * 200, error="e" * 400)],
        warnings=["<script>alert(1)</script> " + "y" * 300],
        cost=results.CostRecord.of(
            {"clip": results.PluginCost(n_scored=7, seconds=3.5, clips_per_s=2.0, peak_memory={"host": 2**29})}
        ),
        provenance=results.Provenance(
            rewardbench="0.1.0", python="3.11", command="rewardbench run " + "--map a=b" * 90
        ),
    )
    return write_report(make.folder(folder, result, rows))


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_page_opens_quietly_and_fits(browser: Any, page: Path, width: int, height: int, dark: bool) -> None:
    browser.open(page, width, height, dark)
    assert browser.evaluate("window.innerWidth") == width
    assert browser.evaluate("document.documentElement.scrollWidth") <= width
    sticking_out = browser.evaluate(
        "[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1"
        " && !e.closest('.scroll, nav ul, svg, .skip')).map(e => e.outerHTML.slice(0, 80))"
    )
    assert sticking_out == []
    pictures = "[...document.images].filter(i => i.checkVisibility()).map(i => i.complete && i.naturalWidth > 200)"
    assert set(browser.evaluate(pictures)) == {True}
    background = browser.evaluate("getComputedStyle(document.body).backgroundColor")
    assert background == ("rgb(20, 23, 26)" if dark else "rgb(255, 255, 255)")
    assert browser.complaints() == []
    assert browser.requests() == [page.resolve().as_uri()]


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_screenshot_is_not_blank(browser: Any, page: Path, width: int, height: int) -> None:
    from PIL import Image

    browser.open(page, width, height)
    shot = Image.open(io.BytesIO(browser.screenshot())).convert("L")
    assert shot.size == (width, height)
    dark = sum(shot.histogram()[:128]) / (width * height)
    assert 0.005 < dark < 0.5


def test_text_is_readable_against_its_background(browser: Any, page: Path) -> None:
    """WCAG AA: contrast of at least 4.5 for the text colours of both schemes."""
    contrast = """(() => {
      const lum = c => { const v = c.match(/[\\d.]+/g).slice(0, 3).map(x => x / 255)
        .map(x => x <= .04045 ? x / 12.92 : ((x + .055) / 1.055) ** 2.4);
        return .2126 * v[0] + .7152 * v[1] + .0722 * v[2]; };
      const ratio = (a, b) => (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
      const paper = lum(getComputedStyle(document.body).backgroundColor);
      return ['h1', '.legend', '.ci95', '.scorer', 'nav a', 'thead th', '.prompt', '.tick', '.mark'].map(s => {
        const style = getComputedStyle(document.querySelector(s));
        return [s, ratio(lum(s === '.tick' ? style.fill : style.color), paper)];
      }).filter(([, r]) => r < 4.5);
    })()"""
    for dark in (False, True):
        browser.open(page, 1280, 900, dark)
        assert browser.evaluate(contrast) == []


def test_tables_sort_and_rows_are_filtered(browser: Any, page: Path) -> None:
    browser.open(page, 1280, 900)
    column = "[...document.querySelectorAll('#numbers tbody tr')].map(r => r.cells[0].innerText)"
    before = browser.evaluate(column)
    browser.evaluate("document.querySelector('#numbers thead th button').click()")
    assert browser.evaluate(column) == sorted(before, reverse=True)
    browser.evaluate("document.querySelector('#numbers thead th button').click()")
    assert browser.evaluate(column) == sorted(before)
    browser.evaluate(
        "(() => { const i = document.querySelector('#filter input'); i.value = 'clip overall';"
        " i.dispatchEvent(new Event('input')); })()"
    )
    assert browser.evaluate("document.querySelector('#filter output').textContent") == "1 of 12 rows"
    assert browser.complaints() == []


def test_every_control_is_reached_by_keyboard_and_named(browser: Any, page: Path) -> None:
    browser.open(page, 1280, 900)
    unnamed = browser.evaluate(
        "[...document.querySelectorAll('a, button, input, summary, [tabindex]')].filter(e => e.tabIndex < 0 ||"
        " !(e.textContent.trim() || e.getAttribute('aria-label') || e.labels?.length)).map(e => e.outerHTML)"
    )
    assert unnamed == []
    wide_but_unreachable = browser.evaluate(
        "[...document.querySelectorAll('*')].filter(e => getComputedStyle(e).overflowX === 'auto' &&"
        " e.scrollWidth > e.clientWidth && e.tabIndex < 0 && !e.querySelector('a')).map(e => e.outerHTML.slice(0, 80))"
    )
    assert wide_but_unreachable == []


def test_page_reads_the_same_without_scripts(browser: Any, page: Path) -> None:
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(page, 390, 844)
        root = browser.call("DOM.getDocument", depth=-1)["root"]["nodeId"]
        found = browser.call("DOM.querySelectorAll", nodeId=root, selector="#numbers tbody tr")["nodeIds"]
        assert len(found) == 12
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
