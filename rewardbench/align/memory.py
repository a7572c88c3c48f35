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

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rewardbench.align.families.base import Condition, VideoFamily
from rewardbench.align.recipe import Recipe
from rewardbench.align.rehearsal import Ledger, Rehearsal, bytes_of, place_without_data, storages
from rewardbench.align.sharing import GRADIENTS, MOMENTS, WEIGHTS, Sharing
from rewardbench.errors import InputError

__all__ = [
    "Ledger",
    "MemoryEstimate",
    "available",
    "available_to",
    "check_fits",
    "estimate",
    "place_without_data",
    "readable",
]


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes that live at the moment of a step at which most do; together :attr:`total`.

    Attributes:
        weights: of the network that do not learn, and its buffers.
        trainable: parameters that learn.
        gradients: of these, as far as they are there at that moment.
        optimiser: AdamW's two moments, and DeepSpeed's float32 originals of what learns.
        reference: a frozen copy or a second adapter; 0 with adapters off.
        batch: latents, noise and conditions.
        activations: everything else of that moment: what is kept for the backward pass, what a recomputed block holds,
            or the optimiser's scratch.
        copies: gradient buckets of several processes (DDP, DeepSpeed), and what a shared-out network has gathered.
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
    sharing: Sharing | None = None,
    device: torch.device | str | None = None,
) -> MemoryEstimate:
    """What a step of a recipe needs in one process at its peak, from the second step on (when AdamW has its moments).

    The family is left as it is, whether its LoRA was attached already or not. What an engine shares out is divided by
    the number of processes; what it gathers is added: under FSDP2 two blocks (one computes, the next one arrives), what
    stands outside of blocks, and one block's gradients in both precisions, under DeepSpeed its buckets. No machine with
    several GPUs was at hand to hold this against.

    Args:
        family: loaded; the dtypes of its network count, its data do not (they may be on the meta device).
        recipe: checked.
        condition: of one clip, as a cache holds it (any number of rows, the first is taken); found out with the
            family's encoders if None, which loads them.
        processes: that share ``recipe.batch_size``, under DDP.
        sharing: how an engine shares the network out; takes the place of ``processes``.
        device: where the step runs and the family puts its inputs; the network's if None.

    Raises:
        InputError: the batch cannot be shared by the processes.
    """
    sharing = sharing or Sharing(processes)
    share = recipe.share_of(sharing.processes)
    size = recipe.micro_batch_size or share
    if condition is None:
        condition = _encoded(family)
    place = next(family.transformer.parameters()).device if device is None else torch.device(device)
    with torch.enable_grad():
        halved = sharing.engine == "deepspeed" and recipe.precision == "bf16"
        rehearsal = Rehearsal(family, recipe, condition, place, dtype=torch.bfloat16 if halved else None)
        return _part_of_each(rehearsal, sharing, size, min(share // size, 2))


def _part_of_each(played: Rehearsal, sharing: Sharing, size: int, passes: int) -> MemoryEstimate:
    """What a process holds of what a rehearsal of ``passes`` micro-batches of ``size`` examples finds."""
    deepspeed = sharing.engine == "deepspeed"
    gradients = sharing.held(played.trainable, GRADIENTS)
    found, phase = played.run(size, passes, gradients / played.trainable)
    scratch = sharing.held(played.optimiser_scratch(), MOMENTS)
    if gradients + scratch > sum(found.values()):
        found, phase = {"gradients": gradients, "batch": 0, "activations": scratch}, "optimiser"
    whole_reference = deepspeed and played.is_copied  # a copy is the engine's business under FSDP2 only
    return MemoryEstimate(
        weights=sharing.held(played.weights - played.buffers, WEIGHTS) + played.buffers,
        trainable=sharing.held(played.trainable, WEIGHTS),
        gradients=found["gradients"],
        optimiser=sharing.held((12 if deepspeed else 8) * played.elements, MOMENTS),
        reference=played.reference if whole_reference else sharing.held(played.reference, WEIGHTS),
        batch=found["batch"],
        activations=found["activations"],
        copies=_copies(played, sharing),
        phase=phase,
        rows=played.rows(size),
        checkpointing=played.recipe.checkpointing,
        device=played.device.type,
    )


def _copies(played: Rehearsal, sharing: Sharing) -> int:
    """Bytes that come and go with the exchange between processes."""
    if sharing.engine == "plain":
        return played.trainable if sharing.processes > 1 else 0
    if sharing.engine == "deepspeed":
        item = played.trainable // played.elements
        network = played.weights - played.buffers + played.trainable
        gathered = min(sharing.live * item, network) if sharing.stage >= WEIGHTS else 0
        return min(sharing.bucket, played.elements) * item + gathered
    units = played.units()
    gathered = sum(u.weights for u in units)
    if sharing.regather:
        *blocks, rest = units
        gathered = 2 * max(u.weights for u in blocks) + rest.weights
    return gathered + max(u.gradients for u in units)


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
    return None if free is None else free + bytes_of(t for t in storages(network) if t.device == device)


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


def _encoded(family: VideoFamily) -> Condition:
    """Of a caption and a grey image, with the family's encoders, which are released again."""
    clip = family.clip
    image = torch.zeros(1, clip.height, clip.width, 3) if family.needs_image else None
    with torch.no_grad():
        condition = family.encode_condition(["a clip"], image, torch.Generator().manual_seed(0))
    family.release_encoders()
    return condition
