"""HunyuanVideo small enough for a CPU: a whole pipeline folder with random weights and locally built tokenizers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

FRAMES, SIDE, FPS = 9, 16, 24.0
LATENT = (4, 3, 2, 2)
WORDS = ("a", "cat", "dog", "runs", "over", "the", "snow", "red", "ball", "slowly")
SCALING = 0.476986
SHIFT = 7.0
KINDS = (None, "latent_concat", "token_replace")


def save_tiny_hunyuanvideo(
    folder: Path,
    kind: str | None = None,
    *,
    guidance_embeds: bool = True,
    scheduler: dict[str, Any] | None = None,
    layers: int = 1,
) -> Path:
    """Write a ``HunyuanVideoPipeline``, or the image-to-video pipeline of a ``kind``."""
    from diffusers import (
        AutoencoderKLHunyuanVideo,
        FlowMatchEulerDiscreteScheduler,
        HunyuanVideoImageToVideoPipeline,
        HunyuanVideoPipeline,
        HunyuanVideoTransformer3DModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    channels = LATENT[0]
    transformer = HunyuanVideoTransformer3DModel(
        in_channels=2 * channels + 1 if kind == "latent_concat" else channels,
        out_channels=channels,
        num_attention_heads=2,
        attention_head_dim=10,
        num_layers=layers,
        num_single_layers=layers,
        num_refiner_layers=1,
        patch_size=1,
        patch_size_t=1,
        guidance_embeds=guidance_embeds,
        text_embed_dim=16,
        pooled_projection_dim=8,
        rope_axes_dim=(2, 4, 4),
        image_condition_type=kind,
    )
    vae = AutoencoderKLHunyuanVideo(
        latent_channels=channels,
        block_out_channels=(8, 8, 8, 8),
        layers_per_block=1,
        norm_num_groups=4,
        scaling_factor=SCALING,
    )
    tokenizer, tokenizer_2 = tiny_llama_tokenizer(), tiny_clip_tokenizer()
    text_encoder_2 = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer_2),
            hidden_size=8,
            intermediate_size=16,
            num_attention_heads=2,
            num_hidden_layers=1,
            bos_token_id=tokenizer_2.bos_token_id,
            eos_token_id=tokenizer_2.eos_token_id,
            pad_token_id=tokenizer_2.pad_token_id,
        )
    )
    components: dict[str, Any] = {
        "transformer": transformer.eval(),
        "vae": vae.eval(),
        "scheduler": FlowMatchEulerDiscreteScheduler(**({"shift": SHIFT} if scheduler is None else scheduler)),
        "text_encoder": _language_model(tokenizer, sees_image=kind is not None).eval(),
        "tokenizer": tokenizer,
        "text_encoder_2": text_encoder_2.eval(),
        "tokenizer_2": tokenizer_2,
    }
    if kind is None:
        pipeline: Any = HunyuanVideoPipeline(**components)
    else:
        pipeline = HunyuanVideoImageToVideoPipeline(**components, image_processor=_image_processor())
    pipeline.save_pretrained(folder)
    return folder


def _language_model(tokenizer: Any, *, sees_image: bool) -> Any:
    from transformers import CLIPVisionConfig, LlamaConfig, LlamaModel, LlavaConfig, LlavaForConditionalGeneration

    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        intermediate_size=24,
        num_attention_heads=2,
        num_hidden_layers=3,
        pad_token_id=tokenizer.pad_token_id,
        max_position_embeddings=2048,
    )
    if not sees_image:
        return LlamaModel(text)
    vision = CLIPVisionConfig(
        hidden_size=8,
        intermediate_size=16,
        num_attention_heads=2,
        num_hidden_layers=2,
        image_size=48,  # 24 x 24 patches: the template of the pipeline makes room for 576
        patch_size=2,
    )
    image_token = tokenizer.convert_tokens_to_ids("<image>")
    return LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=vision, text_config=text, pad_token_id=tokenizer.pad_token_id, image_token_index=image_token
        )
    )


def _image_processor() -> Any:
    from transformers import CLIPImageProcessor

    return CLIPImageProcessor(size={"shortest_edge": 48}, crop_size={"height": 48, "width": 48})


def tiny_llama_tokenizer() -> Any:
    """One token per word of at most eight letters: the pipelines' templates are about as long as with Llama 3."""
    from diffusers.pipelines.hunyuan_video import pipeline_hunyuan_video, pipeline_hunyuan_video_image2video
    from tokenizers import Regex, Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import Split
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    special = [
        "<unk>",
        "<pad>",
        "<|begin_of_text|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|eot_id|>",
        "<image>",
    ]
    pattern = r"\n\n|\w{1,8}|[^\w\s]"
    words = list(WORDS)
    for module in (pipeline_hunyuan_video, pipeline_hunyuan_video_image2video):
        words += re.findall(pattern, module.DEFAULT_PROMPT_TEMPLATE["template"])
    backend = Tokenizer(WordLevel({w: i for i, w in enumerate(dict.fromkeys([*special, *words]))}, unk_token="<unk>"))
    backend.pre_tokenizer = Split(Regex(pattern), behavior="removed", invert=True)
    backend.add_special_tokens(special)
    backend.post_processor = TemplateProcessing(
        single="<|begin_of_text|> $A", special_tokens=[("<|begin_of_text|>", special.index("<|begin_of_text|>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="<unk>",
        pad_token="<pad>",
        bos_token="<|begin_of_text|>",
        eos_token="<|eot_id|>",
        padding_side="right",
        model_max_length=1024,
    )


def tiny_clip_tokenizer() -> Any:
    from transformers import CLIPTokenizer

    special = ["<|startoftext|>", "<|endoftext|>"]
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    vocab = {w: i for i, w in enumerate([*special, *letters, *(f"{c}</w>" for c in letters)])}
    return CLIPTokenizer(vocab=vocab, merges=[], model_max_length=77)
