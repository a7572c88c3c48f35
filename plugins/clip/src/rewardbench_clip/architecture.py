"""What an open_clip model expects of its images, read from its configuration without importing open_clip or torch."""

from __future__ import annotations

import difflib
import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardbench_plugin import FrameSpec, Sampling, Size

FOLDER_CONFIG = "open_clip_config.json"
CHECKPOINTS = ("*.safetensors", "*.bin", "*.pth")
NORMALIZATIONS: Mapping[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "openai": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "inception": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}


@dataclass(frozen=True)
class Architecture:
    """One model and its image transform.

    Attributes:
        name: what ``open_clip.create_model`` is given (a built-in name, or ``local-dir:PATH``).
        checkpoint: the weights file, or None where the folder holds it.
        height, width: input size in pixels.
        mean, std: per channel, for values in [0, 1].
        resize_mode: ``shortest`` (short side, then centre crop; square models only) or ``squash``.
        interpolation: ``bicubic`` or ``bilinear``, Pillow's.
    """

    name: str
    checkpoint: str | None
    height: int
    width: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize_mode: str = "shortest"
    interpolation: str = "bicubic"

    def frame_spec(self, count: int) -> FrameSpec:
        """``count`` frames spread over the clip, brought to the input size the way open_clip does it."""
        if self.resize_mode == "shortest":
            size = Size(short_side=self.height, center_crop=(self.height, self.width))
        else:
            size = Size(height=self.height, width=self.width)
        return FrameSpec(sampling=Sampling("count", count), size=size, filter=f"pil-{self.interpolation}")


def find_architecture(weights: str, model: str | None, normalization: str | None) -> Architecture:
    """The architecture of a weights file (of the built-in ``model``) or of an open_clip model folder.

    Raises:
        ValueError: with one sentence, where the two do not fit together or ask for an unsupported transform.
    """
    path = Path(weights)
    if not path.exists():
        raise ValueError(f"--weights {weights} does not exist")
    if path.is_dir():
        return _from_folder(path, model, normalization)
    if model is None:
        raise ValueError(f"--weights {weights} needs its architecture: add --option model=NAME, e.g. model=ViT-B-32")
    return _build(model, str(path.resolve()), read_builtin_config(model), {}, normalization)


def _from_folder(path: Path, model: str | None, normalization: str | None) -> Architecture:
    config = path / FOLDER_CONFIG
    if not config.exists():
        raise ValueError(f"--weights {path} has no {FOLDER_CONFIG}: name an open_clip model folder or a weights file")
    if model is not None:
        raise ValueError(f"--option model={model} and the configuration in {path} both name an architecture: drop it")
    if not any(any(path.glob(pattern)) for pattern in CHECKPOINTS):
        raise ValueError(f"--weights {path} holds no checkpoint ({', '.join(CHECKPOINTS)})")
    try:
        data = json.loads(config.read_text(encoding="utf-8"))
        return _build(
            f"local-dir:{path.resolve()}", None, data["model_cfg"], data.get("preprocess_cfg", {}), normalization
        )
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{config} is not an open_clip configuration ({type(error).__name__}: {error})") from None


def builtin_configs() -> dict[str, Path]:
    """Built-in architecture names and their configuration files.

    Raises:
        ValueError: if open_clip is not installed.
    """
    spec = importlib.util.find_spec("open_clip")
    if spec is None or not spec.submodule_search_locations:
        raise ValueError("open_clip is not installed: pip install open_clip_torch")
    folder = Path(next(iter(spec.submodule_search_locations))) / "model_configs"
    return {file.stem: file for file in sorted(folder.glob("*.json"))}


def read_builtin_config(model: str) -> Mapping[str, Any]:
    """The configuration of a built-in architecture.

    Raises:
        ValueError: if open_clip has none of that name (with the nearest).
    """
    configs = builtin_configs()
    if model not in configs:
        close: list[str] = difflib.get_close_matches(model, configs, n=1, cutoff=0.5)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ValueError(f"--option model={model} is not an architecture of open_clip{hint}")
    data: Mapping[str, Any] = json.loads(configs[model].read_text(encoding="utf-8"))
    return data


def _build(
    name: str,
    checkpoint: str | None,
    model_config: Mapping[str, Any],
    preprocess: Mapping[str, Any],
    normalization: str | None,
) -> Architecture:
    if normalization is not None and normalization not in NORMALIZATIONS:
        raise ValueError(f"--option normalization={normalization} is not one of {', '.join(NORMALIZATIONS)}")
    mean, std = NORMALIZATIONS[normalization or "openai"]
    if normalization is None:
        mean, std = tuple(preprocess.get("mean") or mean), tuple(preprocess.get("std") or std)
    size = model_config["vision_cfg"].get("image_size", 224)
    height, width = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    mode = preprocess.get("resize_mode") or "shortest"
    interpolation = preprocess.get("interpolation") or "bicubic"
    if mode not in ("shortest", "squash") or (mode == "shortest" and height != width):
        raise ValueError(f"the clip plugin cannot resize by {mode!r} to {width}x{height}")
    if interpolation not in ("bicubic", "bilinear"):
        raise ValueError(f"the clip plugin has no interpolation {interpolation!r}")
    return Architecture(name, checkpoint, height, width, mean, std, mode, interpolation)
