"""Training of a latent reward: one state after the other, from which it goes on exactly where it stopped."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from rewardbench.align.disk import writing
from rewardbench.align.families.base import Condition
from rewardbench.align.latent_reward import LatentPair, LatentRewardModel, decided_pairs
from rewardbench.align.losses import bradley_terry_loss
from rewardbench.align.noise import Time, add_noise
from rewardbench.align.order import VisitOrder
from rewardbench.align.phases import Phases
from rewardbench.align.recipe import Recipe
from rewardbench.align.run_states import KEPT_STATES, LOG_FILE, read_log, state_name, states
from rewardbench.align.sampling import seed_of
from rewardbench.align.training import learning_rate
from rewardbench.errors import CheckFailed, InputError

_HEAD_FILE, _OPTIMIZER_FILE = "head.safetensors", "optimizer.pt"


class LatentRewardTrainer:
    """Trains a head on pairs; the same folder goes on exactly where an interrupted run stopped.

    Winner and loser get the same noise at the same time. Dimensions that a pair does not decide take no part in its
    loss. The order of the pairs follows from the seed and the epoch, times and noise from the seed and the step.

    Args:
        model: trained in place; the generator's blocks stay as they are.
        pairs: at least one; see :func:`latent_pairs`.
        cache: an opened :class:`rewardbench.align.latent_cache.LatentCache`.
        recipe: ``steps``, ``batch_size``, ``seed``, the time law, AdamW's settings, the learning rate's and
            ``max_grad_norm``.
        folder: ``log.jsonl`` and ``states/`` go there, laid out as :class:`rewardbench.align.training.Trainer`'s.
        save_every: steps between states.
        log_every: steps between lines of the log; each is a mean over these steps.
    """

    def __init__(
        self,
        model: LatentRewardModel,
        pairs: Sequence[LatentPair],
        cache: Any,
        recipe: Recipe,
        folder: Path,
        *,
        save_every: int = 100,
        log_every: int = 10,
    ) -> None:
        self.model, self.pairs, self.cache, self.recipe = model, list(pairs), cache, recipe
        self.folder, self.save_every, self.log_every = folder, save_every, log_every
        model.pairs = decided_pairs(pairs)
        self._learning = [p for p in model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            self._learning,
            lr=recipe.learning_rate,
            betas=(recipe.adam_beta1, recipe.adam_beta2),
            eps=recipe.adam_epsilon,
            weight_decay=recipe.weight_decay,
        )
        self.step = 0
        self._unlogged: list[dict[str, float]] = []
        self._device = self._learning[0].device
        self.phases = Phases(self._device)
        self._order = VisitOrder(len(self.pairs), recipe.seed, "latent order")

    def batch_at(self, step: int) -> list[LatentPair]:
        """Pairs of a step; each is visited once an epoch."""
        return [self.pairs[place] for _, place in self._order.batch(step, self.recipe.batch_size)]

    def _sides(self, chosen: Sequence[LatentPair]) -> tuple[list[Tensor], Time, Condition]:
        """Noisy latents of the first and of the second clips, their time, and what the network is told."""
        (family,), device = self.model.family, self._device
        generator = torch.Generator().manual_seed(seed_of(self.recipe.seed, "latent reward", self.step))
        t = self.recipe.times().sample(len(chosen), generator)
        eps = torch.randn((len(chosen), *family.latent_shape), generator=generator).to(device)
        time = family.schedule.at(t if self.model.sees_time else torch.zeros_like(t)).to(device)
        condition = {k: v.to(device) for k, v in self.cache.condition([p.prompt_id for p in chosen]).items()}
        sides = []
        for ids in ([p.first for p in chosen], [p.second for p in chosen]):
            latents = self.cache.latents(ids).to(device)
            sides.append(family.prepare_latents(add_noise(latents, eps, time), condition))
        return sides, time, condition

    def _asked(
        self, chosen: Sequence[LatentPair], sides: Sequence[Tensor], time: Time, condition: Condition
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Loss of some pairs, and (pairs, dimensions) where the head is right and where the pair decides."""
        labels = [[p.labels[d] for d in self.model.dimensions] for p in chosen]
        sign = torch.tensor(labels, dtype=torch.float32, device=self._device)
        first, second = (self.model.rewards(x_t, time, condition) for x_t in sides)
        gap, decided = (first - second) * sign, sign != 0
        loss = bradley_terry_loss(gap[decided], torch.zeros_like(gap[decided]))
        return loss, (gap.detach() > 0) & decided, decided

    def train_step(self) -> dict[str, float]:
        """One optimiser step; numbers for the log, NaN for the accuracy of a dimension that no pair here decides.

        Raises:
            CheckFailed: the loss or its gradient is not finite; nothing was changed.
        """
        rate = learning_rate(self.recipe, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        with self.phases.timed("data"):
            chosen = self.batch_at(self.step)
            sides, time, condition = self._sides(chosen)
        with self.phases.timed("forward"):
            loss, right, decided = self._asked(chosen, sides, time, condition)
        with self.phases.timed("backward"):
            loss.backward()
        with self.phases.timed("optimiser"):
            limit = self.recipe.max_grad_norm if self.recipe.max_grad_norm > 0 else math.inf
            norm = float(nn.utils.clip_grad_norm_(self._learning, limit))
            if not (math.isfinite(norm) and math.isfinite(float(loss.detach()))):
                self.optimizer.zero_grad()
                raise CheckFailed(self._diverged())
            self.optimizer.step()
            self.optimizer.zero_grad()
            self.step += 1
        values = {
            "loss": float(loss.detach()),
            "pairwise_accuracy": float(right.sum() / decided.sum()),
            "gradient_norm": norm,
            "clipped": float(norm > limit),
        }
        shares = (right.sum(0) / decided.sum(0)).tolist()  # 0/0 is NaN
        return values | {f"pairwise_accuracy:{d}": v for d, v in zip(self.model.dimensions, shares, strict=True)}

    def train(
        self,
        until: int,
        *,
        begin: Callable[[int], None] = lambda n: None,
        advance: Callable[[int], None] = lambda n: None,
    ) -> None:
        """Train to step ``until``, from the newest state of the folder; see :meth:`Trainer.train`.

        Raises:
            CheckFailed: the loss diverged; the last good state stays. A state is written only where the weights that it
                holds give a finite loss.
            InputError: the folder's states are another head's.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.resume()
        begin(until - self.step)
        while self.step < until:
            self._unlogged.append(self.train_step())
            if self.step % self.log_every == 0 or self.step == until:
                self._log(self._unlogged)
                self._unlogged = []
            if self.step % self.save_every == 0 or self.step == until:
                self._check_before_saving()
                self.save()
            advance(1)

    def _check_before_saving(self) -> None:
        """Ask the new weights for the next step's loss: a state that is written can be gone on from."""
        chosen = self.batch_at(self.step)
        with torch.no_grad():
            loss, *_ = self._asked(chosen, *self._sides(chosen))
        if not math.isfinite(float(loss)):
            raise CheckFailed(self._diverged())

    def _log(self, steps: Sequence[Mapping[str, float]]) -> None:
        means: dict[str, float | None] = {}
        for name in sorted(steps[0]):
            known = [values[name] for values in steps if math.isfinite(values[name])]
            means[name] = sum(known) / len(known) if known else None
        seconds = {name: round(value / len(steps), 4) for name, value in self.phases.take().items()}
        rate = learning_rate(self.recipe, self.step - 1)
        line = {"step": self.step, **means, "seconds": seconds, "learning_rate": rate}
        with open(self.folder / LOG_FILE, "a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")

    def save(self) -> Path:
        """Write a state to go on from; all or nothing. Older ones are removed."""
        with writing(self.folder / "states"):
            return self._save()

    def _save(self) -> Path:
        target = self.folder / "states" / state_name(self.step)
        partial = target.with_name(f".{target.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        weights = {k: v.detach().cpu().contiguous() for k, v in self.model.state_dict().items()}
        save_file(weights, partial / _HEAD_FILE)
        state = {
            "step": self.step,
            "dimensions": self.model.dimensions,
            "optimizer": self.optimizer.state_dict(),
            "unlogged": self._unlogged,
            "seconds": self.phases.so_far(),
        }
        torch.save(state, partial / _OPTIMIZER_FILE)
        shutil.rmtree(target, ignore_errors=True)
        os.replace(partial, target)
        for old in states(self.folder)[:-KEPT_STATES]:
            shutil.rmtree(old)
        return target

    def resume(self) -> None:
        """Load the newest state, if there is one, and cut the log back to it.

        Raises:
            InputError: it is another head's.
        """
        for newest in states(self.folder)[-1:]:
            state = torch.load(newest / _OPTIMIZER_FILE, map_location="cpu", weights_only=True)
            if tuple(state["dimensions"]) != self.model.dimensions:
                raise InputError(f"{newest} is the state of a head with other dimensions; choose another --out")
            try:
                self.model.load_state_dict(load_file(newest / _HEAD_FILE))
            except RuntimeError as error:
                raise InputError(f"{newest} is the state of another head; choose another --out") from error
            self.optimizer.load_state_dict(state["optimizer"])
            self.step, self._unlogged = int(state["step"]), list(state["unlogged"])
            self.phases.go_on(state["seconds"])
        kept = [json.dumps(line) + "\n" for line in read_log(self.folder) if line["step"] <= self.step]
        (self.folder / LOG_FILE).write_text("".join(kept), encoding="utf-8")

    def _diverged(self) -> str:
        found = states(self.folder)
        kept = f"the last good state is {found[-1]}" if found else "there is no state yet"
        return (
            f"the latent reward's loss is not finite at step {self.step + 1}; {kept}; lower learning_rate, or clip at "
            "a smaller max_grad_norm"
        )
