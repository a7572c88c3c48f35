"""Wan 2.1, text-to-video and image-to-video (Wan Team, 2025, arXiv:2503.20314): rectified flow.

Latents are (B, 16, F, H/8, W/8), normalised per channel with the VAE's own mean and standard deviation. The network is
told the time as t·1000. Image-to-video adds 20 channels, a mask of the known frame (4) and latents of a clip that shows
it and then nothing (16), and tokens of a CLIP image encoder.

VAE and image encoder compute in float32, as their publishers run them; of the network, time embedding, modulation
tables and norms stay in float32 whatever the rest is loaded in. Encoded clips and images are the mean of the VAE's
distribution; the pipeline takes the mean of images too.
"""

from __future__ import annotations

import html
import re
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
    has_part,
    hash_parts,
    locate,
    part_class,
    read_config,
    read_index,
    read_switch,
    refuse_unknown,
)
from rewardbench.align.noise import FlowSchedule, Time
from rewardbench.errors import InputError

PIPELINES = {"WanPipeline": False, "WanImageToVideoPipeline": True}
"""Pipeline classes of the family, and whether they need an image."""
PARTS = ("transformer", "vae", "text_encoder", "tokenizer", "scheduler")
IMAGE_PARTS = ("image_encoder", "image_processor")
OPTIONS = ("vae_tiling",)
TEXT_TOKENS = 512
USUAL_CLIP = ClipShape(81, 480, 832, 16.0)
"""Every Wan 2.1 makes it; the 720P checkpoints are made for 720 x 1280, which their folders do not say."""


class WanFamily(FolderFamily):
    """A Wan 2.1 pipeline's folder. Option: ``vae_tiling`` (off; on saves memory and changes latents a little)."""

    name = "wan"
    usual_sampling = (50, 5.0)

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
        self._vae_config = read_config(folder, "vae", part_class(index, "vae"))
        self.schedule = flow_schedule(read_config(folder, "scheduler", part_class(index, "scheduler")))
        self.needs_image = PIPELINES[index["_class_name"]]
        self._tiling = read_switch(options, "vae_tiling", False)
        super().__init__(folder, index, device=device, dtype=dtype)
        self._temporal = int(self._vae_config["scale_factor_temporal"])
        self._spatial = int(self._vae_config["scale_factor_spatial"])
        self._channels = int(self._vae_config["z_dim"])
        extra = self._temporal + self._channels if self.needs_image else 0
        if self.config.in_channels != self._channels + extra:
            raise InputError(
                f"the transformer of {folder} takes {self.config.in_channels} channels, where a "
                f"{index['_class_name']} of Wan 2.1 takes {self._channels + extra}"
            )
        if self.config.pos_embed_seq_len is not None:
            raise InputError(f"{folder} needs a last frame beside the first, which is not supported")
        _, patch_height, patch_width = self.config.patch_size
        self.clip = check_clip(
            clip or USUAL_CLIP,
            family=self.name,
            frames_multiple=self._temporal,
            height_multiple=self._spatial * patch_height,
            width_multiple=self._spatial * patch_width,
        )
        shape = (1, self._channels, 1, 1, 1)
        self._mean = torch.tensor(self._vae_config["latents_mean"], device=device).view(shape)
        self._std = torch.tensor(self._vae_config["latents_std"], device=device).view(shape)

    @classmethod
    def load(
        cls, source: str, *, device: str, dtype: torch.dtype, clip: ClipShape | None, options: Mapping[str, str]
    ) -> WanFamily:
        refuse_unknown(options, OPTIONS, cls.name)
        folder = locate(source, cls.name)
        index = read_index(folder, PIPELINES, PARTS)
        if has_part(index, "transformer_2") or index.get("boundary_ratio") is not None or index.get("expand_timesteps"):
            raise InputError(f"{folder} is a Wan 2.2, which is not supported: this family is Wan 2.1, of one network")
        if PIPELINES[index["_class_name"]]:
            read_index(folder, PIPELINES, IMAGE_PARTS)
        return cls(folder, index, device=device, dtype=dtype, clip=clip, options=options)

    @property
    def _vae(self) -> Any:
        vae = self._encoder("vae", torch.float32)
        vae.use_slicing = True
        if self._tiling:
            vae.enable_tiling()
        return vae

    def encode_video(self, pixels: Tensor) -> Tensor:
        check_pixels(pixels, self.clip)
        return self._encode(pixels)

    def _encode(self, pixels: Tensor) -> Tensor:
        video = pixels.permute(0, 4, 1, 2, 3).to(self._device, torch.float32)
        means: Tensor = self._vae.encode(video).latent_dist.mode()
        return (means - self._mean) / self._std

    def decode_latents(self, latents: Tensor) -> Tensor:
        scaled = latents.to(self._device, torch.float32) * self._std + self._mean
        video: Tensor = self._vae.decode(scaled).sample
        return video.permute(0, 2, 3, 4, 1).clamp(-1.0, 1.0)

    def encode_text(self, prompts: Sequence[str]) -> Condition:
        tokens = self._plain_part("tokenizer")(
            [clean_prompt(prompt) for prompt in prompts],
            padding="max_length",
            max_length=TEXT_TOKENS,
            truncation=True,
            add_special_tokens=True,
            return_attention_mask=True,
            return_tensors="pt",
        )
        mask = tokens.attention_mask.to(self._device)
        encoder = self._encoder("text_encoder", self._dtype)
        codes: Tensor = encoder(tokens.input_ids.to(self._device), mask).last_hidden_state
        # the network is told no mask; zeros where the caption has ended are what it was trained with. Not a product
        # with the mask: what the encoder writes there need not be finite
        return {"text": codes.to(self._dtype).masked_fill(mask.unsqueeze(-1) == 0, 0.0)}

    def encode_image(self, images: Tensor | None, n: int, generator: torch.Generator) -> Condition:
        if not self.needs_image:
            return {}
        if images is None:
            raise InputError("this Wan makes video from images: every prompt needs a first-frame image")
        check_images(images, n, self.clip)
        first = images.to(self._device, torch.float32).unsqueeze(1)
        # grey, 0 in [-1, 1], stands for what is not known
        rest = first.new_zeros(n, self.clip.frames - 1, *first.shape[2:])
        condition = {"image": self._encode(torch.cat([first, rest], dim=1))}
        if self.config.image_dim is not None:
            condition["image_tokens"] = self._image_tokens(images)
        return condition

    def _image_tokens(self, images: Tensor) -> Tensor:
        """The image encoder's last layer but one, (n, tokens, width), float32."""
        # its processor expects 8-bit images, as the pipeline is given them
        still = ((images.float() + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8).cpu()
        pixels = self._plain_part("image_processor")(images=list(still.numpy()), return_tensors="pt").pixel_values
        encoder = self._encoder("image_encoder", torch.float32)
        tokens: Tensor = encoder(pixel_values=pixels.to(self._device), output_hidden_states=True).hidden_states[-2]
        return tokens

    @property
    def latent_shape(self) -> tuple[int, ...]:
        frames = (self.clip.frames - 1) // self._temporal + 1
        return (self._channels, frames, self.clip.height // self._spatial, self.clip.width // self._spatial)

    def predict(self, transformer: nn.Module, x_t: Tensor, time: Time, condition: Condition) -> Tensor:
        dtype = self._network_dtype
        latents, tokens = x_t, None
        if self.needs_image:
            # one channel of the mask for each frame that a latent frame holds; the first latent frame holds one image,
            # and is marked four times
            known = x_t.new_zeros(len(x_t), self._temporal, *x_t.shape[2:])
            known[:, :, 0] = 1.0
            latents = torch.cat([x_t, known, condition["image"].to(x_t.dtype)], dim=1)
            tokens = condition["image_tokens"].to(dtype) if "image_tokens" in condition else None
        velocity: Tensor = transformer(
            hidden_states=latents.to(dtype),
            timestep=time.native,
            encoder_hidden_states=condition["text"].to(dtype),
            encoder_hidden_states_image=tokens,
            return_dict=False,
        )[0]
        return velocity.float()

    def blocks(self, transformer: nn.Module) -> Sequence[nn.Module]:
        return list(transformer.blocks)  # type: ignore[arg-type]

    def _facts(self) -> dict[str, Any]:
        """What decides latents and conditions besides the encoders' weights."""
        return {
            "family": self.name,
            "needs_image": self.needs_image,
            "clip": [self.clip.frames, self.clip.height, self.clip.width],
            "latent_shape": list(self.latent_shape),
            "latents_mean": self._mean.flatten().tolist(),
            "latents_std": self._std.flatten().tolist(),
            "text_tokens": TEXT_TOKENS,
            "vae_tiling": self._tiling,
            "text_encoder_dtype": str(self._dtype),
        }

    def describe(self) -> dict[str, Any]:
        return {**self.schedule.describe(), **self._facts()}

    def fingerprint(self) -> str:
        parts = ("vae", "text_encoder", "tokenizer", *(IMAGE_PARTS if self.needs_image else ()))
        return hash_parts(self._folder, parts, self._facts())


def clean_prompt(text: str) -> str:
    """The caption as the pipeline cleans it: Unicode mended, HTML entities and runs of white space undone."""
    import ftfy

    # twice, as captions of the web are escaped twice
    plain = html.unescape(html.unescape(ftfy.fix_text(text)))
    return re.sub(r"\s+", " ", plain).strip()


def flow_schedule(config: Mapping[str, Any]) -> FlowSchedule:
    """Rectified flow with the shift of sampling steps that a scheduler's configuration says.

    Raises:
        InputError: it predicts something else, or moves its steps by the size of the clip.
    """
    prediction = config.get("prediction_type", "flow_prediction")
    if prediction != "flow_prediction":
        raise InputError(f"the scheduler predicts {prediction}, and Wan is trained as flow_prediction")
    if config.get("use_dynamic_shifting"):
        raise InputError("the scheduler shifts its steps by the size of the clip, which Wan 2.1 does not")
    # flow_shift in UniPC and DPM++, shift in FlowMatchEuler
    shift = config.get("flow_shift", config.get("shift", 1.0))
    return FlowSchedule(shift=float(shift), scale=float(config["num_train_timesteps"]))
