"""CogVideoX 1.0 and 1.5, text-to-video and image-to-video (Yang et al., 2024, arXiv:2408.06072): v-prediction.

Latents are (B, F, C, H/8, W/8). What differs from folder to folder is read from its configurations:

* 1.0 cuts patches of one latent frame, 1.5 of two (``patch_size_t``). Its 21 latent frames are odd in number; it was
  trained with the first one repeated in front. :meth:`~CogVideoXFamily.encode_video` does so, and
  :meth:`~CogVideoXFamily.decode_latents` drops it, as the pipeline does after sampling;
* the noise table: ``snr_shift_scale`` is 3 in 2B and 1 in 5B;
* position codes: none from outside in 2B, rotary ones stretched to the checkpoint's own grid in 1.0, cut out of the
  largest grid in 1.5, and learned ones beside them, for a single size, in 5B-I2V;
* image-to-video: latents of the first frame beside the noisy ones along the channels, in frame 0 and zeros elsewhere.
  1.5 *divides* these by the VAE's factor (``invert_scale_latents``), though not the video's, and has an input ``ofs``,
  always 2.

Encoded clips and images are the mean of the VAE's distribution, where the reference training draws from it: a cache
then holds one latent a clip, and winner and loser differ by their pixels only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
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
from rewardbench.align.noise import Time, VSchedule, scaled_linear_table
from rewardbench.errors import InputError

PIPELINES = {"CogVideoXPipeline": False, "CogVideoXImageToVideoPipeline": True}
"""Pipeline classes of the family, and whether they need an image."""
PARTS = ("transformer", "vae", "text_encoder", "tokenizer", "scheduler")
OPTIONS = ("image_noise", "vae_tiling")
OFS = 2.0
IMAGE_NOISE = (-3.0, 0.5)
"""Mean and standard deviation of the logarithm of the noise on first frames, as the published training draws it."""


class CogVideoXFamily(FolderFamily):
    """A CogVideoX pipeline's folder.

    Options: ``image_noise`` (on; off leaves first frames clean, as sampling does), ``vae_tiling`` (off; on saves
    memory and changes latents a little).

    Attributes:
        image_noise: whether :meth:`encode_image` adds noise to pixels. Training wants it; set it to False around
            the encoding of images that are sampled from.
    """

    name = "cogvideox"
    usual_sampling = (50, 6.0)

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
        self.schedule = v_schedule(read_config(folder, "scheduler", part_class(index, "scheduler")))
        self.needs_image = PIPELINES[index["_class_name"]]
        self._tiling = read_switch(options, "vae_tiling", False)
        self.image_noise = read_switch(options, "image_noise", True)
        super().__init__(folder, index, device=device, dtype=dtype)
        channels = self._vae_config["latent_channels"]
        if self.config.in_channels != channels * (2 if self.needs_image else 1):
            raise InputError(
                f"the transformer of {folder} takes {self.config.in_channels} channels, which does not fit latents of "
                f"{channels} and a {index['_class_name']}"
            )
        self._temporal = int(self._vae_config["temporal_compression_ratio"])
        self._spatial = 2 ** (len(self._vae_config["block_out_channels"]) - 1)
        self.clip = self._checked(clip or self._usual_clip())
        frames = (self.clip.frames - 1) // self._temporal + 1
        self._padding = -frames % (self.config.patch_size_t or 1)
        self._frames = frames + self._padding

    @classmethod
    def load(
        cls, source: str, *, device: str, dtype: torch.dtype, clip: ClipShape | None, options: Mapping[str, str]
    ) -> CogVideoXFamily:
        refuse_unknown(options, OPTIONS, cls.name)
        folder = locate(source, cls.name)
        index = read_index(folder, PIPELINES, PARTS)
        return cls(folder, index, device=device, dtype=dtype, clip=clip, options=options)

    def _usual_clip(self) -> ClipShape:
        height, width = self.config.sample_height, self.config.sample_width
        if (height, width) == (300, 300):
            # 1.5-5B-I2V says the largest grid of its position codes here; it was trained at 768 x 1360
            height, width = 96, 170
        fps = 8.0 if self.config.patch_size_t is None else 16.0
        return ClipShape(self.config.sample_frames, height * self._spatial, width * self._spatial, fps)

    def _checked(self, clip: ClipShape) -> ClipShape:
        side = self._spatial * self.config.patch_size
        # the VAE decodes two latent frames at a time and the first alone, so that only odd numbers of them come back
        frames = 2 * self._temporal
        check_clip(clip, family=self.name, frames_multiple=frames, height_multiple=side, width_multiple=side)
        height, width = clip.height // self._spatial, clip.width // self._spatial
        most = (self.config.sample_height, self.config.sample_width)
        if self.config.use_learned_positional_embeddings:
            usual = self._usual_clip()
            if (clip.frames, height, width) != (usual.frames, *most):
                raise InputError(
                    f"position codes of this checkpoint are learned for {usual.frames} frames of {usual.height} x "
                    f"{usual.width} pixels only, not for {clip.frames} of {clip.height} x {clip.width}"
                )
        elif self.config.patch_size_t is not None and (height > most[0] or width > most[1]):
            raise InputError(
                f"position codes of this checkpoint end at {most[0] * self._spatial} x {most[1] * self._spatial} "
                f"pixels, short of {clip.height} x {clip.width}"
            )
        return clip

    @property
    def _vae(self) -> Any:
        vae = self._encoder("vae", self._dtype)
        vae.use_slicing = True
        if self._tiling:
            vae.enable_tiling()
        return vae

    def encode_video(self, pixels: Tensor) -> Tensor:
        check_pixels(pixels, self.clip)
        latents = self._encode(pixels) * self._vae_config["scaling_factor"]
        return torch.cat([latents[:, :1].expand(-1, self._padding, -1, -1, -1), latents], dim=1)

    def _encode(self, pixels: Tensor) -> Tensor:
        """Means (B, F, C, h, w), float32, neither scaled nor padded."""
        video = pixels.permute(0, 4, 1, 2, 3).to(self._device, self._dtype)
        means: Tensor = self._vae.encode(video).latent_dist.mode()
        return means.float().transpose(1, 2)

    def decode_latents(self, latents: Tensor) -> Tensor:
        kept = latents[:, self._padding :].transpose(1, 2).to(self._device, self._dtype)
        video: Tensor = self._vae.decode(kept / self._vae_config["scaling_factor"]).sample
        return video.float().permute(0, 2, 3, 4, 1).clamp(-1.0, 1.0)

    def encode_text(self, prompts: Sequence[str]) -> Condition:
        tokens = self._plain_part("tokenizer")(
            list(prompts),
            padding="max_length",
            max_length=self.config.max_text_seq_length,
            truncation=True,
            add_special_tokens=True,
            return_tensors="pt",
        )
        # without the mask, as the network was trained: it attends to the codes of padding too
        return {"text": self._encoder("text_encoder", self._dtype)(tokens.input_ids.to(self._device))[0]}

    def encode_image(self, images: Tensor | None, n: int, generator: torch.Generator) -> Condition:
        if not self.needs_image:
            return {}
        if images is None:
            raise InputError("this CogVideoX makes video from images: every prompt needs a first-frame image")
        check_images(images, n, self.clip)
        pixels = images.float().to(self._device)
        if self.image_noise:
            pixels = add_image_noise(pixels, generator)
        factor = self._vae_config["scaling_factor"]
        scale = 1.0 / factor if self._vae_config["invert_scale_latents"] else factor
        return {"image": self._encode(pixels.unsqueeze(1))[:, 0] * scale}

    @property
    def latent_shape(self) -> tuple[int, ...]:
        height, width = self.clip.height // self._spatial, self.clip.width // self._spatial
        return (self._frames, self._vae_config["latent_channels"], height, width)

    @cached_property
    def _rotary(self) -> tuple[Tensor, Tensor] | None:
        """Cosines and sines of the position codes, as the pipeline hands them to the network."""
        if not self.config.use_rotary_positional_embeddings:
            return None
        from diffusers.models.embeddings import get_3d_rotary_pos_embed
        from diffusers.pipelines.cogvideo.pipeline_cogvideox import get_resize_crop_region_for_grid

        patch = self.config.patch_size
        grid = (self.latent_shape[2] // patch, self.latent_shape[3] // patch)
        usual = (self.config.sample_height // patch, self.config.sample_width // patch)
        kinds: dict[str, Any]
        if self.config.patch_size_t is None:
            frames = self._frames
            kinds = {"crops_coords": get_resize_crop_region_for_grid(grid, usual[1], usual[0])}
        else:
            frames = self._frames // self.config.patch_size_t
            kinds = {"crops_coords": None, "grid_type": "slice", "max_size": usual}
        cos, sin = get_3d_rotary_pos_embed(
            self.config.attention_head_dim,
            grid_size=grid,
            temporal_size=frames,
            device=torch.device(self._device),
            **kinds,
        )
        return cos, sin

    def predict(self, transformer: nn.Module, x_t: Tensor, time: Time, condition: Condition) -> Tensor:
        dtype = self._network_dtype
        latents = x_t.to(dtype)
        if self.needs_image:
            first = torch.zeros_like(latents)
            first[:, 0] = condition["image"]
            latents = torch.cat([latents, first], dim=2)
        codes = self._rotary
        velocity: Tensor = transformer(
            hidden_states=latents,
            encoder_hidden_states=condition["text"].to(dtype),
            timestep=time.native,
            ofs=None if self.config.ofs_embed_dim is None else latents.new_full((1,), OFS),
            image_rotary_emb=None if codes is None else tuple(code.to(x_t.device) for code in codes),
            return_dict=False,
        )[0]
        return velocity.float()

    def blocks(self, transformer: nn.Module) -> Sequence[nn.Module]:
        return list(transformer.transformer_blocks)  # type: ignore[arg-type]

    def _facts(self) -> dict[str, Any]:
        """What decides latents and conditions besides the encoders' weights."""
        return {
            "family": self.name,
            "needs_image": self.needs_image,
            "clip": [self.clip.frames, self.clip.height, self.clip.width],
            "latent_shape": list(self.latent_shape),
            "repeated_frames": self._padding,
            "scaling_factor": self._vae_config["scaling_factor"],
            "inverted_image_scaling": self._vae_config["invert_scale_latents"],
            "text_tokens": self.config.max_text_seq_length,
            "image_noise": list(IMAGE_NOISE) if self.needs_image and self.image_noise else None,
            "vae_tiling": self._tiling,
            "encoder_dtype": str(self._dtype),
        }

    def describe(self) -> dict[str, Any]:
        return {**self.schedule.describe(), **self._facts()}

    def fingerprint(self) -> str:
        return hash_parts(self._folder, ("vae", "text_encoder", "tokenizer"), self._facts())


def add_image_noise(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images (n, H, W, 3) plus noise of standard deviation exp(N(-3, 0.5)), one strength an image.

    Images are noised one after the other, so that the same generator gives the same noise however they are batched.
    """
    mean, std = IMAGE_NOISE
    noised = []
    for image in images:
        strength = (mean + std * torch.randn((), generator=generator, device=generator.device)).exp()
        noise = torch.randn(image.shape, generator=generator, device=generator.device)
        noised.append(image + (strength * noise).to(image.device))
    return torch.stack(noised)


def v_schedule(config: Mapping[str, Any]) -> VSchedule:
    """The noise table that a scheduler's configuration describes.

    Raises:
        InputError: it predicts something else than v, or has betas of another kind.
    """
    if config.get("prediction_type") != "v_prediction":
        raise InputError(
            f"the scheduler predicts {config.get('prediction_type')}, and CogVideoX is trained as v_prediction"
        )
    kind = config.get("beta_schedule")
    if config.get("trained_betas") is not None or kind not in ("scaled_linear", "linear"):
        raise InputError(f"betas of the scheduler are linear or scaled_linear, not {kind} or a table of their own")
    return scaled_linear_table(
        int(config["num_train_timesteps"]),
        float(config["beta_start"]),
        float(config["beta_end"]),
        snr_shift=float(config["snr_shift_scale"]),
        zero_terminal_snr=bool(config["rescale_betas_zero_snr"]),
        squared=kind == "scaled_linear",
    )
