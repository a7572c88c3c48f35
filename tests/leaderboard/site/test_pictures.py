"""Frames beside the pages: where the board may show them, of the clips the benchmark really has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from rewardbench.benchmark import read_pairs
from rewardbench.leaderboard.site.pictures import write_frames


@pytest.fixture
def shown(
    tiny_clips: list[Path], tmp_path: Path, synthetic: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> Any:
    """A board whose one shown pair has two clips."""
    from rewardbench.leaderboard.board import ShownPair

    monkeypatch.setenv("REWARDBENCH_CACHE", str(tmp_path / "cache"))
    for clip in tiny_clips[:2]:
        (tmp_path / clip.name).write_bytes(clip.read_bytes())
    pairs = tmp_path / "pairs.csv"
    pairs.write_text("pair_id,prompt,video_a,video_b,label_VQ\np,x,clip0.mp4,clip1.mp4,A\n")
    board = synthetic(3, labels=("VQ",)).benchmarks[0]
    pair = ShownPair("p", "x", "A", "clip0.mp4", "clip1.mp4", 0.5, 0.0)
    dimension = replace(board.dimensions[0], pairs=[pair])
    return replace(board, dimensions=[dimension], frames=str(pairs), sha256=read_pairs(pairs).sha256)


def test_each_shown_clip_becomes_a_picture_of_its_own_content(shown: Any, tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    pictures, why = write_frames(shown, site)
    assert why == ""
    assert {pair: set(sides) for pair, sides in pictures.items()} == {"p": {"A", "B"}}
    levels = []
    for side in "AB":
        with Image.open(site / str(pictures["p"][side]["file"])) as image:
            assert image.size == (pictures["p"][side]["width"], pictures["p"][side]["height"])
            levels.append(image.convert("L").getpixel((3, 3)))
    assert levels == pytest.approx([20, 50], abs=3), "the two tiny clips are that bright"


def test_what_a_bundle_calls_its_clips_decides_no_picture(shown: Any, tmp_path: Path) -> None:
    """The names were exchanged, the pair stays what it is: side A is the benchmark's clip A."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    (pair,) = shown.dimensions[0].pairs
    renamed = replace(pair, clip_a="clip1.mp4", clip_b="elsewhere.mp4")
    other = replace(shown, dimensions=[replace(shown.dimensions[0], pairs=[renamed])])
    assert write_frames(other, tmp_path / "one") == write_frames(shown, tmp_path / "two")


def test_a_second_time_the_files_have_the_same_names(shown: Any, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_frames(shown, tmp_path / name)
    listed = [sorted(path.name for path in (tmp_path / name / "frames").iterdir()) for name in ("one", "two")]
    assert listed[0] == listed[1]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"frames": ""}, "The board may not show this benchmark's clips."),
        ({"frames": "no-such-benchmark"}, "The clips were not at hand when this page was made"),
        ({"sha256": "0" * 64}, "The clips at hand when this page was made were of another version."),
    ],
)
def test_where_frames_may_not_or_cannot_be_shown_it_is_said(
    shown: Any, tmp_path: Path, changes: dict[str, str], why: str
) -> None:
    pictures, said = write_frames(replace(shown, **changes), tmp_path)
    assert pictures == {}
    assert said.startswith(why)
    assert not (tmp_path / "frames").exists()


def test_clips_that_are_gone_leave_a_page_without_them(shown: Any, tmp_path: Path) -> None:
    (tmp_path / "clip0.mp4").unlink()
    (tmp_path / "site").mkdir()
    pictures, why = write_frames(shown, tmp_path / "site")
    assert set(pictures.get("p", {})) <= {"B"}
    assert (why == "") == bool(pictures)
