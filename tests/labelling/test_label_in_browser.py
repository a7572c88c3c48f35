"""The page in headless Chromium: pairs are labelled by keyboard alone, and the table says what was seen."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.system
KEY_CODES = {"ArrowLeft": 37, "ArrowRight": 39, "Backspace": 8, " ": 32, "1": 49, "2": 50, "0": 48}


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """System ``bright`` and system ``dark``; a rater who wants the brighter clip always wants the same system."""
    if importlib.util.find_spec("rewardbench") is None:
        if os.environ.get("CI"):
            pytest.fail("rewardbench is not installed beside the tests, so there is no page to open")
        pytest.skip("rewardbench is not installed here")
    import numpy as np

    from rewardbench.video import write_video

    folder = tmp_path / "clips"
    for system, level in (("bright", 220), ("dark", 30)):
        (folder / system).mkdir(parents=True)
        for stem in ("cat", "fox"):
            frames = np.full((24, 120, 208, 3), level, np.uint8)
            write_video(folder / system / f"{stem}.webm", frames, 12.0, codec="libvpx-vp9")
    (folder / "prompts.csv").write_text("name,prompt\ncat,a <b>cat</b> sleeps\nfox,a fox runs\n")
    return folder


def wait(browser: Any, condition: str, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not browser.evaluate(f"Boolean({condition})"):
        assert time.monotonic() < end, f"{condition}: {browser.evaluate('document.body.innerText')}"
        time.sleep(0.05)


def press(browser: Any, key: str) -> None:
    for kind in ("rawKeyDown", "keyUp"):
        browser.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=KEY_CODES[key])


def brightness(browser: Any) -> list[float]:
    """Mean grey level of A and B as drawn by the browser."""
    found: list[float] = browser.evaluate(
        "[...document.querySelectorAll('video')].map(v => { const c = document.createElement('canvas');"
        " c.width = c.height = 8; const x = c.getContext('2d'); x.drawImage(v, 0, 0, 8, 8);"
        " return x.getImageData(4, 4, 1, 1).data[0]; })"
    )
    return found


def test_two_pairs_are_labelled_by_keyboard(browser: Any, clips: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "rewardbench", "label", str(clips), "--out", str(out), "--no-browser"]
    with open(tmp_path / "said", "wb") as said:
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT)
    try:
        _label(browser, tmp_path)
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0, (tmp_path / "said").read_text()
    from rewardbench.benchmark import load_benchmark

    found = load_benchmark(out / "labels.csv")
    for c in found.comparisons:
        assert c.row["label_overall"] == ("A" if c.row["model_a"] == "bright" else "B")
        assert c.row["overall_by_Ann"] == c.row["label_overall"]
    assert len(found.comparisons) == 2


def _label(browser: Any, tmp_path: Path) -> None:
    end = time.monotonic() + 60
    while "http://" not in (text := (tmp_path / "said").read_text()):
        assert time.monotonic() < end, text
        time.sleep(0.05)
    url = next(word for word in text.split() if word.startswith("http://"))
    browser.open(Path(os.devnull), 1280, 800)
    browser.events.clear()
    browser.call("Page.navigate", url=url)
    wait(browser, "document.activeElement && document.activeElement.id === 'name'")
    browser.call("Input.insertText", text="Ann")
    browser.call("Input.dispatchKeyEvent", type="keyDown", key="Enter", windowsVirtualKeyCode=13, text="\r")
    for number in (1, 2):
        wait(browser, f"document.getElementById('place').textContent === 'Pair {number} of 2'")
        wait(browser, "[...document.querySelectorAll('video')].filter(v => v.readyState >= 2).length === 2")
        first, second = brightness(browser)
        if number == 1:
            wait(browser, "[...document.querySelectorAll('video')].every(v => !v.paused)")
            press(browser, " ")
            wait(browser, "[...document.querySelectorAll('video')].every(v => v.paused)")
            press(browser, " ")
            wait(browser, "[...document.querySelectorAll('video')].every(v => !v.paused)")
            press(browser, "0")  # a slip, taken back
            wait(browser, "document.getElementById('place').textContent === 'Pair 2 of 2'")
            press(browser, "Backspace")
            wait(browser, "document.getElementById('place').textContent === 'Pair 1 of 2'")
            _look(browser, tmp_path)
            press(browser, "ArrowLeft" if first > second else "ArrowRight")
        else:
            press(browser, "1" if first > second else "2")
    wait(browser, "!document.getElementById('done').hidden")
    assert browser.complaints() == []
    assert all(asked.startswith(url) for asked in browser.requests())


def _look(browser: Any, tmp_path: Path) -> None:
    """At a desk and on a phone, light and dark: nothing sticks out, every control has a name."""
    for width, height, dark in ((1280, 800, False), (390, 844, True)):
        browser.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        browser.call("Emulation.setEmulatedMedia", features=[scheme])
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
        background = browser.evaluate("getComputedStyle(document.body).backgroundColor")
        assert background == ("rgb(20, 23, 26)" if dark else "rgb(255, 255, 255)")
        (tmp_path / f"label-{width}.png").write_bytes(browser.screenshot())
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    named = [
        (node["role"]["value"], node.get("name", {}).get("value", ""))
        for node in nodes
        if not node.get("ignored")
        and node.get("role", {}).get("value") in ("button", "Video", "progressbar", "textbox")
    ]
    assert [name for role, name in named if role == "progressbar"] == ["Answered questions"]
    assert [name for role, name in named if role == "Video"] == ["Clip A", "Clip B"]
    assert all(name for _, name in named)
    browser.call("Emulation.setDeviceMetricsOverride", width=1280, height=800, deviceScaleFactor=1, mobile=False)
