"""HunyuanVideo, text-to-video and image-to-video (Kong et al., 2024, arXiv:2412.03603): rectified flow.

Latents are (B, C, F, H/8, W/8), F = (frames − 1)/4 + 1, times the VAE's factor. Text is a language model's states of
the caption inside a template, from which the template's own part is cut off, and CLIP's pooled vector of the bare
caption. Template and encoding are those of the installed pipeline class. The network is told a guidance scale (times
1000) where it was distilled with one.

``image_condition_type`` of the network says how image-to-video sees its first frame:

* ``latent_concat``: its latent beside the noisy one along the channels, in frame 0 and zeros elsewhere, and a mask
  channel;
* ``token_replace``: the first latent frame *is* the image's, without noise, and the network's answer there is not asked
  for.

In both the language model (LLaVA) reads the image before the caption, so that text conditions exist only for a caption
and an image together: :meth:`HunyuanVideoFamily.encode_condition`.

Two habits of the image-to-video pipeline are left to it. It starts sampling from 0.999 of the noise and 0.001 of the
image's latent, where sampling here starts from noise. And with ``latent_concat`` it drops the first four frames of what
it decodes, where :meth:`~HunyuanVideoFamily.decode_latents` keeps them: a decoded clip is as long as an encoded one.
"""

from __future__ import annotations

import inspect
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

PIPELINES = {"HunyuanVideoPipeline": False, "HunyuanVideoImageToVideoPipeline": True}
"""Pipeline classes of the family, and whether they need an image."""
PARTS = ("transformer", "vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2", "scheduler")
IMAGE_PARTS = (*PARTS, "image_processor")
OPTIONS = ("guidance", "vae_tiling")
INTERLEAVE = {"latent_concat": 2, "token_replace": 4}
"""Every how many of LLaVA's image tokens the network is shown one, as the pipeline chooses."""
USUAL_CLIP = ClipShape(129, 720, 1280, 24.0)
"""What both pipelines make when they are told nothing, at the frame rate of the training data."""


class HunyuanVideoFamily(FolderFamily):
    """A HunyuanVideo pipeline's folder.

    LoRA adapts the attention of both streams: ``to_*`` are the video's projections in double-stream blocks, those of
    video and text in single-stream blocks, and the text refiner's; ``add_*_proj`` and ``to_add_out`` are the text's in
    double-stream blocks. Single-stream blocks have no ``to_out``: their output projection is shared with the MLP and
    stays as it is.

    Options: ``guidance`` (the distilled guidance scale that the network is told; the pipeline's default, if not given),
    ``vae_tiling`` (on, as the model was released; off needs several times the memory).
    """

    name = "hunyuanvideo"
    adapter_targets = (
        *FolderFamily.adapter_targets,
        "add_q_proj",
        "add_k_proj",
        "add_v_proj",
        "to_add_out",
    )

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
        self.needs_image = PIPELINES[index["_class_name"]]
        self._pipeline_class = part_class({"pipeline": ("diffusers", index["_class_name"])}, "pipeline")
        self._tiling = read_switch(options, "vae_tiling", True)
        self._guidance = self._read_guidance(options)
        self._vae_config = read_config(folder, "vae", part_class(index, "vae"))
        self._spatial = int(self._vae_config["spatial_compression_ratio"])
        self._temporal = int(self._vae_config["temporal_compression_ratio"])
        self.schedule = euler_schedule(read_config(folder, "scheduler", part_class(index, "scheduler")))
        super().__init__(folder, index, device=device, dtype=dtype)
        self._kind = self._checked_kind()
        side = self._spatial * self.config.patch_size
        self.clip = check_clip(
            clip or USUAL_CLIP,
            family=self.name,
            frames_multiple=self._temporal,
            height_multiple=side,
            width_multiple=side,
        )

    @classmethod
    def load(
        cls, source: str, *, device: str, dtype: torch.dtype, clip: ClipShape | None, options: Mapping[str, str]
    ) -> HunyuanVideoFamily:
        refuse_unknown(options, OPTIONS, cls.name)
        folder = locate(source, cls.name)
        index = read_index(folder, PIPELINES, PARTS)
        if PIPELINES[index["_class_name"]]:
            read_index(folder, PIPELINES, IMAGE_PARTS)
        return cls(folder, index, device=device, dtype=dtype, clip=clip, options=options)

    def _read_guidance(self, options: Mapping[str, str]) -> float:
        usual = inspect.signature(self._pipeline_class.__call__).parameters["guidance_scale"].default
        text = options.get("guidance", str(usual))
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0.0 <= value < float("inf"):
            raise InputError(f"option guidance is a number of at least 0, not {text!r}")
        return value

    def _checked_kind(self) -> str | None:
        """``image_condition_type``, if pipeline, network and VAE belong together."""
        kind: str | None = self.config.image_condition_type
        name = self._index["_class_name"]
        if (kind is not None) != self.needs_image:
            raise InputError(
                f"the transformer of {self._folder} has image_condition_type {kind}, which does not fit a {name}"
            )
        channels = int(self._vae_config["latent_channels"])
        wanted = 2 * channels + 1 if kind == "latent_concat" else channels
        if self.config.in_channels != wanted:
            raise InputError(
                f"the transformer of {self._folder} takes {self.config.in_channels} channels, and a {name} over "
                f"latents of {channels} gives it {wanted}"
            )
        return kind

    @property
    def _vae(self) -> Any:
        vae = self._encoder("vae", self._dtype)
        if self._tiling:
            vae.enable_tiling()
        return vae

    def encode_video(self, pixels: Tensor) -> Tensor:
        check_pixels(pixels, self.clip)
        return self._encode(pixels)

    def _encode(self, pixels: Tensor) -> Tensor:
        video = pixels.permute(0, 4, 1, 2, 3).to(self._device, self._dtype)
        latents: Tensor = self._vae.encode(video).latent_dist.mode().float() * self._vae_config["scaling_factor"]
        return latents

    def decode_latents(self, latents: Tensor) -> Tensor:
        raw = latents.to(self._device, self._dtype) / self._vae_config["scaling_factor"]
        video: Tensor = self._vae.decode(raw).sample
        return video.float().permute(0, 2, 3, 4, 1).clamp(-1.0, 1.0)

    def encode_text(self, prompts: Sequence[str]) -> Condition:
        if self.needs_image:
            raise InputError(
                "HunyuanVideo reads caption and first frame together when it makes video from images: they cannot be "
                "encoded apart"
            )
        return self._text(list(prompts), {})

    def encode_condition(self, prompts: Sequence[str], images: Tensor | None, generator: torch.Generator) -> Condition:
        """``text``, ``text_mask``, ``pooled`` and, with images, ``image``; one row per prompt."""
        if not self.needs_image:
            return super().encode_condition(prompts, images, generator)
        image = self.encode_image(images, len(prompts), generator)
        assert images is not None
        seen = ((images.float() + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 3, 1, 2).cpu()
        interleave = INTERLEAVE[str(self._kind)]
        # one by one: the pipeline finds the end of a caption that fills the template only in a batch of one
        rows = [
            self._text([prompt], {"image": seen[i], "image_embed_interleave": interleave})
            for i, prompt in enumerate(prompts)
        ]
        return {name: torch.cat([row[name] for row in rows]) for name in rows[0]} | image

    def _text(self, prompts: list[str], more: Mapping[str, Any]) -> Condition:
        """What the pipeline's own ``encode_prompt`` makes of captions, in its own template."""
        encoders = {name: self._encoder(name, self._dtype) for name in ("text_encoder", "text_encoder_2")}
        plain = ["tokenizer", "tokenizer_2", *(["image_processor"] if self.needs_image else [])]
        pipeline = self._pipeline_class(
            **encoders, **{name: self._plain_part(name) for name in plain}, transformer=None, vae=None, scheduler=None
        )
        with torch.no_grad():
            text, pooled, mask = pipeline.encode_prompt(prompt=prompts, device=torch.device(self._device), **more)
        return {"text": text, "text_mask": mask.bool(), "pooled": pooled}

    def encode_image(self, images: Tensor | None, n: int, generator: torch.Generator) -> Condition:
        """``image``: latents of the first frames, (n, C, H, W), float32."""
        if not self.needs_image:
            return {}
        if images is None:
            raise InputError("this HunyuanVideo makes video from images: every prompt needs a first-frame image")
        check_images(images, n, self.clip)
        return {"image": self._encode(images.unsqueeze(1))[:, :, 0]}

    @property
    def latent_shape(self) -> tuple[int, ...]:
        return (
            int(self._vae_config["latent_channels"]),
            (self.clip.frames - 1) // self._temporal + 1,
            self.clip.height // self._spatial,
            self.clip.width // self._spatial,
        )

    def prepare_latents(self, x_t: Tensor, condition: Condition) -> Tensor:
        if self._kind != "token_replace":
            return x_t
        return torch.cat([condition["image"].to(x_t).unsqueeze(2), x_t[:, :, 1:]], dim=2)

    def loss_mask(self, condition: Condition) -> Tensor | None:
        if self._kind != "token_replace":
            return None
        mask = torch.ones((1, 1, self.latent_shape[1], 1, 1), device=condition["image"].device)
        mask[:, :, 0] = 0.0
        return mask

    @property
    def loss_elements(self) -> int:
        elements = math.prod(self.latent_shape)
        return elements - elements // self.latent_shape[1] if self._kind == "token_replace" else elements

    def predict(self, transformer: nn.Module, x_t: Tensor, time: Time, condition: Condition) -> Tensor:
        latents = self.prepare_latents(x_t, condition).to(self._network_dtype)
        if self._kind == "latent_concat":
            first, mask = torch.zeros_like(latents), torch.zeros_like(latents[:, :1])
            first[:, :, 0] = condition["image"]
            mask[:, :, 0] = 1.0
            latents = torch.cat([latents, first, mask], dim=1)
        guidance = None
        if self.config.guidance_embeds:
            guidance = latents.new_full((len(latents),), self._guidance) * 1000.0
        velocity: Tensor = transformer(
            hidden_states=latents,
            timestep=time.native,
            encoder_hidden_states=condition["text"].to(self._network_dtype),
            encoder_attention_mask=condition["text_mask"].to(self._network_dtype),
            pooled_projections=condition["pooled"].to(self._network_dtype),
            guidance=guidance,
            return_dict=False,
        )[0]
        return velocity.float()

    def blocks(self, transformer: nn.Module) -> Sequence[nn.Module]:
        return [*transformer.transformer_blocks, *transformer.single_transformer_blocks]  # type: ignore[misc]

    def _facts(self) -> dict[str, Any]:
        """What decides latents and conditions besides the encoders' weights."""
        template = inspect.signature(self._pipeline_class.encode_prompt).parameters["prompt_template"].default
        return {
            "family": self.name,
            "image_condition_type": self._kind,
            "clip": [self.clip.frames, self.clip.height, self.clip.width],
            "latent_shape": list(self.latent_shape),
            "scaling_factor": self._vae_config["scaling_factor"],
            "prompt_template": template,
            "vae_tiling": self._tiling,
            "encoder_dtype": str(self._dtype),
        }

    def describe(self) -> dict[str, Any]:
        guidance = self._guidance if self.config.guidance_embeds else None
        return {**self.schedule.describe(), **self._facts(), "guidance": guidance}

    def fingerprint(self) -> str:
        parts = [name for name in IMAGE_PARTS if name in self._index and name not in ("transformer", "scheduler")]
        return hash_parts(self._folder, parts, self._facts())
