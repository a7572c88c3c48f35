"""Rated clips come through whole: takes, repeated rows, ratings outside the scale, lines and prompts across pairs."""

from __future__ import annotations

import csv
import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewardbench.catalogue.building import PairRow, Side, build_benchmark, connected_prompts
from rewardbench.catalogue.card import cards
from rewardbench.catalogue.fetching import load_from
from rewardbench.catalogue.prompts import read_suite
from rewardbench.catalogue.ratings import RatedClip, rated_pairs, rater_views
from rewardbench.catalogue.reading import read_json_lines, whole
from rewardbench.errors import InputError
from rewardbench.evaluation import cluster_column, clusters_of

ANIME = "video,prompt,system,motion\n"


# --- several takes, and rows that stand twice


def test_every_take_of_a_system_is_paired_with_every_take_of_the_other(tmp_path: Path) -> None:
    """A has clips rated 5 and 1 for one prompt, B two rated 3: two pairs for A's first clip and two for its second."""
    table = ANIME + "a1.mp4,p,A,5\na2.mp4,p,A,1\nb1.mp4,p,B,3\nb2.mp4,p,B,3\n"
    (tmp_path / "ratings.csv").write_text(table, encoding="utf-8")
    found = load_from("animereward-validation", None, tmp_path)
    said = {(c.clip_a, c.clip_b): c.labels["motion"] for c in found.comparisons}
    assert said == {
        ("a1.mp4", "b1.mp4"): 1,
        ("a1.mp4", "b2.mp4"): 1,
        ("a2.mp4", "b1.mp4"): -1,
        ("a2.mp4", "b2.mp4"): -1,
    }
    assert [c.pair_id for c in found.comparisons] == ["p-A-B", "p-A-B#2", "p-A#2-B", "p-A#2-B#2"]
    named = {value for c in found.comparisons for value in c.row.values()}
    assert {"A", "B"} <= named
    assert not {"A#2", "B#2"} & named  # a generator keeps its name


@given(st.dictionaries(st.sampled_from("xyz"), st.lists(st.integers(1, 5), min_size=1, max_size=3), min_size=2))
def test_the_pairs_of_takes_are_counted_by_brute_force(takes: dict[str, list[int]]) -> None:
    clips = [
        RatedClip("0", "p", system, f"{system}{n}.mp4", {"d": (rating,)})
        for system, ratings in takes.items()
        for n, rating in enumerate(ratings)
    ]
    expected = {
        (a.video, b.video): int(np.sign(a.ratings["d"][0] - b.ratings["d"][0]))  # type: ignore[operator]
        for a, b in product(clips, clips)
        if a.system < b.system
    }
    rows = rated_pairs(clips, "xyz", "mean")
    assert {(row.a.video, row.b.video): row.labels["d"] for row in rows} == expected
    assert len({row.pair_id for row in rows}) == len(rows)
    views = rater_views(clips, "xyz", "d", "mean")
    assert views.items.shape == (len(clips), 1)
    assert np.sign(views.pairs[:, 0]).tolist() == [row.labels["d"] for row in rows]


def test_a_row_that_stands_twice_counts_once_and_one_that_contradicts_is_refused(tmp_path: Path) -> None:
    table = ANIME + "a.mp4,p,A,5\na.mp4,p,A,5\nb.mp4,p,B,3\n"
    (tmp_path / "ratings.csv").write_text(table, encoding="utf-8")
    assert len(load_from("animereward-validation", None, tmp_path).comparisons) == 1
    (tmp_path / "ratings.csv").write_text(table.replace("A,5", "A,1", 1), encoding="utf-8")
    with pytest.raises(InputError, match="clip 'a.mp4' of prompt 'p' and system 'A' is rated twice, and differently"):
        load_from("animereward-validation", None, tmp_path)


RATINGS = [f"{d}_r{r}" for d in ("static_quality", "temporal_quality", "alignment") for r in range(3)]


def write_fetv_table(folder: Path, rows: list[tuple[str, str, int]]) -> None:
    """Rows of (prompt id, system, one rating for everything)."""
    with open(folder / "fetv_ratings.csv", "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["prompt_id", "system", *RATINGS])
        writer.writerows([[prompt, system, *[value] * len(RATINGS)] for prompt, system, value in rows])


def test_fetv_refuses_a_clip_with_two_ratings(tmp_path: Path) -> None:
    write_fetv_table(tmp_path, [("0", "cogvideo", 2), ("0", "zeroscope", 4), ("0", "cogvideo", 5)])
    with pytest.raises(InputError, match=r"clip 'cogvideo/0000.mp4' of prompt '0' .* is rated twice, and differently"):
        load_from("fetv", None, tmp_path)


def write_manual(folder: Path, systems: dict[str, list[dict[str, Any]]]) -> None:
    """FETV's own layout: for every rater and system a file of lines, prompt id to one rating for everything."""
    for rater, (system, lines) in product(range(3), systems.items()):
        path = folder / f"manual_eval_results/human{rater}/manual_eval_results_{system}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        records = [
            {key: dict.fromkeys(("static_quality", "temporal_quality", "alignment"), value)}
            for line in lines
            for key, value in line.items()
        ]
        path.write_text("\n".join(map(json.dumps, records)) + "\n", encoding="utf-8")


SYSTEMS = ("cogvideo", "text2video-zero", "damo-text2video", "zeroscope", "ground-truth")


def test_a_line_of_fetv_s_own_files_that_contradicts_an_earlier_one_is_refused(tmp_path: Path) -> None:
    write_manual(tmp_path, {system: [{"0": 3}, {"0": 3}] for system in SYSTEMS})
    assert len(load_from("fetv", None, tmp_path).comparisons) == 6
    write_manual(tmp_path, {system: [{"0": 3}, {"0": 4}] for system in SYSTEMS})
    with pytest.raises(InputError, match="has prompt 0 twice, and with other ratings"):
        load_from("fetv", None, tmp_path)


def test_tvge_s_table_of_pairs_may_not_rate_one_clip_in_two_ways(tmp_path: Path) -> None:
    head = "prompt_id,prompt,system_A,system_B,alignment_A,alignment_B,quality_A,quality_B\n"
    rows = ["1,p,gen2,pika,2.5,3,4,4\n", "1,p,gen2,floor33,{},3,4,4\n"]
    (tmp_path / "tvge_pairs.csv").write_text(head + "".join(rows).format("2.5"), encoding="utf-8")
    assert len(load_from("tvge", None, tmp_path).comparisons) == 3
    (tmp_path / "tvge_pairs.csv").write_text(head + "".join(rows).format("1.5"), encoding="utf-8")
    with pytest.raises(InputError, match="row 2: gen2/0001.mp4 has other ratings or scores than in an earlier row"):
        load_from("tvge", None, tmp_path)


# --- ratings outside the scale


@pytest.mark.parametrize("rating", [9, -4, 0, 6])
def test_fetv_refuses_ratings_outside_1_to_5(tmp_path: Path, rating: int) -> None:
    write_fetv_table(tmp_path, [("0", "cogvideo", 2), ("0", "zeroscope", rating)])
    with pytest.raises(InputError, match=f"rating {rating} of zeroscope/0000.mp4 .* outside the scale of fetv, 1 to 5"):
        load_from("fetv", None, tmp_path)
    write_manual(tmp_path, {system: [{"0": rating}] for system in SYSTEMS})
    with pytest.raises(InputError, match=f"rating {rating} of cogvideo/0000.mp4 .* outside the scale of fetv, 1 to 5"):
        load_from("fetv", None, tmp_path)


@pytest.mark.parametrize("rating", [True, None, "good", 3.5, [3]])
def test_a_rating_of_fetv_that_is_no_whole_number_is_one_sentence(tmp_path: Path, rating: Any) -> None:
    write_manual(tmp_path, {system: [{"0": rating}] for system in SYSTEMS})
    with pytest.raises(InputError, match="is not a whole number") as error:
        load_from("fetv", None, tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("rating", "sentence"), [(99, "rating 99"), (-1, "rating -1"), (True, "4 whole numbers"), (4, "1 to 3")]
)
def test_video_bench_keeps_to_its_scales(tmp_path: Path, rating: Any, sentence: str) -> None:
    """Scenes are rated 1 to 3, and 0 is no rating."""
    given_by = {"kling": [1, 2, 3, 0], "pika": [1, 2, 3, rating]}
    record = {"prompt_en": "p", "videos": {s: f"{s}.mp4" for s in given_by}, "human_anno": given_by}
    (tmp_path / "scene.json").write_text(json.dumps([record]), encoding="utf-8")
    with pytest.raises(InputError, match=sentence):
        load_from("video-bench", "scene", tmp_path)


def test_the_scales_of_the_others_hold_too(tmp_path: Path) -> None:
    (tmp_path / "ratings.csv").write_text(ANIME + "a.mp4,p,A,5.5\n", encoding="utf-8")
    with pytest.raises(InputError, match="rating 5.5 of a.mp4 .* scale of animereward-validation, 1 to 5"):
        load_from("animereward-validation", None, tmp_path)
    head = "prompt_id,prompt,system_A,system_B,alignment_A,alignment_B,quality_A,quality_B\n"
    (tmp_path / "tvge_pairs.csv").write_text(head + "1,p,gen2,pika,2.5,0.5,4,4\n", encoding="utf-8")
    with pytest.raises(InputError, match="rating 0.5 of pika/0001.mp4 .* scale of tvge, 1 to 5"):
        load_from("tvge", None, tmp_path)
    write_videofeedback(tmp_path, [("v0", "p", 5), ("v1", "p", 4)])
    with pytest.raises(InputError, match="rating 5 of v0.mp4 .* scale of videofeedback-test, 1 to 4"):
        load_from("videofeedback-test", None, tmp_path)


def test_every_card_s_scale_in_numbers_is_the_one_in_words() -> None:
    found = 0
    for card in cards().values():
        for dimension, (low, high) in ({} if card.raters is None else card.raters.ranges).items():
            assert card.raters is not None
            assert f"{low} to {high}" in card.raters.scale
            words = card.dimensions[dimension]
            assert f"{low} to {high}" in words or " to " not in words
            found += 1
    assert found == 3 + 2 + 6 + 5 + 9


@pytest.mark.parametrize(("value", "number"), [(3, 3), ("3", 3), (3.0, 3), (" 4 ", 4)])
def test_whole_numbers_may_be_written_as_text(value: Any, number: int) -> None:
    assert whole(value, "here") == number


# --- lines


def test_only_a_line_feed_ends_a_line(tmp_path: Path) -> None:
    """U+2028 and U+0085 may stand in a JSON text as they are."""
    texts = ["one\u2028two", "three\x85four", "five"]
    lines = [json.dumps({"t": text}, ensure_ascii=False) for text in texts]
    (tmp_path / "l.jsonl").write_bytes("\r\n".join(lines).encode() + b"\n\n")
    assert [record["t"] for record in read_json_lines(tmp_path / "l.jsonl")] == texts
    (tmp_path / "l.jsonl").write_text("{}\n\n{\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"l\.jsonl, line 3: "):
        read_json_lines(tmp_path / "l.jsonl")


def test_fetv_s_prompts_keep_the_number_of_their_line(tmp_path: Path) -> None:
    write_manual(tmp_path, {system: [{"0": 3}, {"1": 3}] for system in SYSTEMS})
    records = [json.dumps({"prompt": text}, ensure_ascii=False) for text in ("first\u2028half", "second")]
    (tmp_path / "fetv_data.json").write_text("\n".join(records) + "\n", encoding="utf-8")
    found = load_from("fetv", None, tmp_path)
    assert {c.pair_id.partition("-")[0]: c.prompt for c in found.comparisons} == {"0": "first\u2028half", "1": "second"}
    (tmp_path / "fetv_data.json").write_text("\n\n".join(records), encoding="utf-8")
    with pytest.raises(InputError, match="line 2 is empty, but prompts go by the number of their line"):
        load_from("fetv", None, tmp_path)
    (tmp_path / "fetv_data.json").write_text(records[0], encoding="utf-8")
    with pytest.raises(InputError, match="has ratings of prompt 1 of cogvideo and no prompt of that number"):
        load_from("fetv", None, tmp_path)


def test_an_empty_line_among_realaction_s_prompts_would_shift_the_images(tmp_path: Path) -> None:
    (tmp_path / "prompts.txt").write_text("a\n\nb\n", encoding="utf-8")
    with pytest.raises(InputError, match="line 2 is empty, but images and clips go by"):
        read_suite("realaction", tmp_path)


# --- pairs across prompts


def write_videofeedback(folder: Path, clips: list[tuple[str, str, int]]) -> None:
    names = ["visual quality", "temporal consistency", "dynamic degree", "text-to-video alignment"]
    lines = [
        {"id": i, "text prompt": prompt, **dict.fromkeys([*names, "factual consistency"], rating)}
        for i, prompt, rating in clips
    ]
    (folder / "videofeedback_test.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")


def test_videofeedback_s_pairs_that_share_a_prompt_on_either_side_are_one_cluster(tmp_path: Path) -> None:
    """Forty clips of seven prompts: pairs depend on each other wherever a chain of prompts connects them."""
    write_videofeedback(tmp_path, [(f"v{i}", f"p{i % 7 if i < 30 else i}", 1 + i % 4) for i in range(40)])
    found = load_from("videofeedback-test", None, tmp_path)
    sides = [{str(found.clips[c.clip_a].prompt), str(found.clips[c.clip_b].prompt)} for c in found.comparisons]
    column = cluster_column(found, "prompt")
    assert column == "cluster"
    clusters = clusters_of(found, column, [])
    groups = [set(side) for side in sides]
    for _ in sides:  # brute force: unite until nothing changes
        groups = [set().union(*(other for other in groups if other & group)) for group in groups]
    for i, j in product(range(len(sides)), repeat=2):
        assert (clusters[i] == clusters[j]) == (groups[i] == groups[j])


def test_pairs_of_one_prompt_need_no_further_column_and_a_missing_prompt_connects_nothing(tmp_path: Path) -> None:
    def row(number: int, a: str, b: str) -> PairRow:
        return PairRow(str(number), Side(f"{number}a", a), Side(f"{number}b", b), {"d": 1})

    assert connected_prompts([row(0, "p", "p"), row(1, "q", "q")]) == {}
    assert "cluster" not in build_benchmark("b", "1", [row(0, "p", "p")], tmp_path).columns
    rows = [row(0, "p", ""), row(1, "", "q"), row(2, "r", "q"), row(3, "", "")]
    found = build_benchmark("b", "1", rows, tmp_path)
    assert clusters_of(found, cluster_column(found, "prompt"), []) == ["p", "q", "q", "3"]
