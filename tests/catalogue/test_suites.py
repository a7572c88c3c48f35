"""Prompt suites: tables that `rewardbench align --prompts` reads, and a clear word where a benchmark is expected."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rewardbench.align.prompts import read_prompts
from rewardbench.benchmark import load_benchmark
from rewardbench.catalogue.card import cards
from rewardbench.catalogue.prompts import read_suite, write_prompts
from rewardbench.cli import main
from rewardbench.errors import InputError

SUITES = sorted(name for name, card in cards().items() if card.kind == "prompts")


@pytest.mark.parametrize("name", SUITES)
def test_a_suite_is_no_benchmark_and_says_what_it_is_for(name: str) -> None:
    with pytest.raises(InputError, match=f"'{name}' is a suite of prompts without labels: generate clips for it"):
        load_benchmark(name)


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "count", "language"),
    [("vbench", 946, ""), ("vbench-i2v", 1118, ""), ("videogen-eval", 400, "en-short"), ("ta-hard", 72, "zh")],
)
def test_align_reads_the_table(name: str, count: int, language: str, shared: Path, tmp_path: Path) -> None:
    folder = shared / "data" / "prompts"
    table = tmp_path / "prompts.csv"
    assert write_prompts(name, table, language=language, data_dir=folder) == count
    found = read_prompts(table, needs_image=False)
    suite = read_suite(name, folder)
    assert [p.text for p in found] == [p.languages[language or "en"] for p in suite]
    assert [p.prompt_id for p in found] == [p.prompt_id for p in suite]


def test_the_command_writes_into_the_suite_s_folder_and_prints_the_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "TA_hard.csv").write_text("prompt,prompt_zh\none,一\ntwo,二\n", encoding="utf-8")
    words = ["benchmarks", "prompts", "ta-hard", "--data-dir", str(tmp_path), "--language", "zh"]
    assert main(words) == 0
    table = Path(capsys.readouterr().out.strip())
    assert table == tmp_path / "prompts.csv"
    assert table.read_text(encoding="utf-8") == "prompt_id,prompt\nta-hard-000,一\nta-hard-001,二\n"
    assert main([*words[:-1], "fr"]) == 2
    assert "has no prompts in 'fr'; known: en, zh" in capsys.readouterr().err


def test_images_are_named_where_all_of_them_are_at_hand(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a man runs\na woman reads\n", encoding="utf-8")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "0.png").write_bytes(b"x")
    write_prompts("realaction", tmp_path / "t.csv", data_dir=tmp_path)
    assert [p.image for p in read_prompts(tmp_path / "t.csv", needs_image=False)] == [None, None]
    (tmp_path / "images" / "1.png").write_bytes(b"x")
    write_prompts("realaction", tmp_path / "t.csv", data_dir=tmp_path)
    found = read_prompts(tmp_path / "t.csv", needs_image=True)
    assert [p.image for p in found] == [str(tmp_path / "images" / f"{i}.png") for i in range(2)]


def test_anime_prompts_are_named_by_folder_and_number(tmp_path: Path) -> None:
    for group, stem, text in (("S", "012", "一只\n猫"), ("H", "001", "狗")):
        (tmp_path / group).mkdir()
        (tmp_path / group / f"{stem}.txt").write_text(text, encoding="utf-8")
    found = read_suite("anime-prompts", tmp_path)
    assert [(p.prompt_id, p.languages, p.image) for p in found] == [
        ("anime-H-001", {"zh": "狗"}, "H/001.png"),
        ("anime-S-012", {"zh": "一只 猫"}, "S/012.png"),
    ]


def test_entries_of_vbench_keep_their_dimensions(tmp_path: Path) -> None:
    entries = [{"prompt_en": "a cat", "dimension": ["color", "scene"]}, {"prompt_en": "a cat", "dimension": ["scene"]}]
    (tmp_path / "VBench_full_info.json").write_text(json.dumps(entries), encoding="utf-8")
    assert [(p.prompt_id, p.columns["dimensions"]) for p in read_suite("vbench", tmp_path)] == [
        ("vbench-0000", "color;scene"),
        ("vbench-0001", "scene"),
    ]
    with pytest.raises(InputError, match="has pairs, not a suite of prompts"):
        read_suite("fetv", tmp_path)
