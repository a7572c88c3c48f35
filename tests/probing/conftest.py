"""Clips, and one probe of them by the plugin whose answers are known."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from rewardbench.video import write_video
from rewardbench_plugin import Clip

N = 13


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REWARDBENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def known(install_plugin: Callable[..., str]) -> None:
    install_plugin("known", runpy.run_path(str(Path(__file__).with_name("plugin.py")))["SOURCE"])


def textured(seed: int, frames: int = 8, height: int = 32, width: int = 48) -> np.ndarray:
    """A moving texture of smooth stripes, another for every seed, the stronger the larger the seed."""
    rng = np.random.default_rng(seed)
    t, y, x = np.mgrid[0:frames, 0:height, 0:width]
    waves = [np.sin(x * rng.uniform(0.6, 1.0) + y * rng.uniform(0.2, 0.6) + t * rng.uniform(0.5, 1.0)) for _ in "rgb"]
    return np.asarray(128 + (20 + 7 * (seed % 14)) * np.stack(waves, axis=-1), np.uint8)


@pytest.fixture
def write_clips(tmp_path: Path) -> Callable[[int], list[Clip]]:
    """So many clips; prompts are by turns short and long, by 10 x their number."""

    def write(n: int, frames: int = 8) -> list[Clip]:
        clips = []
        for i in range(n):
            path = tmp_path / f"clip{i:02d}.mp4"
            write_video(path, textured(i, frames), 8.0, crf=10)
            prompt = "p" * (1 + i + (200 if i % 2 else 0))
            clips.append(Clip(path.name, str(path), prompt, None, {"name": path.name}))
        return clips

    return write
