"""One step's loss: noisy latents of winners and losers through policy and reference, and what their errors come to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from rewardbench.align import losses
from rewardbench.align.families.base import Condition, VideoFamily
from rewardbench.align.latent_cache import LatentCache
from rewardbench.align.noise import Time, add_noise
from rewardbench.align.pairs import PreferencePair
from rewardbench.align.recipe import Recipe
from rewardbench.align.sampling import seed_of
from rewardbench.errors import InputError


@dataclass(frozen=True)
class Batch:
    """B examples, each a winner and M losers (M = 0: lone samples), as (1 + M)·B rows: winners first, then every
    example's first loser, and so on.

    Attributes:
        latents, noise: float32 ((1 + M)·B, …).
        time: of the rows.
        condition: of the rows.
        weight: (B,) of the examples, or None for 1.
        size: B.
    """

    latents: Tensor
    noise: Tensor
    time: Time
    condition: Condition
    weight: Tensor | None
    size: int

    def side(self, index: int) -> Batch:
        """Rows of the winners (0) or of the ``index``-th losers."""
        rows = slice(index * self.size, (index + 1) * self.size)
        condition = {name: value[rows] for name, value in self.condition.items()}
        return Batch(self.latents[rows], self.noise[rows], self.time[rows], condition, self.weight, self.size)

    @property
    def sides(self) -> int:
        return len(self.latents) // self.size


def make_batch(
    family: VideoFamily,
    recipe: Recipe,
    cache: LatentCache,
    examples: Sequence[tuple[PreferencePair, int]],
    weights: Mapping[str, float],
    device: torch.device | str,
) -> Batch:
    """The batch of (pair, draw): time, noise and dropped captions follow from the seed, the pair's id and the draw
    alone, whatever process, order or batch they are asked for in.

    A pair with fewer losers than the recipe's takes its losers in turn until there are as many; a recipe that compares
    nothing leaves them out.
    """
    losers = recipe.losers if recipe.compares and examples[0][0].lose else 0
    sides = 1 + losers
    times, noises, dropped = [], [], []
    for pair, draw in examples:
        generator = torch.Generator().manual_seed(seed_of(recipe.seed, "draw", pair.pair_id, draw))
        t = recipe.times().sample(sides, generator)
        eps = torch.randn((sides, *family.latent_shape), generator=generator)
        times.append(t[:1].expand(sides) if recipe.share_time else t)
        noises.append(eps[:1].expand_as(eps) if recipe.share_noise else eps)
        dropped.append(bool(torch.rand(1, generator=generator) < recipe.condition_dropout))
    ids = [p.win for p, _ in examples]
    for n in range(losers):
        ids += [p.lose[n % len(p.lose)] for p, _ in examples]
    condition = cache.condition([p.prompt.prompt_id for p, _ in examples], without_text=dropped)
    time = family.schedule.at(torch.stack(times, 1).flatten())
    noise = torch.stack(noises, 1).flatten(0, 1)
    weight = torch.tensor([weights[p.pair_id] for p, _ in examples]) if weights else None
    return Batch(
        cache.latents(ids).to(device),
        noise.to(device),
        time.to(device),
        {name: value.repeat(sides, *[1] * (value.dim() - 1)).to(device) for name, value in condition.items()},
        None if weight is None else weight.to(device),
        len(examples),
    )


def loss_elements(family: VideoFamily, recipe: Recipe) -> int:
    """Elements of a clip's latent that its squared error is over."""
    return family.loss_elements if recipe.loss_mask == "family" else math.prod(family.latent_shape)


def errors(family: VideoFamily, network: nn.Module, batch: Batch, recipe: Recipe) -> Tensor:
    """Squared errors of the rows, float32 (rows,), in the recipe's space and reduction."""
    x_t = family.prepare_latents(add_noise(batch.latents, batch.noise, batch.time), batch.condition)
    prediction = family.predict(network, x_t, batch.time, batch.condition)
    target = family.schedule.target(batch.latents, batch.noise, batch.time)
    mask = family.loss_mask(batch.condition) if recipe.loss_mask == "family" else None
    velocity_error = losses.sample_error(prediction, target, reduction=recipe.reduction, mask=mask)
    return losses.to_error_space(
        velocity_error, batch.time.t, recipe.error_space, alpha=batch.time.alpha, sigma=batch.time.sigma
    )


@dataclass(frozen=True)
class StepLoss:
    """What a batch's errors amount to.

    Attributes:
        loss: scalar, what is minimised.
        values: scalars for the log (detached): loss, accuracy, margin, mean errors.
    """

    loss: Tensor
    values: dict[str, Tensor]


def step_loss(policy: Tensor, reference: Tensor | None, batch: Batch, recipe: Recipe) -> StepLoss:
    """The loss of errors (rows,) of policy and reference (None where the recipe has none)."""
    policy = policy.reshape(batch.sides, batch.size)
    if not recipe.compares:
        loss = losses.weighted_loss(policy[0], batch.weight)
        return StepLoss(loss, {"loss": loss.detach(), "error_win": policy[0].detach().mean()})
    assert reference is not None
    other = reference.reshape(batch.sides, batch.size)
    beta = losses.scheduled_beta(recipe.beta, batch.time.t[: batch.size], recipe.beta_schedule)
    found = losses.preference_loss(
        policy[:1], policy[1:], other[:1], other[1:], beta=beta, scale=recipe.scale, weight=batch.weight
    )
    loss = found.loss + recipe.sft_weight * policy[0].mean()
    values = {
        "loss": loss.detach(),
        "preference_loss": found.loss.detach(),
        "accuracy": found.accuracy,
        "margin": found.margin,
        "error_win": policy[0].detach().mean(),
        "error_lose": policy[1:].detach().mean(),
        "error_win_reference": other[0].mean(),
        "error_lose_reference": other[1:].mean(),
    }
    return StepLoss(loss, values)


def pair_weights(
    pairs: Sequence[PreferencePair], recipe: Recipe, declared: tuple[float, float] | None
) -> dict[str, float]:
    """Weight of every pair, by its id, before any normalisation over a batch; empty where all weigh 1.

    With several losers, GAPO's gap is to their mean reward.

    Args:
        pairs: all pairs of the set (``gap_range`` data takes the range of their rewards).
        recipe: ``algorithm``, ``pair_weight``, ``alpha``, ``gap_range``, ``temperature``, ``weight_clip``,
            ``reward_normalize``, ``weight_normalize``.
        declared: the judge's declared range, or None where it declares none.

    Raises:
        InputError: rewards are missing or infinite, the range the recipe asks for is not known or does not hold them,
            no pair weighs anything, or a weight is not finite.
    """
    if recipe.algorithm != "flow-rwr" and recipe.pair_weight == "none":
        return {}
    win = torch.tensor([p.reward_win for p in pairs], dtype=torch.float64)
    if recipe.algorithm == "flow-rwr":
        _all_known(win, "flow-rwr weighs every clip by its reward")
        if recipe.reward_normalize == "data":
            spread = float(win.std(correction=0))
            if spread == 0:
                raise InputError("all rewards are equal; there is nothing to weigh clips by")
            win = (win - win.mean()) / spread
        if recipe.weight_normalize == "batch" and recipe.weight_clip is None:
            win = win - win.max()  # a factor of all weights, which the normalisation takes out again: exp stays finite
        weight = losses.reward_weight(win, temperature=recipe.temperature, clip=recipe.weight_clip)
        if not bool(weight.isfinite().all()):
            raise InputError(
                f"exp(reward / {recipe.temperature:g}) overflows; choose a higher temperature, a weight_clip, or "
                "reward_normalize data"
            )
    else:
        lose = torch.tensor([sum(p.reward_lose) / len(p.reward_lose) for p in pairs], dtype=torch.float64)
        _all_known(torch.cat([win, lose]), "gapo weighs every pair by the gap of its rewards")
        low, high = _range(torch.cat([win, lose]), recipe, declared)
        weight = losses.gap_weight(
            losses.normalise_rewards(win, low, high), losses.normalise_rewards(lose, low, high), alpha=recipe.alpha
        )
        if not bool((weight != 0).any()):
            raise InputError(
                f"winner and loser have the same reward in all {len(pairs)} pairs, so gap weights are all 0 and "
                "nothing would be learned; choose dpo, which asks no reward"
            )
    return {p.pair_id: float(w) for p, w in zip(pairs, weight, strict=True)}


def check_gap_range(recipe: Recipe, declared: tuple[float, float] | None) -> None:
    """What is known of it before there are rewards.

    Args:
        declared: the judge's range, or None where it declares none.

    Raises:
        InputError: gap weights ask for a range that the judge does not declare.
    """
    known = declared is not None and all(map(math.isfinite, declared))
    if recipe.pair_weight == "gap" and recipe.gap_range == "plugin" and not known:
        raise InputError(
            "the judge declares no finite range that rewards could be normalised by; choose gap_range data"
        )


def strength(family: VideoFamily, recipe: Recipe, weights: Mapping[str, float]) -> list[str]:
    """Sentences for people: how strong the pull to the reference is, and how uneven the weights of examples are."""
    said = []
    if recipe.compares:
        elements = loss_elements(family, recipe)
        found = losses.effective_beta(recipe.beta, scale=recipe.scale, reduction=recipe.reduction, elements=elements)
        said.append(
            f"effective beta: {found.per_sample:g} per sample (of the mean squared error), "
            f"{found.per_element:.3g} per element ({elements:,} elements a clip; beta {recipe.beta:g}, "
            f"reduction {recipe.reduction}, scale {recipe.scale:g}, {recipe.error_space} space, {recipe.beta_schedule})"
        )
    if recipe.compares and recipe.sft_weight:
        said.append(
            f"the winners' error is pulled down by sft_weight {recipe.sft_weight:g}, and by the preference loss at the "
            f"start by at most {recipe.scale * recipe.beta / 2:g} times the pair's weight, as the losers' is pushed up"
        )
    if weights:
        values = torch.tensor(list(weights.values()))
        none = int((values == 0).sum())
        said.append(
            f"weights of {len(values)} examples: mean {values.mean():.3g}, largest {values.max():.3g}, "
            f"{f'{none} weigh 0, ' if none else ''}effective sample size {losses.effective_sample_size(values):.1f}"
        )
    return said


def _all_known(rewards: Tensor, why: str) -> None:
    missing = int(rewards.isnan().sum())
    if missing:
        raise InputError(f"{why}, and {missing} rewards are missing; score the clips, or choose dpo or sft")
    infinite = int(rewards.isinf().sum())
    if infinite:
        raise InputError(f"{why}, and {infinite} rewards are infinite; leave these clips out, or choose dpo or sft")


def _range(rewards: Tensor, recipe: Recipe, declared: tuple[float, float] | None) -> tuple[float, float]:
    check_gap_range(recipe, declared)
    if recipe.gap_range == "plugin":
        assert declared is not None
        _all_within(rewards, declared)
        return declared
    low, high = float(rewards.min()), float(rewards.max())
    if low == high:
        raise InputError("all rewards are equal; there is no gap to weigh pairs by")
    return low, high


def _all_within(rewards: Tensor, declared: tuple[float, float]) -> None:
    """Limited to the range, rewards of another scale would all be its ends, and their pairs weigh nothing."""
    low, high = declared
    slack = 1e-6 * (high - low)  # a mean of rewards at an end is rounded
    outside = int(((rewards < low - slack) | (rewards > high + slack)).sum())
    if outside:
        raise InputError(
            f"{outside} of {len(rewards)} rewards lie outside [{low:g}, {high:g}], the range that the judge declares "
            f"(they reach from {float(rewards.min()):g} to {float(rewards.max()):g}); choose gap_range data"
        )
