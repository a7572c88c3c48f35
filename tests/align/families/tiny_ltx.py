"""LTX-Video small enough for a CPU: a whole pipeline folder with random weights and a tokenizer of a dozen words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

FRAMES, SIDE, FPS = 9, 32, 24.0
LATENT = (8, 3, 8, 8)
WORDS = ("a", "cat", "dog", "runs", "over", "the", "snow", "red", "ball", "slowly")
SCALING = 0.7
SCHEDULER: dict[str, Any] = {
    # numbers of the published checkpoint's scheduler, in the size of these clips
    "use_dynamic_shifting": True,
    "base_shift": 0.95,
    "max_shift": 2.05,
    "base_image_seq_len": 64,
    "max_image_seq_len": 256,
    "shift_terminal": 0.1,
}


def save_tiny_ltx(
    folder: Path, *, image: bool = False, timestep_conditioning: bool = False, scheduler: dict[str, Any] | None = None
) -> Path:
    """Write an ``LTXPipeline``, or ``LTXImageToVideoPipeline``, as ``from_pretrained`` reads it."""
    from diffusers import (
        AutoencoderKLLTXVideo,
        FlowMatchEulerDiscreteScheduler,
        LTXImageToVideoPipeline,
        LTXPipeline,
        LTXVideoTransformer3DModel,
    )
    from transformers import T5Config, T5EncoderModel

    torch.manual_seed(0)
    transformer = LTXVideoTransformer3DModel(
        in_channels=LATENT[0],
        out_channels=LATENT[0],
        num_attention_heads=2,
        attention_head_dim=12,
        cross_attention_dim=24,
        num_layers=2,
        caption_channels=16,
    )
    vae = AutoencoderKLLTXVideo(
        latent_channels=LATENT[0],
        block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1, 1),
        spatio_temporal_scaling=(True, True, False, False),
        decoder_spatio_temporal_scaling=(True, True, False, False),
        timestep_conditioning=timestep_conditioning,
        patch_size=1,
        scaling_factor=SCALING,
    )
    vae.latents_mean.copy_(torch.linspace(-0.5, 0.5, LATENT[0]))
    vae.latents_std.copy_(torch.linspace(0.5, 1.5, LATENT[0]))
    tokenizer = tiny_t5_tokenizer()
    text_encoder = T5EncoderModel(
        T5Config(vocab_size=len(tokenizer), d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2)
    )
    pipeline = (LTXImageToVideoPipeline if image else LTXPipeline)(
        scheduler=FlowMatchEulerDiscreteScheduler(**(SCHEDULER if scheduler is None else scheduler)),
        vae=vae.eval(),
        text_encoder=text_encoder.eval(),
        tokenizer=tokenizer,
        transformer=transformer.eval(),
    )
    pipeline.save_pretrained(folder)
    return folder


def tiny_t5_tokenizer() -> Any:
    from transformers import T5TokenizerFast

    special = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -20.0)]
    return T5TokenizerFast(vocab=[*special, *((f"▁{word}", -1.0) for word in WORDS)], extra_ids=0)
