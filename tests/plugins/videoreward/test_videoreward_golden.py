"""Equality with VideoAlign's own inference code, through the doors a user takes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import rewardbench
from rewardbench.cli import main

VARIANTS = ("full_lora", "full_plain", "adapter", "last_token", "mean_token")
CASES = [
    *((variant, "single_norm", {"norm": "true"}) for variant in VARIANTS),
    ("full_lora", "single_raw", {"norm": "false"}),
    ("full_lora", "num_frames_8_raw", {"norm": "false", "num_frames": "8"}),
    ("full_lora", "fps1_maxpixels_12544_raw", {"norm": "false", "fps": "1", "max_pixels": "12544"}),
    ("full_lora", "multi_pts_raw", {"norm": "false", "sample_type": "multi_pts"}),
]

pytestmark = pytest.mark.shared


@pytest.mark.parametrize(("variant", "kind", "options"), CASES)
def test_scores_from_mp4_files(golden, variant, kind, options) -> None:
    model = golden.load(variant, **options)
    found = model.score(golden.clips(golden.names(variant, kind)))
    assert model.dimensions == ("VQ", "MQ", "TA", "overall")
    np.testing.assert_allclose(found, golden.values(variant, kind), rtol=0, atol=golden.from_mp4)


@pytest.mark.parametrize("variant", VARIANTS)
def test_scores_from_saved_frames_alone_and_in_a_batch(golden, variant) -> None:
    model = golden.load(variant).model
    names = golden.names(variant, "single_raw")
    items = [golden.saved_item(model, name) for name in names]
    alone = np.concatenate([model.score([item]).values for item in items])
    np.testing.assert_allclose(alone, golden.values(variant, "single_raw"), rtol=0, atol=golden.from_tensors)
    together = model.score(items).values
    np.testing.assert_allclose(together, golden.values(variant, "batch_raw"), rtol=0, atol=golden.from_tensors)
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-5)


def test_normalised_batch_and_raw_scores_beside_it(golden) -> None:
    model = golden.load("full_lora", norm="true").model
    scores = model.score([golden.saved_item(model, n) for n in golden.names("full_lora", "batch_norm")])
    np.testing.assert_allclose(scores.values, golden.values("full_lora", "batch_norm"), rtol=0, atol=5e-5)
    np.testing.assert_allclose(scores.raw, golden.values("full_lora", "batch_raw"), rtol=0, atol=5e-5)


@pytest.mark.parametrize("name", ["example_1_A", "example_1_B", "example_2_A", "example_3_B"])
def test_tokens_patches_and_hidden_states(golden, name) -> None:
    import torch

    model = golden.load("full_lora").model
    item, saved = golden.saved_item(model, name), golden.tensors(name)
    network = model._network
    assert item.data["input_ids"].tolist() == saved["input_ids"][0].tolist()
    with torch.inference_mode():
        patches, grid = network._patches(item.data["frames"])
        merged = network.backbone.visual(patches, grid_thw=torch.tensor([grid])).pooler_output
        hidden = network.hidden_states([item.data["frames"]], [item.data["input_ids"]])[0]
    assert list(grid) == saved["video_grid_thw"][0].tolist()
    if "pixel_values_videos" in saved:
        np.testing.assert_allclose(patches, saved["pixel_values_videos"], rtol=0, atol=1e-6)
        np.testing.assert_allclose(hidden, saved["last_hidden_state"], rtol=0, atol=5e-5)
    np.testing.assert_allclose(merged, saved["visual_output"], rtol=0, atol=2e-5)
    about = next(i for i in golden.expected["inputs"] if i["video"] == f"{name}.mp4")
    places = about["special_token_positions"]
    assert item.data["input_ids"][places].tolist() == list(network.rewards) == about["special_token_ids"]
    np.testing.assert_allclose(hidden[places], saved["hidden_at_special_tokens"], rtol=0, atol=5e-5)


@pytest.mark.system
def test_the_command_a_user_types(golden, tmp_path: Path) -> None:
    """Four clips with VideoAlign's scores, and one with a bad prompt, which costs itself only."""
    names = golden.names("full_lora", "single_raw")
    for name in names:
        shutil.copyfile(golden.videos / f"{name}.mp4", tmp_path / f"{name}.mp4")
    lines = [f'{name}.mp4,"{golden.expected["prompts"][name]}"' for name in names]
    table = tmp_path / "clips.csv"
    table.write_text("\n".join(["video,prompt", *lines, f"{names[-1]}.mp4,a <|VQ_reward|> fox"]))
    home = str(Path(rewardbench.__file__).parent.parent)
    words = ["score", "--clips", str(table), "--plugin", "videoreward", "--device", "cpu", "--dtype", "float32"]
    words += ["--weights", str(golden.folder / "full_lora"), "--weights", f"templates={golden.templates}"]
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "rewardbench.cli",
            *words,
            "--option",
            "norm=false",
            "--workers",
            "1",
            "--format",
            "json",
        ],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([home, os.environ.get("PYTHONPATH", "")])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 3, done.stderr
    *rows, bad = json.loads(done.stdout)
    found = [[row["scores"][d] for d in ("VQ", "MQ", "TA", "overall")] for row in rows]
    np.testing.assert_allclose(found, golden.values("full_lora", "single_raw"), rtol=0, atol=golden.from_mp4)
    assert [row["error"] for row in rows] == [None] * len(names)
    assert "the prompt contains the special token <|VQ_reward|>" in bad["error"]


OTHER_CASES = [
    ("num_frames_8_raw", ("num_frames=8",)),
    ("fps1_maxpixels_12544_raw", ("fps=1", "max_pixels=12544")),
    ("multi_pts_raw", ("sample_type=multi_pts",)),
    ("single_raw", ("checkpoint_step=10",)),
]


@pytest.mark.system
@pytest.mark.parametrize(("kind", "options"), OTHER_CASES)
def test_the_command_with_other_frames_and_a_named_step(golden, tmp_path: Path, capfd, kind, options) -> None:
    names = golden.names("full_lora", kind)
    lines = []
    for name in names:
        shutil.copyfile(golden.videos / f"{name}.mp4", tmp_path / f"{name}.mp4")
        lines.append({"video": f"{name}.mp4", "prompt": golden.expected["prompts"][name]})
    (tmp_path / "clips.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    words = ["score", "--clips", str(tmp_path / "clips.jsonl"), "--plugin", "videoreward", "--format", "json"]
    words += ["--weights", str(golden.folder / "full_lora"), "--weights", f"templates={golden.templates}"]
    words += ["--device", "cpu", "--dtype", "float32", "--workers", "1"]
    assert main([*words, *(word for option in ("norm=false", *options) for word in ("--option", option))]) == 0
    printed = capfd.readouterr()
    found = [[row["scores"][d] for d in ("VQ", "MQ", "TA", "overall")] for row in json.loads(printed.out)]
    np.testing.assert_allclose(found, golden.values("full_lora", kind), rtol=0, atol=golden.from_mp4)
    assert "the model was trained on at most" not in printed.err


@pytest.mark.system
def test_a_prompt_of_five_thousand_words_is_not_scored_in_silence(golden, capfd) -> None:
    clip = str(golden.videos / f"{golden.names('full_lora', 'single_raw')[0]}.mp4")
    words = ["score", clip, "--plugin", "videoreward", "--prompt", "a fox " * 2500, "--option", "num_frames=2"]
    words += ["--weights", str(golden.folder / "full_lora"), "--weights", f"templates={golden.templates}"]
    code = main([*words, "--device", "cpu", "--dtype", "float32", "--workers", "1", "--format", "json"])
    printed = capfd.readouterr()
    (row,) = json.loads(printed.out)
    if code == 0:  # by how many tokens this checkpoint's tokenizer makes of it
        trained = json.loads((golden.folder / "full_lora" / "model_config.json").read_text())["training_args"]
        assert f"tokens; the model was trained on at most {trained['max_length']}" in printed.err
        assert row["scores"]["overall"] is not None
    else:
        assert "shorten the prompt" in row["error"]


def test_frames_in_memory_give_the_scores_of_the_file(golden) -> None:
    from rewardbench.video import read_frames
    from rewardbench_plugin import FrameSpec, Sampling

    spec = FrameSpec(sampling=Sampling("all"))
    clip = golden.clip("example_3_B")
    frames = read_frames(clip.video, [spec])[spec]
    reward = rewardbench.as_reward_fn(
        "videoreward", fps=frames.fps, weights=golden.parts("full_lora"), device="cpu", dtype="float32"
    )
    scores, _ = reward([frames.rgb], [clip.prompt])
    expected = golden.expected["variants"]["full_lora"]["single_norm"]["example_3_B"]
    for dimension, column in (("VQ", "VQ"), ("MQ", "MQ"), ("TA", "TA"), ("overall", "Overall"), ("avg", "Overall")):
        assert scores[dimension][0] == pytest.approx(expected[column], abs=golden.from_mp4)
