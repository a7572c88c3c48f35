"""A training step played through without numbers, for what it needs: fake tensors, every storage in a ledger."""

from __future__ import annotations

import contextlib
import copy
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from rewardbench.align import checkpointing
from rewardbench.align.adapters import POLICY, Reference, activate, attach, cast_once
from rewardbench.align.families.base import Condition, VideoFamily
from rewardbench.align.noise import Time
from rewardbench.align.objective import Batch, errors, step_loss
from rewardbench.align.precision import PRECISIONS
from rewardbench.align.prefix import SharedPrefix
from rewardbench.align.recipe import Recipe


class Ledger(TorchDispatchMode):
    """Books every storage that an operation makes until it is freed, under the heading of the moment.

    Args:
        gradients: the part of them that is counted, where processes share them.

    Attributes:
        peak: largest sum of live bytes so far.
        at_peak: its parts by heading.
        peak_phase: where it was.
    """

    def __init__(self, gradients: float = 1.0) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._part = {"gradients": gradients}
        self.phase, self.heading = "data", "batch"
        self.peak, self.peak_phase = 0, "data"
        self.at_peak = {"batch": 0, "gradients": 0, "activations": 0}
        self._live = dict(self.at_peak)
        self._known: dict[int, tuple[str, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default and args[0].dtype is torch.bool:
            return False  # "is any of them wrong?": there are no numbers to be wrong
        result = func(*args, **(kwargs or {}))
        for value in tree_iter(result):
            if isinstance(value, Tensor):
                self._book(value.untyped_storage())
        return result

    @contextlib.contextmanager
    def during(self, phase: str, heading: str = "activations") -> Iterator[None]:
        """What is made now belongs to this part of the step."""
        self.phase, self.heading = phase, heading
        yield

    def ignore(self, tensors: Iterable[Tensor]) -> None:
        """These are counted elsewhere."""
        for tensor in tensors:
            self._enter(tensor.untyped_storage(), "elsewhere", 0)

    def rename(self, tensor: Tensor, heading: str) -> None:
        """Move a tensor's bytes under another heading."""
        key = tensor.untyped_storage()._cdata
        old, size = self._known[key]
        self._known[key] = (heading, size)
        self._live[old] -= size
        self._live[heading] += size

    def _book(self, storage: torch.UntypedStorage) -> None:
        if storage._cdata in self._known:
            return
        size = storage.nbytes()
        self._enter(storage, self.heading, size)
        self._live[self.heading] += size
        counted = {name: round(n * self._part.get(name, 1.0)) for name, n in self._live.items()}
        total = sum(counted.values())
        if total > self.peak:
            self.peak, self.at_peak, self.peak_phase = total, counted, self.phase

    def _enter(self, storage: torch.UntypedStorage, heading: str, size: int) -> None:
        key = storage._cdata
        self._known[key] = (heading, size)
        weakref.finalize(storage, self._leave, key).atexit = False

    def _leave(self, key: int) -> None:
        heading, size = self._known.pop(key)
        if size:
            self._live[heading] -= size


@dataclass(frozen=True)
class Unit:
    """Bytes of what a sharded network gathers at once: ``weights`` as they are gathered, ``gradients`` of what learns
    there, as they come out of the backward and in float32 as they are summed up."""

    weights: int
    gradients: int


class Rehearsal:
    """A family without data, and a step on it. What is called here is what :class:`Trainer` calls, in its order.

    Args:
        dtype: that an engine casts the network to, all of it; None leaves it.

    Attributes:
        weights, buffers: bytes of the network that do not learn, and of its buffers alone, which are among them.
        trainable, elements: bytes and number of parameters that learn.
        reference: bytes of a copy (``is_copied``) or a second adapter.
    """

    def __init__(
        self,
        family: VideoFamily,
        recipe: Recipe,
        condition: Condition,
        device: torch.device,
        *,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.recipe, self.device, self._condition = recipe, device, condition
        self._sides = 1 + recipe.losers if recipe.compares else 1
        self._prefix = SharedPrefix(recipe.lora_from)
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)
        self.family = copy.copy(family)
        self.family.transformer = network = without_data(family.transformer)
        _unwrap(network)
        # adapters and copies are made on the meta device: peft moves and casts what it makes, which fake tensors refuse
        with torch.device("meta"):
            if getattr(network, "peft_config", None):
                activate(network, POLICY)
            else:
                attach(self.family, recipe)
            checkpointing.apply(self.family, recipe.checkpointing)
            cast_once(network, recipe.precision)
            self._reference = Reference(self.family, recipe) if recipe.compares else None
        copied = getattr(self._reference, "_copy", None)
        self.is_copied = copied is not None
        if dtype is not None:
            for module in (network, copied):
                if module is not None:
                    module.to(dtype)
        with self.fake:
            for module in (network, copied):
                if module is not None:
                    place_without_data(module, self.device)
        before = storages(network)
        second = [p for name, p in network.named_parameters() if ".lora_" in name and f".{POLICY}." not in name]
        self.reference = bytes_of(storages(copied) if copied is not None else second)
        self.learning = [p for p in network.parameters() if p.requires_grad]
        self.trainable, self.elements = bytes_of(self.learning), sum(p.numel() for p in self.learning)
        self.buffers = bytes_of(network.buffers())
        held = {p.untyped_storage()._cdata for p in (*self.learning, *second)}
        self.weights = bytes_of(t for t in before if t.untyped_storage()._cdata not in held)
        self._static = [*before, *(storages(copied) if copied is not None else [])]
        network.train()
        if recipe.precision in PRECISIONS:
            _autocast(network, self.device.type, PRECISIONS[recipe.precision])

    def rows(self, size: int) -> int:
        """Clips in a forward of ``size`` examples."""
        return size if self.recipe.low_memory else size * self._sides

    def run(self, size: int, passes: int, gradients: float) -> tuple[dict[str, int], str]:
        """``passes`` micro-batches of ``size`` examples: from the second on, gradients are there from the start.

        Args:
            gradients: the part of them that a process keeps.

        Returns:
            Bytes at the peak by heading, and the phase it is in.
        """
        ledger = Ledger(gradients)
        ledger.ignore(self._static)
        hooks = [p.register_post_accumulate_grad_hook(_to_gradients(ledger)) for p in self.learning]
        try:
            with self.fake, ledger:
                for _ in range(passes):
                    self._pass(ledger, size, self._sides)
        finally:
            for hook in hooks:
                hook.remove()
        return ledger.at_peak, ledger.peak_phase

    def _pass(self, ledger: Ledger, size: int, sides: int) -> None:
        with ledger.during("data", "batch"):
            batch = self._batch(size, sides)
        parts = [batch.side(n) for n in range(sides)] if self.recipe.low_memory and sides > 1 else [batch]
        with self._prefix.batch():
            self._passes(ledger, batch, parts)

    def _passes(self, ledger: Ledger, batch: Batch, parts: Sequence[Batch]) -> None:
        recipe, network = self.recipe, self.family.transformer
        other = None
        with ledger.during("reference"):
            if recipe.compares and recipe.cache_reference:
                other = torch.zeros(len(batch.latents), device=self.device)
            elif self._reference is not None:
                with self._reference.active(network) as asked:
                    other = torch.cat([self._errors(asked, part, n) for n, part in enumerate(parts)])
        if len(parts) == 1:
            with ledger.during("forward"):
                loss = step_loss(self._errors(network, batch), other, batch, recipe).loss
            with ledger.during("backward"):
                loss.backward()
            return
        with ledger.during("forward"), torch.no_grad():
            torch.cat([self._errors(network, part, n) for n, part in enumerate(parts)])
        for n, part in enumerate(parts):
            with ledger.during("forward"):
                again = self._errors(network, part, n)
            with ledger.during("backward"):
                again.sum().backward()

    def _errors(self, network: nn.Module, batch: Batch, part: int = 0) -> Tensor:
        with self._prefix.shared(self.family.blocks(network), part):
            return errors(self.family, network, batch, self.recipe)

    def _batch(self, size: int, sides: int) -> Batch:
        rows = size * sides
        shape = (rows, *self.family.latent_shape)
        # the table of times is real and looked up with numbers; what it gives is then as empty as the rest
        with unset_fake_temporarily():
            time = self.family.schedule.at(torch.full((rows,), 0.5))
        fields = (time.t, time.native, time.alpha, time.sigma)
        condition = {
            name: torch.empty((rows, *value.shape[1:]), dtype=value.dtype, device=self.device)
            for name, value in self._condition.items()
        }
        return Batch(
            torch.empty(shape, device=self.device),
            torch.empty(shape, device=self.device),
            Time(*(torch.empty(rows, dtype=x.dtype, device=self.device) for x in fields)),
            condition,
            None,
            size,
        )

    def optimiser_scratch(self) -> int:
        """On a GPU, AdamW takes the roots of all second moments at once; elsewhere of one parameter after the other."""
        if self.device.type == "cuda":
            return 4 * self.elements
        return 2 * 4 * max(p.numel() for p in self.learning)

    def units(self) -> list[Unit]:
        """Of sharding: every block, and what stands outside of them."""
        item = 2 if self.recipe.precision == "bf16" else 0
        inside = [list(block.parameters()) for block in self.family.blocks(self.family.transformer)]
        known = {id(p) for parameters in inside for p in parameters}
        outside = [p for p in self.family.transformer.parameters() if id(p) not in known]
        return [
            Unit(
                sum(p.numel() * (item or p.element_size()) for p in parameters),
                sum(p.numel() * ((item or p.element_size()) + 4) for p in parameters if p.requires_grad),
            )
            for parameters in (*inside, outside)
        ]


def _to_gradients(ledger: Ledger) -> Callable[[Tensor], None]:
    def move(parameter: Tensor) -> None:
        assert parameter.grad is not None
        ledger.rename(parameter.grad, "gradients")

    return move


def without_data(network: nn.Module) -> nn.Module:
    """A copy on the meta device."""
    tensors = [*network.parameters(), *network.buffers()]
    memo: dict[int, Any] = {}
    for tensor in tensors:
        empty = tensor.detach().to("meta")
        memo[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty
    # what deepcopy finds in its memo it does not copy
    return copy.deepcopy(network, memo)


def place_without_data(network: nn.Module, device: torch.device) -> None:
    """Turn meta tensors into ones that say they are on a device; to be called under the fake mode."""
    placed: dict[int, Any] = {}
    for module in network.modules():
        for table in (module._parameters, module._buffers):
            for name, tensor in table.items():
                if tensor is None:
                    continue
                if id(tensor) not in placed:
                    empty = torch.empty(tensor.shape, dtype=tensor.dtype, device=device)
                    learns = isinstance(tensor, nn.Parameter)
                    placed[id(tensor)] = nn.Parameter(empty, tensor.requires_grad) if learns else empty
                table[name] = placed[id(tensor)]


def _unwrap(network: nn.Module) -> None:
    """Undo what a trainer and accelerate put over ``forward``: the latter's hold the network that was copied."""
    for module in network.modules():
        for name in ("forward", "_plain_forward", "_original_forward"):
            vars(module).pop(name, None)


def _autocast(network: nn.Module, device: str, dtype: torch.dtype) -> None:
    """As accelerate wraps a network: autocast around each forward, results in float32."""
    plain = network.forward

    def forward(*arguments: Any, **named: Any) -> Any:
        with torch.autocast(device, dtype):
            result = plain(*arguments, **named)
        return tuple(x.float() for x in result) if isinstance(result, tuple) else result.float()

    network.forward = forward


def storages(network: nn.Module) -> list[Tensor]:
    """Parameters and buffers."""
    return [*network.parameters(), *network.buffers()]


def bytes_of(tensors: Iterable[Tensor]) -> int:
    """Of their storages, shared ones once."""
    return sum({s._cdata: s.nbytes() for s in (t.untyped_storage() for t in tensors)}.values())
