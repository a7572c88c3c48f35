"""Everything that decides what is learned, a default beside each choice, and the combinations that make no sense."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rewardbench.align.losses import BETA_SCHEDULES, ERROR_SPACES, REDUCTIONS
from rewardbench.align.noise import TimeLaw
from rewardbench.errors import InputError

ALGORITHMS = ("sft", "dpo", "gapo", "flow-dpo", "flow-rwr", "realdpo", "flow-nrg")
PREFERENCE = ("dpo", "gapo", "flow-dpo", "realdpo")
"""Algorithms that compare a winner with losers against a reference."""
REFERENCES = ("adapter_off", "frozen_copy", "frozen_adapter", "ema")
CHECKPOINTING = ("none", "full", "selective")

_CHOICES: dict[str, tuple[str, ...]] = {
    "algorithm": ALGORITHMS,
    "reduction": REDUCTIONS,
    "error_space": ERROR_SPACES,
    "beta_schedule": BETA_SCHEDULES,
    "time_law": ("uniform", "logit_normal"),
    "pair_weight": ("none", "gap"),
    "gap_range": ("plugin", "data"),
    "gap_normalize": ("none", "batch"),
    "reward_normalize": ("none", "data"),
    "weight_normalize": ("none", "batch"),
    "reference": REFERENCES,
    "tuning": ("lora", "full"),
    "checkpointing": CHECKPOINTING,
    "precision": ("no", "bf16", "fp16"),
    "schedule": ("constant", "cosine"),
    "loss_mask": ("family", "none"),
}


_POSITIVE = (
    *(
        "beta",
        "scale",
        "learning_rate",
        "batch_size",
        "steps",
        "rounds",
        "losers",
        "ema_every",
        "lora_rank",
        "lora_alpha",
    ),
    *("temperature", "weight_clip", "adam_epsilon", "samples_per_prompt", "guidance_clamp", "guidance_norm_cap"),
    *("latent_depth", "latent_width"),
)
_NOT_NEGATIVE = (
    *("micro_batch_size", "draws_per_pair", "sft_weight", "weight_decay", "warmup_steps", "max_grad_norm"),
    *("guidance_scale", "seed", "lora_from"),
)


@dataclass(frozen=True)
class Recipe:
    """One way of aligning a generator. Every field is an option of ``rewardbench align`` and stands in its record.

    Attributes:
        algorithm: what is minimised; see the table in docs/align.md.
        beta: pull to the reference, in the units of ``reduction`` and ``scale``; the run prints what it amounts to.
        beta_schedule: ``constant``, or ``(1-t)^2``: beta·(1 - t)².
        reduction: of a sample's squared error: ``mean`` or ``sum``.
        scale: constant before beta inside the sigmoid: 0.5 in the released codes and Flow-DPO, 1 elsewhere.
        error_space: where the squared error lives: ``velocity``, ``epsilon`` or ``x0``.
        share_noise, share_time: winner and losers get the same noise, the same time.
        time_law, time_low, time_high, time_mean, time_std, time_shift: see :class:`rewardbench.align.noise.TimeLaw`.
        draws_per_pair: number of (time, noise) draws that a pair alternates between; 0 draws anew at every visit.
        pair_weight: ``none``, or ``gap``: alpha^R_w - alpha^R_l.
        alpha: base of the gap weight.
        gap_range: rewards are normalised to [0, 1] by the ``plugin``'s declared range or by the range of the ``data``.
        gap_normalize: ``batch`` divides weights by their mean over the global batch.
        reward_normalize: of Flow-RWR's rewards: ``none``, or ``data``: mean 0 and standard deviation 1 over all clips.
        temperature, weight_clip: of Flow-RWR's weight min(exp(reward / temperature), clip).
        weight_normalize: ``batch`` divides Flow-RWR's weights by their mean over the global batch.
        reference: who the policy is compared with: ``adapter_off`` (the base under LoRA), ``frozen_copy``,
            ``frozen_adapter`` (the adapter the run started from), or ``ema`` (follows the policy).
        ema_decay, ema_every: the EMA reference moves by 1 - ema_decay every ema_every steps.
        cache_reference: reference errors are computed once per (pair, draw) before training.
        sft_weight: adds this times the winner's error.
        condition_dropout: probability that the caption is left out, alike for winner, losers, policy and reference.
        loss_mask: ``family`` leaves out what the family keeps clean (a first frame); ``none`` counts everything.
        samples_per_prompt: clips sampled from the generator for each prompt.
        losers: losers a winner is compared with.
        rounds: how often clips are sampled anew from the policy and trained on.
        tuning: ``lora`` or ``full``.
        lora_rank, lora_alpha: of the adapter.
        lora_from: first block with LoRA, counted from 0, which is everywhere. Blocks before it are the same in policy
            and reference and are computed once for both.
        learning_rate, weight_decay, adam_beta1, adam_beta2, adam_epsilon: of AdamW.
        schedule, warmup_steps: of the learning rate.
        max_grad_norm: gradients are clipped to it; 0 for never.
        batch_size: pairs (or samples) in a step over all processes.
        micro_batch_size: pairs (or samples) that a process computes at once; 0 for all of its share.
        steps: optimiser steps in all rounds together.
        precision: autocast: ``no`` (float32), ``bf16``, ``fp16``.
        checkpointing: of activations: ``none``, ``full`` (whole blocks, clip by clip), or ``selective`` (blocks whose
            attention outputs are kept).
        low_memory: winner and losers go through the network apart; one more forward, exact gradients.
        guidance_scale, guidance_clamp, guidance_norm_cap: of Flow-NRG's reward guidance.
        latent_depth, latent_width: blocks of the generator that its latent reward reuses, and width of its head.
        latent_clean: the latent reward sees clean latents only, as in the paper's ablation.
        seed: of sampling, order, times and noise.
    """

    algorithm: str = "gapo"
    beta: float = 5000.0
    beta_schedule: str = "constant"
    reduction: str = "mean"
    scale: float = 0.5
    error_space: str = "velocity"
    share_noise: bool = True
    share_time: bool = True
    time_law: str = "uniform"
    time_low: float = 0.0
    time_high: float = 1.0
    time_mean: float = 0.0
    time_std: float = 1.0
    time_shift: float = 1.0
    draws_per_pair: int = 0
    pair_weight: str = "none"
    alpha: float = 2.0
    gap_range: str = "plugin"
    gap_normalize: str = "none"
    reward_normalize: str = "none"
    temperature: float = 1.0
    weight_clip: float | None = None
    weight_normalize: str = "none"
    reference: str = "adapter_off"
    ema_decay: float = 0.996
    ema_every: int = 1
    cache_reference: bool = False
    sft_weight: float = 0.0
    condition_dropout: float = 0.0
    loss_mask: str = "family"
    samples_per_prompt: int = 4
    losers: int = 1
    rounds: int = 1
    tuning: str = "lora"
    lora_rank: int = 64
    lora_alpha: int = 64
    lora_from: int = 0
    learning_rate: float = 1e-4
    weight_decay: float = 0.0
    adam_beta1: float = 0.9
    adam_beta2: float = 0.999
    adam_epsilon: float = 1e-8
    schedule: str = "constant"
    warmup_steps: int = 0
    max_grad_norm: float = 1.0
    batch_size: int = 8
    micro_batch_size: int = 0
    steps: int = 200
    precision: str = "no"
    checkpointing: str = "none"
    low_memory: bool = False
    guidance_scale: float = 100.0
    guidance_clamp: float | None = None
    guidance_norm_cap: float | None = None
    latent_depth: int = 2
    latent_width: int = 128
    latent_clean: bool = False
    seed: int = 0

    def times(self) -> TimeLaw:
        return TimeLaw(
            self.time_law, self.time_low, self.time_high, mean=self.time_mean, std=self.time_std, shift=self.time_shift
        )

    @property
    def compares(self) -> bool:
        """True where winners are compared with losers against a reference."""
        return self.algorithm in PREFERENCE

    def share_of(self, processes: int) -> int:
        """Examples of a batch that each of some processes takes.

        Raises:
            InputError: the batch, or the pieces it is computed in, cannot be shared so.
        """
        share, left = divmod(self.batch_size, processes)
        if left:
            raise InputError(f"batch_size {self.batch_size} cannot be shared by {processes} processes")
        if self.micro_batch_size and share % self.micro_batch_size:
            raise InputError(
                f"micro_batch_size {self.micro_batch_size} does not divide the {share} examples of each of {processes} "
                "processes"
            )
        return share

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def check_recipe(recipe: Recipe) -> None:
    """Refuse what cannot be meant.

    Raises:
        InputError: one sentence that says why and what to do.
    """
    for name, known in _CHOICES.items():
        if getattr(recipe, name) not in known:
            raise InputError(f"{name} {getattr(recipe, name)!r} is not known; there are {', '.join(known)}")
    _check_numbers(recipe)
    try:
        recipe.times()
    except ValueError as error:
        raise InputError(str(error)) from None
    for refused, sentence in _refusals(recipe):
        if refused:
            raise InputError(sentence)


def _check_numbers(recipe: Recipe) -> None:
    """Ranges of single settings."""
    for name, value in recipe.as_dict().items():
        if isinstance(value, float) and not math.isfinite(value):
            raise InputError(f"{name} is a finite number, not {value}")
    for name in _POSITIVE:
        value = getattr(recipe, name)
        if value is not None and not value > 0:
            raise InputError(f"{name} is positive, not {value}")
    for name in _NOT_NEGATIVE:
        if getattr(recipe, name) < 0:
            raise InputError(f"{name} is not negative, and {getattr(recipe, name)} is")
    for name in ("condition_dropout", "ema_decay"):
        if not 0.0 <= getattr(recipe, name) <= 1.0:
            raise InputError(f"{name} lies between 0 and 1, not {getattr(recipe, name)}")
    for name in ("adam_beta1", "adam_beta2"):
        if not 0.0 <= getattr(recipe, name) < 1.0:
            raise InputError(f"{name} lies between 0 and 1, 1 left out, not {getattr(recipe, name)}")


def _refusals(r: Recipe) -> list[tuple[bool, str]]:
    moving = r.reference == "ema"
    return [
        (
            r.error_space == "epsilon" and r.beta_schedule == "(1-t)^2",
            "error_space epsilon together with beta_schedule (1-t)^2 is the same factor twice: an epsilon error is the "
            "velocity error times (1-t)^2 already; keep one of the two",
        ),
        (
            r.pair_weight == "gap" and r.algorithm in ("sft", "flow-rwr", "flow-nrg"),
            f"pair_weight gap weighs pairs, and {r.algorithm} has none; leave it out or choose gapo",
        ),
        (
            r.algorithm == "gapo" and r.pair_weight != "gap",
            "gapo is DPO with pair_weight gap; choose dpo where pairs shall not be weighted",
        ),
        (
            r.pair_weight == "gap" and not r.alpha > 1.0,
            f"alpha of the gap weight is above 1, not {r.alpha}: otherwise a larger gap would weigh less",
        ),
        (
            r.tuning == "full" and r.reference in ("adapter_off", "frozen_adapter"),
            f"reference {r.reference} needs an adapter; with tuning full choose frozen_copy or ema",
        ),
        (
            r.lora_from > 0 and (r.tuning == "full" or r.algorithm == "flow-nrg"),
            f"lora_from says at which block LoRA begins, and {'tuning full' if r.tuning == 'full' else r.algorithm} "
            "has none; leave lora_from out",
        ),
        (
            r.cache_reference and moving,
            "cache_reference keeps errors of a reference that stands still, and reference ema moves; drop one of them",
        ),
        (
            r.cache_reference and not r.compares,
            f"cache_reference has nothing to keep: {r.algorithm} has no reference",
        ),
        (
            r.cache_reference and r.draws_per_pair == 0,
            "cache_reference needs draws_per_pair (4 to 16): with new noise at every visit no error is used twice",
        ),
        (
            r.sft_weight > 0 and r.algorithm in ("sft", "flow-rwr"),
            f"sft_weight adds SFT to a preference loss; {r.algorithm} is one already",
        ),
        (
            r.beta_schedule == "(1-t)^2" and not r.share_time,
            "beta_schedule (1-t)^2 needs share_time: a pair whose sides have two times has no one factor",
        ),
        (
            r.steps % r.rounds != 0,
            f"{r.steps} steps cannot be shared by {r.rounds} rounds; choose a multiple of {r.rounds}",
        ),
        (
            r.micro_batch_size > 0 and r.batch_size % r.micro_batch_size != 0,
            f"micro_batch_size {r.micro_batch_size} does not divide batch_size {r.batch_size}",
        ),
        (
            r.losers > 1 and r.compares and r.losers > max(r.samples_per_prompt, 1),
            f"{r.losers} losers a winner need at least as many samples_per_prompt, not {r.samples_per_prompt}",
        ),
        (
            not r.sft_weight >= 0.0,
            f"sft_weight is not negative, and {r.sft_weight} is",
        ),
    ]


def make_recipe(base: Mapping[str, Any], changes: Mapping[str, Any]) -> Recipe:
    """A recipe from a preset's settings and the user's changes, checked.

    Raises:
        InputError: an unknown name, or a combination that is refused.
    """
    known = {f.name for f in dataclasses.fields(Recipe)}
    for name in (*base, *changes):
        if name not in known:
            raise InputError(f"a recipe has no setting {name!r}; there are {', '.join(sorted(known))}")
    recipe = Recipe(**{**base, **changes})
    check_recipe(recipe)
    return recipe
