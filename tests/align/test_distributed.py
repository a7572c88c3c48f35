"""Two processes on the CPU learn what one does, and go on where one stopped."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from rewardbench.align.training import read_log

SCRIPT = Path(__file__).with_name("distributed_run.py")
RECIPES = {
    "gapo": {
        "algorithm": "gapo",
        "pair_weight": "gap",
        "gap_normalize": "batch",
        "low_memory": True,
        "cache_reference": True,
        "draws_per_pair": 2,
    },
    "ema": {"algorithm": "dpo", "reference": "ema", "ema_decay": 0.5},
    "full": {"algorithm": "dpo", "tuning": "full", "reference": "frozen_copy"},
}


def run(processes: int, tiny_toy, toy_samples, toy_rewards, out: Path, changes: dict, steps: int = 5) -> dict:
    settings = {"batch_size": 4, "lora_rank": 4, "lora_alpha": 8, "learning_rate": 1e-3, "beta": 50.0, "steps": 5}
    out.mkdir(exist_ok=True)
    command = [sys.executable]
    if processes > 1:
        command += [
            "-m",
            "accelerate.commands.launch",
            "--cpu",
            "--num_processes",
            str(processes),
            "--num_machines",
            "1",
        ]
        command += ["--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    samples = Path(toy_samples[0].video).parents[1]
    arguments = [tiny_toy, samples, json.dumps(toy_rewards), out, json.dumps(settings | changes), steps]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    done = subprocess.run(
        [*command, str(SCRIPT), *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return load_file(out / "learnt.safetensors")


def relative(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    assert a.keys() == b.keys()
    difference = torch.cat([(a[k] - b[k]).flatten() for k in a])
    return float(difference.norm() / torch.cat([v.flatten() for v in a.values()]).norm())


@pytest.mark.system
@pytest.mark.parametrize("name", RECIPES)
def test_two_processes_equal_one_at_the_same_global_batch(name, tmp_path, tiny_toy, toy_samples, toy_rewards) -> None:
    given = (tiny_toy, toy_samples, toy_rewards)
    one = run(1, *given, tmp_path / "one", RECIPES[name])
    two = run(2, *given, tmp_path / "two", RECIPES[name])
    assert relative(one, two) <= 1e-5
    logs = [read_log(tmp_path / folder / "train") for folder in ("one", "two")]
    assert len(logs[0]) == len(logs[1]) == 5
    for ours, theirs in zip(*logs, strict=True):
        assert theirs["loss"] == pytest.approx(ours["loss"], rel=1e-5)


@pytest.mark.system
def test_two_processes_go_on_where_two_stopped(tmp_path, tiny_toy, toy_samples, toy_rewards) -> None:
    given = (tiny_toy, toy_samples, toy_rewards)
    whole = run(2, *given, tmp_path / "whole", RECIPES["ema"])
    run(2, *given, tmp_path / "parts", RECIPES["ema"], steps=3)
    rest = run(2, *given, tmp_path / "parts", RECIPES["ema"], steps=5)
    for key, value in whole.items():
        assert torch.equal(value, rest[key]), key
