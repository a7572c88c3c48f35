"""CogVideoX and Wan 2.1 small enough for a CPU: whole pipeline folders with random weights, made by diffusers."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import torch

TEXT_WIDTH = 16
LATENT_CHANNELS = 4


def tiny_cogvideox(
    folder: Path,
    kind: str = "i2v",
    version: str = "1.0",
    *,
    transformer: dict[str, Any] | None = None,
    scheduler: dict[str, Any] | None = None,
) -> Path:
    """A ``CogVideoX…Pipeline`` whose usual clip has 9 frames of 32 x 48 pixels.

    Args:
        kind: ``t2v`` or ``i2v``.
        version: ``2b`` (sines inside, SNR shift 3), ``1.0`` (rotary; learned codes too in i2v) or ``1.5`` (patches of
            two latent frames; i2v with ``ofs`` and inverted scaling of the image).
        transformer, scheduler: arguments that differ.
    """
    from diffusers import (
        AutoencoderKLCogVideoX,
        CogVideoXDDIMScheduler,
        CogVideoXImageToVideoPipeline,
        CogVideoXPipeline,
        CogVideoXTransformer3DModel,
    )
    from transformers import T5Config, T5EncoderModel

    image, new = kind == "i2v", version == "1.5"
    sizes: dict[str, Any] = {
        "num_attention_heads": 2,
        "attention_head_dim": 16,
        "in_channels": LATENT_CHANNELS * (2 if image else 1),
        "out_channels": LATENT_CHANNELS,
        "time_embed_dim": 8,
        "text_embed_dim": TEXT_WIDTH,
        "num_layers": 2,
        "sample_width": 6,
        "sample_height": 4,
        "sample_frames": 9,
        "patch_size_t": 2 if new else None,
        "patch_bias": not new,
        "ofs_embed_dim": 8 if new and image else None,
        "use_rotary_positional_embeddings": version != "2b",
        "use_learned_positional_embeddings": version == "1.0" and image,
    }
    numbers: dict[str, Any] = {
        "prediction_type": "v_prediction",
        "rescale_betas_zero_snr": True,
        "snr_shift_scale": 3.0 if version == "2b" else 1.0,
        "timestep_spacing": "trailing",
        "clip_sample": False,
    }
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = CogVideoXTransformer3DModel(**sizes | (transformer or {}))
        vae = AutoencoderKLCogVideoX(
            block_out_channels=(8, 8, 8, 8),
            latent_channels=LATENT_CHANNELS,
            layers_per_block=1,
            norm_num_groups=2,
            scaling_factor=0.7,
            invert_scale_latents=new and image,
        )
        text = T5EncoderModel(T5Config(**text_sizes()))
    pipeline = (CogVideoXImageToVideoPipeline if image else CogVideoXPipeline)(
        tokenizer=tiny_tokenizer(),
        text_encoder=text.eval(),
        vae=vae.eval(),
        transformer=network.eval(),
        scheduler=CogVideoXDDIMScheduler(**numbers | (scheduler or {})),
    )
    pipeline.save_pretrained(folder)
    return folder


def tiny_wan(
    folder: Path,
    kind: str = "t2v",
    *,
    transformer: dict[str, Any] | None = None,
    scheduler: dict[str, Any] | None = None,
) -> Path:
    """A ``Wan…Pipeline`` for clips of 4n + 1 frames with sides of multiples of 16 pixels.

    Args:
        kind: ``t2v`` or ``i2v``.
        transformer, scheduler: arguments that differ.
    """
    from diffusers import (
        AutoencoderKLWan,
        UniPCMultistepScheduler,
        WanImageToVideoPipeline,
        WanPipeline,
        WanTransformer3DModel,
    )
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel, UMT5Config, UMT5EncoderModel

    image = kind == "i2v"
    width = 24
    sizes: dict[str, Any] = {
        "num_attention_heads": 2,
        "attention_head_dim": width // 2,
        "in_channels": LATENT_CHANNELS * 2 + 4 if image else LATENT_CHANNELS,
        "out_channels": LATENT_CHANNELS,
        "text_dim": TEXT_WIDTH,
        "freq_dim": 16,
        "ffn_dim": 32,
        "num_layers": 2,
        "image_dim": 12 if image else None,
        "added_kv_proj_dim": width if image else None,
        "rope_max_seq_len": 32,
    }
    numbers: dict[str, Any] = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0}
    with torch.random.fork_rng():
        torch.manual_seed(2)
        network = WanTransformer3DModel(**sizes | (transformer or {}))
        vae = AutoencoderKLWan(
            base_dim=4,
            z_dim=LATENT_CHANNELS,
            dim_mult=[1, 1, 1, 1],
            num_res_blocks=1,
            latents_mean=[-0.3, -0.1, 0.1, 0.4],
            latents_std=[0.5, 0.8, 1.2, 2.0],
        )
        text = UMT5EncoderModel(UMT5Config(**text_sizes()))
        eye = CLIPVisionModel(
            CLIPVisionConfig(
                hidden_size=12,
                intermediate_size=16,
                num_hidden_layers=3,
                num_attention_heads=2,
                image_size=16,
                patch_size=8,
            )
        )
    parts: dict[str, Any] = {
        "tokenizer": tiny_tokenizer(),
        "text_encoder": text.eval(),
        "vae": vae.eval(),
        "transformer": network.eval(),
        "scheduler": UniPCMultistepScheduler(**numbers | (scheduler or {})),
    }
    if image:
        parts["image_encoder"] = eye.eval()
        parts["image_processor"] = CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    (WanImageToVideoPipeline if image else WanPipeline)(**parts).save_pretrained(folder)
    return folder


def text_sizes() -> dict[str, Any]:
    """Of an encoder for :func:`tiny_tokenizer`."""
    return {
        "vocab_size": len(tiny_tokenizer()),
        "d_model": TEXT_WIDTH,
        "d_kv": 8,
        "d_ff": 32,
        "num_layers": 2,
        "num_heads": 2,
        "feed_forward_proj": "gated-gelu",
    }


def tiny_tokenizer() -> Any:
    """A T5 tokenizer that knows ASCII letters one by one."""
    from transformers import T5TokenizerFast

    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -20.0), ("▁", -2.0)]
    return T5TokenizerFast(vocab=[*pieces, *((letter, -3.0) for letter in string.printable.strip())], extra_ids=0)


def transformer_calls(pipeline: Any, **arguments: Any) -> list[tuple[dict[str, Any], torch.Tensor]]:
    """What a pipeline hands to its network while it samples without guidance, and what comes back."""
    calls: list[tuple[dict[str, Any], torch.Tensor]] = []

    def keep(module: Any, args: tuple[Any, ...], given: dict[str, Any], result: tuple[torch.Tensor, ...]) -> None:
        assert not args
        calls.append((dict(given), result[0].clone()))

    handle = pipeline.transformer.register_forward_hook(keep, with_kwargs=True)
    pipeline.set_progress_bar_config(disable=True)
    try:
        pipeline(guidance_scale=1.0, output_type="latent", **arguments)
    finally:
        handle.remove()
    return calls


class Listener(torch.nn.Module):
    """A network that notes what it is handed and passes it on."""

    def __init__(self, transformer: torch.nn.Module) -> None:
        super().__init__()
        self.transformer = transformer
        self.given: dict[str, Any] = {}

    def forward(self, **given: Any) -> Any:
        self.given = given
        return self.transformer(**given)


def assert_same_inputs(ours: dict[str, Any], theirs: dict[str, Any], tolerance: float = 1e-5) -> None:
    """Equal names, values, shapes and dtypes; None stands for a name that is left out."""
    for name in sorted(set(ours) | set(theirs)):
        if name in ("return_dict", "attention_kwargs"):
            continue
        mine, other = ours.get(name), theirs.get(name)
        assert (mine is None) == (other is None), name
        mine, other = (value if isinstance(value, tuple) else (value,) for value in (mine, other))
        for one, two in zip(mine, other, strict=True):
            if one is not None:
                torch.testing.assert_close(
                    one, two, rtol=tolerance, atol=tolerance, msg=lambda text, name=name: f"{name}: {text}"
                )
