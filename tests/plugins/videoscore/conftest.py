"""Checkpoint folders for the tests of VideoScore, made anew or from the saved ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rewardbench_plugin import Clip, Frames, Item, RewardModel

Altered = Callable[..., Path]


@pytest.fixture
def altered(shared: Path, tmp_path: Path) -> Altered:
    """``altered(model, {"config.json": {...}}, without=(...))``: a saved checkpoint with some settings changed.

    Files are links into the shared folder, except the changed ones. A setting of None is taken out.
    """

    def alter(
        model: str, changes: Mapping[str, Mapping[str, Any]] | None = None, without: tuple[str, ...] = ()
    ) -> Path:
        folder = tmp_path / f"altered-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        for file in (shared / "golden" / "idefics2" / model).iterdir():
            if file.name in without:
                continue
            if changes is None or file.name not in changes:
                (folder / file.name).symlink_to(file)
                continue
            data = {**json.loads(file.read_text()), **changes[file.name]}
            (folder / file.name).write_text(json.dumps({key: v for key, v in data.items() if v is not None}))
        return folder

    return alter


@pytest.fixture(scope="session")
def templates(shared: Path) -> str:
    return str(shared / "assets" / "videoscore" / "templates")


Framed = Callable[..., Item]


@pytest.fixture(scope="session")
def framed() -> Framed:
    """``framed(model, rgb, prompt)``: what the host hands to ``score``, for frames taken as sampled."""

    def frame(model: RewardModel, rgb: np.ndarray, prompt: str) -> Item:
        (spec,) = model.card.frame_specs()
        indices = np.arange(len(rgb))
        sampled = Frames(rgb, indices, indices / 8, 8.0, len(rgb), *rgb.shape[1:3])
        clip = Clip("a", "a.mp4", prompt)
        return Item(clip, model.prepare(clip, {spec: sampled}))

    return frame


@pytest.fixture
def picture() -> Callable[[int, int, int, int], np.ndarray]:
    """``picture(seed, count, height, width)``: noise on a slope, uint8 (count, height, width, 3)."""

    def draw(seed: int, count: int, height: int, width: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        slope = np.linspace(0, 180, width)[None, None, :, None]
        return (slope + rng.integers(0, 76, (count, height, width, 3))).astype(np.uint8)

    return draw
