"""``rewardbench train`` as a user calls it."""

import csv
import json

import numpy as np
import pytest

from rewardbench.cli import main
from rewardbench.reward_training.small_base import SmallSize, write_small_base
from rewardbench.video import write_video


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("train")
    size = SmallSize(32, 1, 2, 1, 48, 32, 1, 2, 300)
    write_small_base(folder / "base", ["a plain clip"], size)
    rows = []
    for n in range(4):
        for side in "ab":
            write_video(folder / f"{n}{side}.mp4", np.full((4, 56, 56, 3), 40 * n + (side == "b"), np.uint8), 2.0)
        rows.append({"prompt": f"clip {n}", "path_A": f"{n}a.mp4", "path_B": f"{n}b.mp4", "VQ": "A", "MQ": "same"})
    with (folder / "pairs.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


def words(inputs, out, *more):
    given = ["train", "--data", str(inputs / "pairs.csv"), "--base", str(inputs / "base"), "--out", str(out)]
    given += ["--lora-rank", "2", "--lora-alpha", "4", "--epochs", "1", "--batch-size", "2", "--device", "cpu"]
    return [*given, "--max-pixels", "3136", "--min-pixels", "784", "--validation-share", "0.25", *more]


@pytest.mark.system
def test_from_videoaligns_csv_to_scores(inputs, tmp_path, capfd):
    assert main(words(inputs, tmp_path / "run", "--format", "json")) == 0
    result = json.loads(capfd.readouterr().out)
    assert result["schema"] == "rewardbench.train/1"
    assert (result["examples"]["training"], result["examples"]["validation"]) == (3, 1)
    scored = ["score", str(inputs / "0a.mp4"), "--prompt", "clip 0", "--plugin", "videoreward"]
    scored += ["--weights", str(tmp_path / "run" / "model"), "--device", "cpu", "--dtype", "float32"]
    assert main([*scored, "--format", "json"]) == 0
    (row,) = json.loads(capfd.readouterr().out)
    assert set(row["scores"]) == {"VQ", "MQ", "overall"}
    assert row["error"] is None


def test_the_table_names_the_checkpoint(inputs, tmp_path, capfd):
    assert main(words(inputs, tmp_path / "run", "--objective", "bt", "--dimension", "VQ")) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0].split() == ["dimension", "n", "with", "ties", "without", "ties", "floor", "mean", "std"]
    assert [line.split()[0] for line in lines[1:-1]] == ["VQ"]
    assert "checkpoint-2/model.pth" in lines[-1]


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--objective", "dpo"], "--objective 'dpo' is not one of regression, bt, btt"),
        (["--theta", "1"], "--theta is 1.0"),
        (["--head", "shared", "--reward-token", "last"], "gives every dimension the same score"),
        (["--validation-share", "0"], "leaves no prompts"),
        (["--template", "detailed"], "--template NAME and --templates DIR go together"),
        (["--learning-rate", "0"], "--learning-rate is 0.0; it must be above 0"),
        (["--lora-rank", "0"], "--lora-rank is 0; it must be at least 1"),
        (["--min-pixels", "5000"], "--min-pixels 5000 is above --max-pixels 3136"),
        (["--context-dimension", "TA"], "--context-dimension TA is not among the trained dimensions (VQ, MQ)"),
        (["--dimension", "TA"], "has no label column 'TA'"),
        (["--objective", "bt", "--dimension", "MQ"], "has ties only"),
        (["--objective", "regression"], "has no rating_<DIMENSION>_A column"),
        (["--device", "cuda:9"], "cuda:9"),
    ],
)
def test_wrong_choices_are_one_sentence(inputs, tmp_path, capfd, more, sentence):
    assert main(words(inputs, tmp_path / "run", *more)) == 2
    captured = capfd.readouterr()
    assert captured.out == ""
    assert sentence in captured.err
    assert "Traceback" not in captured.err
