"""Recipes by name: the papers' and the released codes' settings, and ours for the toy.

A preset named after a paper or code says in ``stated`` which settings that source gives. Everything else is our choice,
is shown as such (:func:`unstated`), and must not be quoted as the paper's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rewardbench.align.recipe import Recipe, make_recipe
from rewardbench.errors import InputError
from rewardbench.registry import nearest


@dataclass(frozen=True)
class Preset:
    """Settings of a source.

    Attributes:
        source: paper or code, with section.
        stated: what the source gives.
        ours: what it leaves open and we chose otherwise than :class:`Recipe`'s default.
        notes: where source and settings part, and why.
    """

    source: str
    stated: Mapping[str, Any]
    ours: Mapping[str, Any] = field(default_factory=dict)
    notes: str = ""


_FLOW_TABLE_10 = {
    "tuning": "lora",
    "reference": "adapter_off",
    "lora_rank": 64,
    "lora_alpha": 128,
    "learning_rate": 5e-6,
    "batch_size": 64,
}
_FULL = {"tuning": "full", "reference": "frozen_copy"}

PRESETS: dict[str, Preset] = {
    "gapo_paper": Preset(
        "arXiv:2504.10044, Sec. 3.4 (Eq. 12, 13) and 4.1",
        {
            "algorithm": "gapo",
            "beta": 5000.0,
            "pair_weight": "gap",
            "alpha": 2.0,
            "learning_rate": 5e-6,
            "batch_size": 8,
            "samples_per_prompt": 4,
            "share_time": True,
            **_FULL,
        },
        {"gap_range": "plugin", "scale": 0.5, "error_space": "velocity"},
        "The paper prints Diffusion-DPO's formula in noise space with a factor T·ω that it does not give; mean "
        "reduction, scale 1/2 and velocity space are the released code's. Optimiser, steps, clipping and precision are "
        "not stated.",
    ),
    "gapo_code": Preset(
        "bilibili/Index-anisora, anisora_rl, VideoDiffusionLoss",
        {
            "algorithm": "gapo",
            "beta": 5000.0,
            "scale": 0.5,
            "reduction": "mean",
            "error_space": "velocity",
            "pair_weight": "gap",
            "alpha": 2.0,
            "gap_range": "plugin",
            "share_noise": True,
            "share_time": True,
            "precision": "bf16",
            **_FULL,
        },
        {"learning_rate": 5e-6, "batch_size": 8},
        "Its clean-latent error over 1 - abar is the velocity error. It averages the loss before it is weighted, which "
        "is right at a local batch of 1 only; here every pair is weighted. Times are stratified over processes there "
        "and independent here. No training configuration was released.",
    ),
    "flow_dpo_paper": Preset(
        "arXiv:2501.13918v2, Sec. 4.2 (Eq. 6) and Table 10",
        {
            "algorithm": "flow-dpo",
            "beta": 500.0,
            "scale": 0.5,
            "error_space": "velocity",
            "beta_schedule": "constant",
            "share_noise": True,
            "share_time": True,
            "time_law": "uniform",
            **_FLOW_TABLE_10,
        },
        {"reduction": "mean"},
        "The pseudo-code takes a norm without saying over what; beta 500 can only be meant for a mean. LoRA rank 64, "
        "alpha 128 on q, k, v, o. One epoch there; steps are yours.",
    ),
    "flow_dpo_paper_time": Preset(
        "arXiv:2501.13918v2, Sec. 4.2: the variant with beta·(1 - t)^2 (Table 3)",
        {
            "algorithm": "flow-dpo",
            "beta": 500.0,
            "scale": 0.5,
            "error_space": "velocity",
            "beta_schedule": "(1-t)^2",
            "share_noise": True,
            "share_time": True,
            "time_law": "uniform",
            **_FLOW_TABLE_10,
        },
        {"reduction": "mean"},
    ),
    "flow_dpo_code": Preset(
        "yifan123/flow_grpo, scripts/train_sd3_dpo.py and config/dpo.py",
        {
            "algorithm": "flow-dpo",
            "beta": 100.0,
            "scale": 0.5,
            "reduction": "mean",
            "error_space": "velocity",
            "share_noise": True,
            "share_time": True,
            "time_law": "logit_normal",
            "time_shift": 3.0,
            "tuning": "lora",
            "reference": "adapter_off",
            "lora_rank": 32,
            "lora_alpha": 64,
            "learning_rate": 3e-4,
            "weight_decay": 1e-4,
            "max_grad_norm": 1.0,
            "samples_per_prompt": 24,
            "precision": "fp16",
        },
        {"batch_size": 8},
        "For images there. Its logit-normal draw is an index into a falling table, which mirrors t; with mean 0 the "
        "law is the same. 39 times and noises are accumulated in a step for the same pairs there.",
    ),
    "flow_rwr_paper": Preset(
        "arXiv:2501.13918v2, Sec. 4.3 (Eq. 9), App. H.2 and Table 10",
        {"algorithm": "flow-rwr", "temperature": 1.0, "error_space": "velocity", **_FLOW_TABLE_10},
        {"reduction": "mean", "time_law": "uniform", "weight_clip": 20.0, "reward_normalize": "data"},
        "Rewards there are normalised on the validation set before they are averaged, so that exp(r) acts on scores of "
        "about unit variance; here they are normalised over the sampled clips. Time law and clipping are not stated.",
    ),
    "flow_nrg_paper": Preset(
        "arXiv:2501.13918v2, Sec. 4.4 (Eq. 11) and Table 11",
        {
            "algorithm": "flow-nrg",
            "learning_rate": 5e-6,
            "batch_size": 144,
            "share_noise": True,
            "share_time": True,
            "guidance_scale": 100.0,
        },
        {"time_law": "uniform"},
        "Velocity after classifier-free guidance, t = 1 skipped. The paper trains the layers it reuses too (full "
        "training, 2 epochs); here they stay as they are and only a new head learns, which wants a higher learning "
        "rate. How many layers, which head and which time law are not stated.",
    ),
    "realdpo_paper": Preset(
        "arXiv:2510.14955, Sec. 4.3 (Eq. 6, 7), App. B.1 and C",
        {
            "algorithm": "realdpo",
            "error_space": "x0",
            "scale": 0.5,
            "reference": "ema",
            "ema_decay": 0.996,
            "tuning": "full",
            "learning_rate": 1e-5,
            "batch_size": 8,
            "losers": 3,
            "samples_per_prompt": 3,
            "share_noise": True,
            "share_time": True,
            "time_law": "uniform",
        },
        {"beta": 5000.0, "reduction": "mean", "ema_every": 100},
        "Beta and the interval of the EMA are not stated; ours are the code's. Its error of the clean latent is not "
        "weighted: on v-prediction that is the velocity error times 1 - abar.",
    ),
    "realdpo_code": Preset(
        "Vchitect/RealDPO, finetune/models/cogvideox_i2v/real_dpo_trainer.py",
        {
            "algorithm": "realdpo",
            "beta": 5000.0,
            "scale": 0.5,
            "reduction": "mean",
            "error_space": "velocity",
            "reference": "ema",
            "ema_decay": 0.999,
            "ema_every": 100,
            "tuning": "full",
            "learning_rate": 1e-6,
            "weight_decay": 1e-4,
            "warmup_steps": 400,
            "max_grad_norm": 1.0,
            "losers": 3,
            "samples_per_prompt": 3,
            "time_high": 0.5,
            "share_noise": True,
            "share_time": True,
            "precision": "bf16",
        },
        {"batch_size": 4},
        "Its beta option is never read; 5000 stands in the loss. Its reference is averaged in bfloat16, where a blend "
        "of 0.001 rounds to nothing; here it is averaged in the network's own precision. It steps after every loser, "
        "here after all of them.",
    ),
    "diffusion_dpo_code": Preset(
        "SalesforceAIResearch/DiffusionDPO, train.py and launchers/sd15.sh",
        {
            "algorithm": "dpo",
            "beta": 5000.0,
            "scale": 0.5,
            "reduction": "mean",
            "error_space": "epsilon",
            "share_noise": True,
            "share_time": True,
            "time_law": "uniform",
            "condition_dropout": 0.2,
            "batch_size": 2048,
            "learning_rate": 2.048e-5,
            "weight_decay": 1e-2,
            "warmup_steps": 500,
            "steps": 2000,
            "max_grad_norm": 1.0,
            "precision": "fp16",
            **_FULL,
        },
        notes="For images there.",
    ),
}

_TOY = {
    "tuning": "lora",
    "lora_rank": 32,
    "lora_alpha": 32,
    "learning_rate": 2e-4,
    "batch_size": 8,
    "steps": 100,
    "gap_range": "data",
    "error_space": "velocity",
}
_PULL = {"beta": 2000.0, "sft_weight": 1000.0}
DEFAULTS: dict[str, dict[str, Any]] = {
    "sft": {**_TOY},
    "dpo": {**_TOY, **_PULL},
    "gapo": {**_TOY, **_PULL, "pair_weight": "gap", "gap_normalize": "batch"},
    "flow-dpo": {**_TOY, **_PULL},
    "flow-rwr": {**_TOY, "temperature": 0.1, "weight_normalize": "batch"},
    "realdpo": {**_TOY, "beta": 2000.0, "reference": "ema", "ema_decay": 0.9, "ema_every": 10, "losers": 3},
    "flow-nrg": {**_TOY, "batch_size": 16},
}
"""Recipes of the toy without a preset: LoRA, few steps, sized for two cores; what a first run uses. SFT on the winners
is mixed into the preference losses: on the toy's 64 pairs they gave no gain without it, and at a learning rate of 5e-4
they lowered the reward."""

_LARGE = {
    "tuning": "lora",
    "lora_rank": 64,
    "lora_alpha": 128,
    "learning_rate": 5e-6,
    "batch_size": 64,
    "micro_batch_size": 1,
    "steps": 1000,
    "precision": "bf16",
    "checkpointing": "full",
    "error_space": "velocity",
}
DEFAULTS_LARGE: dict[str, dict[str, Any]] = {
    "sft": {**_LARGE},
    "dpo": {**_LARGE, "beta": 5000.0},
    "gapo": {**_LARGE, "beta": 5000.0, "pair_weight": "gap", "gap_range": "data"},
    "flow-dpo": {**_LARGE, "beta": 500.0},
    "flow-rwr": {**_LARGE, "reward_normalize": "data", "weight_clip": 20.0},
    "realdpo": {**_LARGE, "beta": 5000.0, "reference": "ema", "ema_every": 100, "losers": 3},
    "flow-nrg": {**_LARGE, "learning_rate": 1e-4, "batch_size": 16, "micro_batch_size": 0},
}
"""Recipes of real generators without a preset: the Flow paper's LoRA (rank 64, alpha 128, 5e-6, batch 64; Table 10),
with each paper's beta, in the memory of one large GPU. Steps are ours."""


def recipe_for(algorithm: str | None, preset: str | None, changes: Mapping[str, Any], *, toy: bool = True) -> Recipe:
    """The recipe of an algorithm or a preset, with the user's changes.

    Args:
        algorithm: ``gapo`` if None.
        preset: a name of :data:`PRESETS`; :data:`DEFAULTS` or :data:`DEFAULTS_LARGE` if None.
        changes: settings by name.
        toy: whether the generator is the toy.

    Raises:
        InputError: unknown names, an algorithm that is not the preset's, or a combination that is refused.
    """
    if preset is None:
        name = algorithm or "gapo"
        defaults = DEFAULTS if toy else DEFAULTS_LARGE
        if name not in defaults:
            raise InputError(f"algorithm {name!r} is not known; there are {', '.join(defaults)}")
        return make_recipe({**defaults[name], "algorithm": name}, changes)
    if preset not in PRESETS:
        raise InputError(f"preset {preset!r} is not known{nearest(preset, PRESETS)}")
    found = PRESETS[preset]
    if algorithm is not None and algorithm != found.stated["algorithm"]:
        raise InputError(f"preset {preset} is for {found.stated['algorithm']}, not {algorithm}")
    return make_recipe({**found.stated, **found.ours}, changes)


def unstated(preset: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a preset's recipe that its source does not give, or that the user changed."""
    recipe = recipe_for(None, preset, changes).as_dict()
    return {k: v for k, v in recipe.items() if k not in PRESETS[preset].stated or k in changes}
