"""``rewardbench probe`` on the command line: what it prints, and how it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rewardbench.cli import main
from rewardbench_plugin import Clip


def test_a_folder_is_probed_and_printed(known, write_clips: Callable[..., list[Clip]], tmp_path: Path, capsys) -> None:
    write_clips(2)
    words = ["probe", "--plugin", "known", "--videos", str(tmp_path), "--only", "blur", "--quick", "--workers", "1"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert lines[0].split()[:4] == ["treatment", "level", "appeal", "smoothness"]
    assert lines[1].split()[0] == "blur"
    assert "2 clips are too few" in printed.err
    assert sorted(p.name for p in (tmp_path / "out").iterdir() if p.suffix in (".json", ".csv", ".html")) == [
        "identity.json", "probe.csv", "probe.json", "report.html"
    ]  # fmt: skip
    assert main([*words, "--out", str(tmp_path / "out"), "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["schema"] == "rewardbench.probe/1"


def test_a_table_gives_prompts(known, write_clips: Callable[..., list[Clip]], tmp_path: Path, capsys) -> None:
    clips = write_clips(2)
    rows = "".join(f"{Path(clip.video).name},{prompt}\n" for clip, prompt in zip(clips, ("a", "bbb"), strict=True))
    (tmp_path / "clips.csv").write_text(f"video,prompt\n{rows}")
    words = ["probe", "--plugin", "known", "--clips", str(tmp_path / "clips.csv"), "--only", "prompts"]
    assert main([*words, "--out", str(tmp_path / "out"), "--format", "json"]) == 0
    cells = {c["dimension"]: c for c in json.loads(capsys.readouterr().out)["cells"]}
    assert cells["text_video"]["largest"] == 2.0


@pytest.mark.parametrize(
    ("family", "left_out"),
    [
        ("order", "order_of_pair (2 clips): asked of judges only, which see two clips"),
        ("prompts", "prompt_swap (2 clips): no clip has a prompt; name prompts in a table with --clips TABLE"),
    ],
)
def test_what_cannot_be_asked_is_said_instead_of_an_empty_table(
    known, write_clips: Callable[..., list[Clip]], tmp_path: Path, capsys, family: str, left_out: str
) -> None:
    write_clips(2)
    words = ["probe", "--plugin", "known", "--videos", str(tmp_path), "--only", family, "--workers", "1"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    assert printed.out == "nothing to show: every treatment that was asked for is left out\n"
    assert f"rewardbench: left out: {left_out}\n" in printed.err


def test_the_same_image_under_two_names_is_no_other_image(
    known, write_clips: Callable[..., list[Clip]], tmp_path: Path, capsys
) -> None:
    from PIL import Image

    clips = write_clips(3)
    for name, brightness in (("a.png", 40), ("b.png", 40), ("c.png", 100)):
        Image.new("RGB", (16, 16), (brightness,) * 3).save(tmp_path / name)
    rows = "".join(f"{Path(c.video).name},{i}.png\n" for c, i in zip(clips, "abc", strict=True))
    (tmp_path / "clips.csv").write_text(f"video,image\n{rows}")
    words = ["probe", "--plugin", "known", "--clips", str(tmp_path / "clips.csv"), "--only", "images", "--workers", "1"]
    assert main([*words, "--out", str(tmp_path / "out"), "--format", "json"]) == 0
    (found,) = [c for c in json.loads(capsys.readouterr().out)["cells"] if c["dimension"] == "image_video"]
    assert (found["n"], found["n_equal"], found["largest"]) == (3, 0, 60.0)
    assert found["change"] == pytest.approx((60 + 60 - 60) / 3)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--plugin", "random"], "name either a folder with --videos DIR or a table with --clips TABLE"),
        (["--plugin", "random", "--videos", "x", "--clips", "y"], "name either a folder"),
        (["--plugin", "random", "--plugin", "clip", "--videos", "x"], "--plugin is given 2 times"),
        (["--plugin", "random", "--videos", "nowhere"], "--videos nowhere is not a folder"),
        (["--plugin", "random", "--videos", ".", "--meaning", "x"], "--meaning x is not of the form DIM=MEANING"),
    ],
)
def test_wrong_input_is_one_sentence(words: list[str], said: str, capsys, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["probe", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1
