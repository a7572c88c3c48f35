"""The plugin of docs/plugins.md, installed as anybody's package and run by its name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.system

PAGE = Path(__file__).resolve().parents[2] / "docs" / "plugins.md"
FILE = re.compile(r"^`([^`\n]+)`:\n\n```\w+\n(.*?)^```$", re.DOTALL | re.MULTILINE)

WRITE_CLIPS = """
import av, numpy
for name, level in {"dark": 40, "bright": 200}.items():
    with av.open(f"{name}.mp4", "w") as container:
        stream = container.add_stream("libx264", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(8):
            frame = av.VideoFrame.from_ndarray(numpy.full((48, 64, 3), level, numpy.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
"""


def files_of_the_page() -> dict[str, str]:
    return dict(FILE.findall(PAGE.read_text(encoding="utf-8")))


@pytest.fixture
def brightness(installed: Any, tmp_path: Path) -> Iterator[Any]:
    """The environment with the page's plugin installed from a folder of its own."""
    source = tmp_path / "somewhere else"
    for name, text in files_of_the_page().items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text, encoding="utf-8")
    installed.pip("install", "--no-deps", str(source / "rewardbench-brightness"), folder=tmp_path)
    yield installed
    installed.pip("uninstall", "rewardbench-brightness", folder=tmp_path)


def test_the_page_keeps_its_promise_of_forty_lines() -> None:
    files = files_of_the_page()
    assert len(files) == 3
    assert sum(len([line for line in text.splitlines() if line.strip()]) for text in files.values()) <= 40


def test_the_plugin_runs_by_name(brightness: Any, empty: Path) -> None:
    listed = json.loads(brightness.run("plugins", "list", "--format", "json", folder=empty).stdout)
    (entry,) = [plugin for plugin in listed["plugins"] if plugin["name"] == "brightness"]
    assert entry["source"] == "rewardbench-brightness"

    written = brightness.python("-c", WRITE_CLIPS, folder=empty)
    assert written.returncode == 0, written.stderr
    scored = brightness.run(
        "score", "dark.mp4", "bright.mp4", "--plugin", "brightness", "--format", "json", folder=empty
    )
    assert scored.returncode == 0, scored.stderr
    dark, bright = (row["scores"]["overall"] for row in json.loads(scored.stdout))
    assert dark == pytest.approx(40 / 255, abs=0.02)  # video levels and their rounding
    assert bright == pytest.approx(200 / 255, abs=0.02)

    (empty / "pairs.csv").write_text(
        "prompt,video_a,video_b,label_light\np,bright.mp4,dark.mp4,A\nq,dark.mp4,bright.mp4,B\nr,dark.mp4,dark.mp4,tie\n"
    )
    ran = brightness.run("run", "--plugin", "brightness", "--benchmark", "pairs.csv", "--format", "json", folder=empty)
    assert ran.returncode == 0, ran.stderr
    (metric,) = json.loads(ran.stdout)["metrics"]
    assert (metric["label"], metric["score"], metric["n"]) == ("light", "overall", 3)
    assert metric["accuracy_without_ties"]["value"] == 1.0
    assert metric["accuracy_with_ties"]["threshold"]["value"] == 1.0


def test_it_is_gone_when_uninstalled(installed: Any, empty: Path) -> None:
    ended = installed.run("plugins", "show", "brightness", folder=empty)
    assert ended.returncode == 2
    assert "unknown plugin 'brightness'" in ended.stderr
