"""The loop: batches in a fixed order, one loss, one optimiser step, and a state that goes on exactly where it stopped.

`accelerate` is the engine: the same code runs in one process, under DDP, FSDP2 and DeepSpeed. Everything random in a
step follows from the seed, the pair and its visit (see :func:`rewardbench.align.objective.make_batch`), so the position
in the data is the step's number, and N processes see the batches that one sees.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rewardbench.align import checkpointing, engines
from rewardbench.align.adapters import Reference, cast_once
from rewardbench.align.disk import writing
from rewardbench.align.families.base import VideoFamily
from rewardbench.align.latent_cache import LatentCache
from rewardbench.align.objective import Batch, errors, make_batch, step_loss
from rewardbench.align.order import VisitOrder
from rewardbench.align.pairs import PreferencePair
from rewardbench.align.phases import Phases, arithmetic_bound, forward_flops
from rewardbench.align.prefix import SharedPrefix
from rewardbench.align.recipe import Recipe
from rewardbench.align.reference_errors import filled, identity_of
from rewardbench.align.run_states import KEPT_STATES, LOG_FILE, States, read_log, states
from rewardbench.align.step_log import StepLog
from rewardbench.errors import CheckFailed

__all__ = ["DIVERGED", "KEPT_STATES", "LOG_FILE", "MOST_OVERFLOWS", "Trainer", "learning_rate", "read_log", "states"]

DIVERGED = 10.0
"""Times its start (the reference's, where there is one) that the winners' error may rise before a run is stopped."""
MOST_OVERFLOWS = 20
"""Steps in a row whose fp16 gradient may overflow: the scaler halves its scale of 2^16 at each, so 20 reach below 1."""


class Trainer:
    """Trains a family's network (LoRA attached, see :func:`rewardbench.align.adapters.attach`) on pairs.

    Args:
        family: its ``transformer`` learns in place.
        recipe: checked.
        pairs, weights: what is learned from; weights by pair id, or empty.
        cache: opened; latents and conditions of the pairs' clips.
        folder: states, log and reference errors go there; a run that was stopped goes on from it.
        save_every: steps between states.
        log_every: steps between lines of the log; each is a mean over these steps.
        accelerator: from :func:`rewardbench.align.engines.make_accelerator`; made here if None.
    """

    def __init__(
        self,
        family: VideoFamily,
        recipe: Recipe,
        pairs: Sequence[PreferencePair],
        weights: dict[str, float],
        cache: LatentCache,
        folder: Path,
        *,
        save_every: int = 100,
        log_every: int = 10,
        accelerator: Any = None,
    ) -> None:
        self.family, self.recipe, self.pairs, self.weights, self.cache = family, recipe, list(pairs), weights, cache
        self.folder, self.save_every, self.log_every = folder, save_every, log_every
        self.accelerator = accelerator or engines.make_accelerator(family, recipe)
        self.engine = engines.engine_name(self.accelerator)
        engines.check_engine(self.engine, recipe)
        self._share = recipe.share_of(self.accelerator.num_processes)
        checkpointing.apply(family, recipe.checkpointing)
        cast_once(family.transformer, recipe.precision)
        self.reference = Reference(family, recipe) if recipe.compares else None
        family.transformer.train()
        learning = [p for p in family.transformer.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(
            learning,
            lr=recipe.learning_rate,
            betas=(recipe.adam_beta1, recipe.adam_beta2),
            eps=recipe.adam_epsilon,
            weight_decay=recipe.weight_decay,
        )
        if recipe.cache_reference and self.reference is not None:  # before it learns, and before it is shared out
            self._reference_identity = identity_of(self.reference, recipe, self.pairs, cache)
        self.network, self.optimizer = engines.prepare(
            self.accelerator, self.engine, family, recipe, optimizer, self._share
        )
        if self.reference is not None:  # after the policy, whose way of sharding it follows
            self.reference.prepare(self.accelerator, self.engine, recipe)
        self.step = self._overflows = 0
        # DeepSpeed fetches weights in an order that it has learnt; it is spared blocks that answer without computing
        self.prefix = SharedPrefix(0 if self.engine == "deepspeed" else recipe.lora_from)
        self.phases = Phases(self.accelerator.device)
        self._reference_errors: dict[tuple[str, int], Tensor] = {}
        self.log = StepLog(self)
        self._states = States(self)
        self._order = VisitOrder(len(self.pairs), recipe.seed, "order")
        self.bound: dict[str, float] = {}

    # ------------------------------------------------------------------ order of the data

    def batch_at(self, step: int) -> list[tuple[PreferencePair, int]]:
        """The global batch of a step as (pair, draw), the same in every process."""
        draws = self.recipe.draws_per_pair
        visits = self._order.batch(step, self.recipe.batch_size)
        return [(self.pairs[place], epoch % draws if draws else epoch) for epoch, place in visits]

    def _weights(self, batch: Sequence[tuple[PreferencePair, int]]) -> dict[str, float]:
        """Weights of a global batch, normalised as the recipe says."""
        r = self.recipe
        if not self.weights:
            return {}
        found = {p.pair_id: self.weights[p.pair_id] for p, _ in batch}
        normalize = r.weight_normalize if r.algorithm == "flow-rwr" else r.gap_normalize
        if normalize == "none":
            return found
        mean = sum(self.weights[p.pair_id] for p, _ in batch) / len(batch)
        return {k: w / mean for k, w in found.items()} if mean > 0 else found

    # ------------------------------------------------------------------ one step

    def _micro_batches(self, step: int) -> Iterator[Batch]:
        weights = self._weights(self.batch_at(step))
        for part in self._parts_of(step):
            with self.phases.timed("data"):
                batch = make_batch(self.family, self.recipe, self.cache, part, weights, self.accelerator.device)
            self._examples = part
            yield batch

    def _parts_of(self, step: int) -> list[list[tuple[PreferencePair, int]]]:
        """This process's share of a step's batch, in the pieces that are computed at once."""
        first = self.accelerator.process_index * self._share
        mine = self.batch_at(step)[first : first + self._share]
        size = self.recipe.micro_batch_size or self._share
        return [mine[start : start + size] for start in range(0, self._share, size)]

    def train_step(self) -> dict[str, Tensor]:
        """One optimiser step; scalars for the log, not yet read from the device.

        Raises:
            CheckFailed: the loss or its gradient is not finite; nothing was changed (but by DeepSpeed, which clips and
                steps in one; no state is written of it).
        """
        r = self.recipe
        rate = learning_rate(r, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        parts = self._share // (r.micro_batch_size or self._share)
        values: dict[str, Tensor] = {}
        for number, batch in enumerate(self._micro_batches(self.step)):
            found = self._backward(batch, 1.0 / parts, last=number == parts - 1)
            for name, value in found.items():
                values[name] = values.get(name, 0.0) + value.float() / parts
        with self.phases.timed("optimiser"):
            limit = r.max_grad_norm if r.max_grad_norm > 0 else math.inf
            norm = self._descend(limit, finite=bool(torch.isfinite(values["loss"])))
            self.step += 1
            if self.reference is not None:
                self.reference.after_step(self.step)
        values |= {"gradient_norm": norm.cpu(), "clipped": (norm > limit).float().cpu()}
        return values

    def _descend(self, limit: float, *, finite: bool) -> Tensor:
        """Clip and step; the gradient's norm before clipping, NaN where the engine does not tell it."""
        if not self._everywhere(finite):
            self.optimizer.zero_grad()
            raise CheckFailed(self._diverged())
        if self.engine == "deepspeed":  # clips and steps in one: a bad gradient shows when memory has changed
            self.network.step()
            told = self.network.get_global_grad_norm()
            norm = torch.as_tensor(math.nan if told is None else told).detach()
            if told is not None and not bool(torch.isfinite(norm)):
                raise CheckFailed(self._diverged())
            return norm
        # asked of the optimiser: FSDP2 has put parts of parameters into the place of those it was made with
        learning = [p for group in self.optimizer.param_groups for p in group["params"]]
        found = self.accelerator.clip_grad_norm_(learning, limit)
        norm = torch.as_tensor(found).detach()
        norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
        if not self._usable(bool(torch.isfinite(norm))):
            self.optimizer.zero_grad()
            raise CheckFailed(self._diverged())
        self.optimizer.step()  # under fp16 the scaler leaves a step out whose gradient overflowed
        self.optimizer.zero_grad()
        return norm

    def _everywhere(self, good: bool) -> bool:
        """True where it is so in every process: one that stops alone leaves the others waiting."""
        if self.accelerator.num_processes == 1:
            return good
        found = torch.tensor(0.0 if good else 1.0, device=self.accelerator.device)
        return float(self.accelerator.reduce(found, "sum")) == 0.0

    def _usable(self, finite: bool) -> bool:
        """False where the gradient says that the run diverged; in fp16 it may overflow while the scale is searched."""
        self._overflows = 0 if finite else self._overflows + 1
        allowed = MOST_OVERFLOWS if self.accelerator.scaler is not None else 0
        return self._overflows <= allowed

    def _synchronised(self, last: bool) -> Any:
        """Gradients are exchanged at a step's last backward; FSDP2, which would keep them whole until then, and
        DeepSpeed exchange at each."""
        waits = self.engine == "plain" and not last
        return self.accelerator.no_sync(self.network) if waits else contextlib.nullcontext()

    def _differentiate(self, loss: Tensor, last: bool) -> None:
        if self.engine == "deepspeed":  # accelerate's own would also step, after every micro batch
            self.network.set_gradient_accumulation_boundary(last)
            self.network.backward(loss)
        else:
            self.accelerator.backward(loss)

    def _backward(self, batch: Batch, share: float, *, last: bool = True) -> dict[str, Tensor]:
        with self.prefix.batch():
            reference = self._reference_of(batch) if self.recipe.compares else None
            if self.recipe.low_memory and batch.sides > 1:
                return self._backward_apart(batch, reference, share, last)
            return self._backward_together(batch, reference, share, last)

    def _backward_together(self, batch: Batch, reference: Tensor | None, share: float, last: bool) -> dict[str, Tensor]:
        with self._synchronised(last):
            with self.phases.timed("forward"):
                policy = self._policy_errors(batch)
                found = step_loss(policy, reference, batch, self.recipe)
            with self.phases.timed("backward"):
                self._differentiate(found.loss * share, last)
        return found.values

    def _backward_apart(self, batch: Batch, reference: Tensor | None, share: float, last: bool) -> dict[str, Tensor]:
        """Side by side: the loss needs one number of each row, so all are asked without gradients first; then each side
        goes through again with the derivative by its own errors. Exact, for one more forward and half the memory."""
        sides = [batch.side(n) for n in range(batch.sides)]
        with self.phases.timed("forward"), torch.no_grad():
            policy = torch.cat([self._policy_errors(side, n) for n, side in enumerate(sides)])
        with torch.enable_grad():
            policy = policy.detach().requires_grad_()
            found = step_loss(policy, reference, batch, self.recipe)
            (slope,) = torch.autograd.grad(found.loss, policy)
        for n, side in enumerate(sides):
            final = last and n == len(sides) - 1
            with self._synchronised(final):
                with self.phases.timed("forward"):
                    again = self._policy_errors(side, n)
                with self.phases.timed("backward"):
                    rows = slice(n * batch.size, (n + 1) * batch.size)
                    self._differentiate((again * slope[rows]).sum() * share, final)
        return found.values

    def _policy_errors(self, batch: Batch, part: int = 0) -> Tensor:
        """Of a batch, or of its side ``part``."""
        return self._shared_errors(self.network, self.family.transformer, batch, part)

    def _shared_errors(self, network: Any, plain: nn.Module, batch: Batch, part: int) -> Tensor:
        """Of a network as it is asked, which may be wrapped, and as its blocks are found."""
        with self.prefix.shared(self.family.blocks(plain), part):
            return errors(self.family, network, batch, self.recipe)

    def _reference_of(self, batch: Batch) -> Tensor:
        if self._reference_errors:
            rows = torch.stack([self._reference_errors[(p.pair_id, draw)] for p, draw in self._examples], 1)
            return rows.flatten().to(self.accelerator.device)
        assert self.reference is not None
        with self.phases.timed("reference"):
            sides = [batch.side(n) for n in range(batch.sides)] if self.recipe.low_memory else [batch]
            return torch.cat([self._reference_errors_of(side, n) for n, side in enumerate(sides)])

    def _reference_errors_of(self, batch: Batch, part: int = 0) -> Tensor:
        """In the policy's precision: a copy made before the engine took over the policy knows nothing of autocast."""
        assert self.reference is not None
        with self.reference.active(self.network) as other, self.accelerator.autocast():
            return self._shared_errors(other, other, batch, part)

    def cache_reference(self, until: int) -> None:
        """Compute the reference's errors of every (pair, draw) that steps up to ``until`` visit, or read them.

        Processes share the missing ones out. A file of another reference, other data or other draws is made anew.
        """
        if not self.recipe.cache_reference:
            return
        visits = list(dict.fromkeys((p.pair_id, d) for s in range(until) for p, d in self.batch_at(s)))
        path = self.folder / "reference.safetensors"
        size = self.recipe.micro_batch_size or self._share
        self._reference_errors = filled(
            path, self._reference_identity, visits, self._errors_of, size=size, process=self.accelerator
        )

    def _errors_of(self, visits: Sequence[tuple[str, int]]) -> list[Tensor]:
        """The reference's errors (sides,) of (pair id, draw)."""
        by_id = {p.pair_id: p for p in self.pairs}
        part = [(by_id[pair_id], draw) for pair_id, draw in visits]
        batch = make_batch(self.family, self.recipe, self.cache, part, {}, self.accelerator.device)
        with self.phases.timed("reference"):
            found = self._reference_errors_of(batch).reshape(batch.sides, batch.size).cpu()
        return [column.contiguous() for column in found.unbind(1)]

    # ------------------------------------------------------------------ the loop

    def train(
        self,
        until: int,
        *,
        begin: Callable[[int], None] = lambda n: None,
        advance: Callable[[int], None] = lambda n: None,
    ) -> None:
        """Train to step ``until``, from the newest state of the folder.

        Args:
            until: a step.
            begin: called once, with the number of steps that are left.
            advance: called with the number of steps that were made.

        Raises:
            CheckFailed: the loss diverged (not finite, or the winners' error is :data:`DIVERGED` times the reference's,
                or without a reference what it was at first); the last good state stays. A state is written only where
                the weights that it holds pass the same.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.resume()
        begin(until - self.step)
        self.cache_reference(until)
        if self.step < until and not self.bound:
            self._measure_bound()
        while self.step < until:
            values = self.train_step()
            self.log.add(values)
            if self.step % self.log_every == 0 or self.step == until:
                with writing(self.folder / LOG_FILE):
                    self.log.write(learning_rate(self.recipe, self.step - 1))
                self._check()
            if self.step % self.save_every == 0 or self.step == until:
                self._check_before_saving(values)
                self.save()
            advance(1)

    def _check(self) -> None:
        """Stop a run that has lost its way before it overflows; every process reads the same log."""
        lines = read_log(self.folder)
        last, error = lines[-1], lines[-1]["error_win"]
        before = last.get("error_win_reference", lines[0]["error_win"])
        if error is not None and before is not None and error > DIVERGED * before:
            raise CheckFailed(self._diverged(self._risen(error), self.step))

    def _check_before_saving(self, before: Mapping[str, Tensor]) -> None:
        """Ask the new weights for the errors of the step that made them: a state that is written can be gone on from.

        The winners' error is held against the reference's on the same rows (or on an ordinary batch, where this one's
        is small); without a reference, against what it was at first. Costs a forward a state.

        Args:
            before: what the step said, of the weights before it.
        """
        with self._same_randomness(), torch.no_grad():
            found = torch.stack([self._winners_and_losers(part) for part in self._parts_of(self.step - 1)]).mean(0)
        here = "error_win_reference" if self.recipe.compares else "error_win"
        told = torch.cat([found.cpu().double(), before[here].double().reshape(1).cpu()]).float()
        win, lose, usual = self.accelerator.reduce(told.to(self.accelerator.device), "mean").tolist()
        if not (math.isfinite(win) and math.isfinite(lose)):
            raise CheckFailed(self._diverged("the new weights' error is not finite", self.step))
        lines = read_log(self.folder)
        logged = None
        if lines:
            logged = lines[-1].get(here) if self.recipe.compares else lines[0].get(here)
        if win > DIVERGED * max(usual if self.recipe.compares or logged is None else 0.0, logged or 0.0):
            raise CheckFailed(self._diverged(self._risen(win), self.step))

    def _winners_and_losers(self, part: Sequence[tuple[PreferencePair, int]]) -> Tensor:
        """Mean errors (2,) of the winners and of all rows of some examples."""
        batch = make_batch(self.family, self.recipe, self.cache, part, {}, self.accelerator.device)
        sides = [batch.side(n) for n in range(batch.sides)] if self.recipe.low_memory else [batch]
        with self.prefix.batch():
            rows = torch.cat([self._policy_errors(side, n) for n, side in enumerate(sides)])
        return torch.stack([rows[: batch.size].mean(), rows.mean()])

    @contextlib.contextmanager
    def _same_randomness(self) -> Iterator[None]:
        """What is asked beside the steps changes nothing about them, not even in a network with dropout."""
        device = self.accelerator.device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield

    def _risen(self, error: float) -> str:
        return f"the winners' error has risen to {error:.3g}, more than {DIVERGED:g} times what it was,"

    def _measure_bound(self) -> None:
        """Where a frozen prefix is shared, the first pass alone goes through it."""
        batch = make_batch(
            self.family, self.recipe, self.cache, self.batch_at(self.step)[:1], {}, self.accelerator.device
        )
        plain = self.family.transformer
        with self._same_randomness(), self.prefix.batch():
            first, later = (
                forward_flops(lambda: self._shared_errors(plain, plain, batch, 0)) * self._share for _ in range(2)
            )
        self.bound = arithmetic_bound(self.recipe, first, later, self.accelerator.device)

    # ------------------------------------------------------------------ states

    def save(self) -> Path:
        """Write a state to go on from; all or nothing. Older ones are removed."""
        with writing(self.folder / "states"):
            return self._states.save()

    def resume(self) -> None:
        """Load the newest state, if there is one, and cut the log back to it."""
        self._states.resume()

    def _diverged(self, what: str = "the loss is not finite", step: int | None = None) -> str:
        found = states(self.folder)
        step = self.step + 1 if step is None else step
        kept = f"the last good state is {found[-1]}" if found else "there is no state yet"
        return f"{what} at step {step}; {kept}; lower learning_rate or beta, or clip at a smaller max_grad_norm"


def learning_rate(recipe: Recipe, step: int) -> float:
    """Of the step after ``step`` steps: linear warm-up, then constant or a half cosine to 0 at the last step."""
    warm = min(1.0, (step + 1) / recipe.warmup_steps) if recipe.warmup_steps else 1.0
    if recipe.schedule == "constant":
        return recipe.learning_rate * warm
    return recipe.learning_rate * warm * 0.5 * (1.0 + math.cos(math.pi * min(1.0, step / recipe.steps)))
