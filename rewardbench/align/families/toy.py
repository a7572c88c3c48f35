"""The toy generator as a family: image-to-video on the drawn world, flow matching or v-prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rewardbench.align.families.base import ClipShape, Condition, VideoFamily
from rewardbench.align.families.diffusers_folder import lora_contents
from rewardbench.align.noise import Time
from rewardbench.align.toy.checkpoint import BUILT_IN, Toy, schedule_of
from rewardbench.align.toy.codec import FRAMES, SIDE
from rewardbench.align.toy.words import encode
from rewardbench.errors import InputError
from rewardbench_plugin.digests import hash_path


class ToyFamily(VideoFamily):
    """Built in: ``toy`` (flow matching) and ``toy:v`` (v-prediction); a folder that its training wrote works too."""

    name = "toy"
    adapter_targets = ("to_q", "to_k", "to_v", "to_out", "ff_in", "ff_out")
    needs_image = True
    usual_sampling = (12, 1.0)
    usual_batch = 16

    def __init__(self, toy: Toy, source: Path, device: str) -> None:
        self.transformer = toy.transformer.to(device)
        self.transformer.requires_grad_(False)
        self._codec = toy.codec.to(device)
        self._words = toy.words
        self._source = source
        self._device = device
        config = self.transformer.config
        self.schedule = schedule_of(config.prediction)
        t, h, w = config.grid
        self.clip = ClipShape(t * FRAMES, h * SIDE, w * SIDE, config.fps)

    @classmethod
    def load(
        cls, source: str, *, device: str, dtype: torch.dtype, clip: ClipShape | None, options: Mapping[str, str]
    ) -> ToyFamily:
        folder = BUILT_IN / (source or "flow") if source in ("", "flow", "v") else Path(source)
        if options:
            raise InputError(f"the toy generator has no option {', '.join(sorted(options))}")
        family = cls(Toy.load(folder, dtype), folder, device)
        if clip is not None and clip != family.clip:
            size = family.clip
            raise InputError(
                "the toy generator makes clips of one size, --clip "
                f"{size.frames}x{size.height}x{size.width}@{size.fps:g}; leave --clip out"
            )
        return family

    def encode_video(self, pixels: Tensor) -> Tensor:
        return self._codec.encode(pixels.to(self._device).float())

    def decode_latents(self, latents: Tensor) -> Tensor:
        return self._codec.decode(latents.float()).clamp(-1.0, 1.0)

    def encode_text(self, prompts: Sequence[str]) -> Condition:
        return {"words": encode(list(prompts), self._words).to(self._device)}

    def encode_image(self, images: Tensor | None, n: int, generator: torch.Generator) -> Condition:
        if images is None:
            raise InputError("the toy generator makes video from images: every prompt needs a first-frame image")
        still = images.to(self._device).float().unsqueeze(1).expand(-1, FRAMES, -1, -1, -1)
        return {"image": self._codec.encode(still)[:, :, 0]}

    @property
    def latent_shape(self) -> tuple[int, ...]:
        return (self._codec.channels, *self.transformer.config.grid)

    def predict(self, transformer: nn.Module, x_t: Tensor, time: Time, condition: Condition) -> Tensor:
        dtype = next(self.transformer.parameters()).dtype
        velocity: Tensor = transformer(x_t.to(dtype), time.native, condition["words"], condition["image"].to(dtype))
        return velocity

    def blocks(self, transformer: nn.Module) -> Sequence[nn.Module]:
        return list(transformer.blocks)  # type: ignore[arg-type]

    def save_adapter(self, folder: Path) -> Path:
        from diffusers.loaders.lora_base import LoraBaseMixin

        # not the network's save_lora_adapter: it goes through ``to(dtype=None)``, which warns of a cast that is none
        weights, config = lora_contents(self.transformer)
        LoraBaseMixin.write_lora_layers(
            state_dict=weights,
            save_directory=str(folder),
            is_main_process=True,
            weight_name="pytorch_lora_weights.safetensors",
            save_function=None,
            safe_serialization=True,
            lora_adapter_metadata=config,
        )
        return folder

    def save_full(self, folder: Path) -> Path:
        self.transformer.save_pretrained(folder)
        return folder

    def describe(self) -> dict[str, Any]:
        return {"family": self.name, **self.schedule.describe(), "latent_shape": list(self.latent_shape)}

    def fingerprint(self) -> str:
        return hash_path(str(self._source / "codec.safetensors"))

    def network_digest(self) -> str:
        return hash_path(str(self._source / "transformer"))
