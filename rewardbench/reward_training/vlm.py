"""The reward model of VideoReward: a Qwen2-VL that is asked about a clip."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rewardbench.reward_training import inputs
from rewardbench.reward_training.checkpoint import write_checkpoint
from rewardbench.reward_training.frames import FrameCache
from rewardbench.reward_training.network import build_network, parameter_groups, read_base
from rewardbench.reward_training.prompts import order_dimensions, published_wording, short_wording
from rewardbench.reward_training.settings import TrainingSettings
from rewardbench.reward_training.trainee import Normalisation, Trainee


def vlm_trainee(settings: TrainingSettings, named: Sequence[str], *, bfloat16: bool) -> Trainee:
    """A Qwen2-VL with a reward head for the ``named`` dimensions; those that see the prompt become the last.

    Raises:
        InputError: the base model, the template or the dimensions do not go together.
    """
    import transformers

    dimensions, blind = order_dimensions(named, settings.context_dimensions)
    if settings.templates is None:
        wording = short_wording(dimensions, blind, settings.reward_token)
    else:
        wording = published_wording(settings.template, dimensions, settings.reward_token, settings.templates)
    base_model = read_base(settings.base)
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(settings.base)
    tokenizer.add_special_tokens({"additional_special_tokens": list(wording.special_tokens)})
    tokens = inputs.tokens_of(tokenizer, settings.base, wording.special_tokens)
    network = build_network(base_model, len(tokenizer), tokens, len(dimensions), settings)
    if settings.gradient_checkpointing:
        network.backbone.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    frames = FrameCache(inputs.frame_spec(settings))
    clips = inputs.ClipInputs(tokens, wording.template, frames, base_model.config.vision_config)

    def write(folder: Path, step: int, normalisation: Normalisation) -> Path:
        return write_checkpoint(
            folder,
            network,
            base_model.lm_head.weight,
            tokenizer,
            wording,
            dimensions,
            settings,
            step=step,
            normalisation=normalisation,
            bfloat16=bfloat16,
        )

    return Trainee(network, clips.prepare, dimensions, lambda: parameter_groups(network, settings), write)
