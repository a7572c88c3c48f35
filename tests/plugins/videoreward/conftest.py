"""The golden checkpoints of VideoAlign's own code, their inputs, and copies of them to break."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rewardbench
from rewardbench_plugin import Clip, Frames, Item

COLUMNS = ("VQ", "MQ", "TA", "Overall")


class Golden:
    """``golden/videoreward`` with its expected numbers."""

    def __init__(self, shared: Path) -> None:
        self.folder = shared / "golden" / "videoreward"
        self.videos = shared / "golden" / "videos"
        self.templates = shared / "assets" / "videoreward" / "templates"
        self.expected: dict[str, Any] = json.loads((self.folder / "expected.json").read_text())
        self.from_tensors: float = self.expected["tolerance"]["abs_from_saved_tensors"]
        self.from_mp4: float = self.expected["tolerance"]["abs_from_mp4"]

    def parts(self, variant: str | Path) -> dict[str, str]:
        return {"": str(self.folder / variant), "templates": str(self.templates)}

    def load(self, variant: str | Path, **choices: Any) -> Any:
        """Loaded on the CPU in float32; raw scores, unless ``norm`` says otherwise."""
        options = {"device": "cpu", "dtype": "float32", "norm": "false", **choices}
        weights = {**self.parts(variant), **options.pop("parts", {})}
        return rewardbench.load_reward("videoreward", weights=weights, **options)

    def names(self, variant: str, kind: str) -> list[str]:
        return list(self.expected["variants"][variant][kind])

    def values(self, variant: str, kind: str) -> np.ndarray:
        rows = self.expected["variants"][variant][kind].values()
        return np.array([[row[column] for column in COLUMNS] for row in rows])

    def clip(self, name: str) -> Clip:
        return Clip(name, str(self.videos / f"{name}.mp4"), self.expected["prompts"][name])

    def clips(self, names: Sequence[str]) -> list[Clip]:
        return [self.clip(name) for name in names]

    def tensors(self, name: str) -> Mapping[str, np.ndarray]:
        from safetensors.numpy import load_file

        return load_file(self.folder / f"intermediate_{name}.safetensors")

    def saved_item(self, model: Any, name: str) -> Item:
        """What the plugin prepares from the frames that VideoAlign's code had decoded and resized."""
        tensors = self.tensors(name)
        about = next(i for i in self.expected["inputs"] if i["video"] == f"{name}.mp4")
        rgb = np.ascontiguousarray(tensors["resized_frames_uint8"].transpose(0, 2, 3, 1))
        indices, fps = tensors["frame_indices"], about["avg_fps"]
        frames = Frames(rgb, indices, indices / fps, fps, about["total_frames"], *rgb.shape[1:3])
        (spec,) = model.card.frame_specs()
        return Item(self.clip(name), model.prepare(self.clip(name), {spec: frames}))


@pytest.fixture(scope="session")
def golden(shared: Path) -> Golden:
    return Golden(shared)


@pytest.fixture
def copied(golden: Golden, tmp_path: Path) -> Callable[[str], Path]:
    """``copied("full_lora")``: a copy of a checkpoint and its base, to change."""

    def copy(variant: str) -> Path:
        for name in ("base_model", variant):
            shutil.copytree(golden.folder / name, tmp_path / name, copy_function=shutil.copyfile)
        for folder in [tmp_path, *(p for p in tmp_path.rglob("*") if p.is_dir())]:
            folder.chmod(0o755)
        return tmp_path / variant

    return copy


@pytest.fixture
def edited() -> Callable[..., None]:
    """``edited(path, "section", key=value)`` changes a JSON file; a value of None takes the key away."""

    def edit(path: Path, section: str | None, **values: Any) -> None:
        data = json.loads(path.read_text())
        part = data if section is None else data[section]
        for key, value in values.items():
            if value is None:
                part.pop(key, None)
            else:
                part[key] = value
        path.write_text(json.dumps(data))

    return edit
