"""Appeal as the paper states it (Eq. 7): key frames, SigLIP, and an aesthetic head on its features."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from rewardbench_animereward import published
from rewardbench_animereward.frames import SAMPLING, standardised
from rewardbench_animereward.keyframes import key_frames
from rewardbench_animereward.rating import Rating, Scorer
from rewardbench_plugin import Clip, Frames, FrameSpec, Size
from rewardbench_plugin.checkpoints import load_strict, read_tensors
from rewardbench_plugin.devices import torch_dtype
from rewardbench_plugin.reward import Prepared

FILTERS = {2: "pil-bilinear", 3: "pil-bicubic"}
NOT_SEEN = ("text_model.", "logit_scale", "logit_bias")
"""What a full SigLIP holds beside its vision tower."""
HALF = (0.5, 0.5, 0.5)


class KeyFrameAppeal(Scorer):
    """Mean over key frames of an aesthetic head on SigLIP's unit features, over ``scale``.

    Args:
        siglip: a SigLIP folder of `transformers` (the vision tower or the whole model).
        head: linear layers, see :func:`read_head`.
        count: most key frames taken.
        scale: what the head's output is divided by; 10 for heads trained on ratings from 1 to 10.

    Raises:
        ValueError: the folder is no SigLIP model.
    """

    dimension = "appeal"

    def __init__(self, siglip: Path, head: Path, count: int, scale: float) -> None:
        self.siglip, self.head, self.count, self.scale = siglip, head, count, scale
        self.frames, self._mean, self._std = read_preprocessing(siglip)
        self._model: Any = None

    def weight_paths(self) -> Sequence[Path]:
        return (self.siglip, self.head)

    def prepare(self, clip: Clip, frames: Frames) -> Prepared:
        return {"key_frames": frames.rgb[key_frames(frames.rgb, self.count)]}

    def load(self, device: str, dtype: str | None) -> None:
        self._device, self._dtype = device, torch_dtype(dtype, device, "float32")
        vision = read_vision_tower(self.siglip)
        head = read_head(self.head)
        width = int(vision.config.hidden_size)
        if head[0].in_features != width:
            raise ValueError(
                f"{self.head} is a head for features of {head[0].in_features} numbers, the SigLIP in {self.siglip} "
                f"gives {width}"
            )
        self._model = vision.to(device, self._dtype).eval(), head.to(device, self._dtype).eval()

    def score(self, clip: Clip, data: Prepared) -> Rating:
        import torch

        vision, head = self._model
        with torch.inference_mode():
            pixels = standardised(data["key_frames"], self._device, self._mean, self._std).to(self._dtype)
            features = vision(pixel_values=pixels).pooler_output.float()
            features = features / features.norm(dim=-1, keepdim=True)
            raw = float(head(features.to(self._dtype)).double().mean())
        return Rating(raw / self.scale, raw=raw)

    def unload(self) -> None:
        self._model = None


def read_preprocessing(folder: Path) -> tuple[FrameSpec, tuple[float, ...], tuple[float, ...]]:
    """What the 24 sampled frames are brought to, and mean and standard deviation per channel.

    Raises:
        ValueError: the folder is no SigLIP folder, or asks for a resize this plugin does not have.
    """
    if not folder.is_dir():
        raise ValueError(f"--weights siglip={folder} is not a folder")
    config = published.read_json(folder / "config.json")
    if config.get("model_type") not in ("siglip", "siglip_vision_model"):
        raise ValueError(f"{folder} holds a model of type {config.get('model_type')!r}; name a SigLIP folder")
    saved = folder / "preprocessor_config.json"
    data = published.read_json(saved)
    size, resample = data.get("size") or {}, int(data.get("resample", 3))
    if "height" not in size or "width" not in size or resample not in FILTERS:
        raise ValueError(f"{saved} asks for size {size} and resample {resample}; height, width, and 2 or 3 are known")
    spec = FrameSpec("pyav", SAMPLING, Size(height=int(size["height"]), width=int(size["width"])), FILTERS[resample])
    return spec, tuple(data.get("image_mean") or HALF), tuple(data.get("image_std") or HALF)


def read_vision_tower(folder: Path) -> Any:
    """SigLIP's vision tower, loaded strictly; text tower and temperature of a whole model are left aside.

    Raises:
        ValueError: the weights are not those that ``config.json`` describes.
    """
    from transformers import SiglipVisionConfig, SiglipVisionModel

    config = published.read_json(folder / "config.json")
    module = SiglipVisionModel(SiglipVisionConfig(**config.get("vision_config", config)))
    prefix = "vision_model."  # older releases name the tower inside the class, newer ones do not
    own = prefix if any(name.startswith(prefix) for name in module.state_dict()) else ""
    state = {name: value for name, value in read_tensors(folder).items() if not name.startswith(NOT_SEEN)}
    load_strict(module, {own + name.removeprefix(prefix): value for name, value in state.items()}, folder)
    return module


def read_head(path: Path) -> Any:
    """A chain of linear layers without activation between them, in the order of the numbers in their names.

    The file holds one ``weight`` (and ``bias``) per layer under any prefix, e.g. ``weight``, ``layers.0.weight``; the
    last layer has one output.

    Raises:
        ValueError: the tensors do not make up such a chain.
    """
    import torch

    state = read_tensors(path)
    layers: dict[str, dict[str, Any]] = {}
    for name, value in state.items():
        prefix, _, kind = name.rpartition(".")
        if kind not in ("weight", "bias") or value.dim() != (2 if kind == "weight" else 1):
            raise ValueError(f"{path} is not a chain of linear layers: {name} {tuple(value.shape)}")
        layers.setdefault(prefix, {})[kind] = value
    chain = [layers[prefix] for prefix in sorted(layers, key=_natural)]
    shapes = [tuple(layer["weight"].shape) if "weight" in layer else () for layer in chain]
    fits = all(len(s) == 2 for s in shapes) and shapes != [] and shapes[-1][0] == 1
    if not fits or any(one[0] != two[1] for one, two in pairwise(shapes)):
        raise ValueError(f"{path} is not a chain of linear layers that ends in one number: shapes {shapes}")
    return torch.nn.Sequential(*(_linear(layer) for layer in chain))


def _linear(tensors: Mapping[str, Any]) -> Any:
    import torch

    rows, columns = tensors["weight"].shape
    layer = torch.nn.Linear(columns, rows, bias="bias" in tensors)
    layer.load_state_dict({name: value.float() for name, value in tensors.items()})
    return layer


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
