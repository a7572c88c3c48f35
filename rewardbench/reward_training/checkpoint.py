"""Writing a trained reward model in VideoReward's published layout, which its plugin reads."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from rewardbench.reward_training.network import RewardNetwork, published_state
from rewardbench.reward_training.prompts import Wording
from rewardbench.reward_training.settings import TrainingSettings

_WEIGHTS = (".safetensors", ".bin", ".pth", ".pt", ".index.json", ".gguf", ".h5", ".msgpack")


def write_checkpoint(
    folder: Path,
    network: RewardNetwork,
    lm_head: torch.Tensor,
    tokenizer: Any,
    wording: Wording,
    dimensions: tuple[str, ...],
    settings: TrainingSettings,
    *,
    step: int,
    normalisation: Mapping[str, tuple[float, float]],
    bfloat16: bool,
) -> Path:
    """Write the checkpoint; returns ``model.pth``.

    ::

        folder/model_config.json          sections data_config, model_config, peft_lora_config, inference_config
        folder/checkpoint-<step>/model.pth, tokenizer/
        folder/base/                      the base model's config, tokenizer and processor, without weights
        folder/templates/<name>.txt       the prompt template, where it is ours

    A checkpoint that is there already is replaced as a whole, after the new one is written.

    Args:
        normalisation: dimension to mean and standard deviation of its raw scores.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    own = partial / f"checkpoint-{step}"
    own.mkdir(parents=True)
    dtype = torch.bfloat16 if bfloat16 else torch.float32
    state: dict[str, torch.Tensor] = {}
    written: dict[int, torch.Tensor] = {}  # a tied table is written once
    values = list(published_state(network, lm_head))
    for name, value in values:
        if value.data_ptr() not in written:
            written[value.data_ptr()] = value.detach().to("cpu", dtype).contiguous()
        state[name] = written[value.data_ptr()]
    torch.save(state, own / "model.pth")
    tokenizer.save_pretrained(own / "tokenizer")
    _copy_base(settings.base, partial / "base")
    if wording.sha256 is not None:
        (partial / "templates").mkdir()
        (partial / "templates" / f"{wording.name}.txt").write_bytes((wording.template.text or "").encode())
    config = model_config(wording, dimensions, settings, normalisation, bfloat16)
    (partial / "model_config.json").write_text(json.dumps(config, indent=4) + "\n", encoding="utf-8")
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)
    return folder / own.name / "model.pth"


def model_config(
    wording: Wording,
    dimensions: tuple[str, ...],
    settings: TrainingSettings,
    normalisation: Mapping[str, tuple[float, float]],
    bfloat16: bool,
) -> dict[str, Any]:
    """The published sections; ours beyond them are ``min_frame_pixels`` and ``prompt_template_sha256``."""
    means = {f"{d}_{what}": v for d in dimensions for what, v in zip(("mean", "std"), normalisation[d], strict=True)}
    return {
        "data_config": {
            **settings.sampling(),
            "p_shuffle_frames": 0.0,
            "p_color_jitter": 0.0,
            "eval_dim": list(dimensions),
            "prompt_template_type": wording.name,
            **({} if wording.sha256 is None else {"prompt_template_sha256": wording.sha256}),
            "add_noise": False,
            "use_tied_data": settings.objective == "btt",
        },
        "training_args": {
            "learning_rate": settings.learning_rate,
            "per_device_train_batch_size": settings.batch_size,
            "num_train_epochs": settings.epochs,
            "seed": settings.seed,
        },
        "model_config": {
            "model_name_or_path": "base",
            "model_revision": "main",
            "output_dim": 1 if settings.head == "shared" else len(dimensions),
            "use_special_tokens": settings.reward_token == "special",
            "freeze_vision_tower": settings.vision == "frozen",
            "freeze_llm": settings.language != "full",
            "tune_merger": settings.vision == "full",
            "torch_dtype": "bfloat16" if bfloat16 else "float32",
            "trust_remote_code": False,
            "attn_implementation": None,
            "load_in_8bit": False,
            "load_in_4bit": False,
            "bnb_4bit_quant_type": "nf4",
            "use_bnb_nested_quant": False,
            "reward_token": settings.reward_token,
            "loss_type": settings.objective,
        },
        "peft_lora_config": {
            "lora_enable": settings.language == "lora",
            "vision_lora": False,
            "lora_r": settings.lora_rank,
            "lora_alpha": settings.lora_alpha,
            "lora_dropout": settings.lora_dropout,
            "lora_target_modules": None,
            "lora_namespan_exclude": ["lm_head", "rm_head", "embed_tokens", "visual"],
            "lora_modules_to_save": None,
            "lora_task_type": "CAUSAL_LM",
            "use_rslora": False,
            "num_lora_modules": -1,
        },
        "inference_config": means,
    }


def _copy_base(base: Path, target: Path) -> None:
    target.mkdir()
    for file in sorted(base.iterdir()):
        if file.is_file() and not file.name.endswith(_WEIGHTS) and not file.name.startswith("."):
            shutil.copyfile(file, target / file.name)
