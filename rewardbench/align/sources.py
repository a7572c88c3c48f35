"""A recipe as it is shown: settings by subject, and who chose each: a preset's source, we, or the user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rewardbench.align.presets import PRESETS, Preset, recipe_for, unstated
from rewardbench.align.recipe import PREFERENCE

_GROUPS: dict[str, tuple[str, ...]] = {
    "Loss": ("algorithm", "beta", "beta_schedule", "scale", "reduction", "error_space", "sft_weight", "loss_mask"),
    "Weights of examples": (
        *("pair_weight", "alpha", "gap_range", "gap_normalize"),
        *("reward_normalize", "temperature", "weight_clip", "weight_normalize"),
    ),
    "Time and noise": (
        *("time_law", "time_low", "time_high", "time_mean", "time_std", "time_shift"),
        *("share_noise", "share_time", "draws_per_pair", "condition_dropout"),
    ),
    "Reference": ("reference", "ema_decay", "ema_every", "cache_reference"),
    "Clips and pairs": ("samples_per_prompt", "losers", "rounds"),
    "What learns": ("tuning", "lora_rank", "lora_alpha", "lora_from", "latent_depth", "latent_width", "latent_clean"),
    "Optimiser": (
        *("learning_rate", "schedule", "warmup_steps", "steps", "batch_size", "micro_batch_size"),
        *("weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm"),
    ),
    "Guidance": ("guidance_scale", "guidance_clamp", "guidance_norm_cap"),
    "Computation": ("precision", "checkpointing", "low_memory", "seed"),
}
_OF_LATENT_REWARD = {
    *("algorithm", "samples_per_prompt", "steps", "batch_size", "seed", "learning_rate", "schedule", "warmup_steps"),
    *("weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon", "max_grad_norm"),
    *("time_law", "time_low", "time_high", "time_mean", "time_std", "time_shift"),
    *("latent_depth", "latent_width", "latent_clean", "guidance_scale", "guidance_clamp", "guidance_norm_cap"),
}
"""What Flow-NRG goes by: its latent reward has an optimiser and noise of its own."""


@dataclass(frozen=True)
class Setting:
    """One setting of a recipe.

    Attributes:
        name, value: as the command takes them.
        origin: ``source`` (the preset's source says so), ``ours`` (the source leaves it open), ``command`` (so, and the
            command chose), ``changed`` (by the command, against the source), or ``""`` without a preset.
        was: what the source says, of a changed one.
        effect: False where the other settings leave it nothing to do.
    """

    name: str
    value: str
    origin: str
    was: str
    effect: bool

    @property
    def remark(self) -> str:
        """The origin in words."""
        words = {
            "": "",
            "source": "stated by the source",
            "ours": "not stated: our choice",
            "command": "not stated: the command's choice",
            "changed": f"changed: the source has {self.was}",
        }
        return words[self.origin]


def settings_by_subject(recipe: Mapping[str, Any], preset: str | None) -> dict[str, list[Setting]]:
    """Every setting under its subject's heading; what is not known here under ``Other``."""
    origins = _origins(recipe, preset)
    idle = without_effect(recipe)
    grouped: dict[str, list[Setting]] = {}
    known = {name for names in _GROUPS.values() for name in names}
    rest = tuple(name for name in recipe if name not in known)
    for heading, names in (*_GROUPS.items(), ("Other", rest)):
        for name in names:
            if name in recipe:
                origin, was = origins.get(name, ("", ""))
                setting = Setting(name, value_text(recipe[name]), origin, was, name not in idle)
                grouped.setdefault(heading, []).append(setting)
    return grouped


def source_of(preset: str | None) -> Preset | None:
    """A preset's source and notes; None without one, or where this version has no such preset."""
    return PRESETS.get(preset or "")


def value_text(value: Any) -> str:
    """A setting's value: ``yes``, ``none``, ``5e-06``, ``a=1, b=2``."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={value_text(v)}" for name, v in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(value_text(v) for v in value)
    return str(value)


def without_effect(recipe: Mapping[str, Any]) -> set[str]:
    """Settings that this recipe's others leave nothing to do."""
    algorithm, idle = recipe["algorithm"], set[str]()
    if algorithm == "flow-nrg":
        idle |= {name for names in _GROUPS.values() for name in names} - _OF_LATENT_REWARD
    else:
        idle |= {name for name in recipe if name.startswith(("latent_", "guidance_"))}
    if algorithm not in PREFERENCE:
        idle |= {"beta", "beta_schedule", "scale", "sft_weight", "reference", "cache_reference", "losers"}
        idle |= {"share_noise", "share_time"}
    if algorithm not in PREFERENCE or recipe.get("reference") != "ema":
        idle |= {"ema_decay", "ema_every"}
    if recipe.get("pair_weight") != "gap":
        idle |= {"alpha", "gap_range", "gap_normalize"}
    if algorithm != "flow-rwr":
        idle |= {"reward_normalize", "temperature", "weight_clip", "weight_normalize"}
    if recipe.get("tuning") == "full":
        idle |= {"lora_rank", "lora_alpha"}
    if recipe.get("time_law") == "uniform":
        idle |= {"time_mean", "time_std"}
    return idle & recipe.keys()


def _origins(recipe: Mapping[str, Any], preset: str | None) -> dict[str, tuple[str, str]]:
    """Setting to (origin, what the source says)."""
    found = source_of(preset)
    if preset is None or found is None:
        return {}
    before = recipe_for(None, preset, {}).as_dict()
    changed = {name: value for name, value in recipe.items() if name in before and value != before[name]}
    open_ones = unstated(preset, changed)
    origins: dict[str, tuple[str, str]] = {}
    for name in recipe:
        if name in changed and name in found.stated:
            origins[name] = ("changed", value_text(found.stated[name]))
        elif name in changed:
            origins[name] = ("command", "")
        elif name in open_ones or name not in before:
            origins[name] = ("ours", "")
        else:
            origins[name] = ("source", "")
    return origins
