"""A process that is killed: whatever moment it was, the same command ends with the weights of one that was let be."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from rewardbench.align.training import read_log
from tests.align.conftest import write_tiny_toy

pytestmark = pytest.mark.system
STEPS = 60


def command(model: Path, prompts: Path, out: Path) -> list[str]:
    settings = {"steps": STEPS, "batch_size": 4, "lora_rank": 4, "lora_alpha": 4, "samples_per_prompt": 3, "beta": 50}
    return [
        *(sys.executable, "-m", "rewardbench.cli", "align", "--plugin", "drawn-rules", "--dimension", "flicker"),
        *("--held-out", "none", "--model", str(model), "--prompts", str(prompts), "--out", str(out)),
        *("--device", "cpu", "--sampling-steps", "2", "--evaluations", "2", "--watch-count", "2", "--save-every", "5"),
        *(word for name, value in settings.items() for word in ("--set", f"{name}={value}")),
    ]


def wait_for(process: subprocess.Popen[bytes], moment: str, out: Path) -> None:
    """Until the run is so far."""
    train = out / "round-1" / "train"
    reached = {
        "sampling": lambda: any((out / "round-1" / "base" / "videos").glob("*.mp4")),
        "training": lambda: len(read_log(train)) >= 2,
        "looking": (out / "evaluate" / "base").is_dir,
        "evaluating": (out / "evaluate" / "aligned").is_dir,
    }[moment]
    end = time.monotonic() + 300
    while not reached():
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < end
        time.sleep(0.01)


def test_killed_again_and_again_it_ends_with_the_weights_of_an_untouched_run(
    tmp_path: Path, prompt_table: Path
) -> None:
    model = write_tiny_toy(tmp_path / "toy")
    environment = {**os.environ, "REWARDBENCH_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(command(model, prompt_table, whole), env=environment, check=True, capture_output=True)
    for moment in ("sampling", "training", "looking", "evaluating"):
        process = subprocess.Popen(
            command(model, prompt_table, killed),
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_for(process, moment, killed)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    ended = subprocess.run(
        command(model, prompt_table, killed), env=environment, check=True, capture_output=True, text=True
    )
    assert "report.html" in ended.stdout
    assert [line["step"] for line in read_log(killed / "round-1" / "train")][-1] == STEPS
    expected, found = (load_file(out / "weights" / "pytorch_lora_weights.safetensors") for out in (whole, killed))
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], tensor) for name, tensor in found.items())
    clips = [load_file(next((out / "evaluate" / "aligned").glob("latents-*"))) for out in (whole, killed)]
    assert all(torch.equal(clips[0][name], tensor) for name, tensor in clips[1].items())
