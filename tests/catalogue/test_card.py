"""Cards: what is shipped is complete and agrees with the plugins, and what is malformed ends in one sentence."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from rewardbench.catalogue.card import BenchmarkCard, card_folder, cards, find_card, need_card, read_card, repositories
from rewardbench.errors import InputError
from rewardbench.registry import choose_reward, load_registry

SMALL = {
    "name": "small",
    "title": "Small",
    "summary": "s",
    "citation": "c",
    "url": "u",
    "licence": {"labels": "MIT"},
}


def write(folder: Path, table: str | None = None, **changes: Any) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "card.yaml").write_text(yaml.safe_dump({**SMALL, **changes}), encoding="utf-8")
    if table is not None:
        (folder / "files.csv").write_text("path,part,sha256,bytes,url\n" + table, encoding="utf-8")
    return folder


def test_every_listed_benchmark_has_a_card_that_says_the_same() -> None:
    found = cards()
    listed = {
        name: m for name, m in load_registry().benchmarks.items() if m.target.startswith("rewardbench_benchmarks")
    }
    assert set(found) == set(listed)
    assert len(found) == 15
    for name, manifest in listed.items():
        card = found[name]
        assert (card.name, card.summary, card.version) == (name, manifest.summary, manifest.version)
        assert set(card.variants) == {variant for variant in manifest.variants if variant}
        assert (manifest.labels_by == "nobody") == (card.kind == "prompts")
        assert bool(card.labels) == bool(card.dimensions) == bool(card.raters) == (card.kind == "pairs")


def test_every_file_is_pinned_to_a_commit_and_nearly_all_have_a_checksum() -> None:
    for card in cards().values():
        if card.files:
            assert len(repositories(card)) >= 1
        for file in card.files:
            assert re.search(r"/blob/[0-9a-f]{40}/", file.url), file.url
            assert (file.sha256 != "") == (file.bytes > 0)
        without = [file.path for file in card.files if not file.sha256]
        assert len(without) == (7 if card.name == "anime-prompts" else 0)


def test_what_was_never_seen_is_said() -> None:
    assert need_card("videogen-rewardbench").unseen[0] == "the label files"
    assert need_card("fetv").unseen == ("lyx97/FETV_gen_videos on the hub (media)",)
    assert need_card("ta-hard").unseen == ()


@pytest.mark.parametrize("name", sorted(name for name, card in cards().items() if card.answers))
def test_scores_that_answer_labels_exist(name: str) -> None:
    """Labels are the card's own dimensions, and scores are the plugin's (some preset's), or none."""
    card = need_card(name)
    for plugin, answers in card.answers.items():
        manifest = load_registry().rewards[plugin]
        known: set[str] = set()
        for preset in [*manifest.presets] or [None]:
            spec = plugin if preset is None else f"{plugin}:{preset}"
            known |= set(choose_reward(spec)[1].card.dimension_names)
        assert set(answers) <= set(card.dimensions), (name, plugin)
        assert set(answers.values()) <= known | {"none"}, (name, plugin)


def test_the_map_of_a_card_leaves_out_what_no_score_answers() -> None:
    card = need_card("videogen-rewardbench")
    assert card.score_map("videoreward:released", ("VQ", "MQ", "TA", "overall")) == {
        "VQ": "VQ",
        "MQ": "MQ",
        "TA": "TA",
        "Overall": "overall",
    }
    assert card.score_map("clip", ("text_video",)) == {"TA": "text_video", "Overall": "text_video"}
    assert card.score_map("unknown", ("overall",)) == {}


def test_the_embedded_benchmark_needs_no_card() -> None:
    assert find_card("anime-probe") is None
    with pytest.raises(InputError, match="has no card: it is made on this machine"):
        need_card("anime-probe")
    assert card_folder("fetv:majority") == card_folder("fetv")


def test_files_stand_beside_the_card(tmp_path: Path) -> None:
    digest = "0" * 64
    card = read_card(write(tmp_path / "b", f"a/b.json,labels,{digest},12,https://x/y\nv.mp4,media,,,https://x/z\n"))
    assert [(file.path, file.bytes) for file in card.files] == [("a/b.json", 12), ("v.mp4", 0)]
    assert card.parts == ("labels", "media")
    assert card.unseen == ("1 files without a known checksum",)
    assert isinstance(card, BenchmarkCard)


@pytest.mark.parametrize(
    ("changes", "files", "sentence"),
    [
        ({"name": "Small One"}, None, "name: .*lower-case letters, digits and '-'"),
        ({"kind": "ratings"}, None, "kind: .*'pairs' or 'prompts'"),
        ({"licence": None}, None, "licence: "),
        ({"colour": "red"}, None, "colour: Extra inputs are not permitted"),
        ({"files": []}, None, "files stand in files.csv beside it"),
        ({"size": {"pairs": "many"}}, None, "size.pairs: "),
        ({"layout": "guessed"}, None, "layout: "),
        ({}, "../x,labels,,0,https://x\n", r"files.0.path: .*inside the benchmark's folder"),
        ({}, "/x,labels,,0,https://x\n", r"files.0.path: .*inside the benchmark's folder"),
        ({}, "x,labels,abc,0,https://x\n", r"files.0.sha256: .*64 hexadecimal digits"),
        ({}, "x,labels,,-1,https://x\n", r"files.0.bytes: "),
    ],
)
def test_a_malformed_card_is_one_sentence(
    tmp_path: Path, changes: dict[str, Any], files: str | None, sentence: str
) -> None:
    with pytest.raises(InputError, match=f"card.yaml: {sentence}") as error:
        read_card(write(tmp_path / "b", files, **changes))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a: [", "is not readable YAML"),
        ("- a\n", "must hold fields and values"),
        (b"\xff\xfe\x00", "not readable YAML"),
    ],
)
def test_what_is_no_card_is_one_sentence(tmp_path: Path, text: str | bytes, sentence: str) -> None:
    (tmp_path / "card.yaml").write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(InputError, match=sentence):
        read_card(tmp_path)


def test_a_table_of_files_needs_its_columns(tmp_path: Path) -> None:
    folder = write(tmp_path / "b")
    (folder / "files.csv").write_text("path,part\nx,labels\n", encoding="utf-8")
    with pytest.raises(InputError, match="files.csv has no column 'bytes'"):
        read_card(folder)
