"""LTX-Video, text-to-video and image-to-video (HaCohen et al., 2024, arXiv:2501.00103): rectified flow.

Latents are (B, C, F, H, W), F = (frames − 1)/8 + 1 and sides a 32nd of the pixels' in the published VAE; they become
tokens (B, F·H·W, C) inside :meth:`LTXFamily.predict`.

* Latents are (z − mean)·factor/std per channel. The pipeline leaves the factor out of the image's latent, and so does
  this; published checkpoints have 1.
* Position codes are in seconds and pixels, so that the network is told the frame rate.
* Image-to-video: the first latent frame is the image's, without noise. The network is told a time per token, 0 for
  those of the first frame, and its answer there is not asked for (:meth:`LTXFamily.loss_mask`). The same checkpoint
  does both, whichever pipeline its folder names.
* The pipeline draws the image's latent from the VAE's distribution. So does this, from the generator it is given.
* Sampling is shifted by the number of tokens and stretched (:mod:`rewardbench.align.families.flow_match`).

``LTXConditionPipeline`` (0.9.5 and later) conditions in another way and is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rewardbench.align.families.base import ClipShape, Condition
from rewardbench.align.families.diffusers_folder import (
    FolderFamily,
    check_clip,
    check_images,
    check_pixels,
    hash_parts,
    locate,
    part_class,
    read_config,
    read_index,
    read_switch,
    refuse_unknown,
)
from rewardbench.align.families.flow_match import euler_schedule
from rewardbench.align.noise import Time
from rewardbench.errors import InputError

PIPELINES = {"LTXPipeline": False, "LTXImageToVideoPipeline": True}
"""Pipeline classes of the family, and whether they need an image."""
PARTS = ("transformer", "vae", "text_encoder", "tokenizer", "scheduler")
OPTIONS = ("decode_timestep", "image_to_video", "vae_tiling")
TEXT_TOKENS = 128
USUAL_CLIP = ClipShape(161, 512, 704, 25.0)
"""What both pipelines make when they are told nothing."""


class LTXFamily(FolderFamily):
    """An LTX-Video pipeline's folder.

    Options: ``image_to_video`` (on or off; what the folder's pipeline is, if not given), ``vae_tiling`` (off; on saves
    memory and changes latents a little), ``decode_timestep`` (0, for decoders that are told a time; no noise is added
    to the latent, at any value, so that decoding is repeatable).
    """

    name = "ltx"
    usual_sampling = (50, 3.0)

    def __init__(
        self,
        folder: Path,
        index: Mapping[str, Any],
        *,
        device: str,
        dtype: torch.dtype,
        clip: ClipShape | None,
        options: Mapping[str, str],
    ) -> None:
        self.needs_image = read_switch(options, "image_to_video", PIPELINES[index["_class_name"]])
        self._tiling = read_switch(options, "vae_tiling", False)
        self._decode_timestep = _decode_timestep(options)
        self._vae_config = read_config(folder, "vae", part_class(index, "vae"))
        self._spatial, self._temporal = compression(self._vae_config)
        self.clip = check_clip(
            clip or USUAL_CLIP,
            family=self.name,
            frames_multiple=self._temporal,
            height_multiple=self._spatial,
            width_multiple=self._spatial,
        )
        tokens = self.latent_shape[1] * self.latent_shape[2] * self.latent_shape[3]
        self.schedule = euler_schedule(read_config(folder, "scheduler", part_class(index, "scheduler")), tokens=tokens)
        super().__init__(folder, index, device=device, dtype=dtype)
        if (self.config.patch_size, self.config.patch_size_t) != (1, 1):
            raise InputError(
                f"the transformer of {folder} cuts patches, and only LTX networks without them are supported"
            )
        if self.config.in_channels != self.latent_shape[0]:
            raise InputError(
                f"the transformer of {folder} takes {self.config.in_channels} channels, and its VAE's latents have "
                f"{self.latent_shape[0]}"
            )

    @classmethod
    def load(
        cls, source: str, *, device: str, dtype: torch.dtype, clip: ClipShape | None, options: Mapping[str, str]
    ) -> LTXFamily:
        refuse_unknown(options, OPTIONS, cls.name)
        folder = locate(source, cls.name)
        index = read_index(folder, PIPELINES, PARTS)
        return cls(folder, index, device=device, dtype=dtype, clip=clip, options=options)

    @property
    def _vae(self) -> Any:
        vae = self._encoder("vae", self._dtype)
        if self._tiling:
            vae.enable_tiling()
        return vae

    def _statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of latents, (1, C, 1, 1, 1) each, float32."""
        mean, std = (x.float().reshape(1, -1, 1, 1, 1) for x in (self._vae.latents_mean, self._vae.latents_std))
        return mean, std

    def encode_video(self, pixels: Tensor) -> Tensor:
        check_pixels(pixels, self.clip)
        mean, std = self._statistics()
        latents: Tensor = (self._posterior(pixels).mode().float() - mean) * self._vae_config["scaling_factor"] / std
        return latents

    def _posterior(self, pixels: Tensor) -> Any:
        return self._vae.encode(pixels.permute(0, 4, 1, 2, 3).to(self._device, self._dtype)).latent_dist

    def decode_latents(self, latents: Tensor) -> Tensor:
        mean, std = self._statistics()
        raw = latents.float().to(self._device) * std / self._vae_config["scaling_factor"] + mean
        time = None
        if self._vae_config["timestep_conditioning"]:
            time = torch.full((len(raw),), self._decode_timestep, device=self._device, dtype=self._dtype)
        video: Tensor = self._vae.decode(raw.to(self._dtype), time).sample
        return video.float().permute(0, 2, 3, 4, 1).clamp(-1.0, 1.0)

    def encode_text(self, prompts: Sequence[str]) -> Condition:
        tokens = self._plain_part("tokenizer")(
            list(prompts),
            padding="max_length",
            max_length=TEXT_TOKENS,
            truncation=True,
            add_special_tokens=True,
            return_tensors="pt",
        )
        # T5 sees the padding, as in training; only the video network's attention is masked
        text: Tensor = self._encoder("text_encoder", self._dtype)(tokens.input_ids.to(self._device))[0]
        return {"text": text, "text_mask": tokens.attention_mask.bool().to(self._device)}

    def encode_image(self, images: Tensor | None, n: int, generator: torch.Generator) -> Condition:
        """``image``: latents of the first frames, (n, C, H, W), float32."""
        if not self.needs_image:
            return {}
        if images is None:
            raise InputError("LTX-Video was asked to make video from images: every prompt needs a first-frame image")
        check_images(images, n, self.clip)
        mean, std = self._statistics()
        drawn = [self._posterior(images[i : i + 1].unsqueeze(1)).sample(generator) for i in range(n)]
        return {"image": ((torch.cat(drawn).float() - mean) / std)[:, :, 0]}

    @property
    def latent_shape(self) -> tuple[int, ...]:
        return (
            int(self._vae_config["latent_channels"]),
            (self.clip.frames - 1) // self._temporal + 1,
            self.clip.height // self._spatial,
            self.clip.width // self._spatial,
        )

    def prepare_latents(self, x_t: Tensor, condition: Condition) -> Tensor:
        if not self.needs_image:
            return x_t
        return torch.cat([condition["image"].to(x_t).unsqueeze(2), x_t[:, :, 1:]], dim=2)

    def loss_mask(self, condition: Condition) -> Tensor | None:
        if not self.needs_image:
            return None
        mask = torch.ones((1, 1, self.latent_shape[1], 1, 1), device=condition["image"].device)
        mask[:, :, 0] = 0.0
        return mask

    @property
    def loss_elements(self) -> int:
        elements = math.prod(self.latent_shape)
        return elements - elements // self.latent_shape[1] if self.needs_image else elements

    def predict(self, transformer: nn.Module, x_t: Tensor, time: Time, condition: Condition) -> Tensor:
        frames, height, width = x_t.shape[2:]
        tokens = self.prepare_latents(x_t, condition).flatten(2).transpose(1, 2)
        native = time.native
        if self.needs_image:
            noisy = torch.arange(tokens.shape[1], device=x_t.device) >= height * width
            native = native[:, None] * noisy
        velocity: Tensor = transformer(
            hidden_states=tokens.to(self._network_dtype),
            encoder_hidden_states=condition["text"].to(self._network_dtype),
            timestep=native,
            encoder_attention_mask=condition["text_mask"],
            num_frames=frames,
            height=height,
            width=width,
            rope_interpolation_scale=(self._temporal / self.clip.fps, self._spatial, self._spatial),
            return_dict=False,
        )[0]
        return velocity.float().transpose(1, 2).reshape(x_t.shape)

    def blocks(self, transformer: nn.Module) -> Sequence[nn.Module]:
        return list(transformer.transformer_blocks)  # type: ignore[arg-type]

    def _facts(self) -> dict[str, Any]:
        """What decides latents and conditions besides the encoders' weights."""
        return {
            "family": self.name,
            "needs_image": self.needs_image,
            "clip": [self.clip.frames, self.clip.height, self.clip.width],
            "latent_shape": list(self.latent_shape),
            "scaling_factor": self._vae_config["scaling_factor"],
            "text_tokens": TEXT_TOKENS,
            "vae_tiling": self._tiling,
            "encoder_dtype": str(self._dtype),
        }

    def describe(self) -> dict[str, Any]:
        told: dict[str, Any] = {"fps": self.clip.fps}
        if self._vae_config["timestep_conditioning"]:
            told["decode_timestep"] = self._decode_timestep
        return {**self.schedule.describe(), **self._facts(), **told}

    def fingerprint(self) -> str:
        return hash_parts(self._folder, ("vae", "text_encoder", "tokenizer"), self._facts())


def compression(vae_config: Mapping[str, Any]) -> tuple[int, int]:
    """(pixels a latent side, frames a latent frame), which the VAE works out where its file does not say them."""
    doublings = 2 ** sum(vae_config["spatio_temporal_scaling"])
    spatial, temporal = vae_config["spatial_compression_ratio"], vae_config["temporal_compression_ratio"]
    return (
        vae_config["patch_size"] * doublings if spatial is None else int(spatial),
        vae_config["patch_size_t"] * doublings if temporal is None else int(temporal),
    )


def _decode_timestep(options: Mapping[str, str]) -> float:
    text = options.get("decode_timestep", "0")
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0.0 <= value <= 1.0:
        raise InputError(f"option decode_timestep is a number from 0 to 1, not {text!r}")
    return value
