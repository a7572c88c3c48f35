"""A small base model and a table of drawn pairs, made once."""

import csv

import numpy as np
import pytest

from rewardbench.reward_training.settings import TrainingSettings
from rewardbench.reward_training.small_base import SmallSize, write_small_base
from rewardbench.video import write_video

TINY = SmallSize(hidden=32, layers=2, heads=2, kv_heads=1, mlp=48, vision_width=32, vision_depth=1, vision_heads=2,
                 vocabulary=300)  # fmt: skip
FRAMES, SIDE = 8, 84


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    write_small_base(folder, ["a red square on grey", "a blue square on grey"], TINY, seed=3)
    return folder


@pytest.fixture(scope="session")
def pairs_table(tmp_path_factory):
    """Twelve prompts, one pair each: VQ prefers the brighter clip, MQ the moving one, TA is a tie or left open."""
    folder = tmp_path_factory.mktemp("pairs")
    rng = np.random.default_rng(0)
    rows = []
    for n in range(12):
        names = []
        for side, level in (("a", 60), ("b", 180)):
            frames = rng.integers(0, 40, (FRAMES, SIDE, SIDE, 3)).astype(np.uint8) + np.uint8(level)
            names.append(f"{n}{side}.mp4")
            write_video(folder / names[-1], frames, 4.0, codec="libx264", crf=20)
        flip = n % 2
        rows.append(
            {
                "pair_id": str(n),
                "prompt": f"a square number {n}",
                "video_a": names[1 - flip],
                "video_b": names[flip],
                "label_VQ": "B" if flip else "A",
                "label_MQ": "tie" if n % 3 == 0 else "A",
                "label_TA": "tie" if n % 2 else "",
            }
        )
    with (folder / "pairs.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder / "pairs.csv"


@pytest.fixture
def settings(tiny_base, pairs_table, tmp_path):
    """Settings of a run of a few seconds; keyword arguments replace them."""

    def make(**changes):
        chosen = {
            "data": pairs_table,
            "base": tiny_base,
            "out": tmp_path / "run",
            "validation_share": 0.25,
            "lora_rank": 2,
            "lora_alpha": 4,
            "lora_dropout": 0.1,
            "learning_rate": 1e-3,
            "epochs": 2,
            "batch_size": 2,
            "fps": 4.0,
            "max_pixels": 84 * 84,
            "min_pixels": 28 * 28,
            "device": "cpu",
            "save_every": 2,
            "seed": 5,
        }
        return TrainingSettings(**(chosen | changes))

    return make
