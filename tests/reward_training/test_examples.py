"""Reading training tables, and splits in which no prompt and no clip stands on both sides."""

import csv

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from rewardbench.errors import InputError
from rewardbench.reward_training.examples import (
    Pair,
    TrainingData,
    check_apart,
    read_examples,
    same_prompt,
    split_by_prompt,
)
from rewardbench_plugin import Clip


def table(path, rows):
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def data(pairs):
    """Pairs given as (prompt, video, video)."""
    made = [Pair(Clip(a, a, prompt), Clip(b, b, prompt), {"VQ": 1}) for prompt, a, b in pairs]
    return TrainingData("pairs", ("VQ",), tuple(made), (), "memory", "")


def test_pairs_format(tmp_path):
    path = table(
        tmp_path / "p.csv",
        [
            {"prompt": "x", "video_a": "1.mp4", "video_b": "2.mp4", "label_VQ": "A", "label_TA": "tie"},
            {"prompt": "y", "video_a": "3.mp4", "video_b": "4.mp4", "label_VQ": "B", "label_TA": ""},
            {"prompt": "z", "video_a": "3.mp4", "video_b": "4.mp4", "label_VQ": "", "label_TA": ""},
        ],
    )
    read = read_examples(path, "btt")
    assert read.dimensions == ("VQ", "TA")
    assert [dict(p.labels) for p in read.pairs] == [{"VQ": 1, "TA": 0}, {"VQ": -1}]
    assert read.pairs[0].a.video == str(tmp_path / "1.mp4")


def test_videoalign_csv_without_its_overall_column(tmp_path):
    row = {"path_A": "a.mp4", "path_B": "b.mp4", "prompt": "x", "VQ": "A", "MQ": "same", "TA": "B", "Overall": "A"}
    path = table(tmp_path / "v.csv", [row])
    assert read_examples(path, "bt").dimensions == ("VQ", "MQ", "TA")
    assert read_examples(path, "bt", ["Overall"]).pairs[0].labels == {"Overall": 1}


@pytest.mark.shared
def test_videoalign_example_file(shared):
    read = read_examples(shared / "data" / "videoalign" / "pairs.csv", "btt")
    assert len(read.pairs) == 2
    assert set(read.dimensions) == {"VQ", "MQ", "TA"}


def test_rating_table(tmp_path):
    rows = [
        {"video": "1.mp4", "prompt": "x", "rating_smoothness": "4.5", "rating_appeal": "2", "rating_overall": "9"},
        {"video": "2.mp4", "prompt": "y", "rating_smoothness": "", "rating_appeal": "3", "rating_overall": "9"},
    ]
    read = read_examples(table(tmp_path / "r.csv", rows), "regression")
    assert read.dimensions == ("smoothness", "appeal")
    assert [dict(r.ratings) for r in read.ratings] == [{"smoothness": 4.5, "appeal": 2.0}, {"appeal": 3.0}]


def test_named_rating_columns_need_no_prefix(tmp_path):
    path = table(tmp_path / "r.csv", [{"video": "1.mp4", "prompt": "x", "aesthetics": "7"}])
    assert read_examples(path, "regression", ["aesthetics"]).ratings[0].ratings == {"aesthetics": 7.0}


def test_ratings_beside_pairs_are_averaged_over_a_clips_pairs(tmp_path):
    rows = [
        {"prompt": "x", "video_a": "1.mp4", "video_b": "2.mp4", "rating_VQ_A": "2", "rating_VQ_B": "5"},
        {"prompt": "x", "video_a": "3.mp4", "video_b": "1.mp4", "rating_VQ_A": "1", "rating_VQ_B": "4"},
    ]
    read = read_examples(table(tmp_path / "r.csv", rows), "regression")
    ratings = {r.clip.video.rsplit("/", 1)[-1]: r.ratings["VQ"] for r in read.ratings}
    assert ratings == {"1.mp4": 3.0, "2.mp4": 5.0, "3.mp4": 1.0}


@pytest.mark.parametrize(
    ("rows", "objective", "dimensions", "sentence"),
    [
        ([{"video": "1.mp4", "rating_VQ": "3"}], "btt", None, "has no pairs"),
        ([{"video_a": "1", "video_b": "2", "label_VQ": "A"}], "regression", None, "no rating_<DIMENSION>_A"),
        ([{"video": "1.mp4", "VQ": "3"}], "regression", None, "name the rated dimensions with --dimension"),
        ([{"video": "1.mp4", "rating_VQ": "good"}], "regression", None, "row 1: rating 'good' in column 'rating_VQ'"),
        ([{"video": "1.mp4", "rating_VQ": "inf"}], "regression", None, "is not a number"),
        ([{"video": "1.mp4", "rating_VQ": ""}], "regression", None, "has no row with a label or rating for VQ"),
        ([{"video": "1.mp4", "rating_VQ": "3"}], "regression", ["MQ"], "no column rating_MQ or MQ"),
        ([{"prompt": "x", "label_VQ": "A"}], "bt", None, "has no pairs"),
        ([{"prompt": "x", "video_a": "1", "video_b": "2", "label_VQ": "A"}], "bt", ["MQ"], "no label column 'MQ'"),
    ],
)  # fmt: skip
def test_unusable_tables_are_one_sentence(tmp_path, rows, objective, dimensions, sentence):
    with pytest.raises(InputError, match=sentence):
        read_examples(table(tmp_path / "t.csv", rows), objective, dimensions)


videos = st.integers(0, 30).map(str)
pair_lists = st.lists(
    st.tuples(st.integers(0, 12).map(lambda n: f"Prompt {n}"), videos, videos), min_size=2, max_size=40
)


@given(pair_lists, st.floats(0.01, 0.9), st.integers(0, 5))
@hypothesis_settings(max_examples=150, deadline=None)
def test_no_prompt_and_no_video_on_both_sides(pairs, share, seed):
    own = [("prompt of its own", "own a", "own b"), ("another one", "other a", "other b")]
    whole = data([*pairs, *own])
    training, validation = split_by_prompt(whole, share, seed)
    assert training.prompts.isdisjoint(validation.prompts)
    assert training.prompts | validation.prompts == whole.prompts
    assert len(training) + len(validation) == len(whole)
    assert len(training) > 0
    assert len(validation) > 0
    assert {c.video for c in training.clips()}.isdisjoint(c.video for c in validation.clips())


def test_spellings_of_a_prompt_stay_together():
    pairs = [("A cat", "1", "2"), ("a  CAT ", "3", "4"), ("dog", "5", "6"), ("Dog", "7", "8")]
    for seed in range(8):
        training, validation = split_by_prompt(data(pairs), 0.5, seed)
        assert {training.prompts.pop(), validation.prompts.pop()} == {"a cat", "dog"}
    assert same_prompt(None) == ""


def test_the_share_is_one_of_prompts():
    training, validation = split_by_prompt(data([(f"p{n}", f"{n}a", f"{n}b") for n in range(100)]), 0.2, 0)
    assert (len(training), len(validation)) == (80, 20)


def test_a_prompts_side_does_not_depend_on_the_order_of_rows():
    pairs = [(f"p{n}", f"{n}a", f"{n}b") for n in range(30)]
    assert split_by_prompt(data(pairs), 0.3, 1)[1].prompts == split_by_prompt(data(pairs[::-1]), 0.3, 1)[1].prompts


def test_one_prompt_cannot_be_split():
    with pytest.raises(InputError, match=r"--validation FILE"):
        split_by_prompt(data([("p", "1", "2"), ("P", "3", "4")]), 0.5, 0)


def test_a_validation_table_has_prompts_and_clips_of_its_own():
    own = data([("p", "1", "2")])
    check_apart(own, data([("q", "3", "4")]))
    with pytest.raises(InputError, match="shares 1 prompts"):
        check_apart(own, data([(" P ", "3", "4")]))
    with pytest.raises(InputError, match="shares 1 videos"):
        check_apart(own, data([("q", "1", "4")]))
