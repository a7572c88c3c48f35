"""Pairs from scores, files and with real winners: who wins, what is left out, and that a written file reads back."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from rewardbench.align.pairs import (
    best_against_worst,
    clips_from_file,
    every_clip,
    pairs_from_file,
    real_against_generated,
    write_pairs,
)
from rewardbench.align.prompts import Prompt
from rewardbench.align.samples import Sample
from rewardbench.align.scored_table import read_scored_clips
from rewardbench.benchmark import load_benchmark
from rewardbench.errors import InputError

NAN = math.nan


def clips(folder: Path, per_prompt: int, prompts: int = 2) -> list[Sample]:
    from rewardbench.video import write_video

    made = []
    for p in range(prompts):
        prompt = Prompt(f"p{p}", f"prompt {p}", None)
        for n in range(per_prompt):
            path = folder / f"p{p}-{n}.mp4"
            if not path.exists():
                write_video(path, np.full((2, 16, 16, 3), 40 * n, np.uint8), 8)
            made.append(Sample(f"p{p}-{n}", str(path), prompt, n, "toy", None))
    return made


def rewards(*values: float) -> dict[str, float]:
    return {f"p{i // 4}-{i % 4}": v for i, v in enumerate(values)}


def test_best_meets_worst(tmp_path) -> None:
    found = best_against_worst(clips(tmp_path, 4), rewards(0.2, 0.9, 0.1, 0.5, 1, 2, 3, 4), "judge")
    assert [(p.win, p.lose, p.reward_win, p.reward_lose) for p in found.pairs] == [
        ("p0-1", ("p0-2",), 0.9, (0.1,)),
        ("p1-3", ("p1-0",), 4, (1,)),
    ]
    assert found.left_out == ()


def test_equal_rewards_are_ordered_by_sample_number(tmp_path) -> None:
    found = best_against_worst(clips(tmp_path, 4, 1), rewards(1, 1, 0, 0), "judge")
    assert (found.pairs[0].win, found.pairs[0].lose) == ("p0-0", ("p0-3",))


def test_several_losers_come_worst_first(tmp_path) -> None:
    found = best_against_worst(clips(tmp_path, 4, 1), rewards(4, 2, 1, 3), "judge", losers=2)
    assert found.pairs[0].lose == ("p0-2", "p0-1")


def test_prompts_without_a_pair_are_counted_with_the_reason(tmp_path) -> None:
    found = best_against_worst(clips(tmp_path, 4, 3), rewards(1, 1, 1, 1, NAN, NAN, NAN, 2, 1, 2, 3, 4), "judge")
    assert [p.pair_id for p in found.pairs] == ["p2"]
    assert found.left_out == (
        "all clips scored equal by judge for 1 of 3 prompts",
        "judge scored fewer than two clips of 1 of 3 prompts",
    )


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ((1, 1, 1, 1), "no prompt gives a pair: all clips scored equal by judge for 1 of 1 prompts"),
        ((NAN, NAN, NAN, NAN), "no prompt gives a pair: judge scored fewer than two clips of 1 of 1 prompts"),
    ],
)
def test_no_pair_at_all_is_an_error_that_says_why(tmp_path, values, sentence) -> None:
    with pytest.raises(InputError, match=sentence):
        best_against_worst(clips(tmp_path, 4, 1), rewards(*values), "judge")


def test_a_clip_that_the_judge_abstains_on_takes_no_part(tmp_path) -> None:
    found = best_against_worst(clips(tmp_path, 4, 1), rewards(NAN, 2, 1, 3), "judge")
    assert (found.pairs[0].win, found.pairs[0].lose) == ("p0-3", ("p0-2",))


def test_small_gaps_make_no_pair(tmp_path) -> None:
    found = best_against_worst(clips(tmp_path, 4), rewards(1, 1.05, 1, 1, 1, 2, 3, 4), "judge", min_gap=0.1)
    assert [p.pair_id for p in found.pairs] == ["p1"]
    assert found.left_out == ("no two scores were more than 0.1 apart by judge for 1 of 2 prompts",)


def test_every_scored_clip_stands_alone(tmp_path) -> None:
    found = every_clip(clips(tmp_path, 4, 1), rewards(1, NAN, 2, 3), "judge")
    assert [(p.win, p.lose, p.reward_win) for p in found.pairs] == [("p0-0", (), 1), ("p0-2", (), 2), ("p0-3", (), 3)]
    assert found.left_out == ("judge gave 1 of 4 clips no score",)


def test_real_clips_win_over_the_worst_generated(tmp_path) -> None:
    samples = clips(tmp_path, 4)
    (tmp_path / "real.csv").write_text("video,prompt\np0-0.mp4,prompt 0\np0-1.mp4,prompt 9\n")
    found = real_against_generated(tmp_path / "real.csv", samples, rewards(3, 1, 2, 4, 0, 0, 0, 0), losers=3)
    assert [(p.win, p.lose) for p in found.pairs] == [("real-00000", ("p0-1", "p0-2", "p0-0"))]
    assert math.isnan(found.pairs[0].reward_win)
    assert found.left_out == ("1 real clips have a prompt that no clip was sampled for",)
    assert found.clips["real-00000"].generator == "real"


def test_a_written_file_is_a_pairs_file_and_reads_back(tmp_path) -> None:
    samples = clips(tmp_path, 4)
    made = best_against_worst(samples, rewards(0.2, 0.9, 0.1, 0.5, 1, 2, 3, 4), "judge")
    write_pairs(made, tmp_path / "pairs.csv")
    benchmark = load_benchmark(tmp_path / "pairs.csv")
    assert [c.labels for c in benchmark.comparisons] == [{"reward": 1}, {"reward": 1}]
    again = pairs_from_file(tmp_path / "pairs.csv", None, "toy")
    assert [(p.reward_win, p.reward_lose) for p in again.pairs] == [(0.9, (0.1,)), (4.0, (1.0,))]
    assert [Path(again.clips[p.win].video).name for p in again.pairs] == ["p0-1.mp4", "p1-3.mp4"]
    assert again.off_policy == ""


def test_losers_labelled_a_win_and_ties_are_left_out(tmp_path) -> None:
    clips(tmp_path, 3, 1)
    rows = ["prompt,video_a,video_b,label_q", "x,p0-0.mp4,p0-1.mp4,B", "x,p0-0.mp4,p0-2.mp4,tie"]
    (tmp_path / "given.csv").write_text("\n".join(rows) + "\n")
    found = pairs_from_file(tmp_path / "given.csv", None, "toy")
    assert len(found.pairs) == 1
    assert Path(found.clips[found.pairs[0].win].video).name == "p0-1.mp4"
    assert found.left_out == ("1 of 2 pairs are ties, or have no label 'q'",)
    assert "unknown generators teach toy" in found.off_policy


def test_every_clip_of_a_file_is_taken_once_with_its_own_reward_whatever_the_labels_say(tmp_path) -> None:
    clips(tmp_path, 4, 1)
    rows = [
        "prompt,video_a,video_b,label_q,reward_a,reward_b,model_a,model_b",
        "x,p0-0.mp4,p0-1.mp4,B,0.1,0.7,toy,toy",
        "x,p0-1.mp4,p0-2.mp4,tie,,0.4,toy,other",
        "x,p0-3.mp4,p0-0.mp4,A,-2,0.1,toy,toy",
    ]
    (tmp_path / "given.csv").write_text("\n".join(rows) + "\n")
    found = clips_from_file(tmp_path / "given.csv", "toy")
    assert {p.win: p.reward_win for p in found.pairs} == {
        "p0-0.mp4": 0.1,
        "p0-1.mp4": 0.7,
        "p0-2.mp4": 0.4,
        "p0-3.mp4": -2.0,
    }
    assert all(p.lose == () and p.prompt == found.clips[p.win].prompt for p in found.pairs)
    assert found.off_policy == "clips of other teach toy: expect less than from its own"


def test_two_rewards_of_one_clip_are_refused(tmp_path) -> None:
    clips(tmp_path, 3, 1)
    rows = ["prompt,video_a,video_b,label_q,reward_a,reward_b", "x,p0-0.mp4,p0-1.mp4,B,0.1,0.7"]
    (tmp_path / "given.csv").write_text("\n".join([*rows, "x,p0-0.mp4,p0-2.mp4,B,0.2,0.7"]) + "\n")
    with pytest.raises(InputError, match=r"p0-0.mp4 two rewards, 0.1 and 0.2"):
        clips_from_file(tmp_path / "given.csv", "toy")


@pytest.mark.parametrize("gap", [-1.0, NAN])
def test_a_smallest_gap_below_zero_is_refused(tmp_path, gap) -> None:
    with pytest.raises(InputError, match="min_gap is not negative"):
        best_against_worst(clips(tmp_path, 2), rewards(1, 2, 3, 4), "judge", min_gap=gap)


def test_a_file_with_several_labels_needs_a_choice(tmp_path) -> None:
    clips(tmp_path, 2, 1)
    (tmp_path / "two.csv").write_text("prompt,video_a,video_b,label_q,label_m\nx,p0-0.mp4,p0-1.mp4,A,B\n")
    with pytest.raises(InputError, match="say with --label"):
        pairs_from_file(tmp_path / "two.csv", None, "toy")
    assert Path(pairs_from_file(tmp_path / "two.csv", "m", "toy").clips["p0-1.mp4"].video).name == "p0-1.mp4"
    with pytest.raises(InputError, match="no label 'z'; there are q, m"):
        pairs_from_file(tmp_path / "two.csv", "z", "toy")


def test_scored_clips_of_a_table_are_grouped_by_prompt(tmp_path) -> None:
    clips(tmp_path, 2)
    rows = ["video,prompt,good", "p0-0.mp4,a,1", "p1-0.mp4,b,2", "p0-1.mp4,a,", "p1-1.mp4,b,4"]
    (tmp_path / "scored.csv").write_text("\n".join(rows) + "\n")
    samples, found = read_scored_clips(tmp_path / "scored.csv", "good", "mine")
    assert [(s.prompt.prompt_id, s.number, s.generator) for s in samples] == [
        ("prompt-00001", 0, "mine"),
        ("prompt-00002", 0, "mine"),
        ("prompt-00001", 1, "mine"),
        ("prompt-00002", 1, "mine"),
    ]
    assert math.isnan(found["p0-1.mp4"])
    with pytest.raises(InputError, match="no column 'best'"):
        read_scored_clips(tmp_path / "scored.csv", "best", "mine")
