"""What a training step will need, known before it runs: the step itself, played through without numbers.

No formula of a network is written down here. The family's network is copied without its data (torch's fake tensors:
shapes, types and devices only) and one step of the recipe, with its LoRA, checkpointing, autocast and reference, goes
through it at the true size while every storage is booked from its birth to its death. A network of 5 billion weights
takes half a minute on one core and next to no memory.

On a CPU the number was within 2 % of the allocator's peak for all families, ways of checkpointing and low_memory
(small networks; tests/align/test_memory.py). What is not in it: memory that an allocator reserves and does not use
(fragments), scratch inside kernels, a GPU's context, and stages other than training (encoders, sampling).
"""

from __future__ import annotations

import contextlib
import copy
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from rewardbench.align import checkpointing
from rewardbench.align.adapters import POLICY, Reference, activate, attach
from rewardbench.align.families.base import Condition, VideoFamily
from rewardbench.align.noise import Time
from rewardbench.align.objective import Batch, errors, step_loss
from rewardbench.align.recipe import Recipe
from rewardbench.errors import InputError

PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes that live at the moment of a step at which most do; together :attr:`total`.

    Attributes:
        weights: of the network that do not learn, and its buffers.
        trainable: parameters that learn.
        gradients: of these, as far as they are there at that moment.
        optimiser: AdamW's two moments.
        reference: a frozen copy or a second adapter; 0 with adapters off.
        batch: latents, noise and conditions.
        activations: everything else of that moment: what is kept for the backward pass, what a recomputed block holds,
            or the optimiser's scratch.
        copies: gradient buckets of several processes (DDP).
        phase: where that moment is: ``reference``, ``forward``, ``backward`` or ``optimiser``.
        rows: clips in a forward.
        checkpointing: of the recipe.
        device: that it is for.
    """

    weights: int
    trainable: int
    gradients: int
    optimiser: int
    reference: int
    batch: int
    activations: int
    copies: int
    phase: str
    rows: int
    checkpointing: str
    device: str

    @property
    def total(self) -> int:
        """Bytes at the peak of a step."""
        return sum(self.parts().values())

    def parts(self) -> dict[str, int]:
        """Bytes by name, in the order of a table."""
        names = ("weights", "trainable", "gradients", "optimiser", "reference", "copies", "batch", "activations")
        return {name: getattr(self, name) for name in names}

    def describe(self) -> str:
        """A sentence and a table, for people."""
        lines = [
            f"A step needs {readable(self.total)} on {self.device} ({self.rows} clips in a forward, checkpointing "
            f"{self.checkpointing}); most in its {self.phase} part."
        ]
        named = [(name, value) for name, value in self.parts().items() if value]
        return "\n".join(lines + [f"  {name:<12}{readable(value):>10}" for name, value in named])

    def as_dict(self) -> dict[str, Any]:
        return {
            **self.parts(),
            "total": self.total,
            "phase": self.phase,
            "rows": self.rows,
            "checkpointing": self.checkpointing,
            "device": self.device,
        }


def estimate(
    family: VideoFamily,
    recipe: Recipe,
    *,
    condition: Condition | None = None,
    processes: int = 1,
    device: torch.device | str | None = None,
) -> MemoryEstimate:
    """What a step of a recipe needs in one process at its peak, from the second step on (when AdamW has its moments).

    The family is left as it is, whether its LoRA was attached already or not. Sharded training (FSDP, ZeRO) is not
    modelled: there, weights, gradients and moments are divided by the number of processes.

    Args:
        family: loaded; the dtypes of its network count, its data do not (they may be on the meta device).
        recipe: checked.
        condition: of one clip, as a cache holds it (any number of rows, the first is taken); found out with the
            family's encoders if None, which loads them.
        processes: that share ``recipe.batch_size``.
        device: where the step runs and the family puts its inputs; the network's if None.

    Raises:
        InputError: the batch cannot be shared by the processes.
    """
    if recipe.batch_size % processes:
        raise InputError(f"batch_size {recipe.batch_size} cannot be shared by {processes} processes")
    share = recipe.batch_size // processes
    size = recipe.micro_batch_size or share
    if condition is None:
        condition = _encoded(family)
    place = next(family.transformer.parameters()).device if device is None else torch.device(device)
    with torch.enable_grad():
        rehearsal = _Rehearsal(family, recipe, condition, place)
        return rehearsal.run(size, min(share // size, 2), processes)


def readable(count: float) -> str:
    """Bytes as people read them: powers of 1024."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def available(device: torch.device | str) -> int | None:
    """Bytes that this process could still have on a device; None where the system does not say."""
    device = torch.device(device)
    if device.type == "cuda":
        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + unused
    path = Path("/proc/meminfo")
    if not path.exists():
        return None
    lines = [line.split() for line in path.read_text().splitlines() if line.startswith("MemAvailable:")]
    return int(lines[0][1]) * 1024 if lines else None


def available_to(network: nn.Module) -> int | None:
    """Bytes that a run whose network is loaded already can have, those of the network included: what the total of a
    :class:`MemoryEstimate` is to be held against."""
    device = next(network.parameters()).device
    free = available(device)
    return None if free is None else free + _bytes(t for t in _storages(network) if t.device == device)


def check_fits(needed: MemoryEstimate, free: int | None) -> None:
    """
    Args:
        free: bytes, as :func:`available` gives them before the network is loaded, or :func:`available_to` afterwards;
            None passes.

    Raises:
        InputError: more is needed than is free.
    """
    if free is None or needed.total <= free:
        return
    ways = []
    if needed.checkpointing != "full":
        ways.append("checkpointing full")
    ways += ["a smaller micro_batch_size", "low_memory"]
    raise InputError(
        f"a step needs {readable(needed.total)} on {needed.device} and {readable(free)} are free; "
        f"try {', '.join(ways[:-1])} or {ways[-1]}"
    )


class Ledger(TorchDispatchMode):
    """Books every storage that an operation makes until it is freed, under the heading of the moment.

    Attributes:
        peak: largest sum of live bytes so far.
        at_peak: its parts by heading.
        peak_phase: where it was.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.phase, self.heading = "data", "batch"
        self.peak, self.peak_phase = 0, "data"
        self.at_peak = {"batch": 0, "gradients": 0, "activations": 0}
        self._live = dict(self.at_peak)
        self._known: dict[int, tuple[str, int]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
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
        total = sum(self._live.values())
        if total > self.peak:
            self.peak, self.at_peak, self.peak_phase = total, dict(self._live), self.phase

    def _enter(self, storage: torch.UntypedStorage, heading: str, size: int) -> None:
        key = storage._cdata
        self._known[key] = (heading, size)
        weakref.finalize(storage, self._leave, key).atexit = False

    def _leave(self, key: int) -> None:
        heading, size = self._known.pop(key)
        if size:
            self._live[heading] -= size


class _Rehearsal:
    """A family without data, and a step on it. What is called here is what :class:`Trainer` calls, in its order."""

    def __init__(self, family: VideoFamily, recipe: Recipe, condition: Condition, device: torch.device) -> None:
        self.recipe, self.device, self._condition = recipe, device, condition
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)
        self.family = copy.copy(family)
        self.family.transformer = network = without_data(family.transformer)
        _unwrap(network, self.family.blocks(network))
        # adapters and copies are made on the meta device: peft moves and casts what it makes, which fake tensors refuse
        with torch.device("meta"):
            if getattr(network, "peft_config", None):
                activate(network, POLICY)
            else:
                attach(self.family, recipe)
            self._reference = Reference(self.family, recipe) if recipe.compares else None
        copied = getattr(self._reference, "_copy", None)
        with self.fake:
            for module in (network, copied):
                if module is not None:
                    place_without_data(module, self.device)
        before = _storages(network)
        second = [p for name, p in network.named_parameters() if ".lora_" in name and f".{POLICY}." not in name]
        self.reference_bytes = _bytes(_storages(copied) if copied is not None else second)
        self.learning = [p for p in network.parameters() if p.requires_grad]
        self.trainable = _bytes(self.learning)
        held = {p.untyped_storage()._cdata for p in (*self.learning, *second)}
        self.weights = _bytes(t for t in before if t.untyped_storage()._cdata not in held)
        self._static = [*before, *(_storages(copied) if copied is not None else [])]
        checkpointing.apply(self.family, recipe.checkpointing)
        network.train()
        if recipe.precision in PRECISIONS:
            _autocast(network, self.device.type, PRECISIONS[recipe.precision])

    def run(self, size: int, passes: int, processes: int) -> MemoryEstimate:
        """``passes`` micro-batches of ``size`` examples: from the second on, gradients are there from the start."""
        sides = 1 + self.recipe.losers if self.recipe.compares else 1
        ledger = Ledger()
        ledger.ignore(self._static)
        hooks = [p.register_post_accumulate_grad_hook(_to_gradients(ledger)) for p in self.learning]
        try:
            with self.fake, ledger:
                for _ in range(passes):
                    self._pass(ledger, size, sides)
        finally:
            for hook in hooks:
                hook.remove()
        found = ledger.at_peak
        phase = ledger.peak_phase
        scratch = self._optimiser_scratch()
        if self.trainable + scratch > ledger.peak:
            found, phase = {"gradients": self.trainable, "batch": 0, "activations": scratch}, "optimiser"
        return MemoryEstimate(
            weights=self.weights,
            trainable=self.trainable,
            gradients=found["gradients"],
            optimiser=2 * self.trainable,
            reference=self.reference_bytes,
            batch=found["batch"],
            activations=found["activations"],
            copies=self.trainable if processes > 1 else 0,
            phase=phase,
            rows=size if self.recipe.low_memory else size * sides,
            checkpointing=self.recipe.checkpointing,
            device=self.device.type,
        )

    def _pass(self, ledger: Ledger, size: int, sides: int) -> None:
        recipe, network = self.recipe, self.family.transformer
        with ledger.during("data", "batch"):
            batch = self._batch(size, sides)
        parts = [batch.side(n) for n in range(sides)] if recipe.low_memory and sides > 1 else [batch]
        other = None
        with ledger.during("reference"):
            if recipe.compares and recipe.cache_reference:
                other = torch.zeros(size * sides, device=self.device)
            elif self._reference is not None:
                with self._reference.active(network) as asked:
                    other = torch.cat([errors(self.family, asked, part, recipe) for part in parts])
        if len(parts) == 1:
            with ledger.during("forward"):
                loss = step_loss(errors(self.family, network, batch, recipe), other, batch, recipe).loss
            with ledger.during("backward"):
                loss.backward()
            return
        with ledger.during("forward"), torch.no_grad():
            torch.cat([errors(self.family, network, part, recipe) for part in parts])
        for part in parts:
            with ledger.during("forward"):
                again = errors(self.family, network, part, recipe)
            with ledger.during("backward"):
                again.sum().backward()

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

    def _optimiser_scratch(self) -> int:
        """On a GPU, AdamW takes the roots of all second moments at once; elsewhere of one parameter after the other."""
        if self.device.type == "cuda":
            return self.trainable
        return 2 * max(_bytes([p]) for p in self.learning)


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


def _unwrap(network: nn.Module, blocks: Iterable[nn.Module]) -> None:
    """Undo what a trainer put over ``forward``: its closures hold the network that the copy was made from."""
    for module in (network, *blocks):
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


def _storages(network: nn.Module) -> list[Tensor]:
    """Parameters and buffers."""
    return [*network.parameters(), *network.buffers()]


def _bytes(tensors: Iterable[Tensor]) -> int:
    """Of their storages, shared ones once."""
    return sum({s._cdata: s.nbytes() for s in (t.untyped_storage() for t in tensors)}.values())


def _encoded(family: VideoFamily) -> Condition:
    """Of a caption and a grey image, with the family's encoders, which are released again."""
    clip = family.clip
    image = torch.zeros(1, clip.height, clip.width, 3) if family.needs_image else None
    with torch.no_grad():
        condition = family.encode_condition(["a clip"], image, torch.Generator().manual_seed(0))
    family.release_encoders()
    return condition
