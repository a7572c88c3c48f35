"""Loaders on small files in the published layouts, and on published data against tables that others derived from it."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rewardbench.benchmark import load_benchmark
from rewardbench.catalogue.fetching import load_from
from rewardbench.catalogue.folders import remember_folder
from rewardbench.catalogue.raters import agreement
from rewardbench.errors import InputError

SIGN = {"A": 1, "B": -1, "same": 0}


def dump(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


# --- FETV


def write_fetv(folder: Path) -> None:
    """Two prompts; rater r gives generator s the rating 1 + (s + r) % 5, so that means and majorities differ."""
    folder.mkdir(parents=True)
    lines = [json.dumps({"video_id": "v", "prompt": f"prompt {i}"}) for i in range(2)]
    (folder / "fetv_data.json").write_text("\n".join(lines) + "\n", encoding="utf-8")
    systems = ("cogvideo", "text2video-zero", "damo-text2video", "zeroscope", "ground-truth")
    for rater in range(3):
        for number, system in enumerate(systems):
            path = folder / f"manual_eval_results/human{rater}/manual_eval_results_{system}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            value = 1 + (number + rater) % 5
            record = {"static_quality": value, "temporal_quality": 3, "alignment": value}
            path.write_text("\n".join(json.dumps({str(i): record}) for i in range(2)), encoding="utf-8")
    dump(folder / "auto_eval_results/UMTScore/auto_eval_results_modelscope-t2v.json", {"0": 0.5, "1": 1.5})


def test_fetv_pairs_four_generators_by_the_mean_of_three_raters(tmp_path: Path) -> None:
    write_fetv(tmp_path / "fetv")
    found = load_from("fetv", None, tmp_path / "fetv")
    assert len(found.comparisons) == 2 * 6
    assert not any("ground-truth" in c.pair_id for c in found.comparisons)
    first = found.comparisons[0]
    assert (first.pair_id, first.prompt) == ("0-cogvideo-text2video-zero", "prompt 0")
    assert (first.row["model_a"], first.row["model_b"]) == ("cogvideo", "text2video-zero")
    assert dict(first.labels) == {"static_quality": -1, "temporal_quality": 0, "alignment": -1}  # 1, 2, 3 and 2, 3, 4


def test_the_generator_with_two_names_keeps_its_scores(tmp_path: Path) -> None:
    from rewardbench_benchmarks.fetv.loader import read_clips

    write_fetv(tmp_path / "fetv")
    scored = {clip.system: dict(clip.scores) for clip in read_clips(tmp_path / "fetv") if clip.prompt_id == "1"}
    assert scored["modelscope-t2v"] == {"UMTScore": 1.5}
    assert scored["cogvideo"] == {}
    assert len(scored) == 5


def test_raters_are_shown_with_their_ceiling(tmp_path: Path) -> None:
    """Ratings 1 2 3, 2 3 4, 3 4 5 and 4 5 1: two raters order the generators alike, the third is turned round once."""
    write_fetv(tmp_path / "fetv")
    found = {one.label: one for one in agreement("fetv", tmp_path / "fetv")}
    assert found["static_quality"].n_pairs == 12
    assert found["static_quality"].n_raters == 3
    assert found["temporal_quality"].ceiling_with_ties == 1.0  # all say 3
    assert found["temporal_quality"].ceiling_without_ties is None  # nobody decides
    assert found["temporal_quality"].alpha is None


# --- GenAI-Bench

VOTES = [("p0", "leftvote"), ("p1", "tievote"), ("p2", "bothbad_vote"), ("p3", "rightvote")]


def write_judge(folder: Path, judge: str, said: list[str | None], votes: list[tuple[str, str]] = VOTES) -> None:
    records = [
        {"idx": str(i), "prompt": prompt, "model_vote": text, "human_vote": vote}
        for i, ((prompt, vote), text) in enumerate(zip(votes, said, strict=True))
    ]
    dump(folder / "results" / "video_generation" / judge / "pairwise.json", records)


def test_genai_v1_keeps_the_four_kinds_of_vote_and_needs_no_clips(tmp_path: Path) -> None:
    write_judge(tmp_path, "random", ["[[A>B]]", None, "[[A=B]]", "x"])
    found = load_from("genai-bench-video-v1", None, tmp_path)
    assert [c.labels["human_vote"] for c in found.comparisons] == [1, 0, 0, -1]
    assert [c.row["human_vote"] for c in found.comparisons] == [vote for _, vote in VOTES]
    assert (found.label_format, found.has_pair_ids, found.has_clips) == ("genai", False, False)


def test_judges_that_contradict_each_other_about_the_votes_are_refused(tmp_path: Path) -> None:
    write_judge(tmp_path, "a", [None] * 4)
    write_judge(tmp_path, "b", [None] * 4, [*VOTES[:3], ("p3", "leftvote")])
    with pytest.raises(InputError, match="has other pairs or votes than the files of the other judges"):
        load_from("genai-bench-video-v1", None, tmp_path)


def test_genai_has_ids_of_clips_and_uses_those_that_are_there(tmp_path: Path) -> None:
    record = {"id": 7, "prompt": "p", "video_left": "a.mp4", "video_right": "b.mp4", "vote_type": "rightvote"}
    dump(tmp_path / "data.json", [record])
    found = load_from("genai-bench-video", None, tmp_path)
    assert [(c.pair_id, dict(c.labels)) for c in found.comparisons] == [("7", {"human_vote": -1})]
    assert not found.has_clips
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos" / "a.mp4").write_bytes(b"x")
    assert load_from("genai-bench-video", None, tmp_path).has_clips


# --- TVGE, Video-Bench, MJ-Bench-Video


def test_tvge_compares_printed_means(tmp_path: Path) -> None:
    for kind, values in (("alignment", {"gen2": [2.2], "pika": [2.2]}), ("quality", {"gen2": [4.0], "pika": [4.1]})):
        dump(tmp_path / f"t2vscore_{kind}_score.json", {"3": {"prompt": "p", "models": values}})
    found = load_from("tvge", None, tmp_path)
    assert [(c.pair_id, dict(c.labels)) for c in found.comparisons] == [
        ("3-gen2-pika", {"alignment": 0, "quality": -1})
    ]


def video_bench_record(**ratings: list[int]) -> dict[str, Any]:
    return {"prompt_en": "p", "videos": {s: f"action/{s}/p_0.mp4" for s in ratings}, "human_anno": ratings}


def test_a_zero_of_video_bench_is_no_rating(tmp_path: Path) -> None:
    """Mean of 0 0 4 4 would be 2 with zeros and is 4 without them."""
    dump(tmp_path / "scene.json", [video_bench_record(kling=[0, 0, 3, 3], pika=[3, 3, 3, 2], gen3=[0, 0, 0, 0])])
    found = load_from("video-bench", None, tmp_path)
    assert [(c.pair_id, dict(c.labels)) for c in found.comparisons] == [("scene-0000-kling-pika", {"scene": 1})]
    assert load_from("video-bench", "scene", tmp_path).sha256 == found.sha256
    with pytest.raises(InputError, match="unknown variant 'colour' of benchmark video-bench"):
        load_from("video-bench", "colour", tmp_path)


def test_video_bench_has_four_raters(tmp_path: Path) -> None:
    dump(tmp_path / "scene.json", [video_bench_record(kling=[1, 2, 3], pika=[3, 3, 3])])
    with pytest.raises(InputError, match="kling must have 4 whole numbers, one per rater"):
        load_from("video-bench", None, tmp_path)


@pytest.mark.parametrize(
    ("said", "label"),
    [
        ("Video 1 better", 1),
        ("Video 1 Better", 1),
        ("video  2  BETTER ", -1),
        ("Same", 0),
        ("same", 0),
        ("Hard to judge", None),
    ],
)
def test_mj_bench_video_spells_in_many_ways(tmp_path: Path, said: str, label: int | None) -> None:
    aspects = dict.fromkeys(("Alignment", "Safety", "Fineness", "Coherence & Consistency", "Bias"), "Same")
    record = {
        "caption": "c",
        "video_0_path": "test/0_0.mp4",
        "video_1_path": "test/0_1.mp4",
        "category_preference": {**aspects, "Alignment": said},
        "overall_preference": "Same",
        "discard": False,
    }
    dump(tmp_path / "test.json", [record, {**record, "discard": True}])
    found = load_from("mj-bench-video", None, tmp_path)
    assert len(found.comparisons) == 1
    assert found.comparisons[0].labels.get("alignment") == label
    assert found.labels == ("alignment", "safety", "fineness", "consistency", "bias", "overall")


def test_another_spelling_is_refused(tmp_path: Path) -> None:
    from rewardbench_benchmarks.mj_bench_video.loader import parse_preference

    with pytest.raises(InputError, match="here: preference 'Video 3 better' is not Video 1 better"):
        parse_preference("Video 3 better", "here")


# --- VideoGen-RewardBench, VideoFeedback, AnimeReward


def test_videogen_rewardbench_is_read_in_the_layout_its_own_reader_names(tmp_path: Path) -> None:
    header = "path_A,path_B,A_model,B_model,prompt,VQ,MQ,TA,Overall,fps_A,num_frames_A\n"
    rows = "videos/k/k_1.mp4,./videos/m/m_1.mp4,k,m,p,A,same,B,A,24,120\n"
    (tmp_path / "videogen-rewardbench.csv").write_text(header + rows * 2, encoding="utf-8")
    found = load_from("videogen-rewardbench", None, tmp_path)
    assert [c.pair_id for c in found.comparisons] == ["k_k_1--m_m_1", "k_k_1--m_m_1#2"]
    assert dict(found.comparisons[0].labels) == {"VQ": 1, "MQ": 0, "TA": -1, "Overall": 1}
    assert (found.comparisons[0].row["model_a"], found.comparisons[0].row["model_b"]) == ("k", "m")


@pytest.mark.shared
def test_videoalign_s_own_example_is_such_a_file(tmp_path: Path, shared: Path) -> None:
    """The example that VideoAlign ships lies beside its clips; it has no Overall."""
    source = shared / "data" / "videoalign"
    (tmp_path / "videogen-rewardbench.csv").write_bytes((source / "pairs.csv").read_bytes())
    (tmp_path / "videos").symlink_to(source / "videos")
    with pytest.raises(InputError, match="leads out of the folder"):
        load_from("videogen-rewardbench", None, tmp_path)
    (tmp_path / "videos").unlink()
    found = load_from("videogen-rewardbench", None, tmp_path)
    assert found.labels == ("VQ", "MQ", "TA")
    assert [dict(c.labels) for c in found.comparisons] == [{"VQ": -1, "MQ": -1, "TA": 1}, {"VQ": 0, "MQ": 0, "TA": 1}]


def test_videofeedback_pairs_every_clip_once_and_the_same_way_everywhere(tmp_path: Path) -> None:
    names = [
        "visual quality",
        "temporal consistency",
        "dynamic degree",
        "text-to-video alignment",
        "factual consistency",
    ]
    lines = [{"id": f"v{i}", "text prompt": f"p{i}", **dict.fromkeys(names, 1 + i % 4)} for i in range(5)]
    text = "\n".join(json.dumps(line) for line in lines)
    (tmp_path / "videofeedback_test.jsonl").write_text(text, encoding="utf-8")
    found = load_from("videofeedback-test", None, tmp_path)
    order = sorted((f"v{i}" for i in range(5)), key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    assert [c.pair_id for c in found.comparisons] == [f"{order[0]}--{order[1]}", f"{order[2]}--{order[3]}"]
    number = {f"v{i}": 1 + i % 4 for i in range(5)}
    expected = [int(np.sign(number[order[i]] - number[order[i + 1]])) for i in (0, 2)]
    assert [c.labels["text_alignment"] for c in found.comparisons] == expected


def test_animereward_s_set_is_read_from_a_table_of_ratings(tmp_path: Path) -> None:
    table = "video,prompt,system,visual_quality,motion_r0,motion_r1\na.mp4,p,x,4.5,1,\nb.mp4,p,y,4,3,2\n"
    (tmp_path / "ratings.csv").write_text(table, encoding="utf-8")
    found = load_from("animereward-validation", None, tmp_path)
    assert [dict(c.labels) for c in found.comparisons] == [{"appeal": 1, "motion": -1}]
    assert [one.label for one in agreement("animereward-validation", tmp_path)] == ["motion"]


# --- all of them


@pytest.mark.parametrize(
    "name",
    [
        "fetv",
        "genai-bench-video",
        "genai-bench-video-v1",
        "tvge",
        "video-bench",
        "mj-bench-video",
        "videofeedback-test",
    ],
)
def test_what_is_not_at_hand_names_the_command_that_brings_it(name: str) -> None:
    with pytest.raises(InputError, match=f"`rewardbench benchmarks fetch {name}`"):
        load_benchmark(name)


@pytest.mark.parametrize(
    ("name", "file", "text"),
    [
        ("fetv", "fetv_ratings.csv", "prompt_id,system\n0,cogvideo\n"),
        ("genai-bench-video-v1", "genai_bench_v1_video_votes.csv", "idx,prompt,human_vote\n1,p,leftvote\n"),
        ("genai-bench-video-v1", "genai_bench_v1_video_votes.csv", "idx,prompt,human_vote\n0,p,left\n"),
        ("genai-bench-video", "data.json", "{"),
        ("genai-bench-video", "data.json", "[]"),
        ("genai-bench-video", "data.json", '[{"prompt": 3}]'),
        ("genai-bench-video", "data.json", '[["prompt"]]'),
        ("tvge", "tvge_pairs.csv", "prompt_id\n1\n"),
        ("video-bench", "scene.json", '[{"videos": {}, "human_anno": {"sora": [1, 1, 1, 1]}, "prompt_en": "p"}]'),
        ("mj-bench-video", "test.json", "[1]"),
        ("videogen-rewardbench", "videogen-rewardbench.csv", "path_A,path_B,prompt,VQ,MQ,TA\na,b,p,left,A,A\n"),
        ("videofeedback-test", "videofeedback_test.csv", "id,text prompt\n1,p\n"),
        ("animereward-validation", "ratings.csv", "video,prompt,system\na,p,s\n"),
        ("animereward-validation", "ratings.csv", "video,prompt,system,motion\na,p,s,good\n"),
    ],
)
def test_malformed_files_end_in_one_sentence(tmp_path: Path, name: str, file: str, text: str) -> None:
    (tmp_path / file).write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as error:
        load_from(name, None, tmp_path)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


# --- against tables that others derived


@pytest.mark.shared
def test_fetv_s_labels_are_those_of_an_independent_derivation(shared: Path) -> None:
    tables = shared / "data" / "tables"
    with open(tables / "fetv_pairs_even.csv", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    for variant, suffix in ((None, "mean3"), ("majority", "majority")):
        found = load_from("fetv", variant, tables)
        assert len(found.comparisons) == len(rows) == 1860
        labels = {c.pair_id: c.labels for c in found.comparisons}
        for row in rows:
            ours = labels[f"{row['prompt_id']}-{row['system_A']}-{row['system_B']}"]
            assert {d: SIGN[row[f"{d}_{suffix}"]] for d in ours} == dict(ours)


@pytest.mark.shared
def test_genai_s_votes_are_counted_as_published(shared: Path) -> None:
    """1,889 pairs: left 619, right 651, both bad 404, tie 215. v1: left 325, right 375, both bad 231, tie 138."""
    tables = shared / "data" / "tables"
    for name, counts in (
        ("genai-bench-video", {"leftvote": 619, "rightvote": 651, "bothbad_vote": 404, "tievote": 215}),
        ("genai-bench-video-v1", {"leftvote": 325, "rightvote": 375, "bothbad_vote": 231, "tievote": 138}),
    ):
        found = load_from(name, None, tables)
        votes = [c.row["human_vote"] for c in found.comparisons]
        assert {vote: votes.count(vote) for vote in counts} == counts


@pytest.mark.shared
def test_video_bench_s_pairs_are_counted_by_hand(shared: Path) -> None:
    """Every two of seven generators, less the pairs where a clip has no rating at all; labels by numpy's own mean."""
    folder = shared / "data" / "tables" / "video_bench_human"
    found = load_from("video-bench", "scene", folder)
    records = json.loads((folder / "scene.json").read_text(encoding="utf-8"))
    assert len(found.comparisons) == 21 * len(records)
    for comparison in found.comparisons[::97]:
        _, number, a, b = comparison.pair_id.split("-")
        means = [np.mean([v for v in records[int(number)]["human_anno"][s] if v]) for s in (a, b)]
        difference = means[0] - means[1]
        assert comparison.labels["scene"] == (0 if abs(difference) < 1e-9 else int(np.sign(difference)))


@pytest.mark.shared
def test_a_folder_that_was_named_serves_the_command(shared: Path) -> None:
    remember_folder("genai-bench-video", shared / "data" / "tables")
    assert len(load_benchmark("genai-bench-video").comparisons) == 1889
