"""How an engine shares a network out over processes, in numbers: which part of it each of them holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

WEIGHTS, GRADIENTS, MOMENTS = 3, 2, 1
"""From which stage on these are shared out, as ZeRO counts (Rajbhandari et al., 2020, arXiv:1910.02054, Sec. 3)."""
BUCKET, LIVE = 500_000_000, 1_000_000_000
"""DeepSpeed's own: elements of gradients exchanged at once, and of weights that ZeRO-3 has gathered at once."""


@dataclass(frozen=True)
class Sharing:
    """What N processes share.

    Attributes:
        processes: N.
        engine: ``plain`` (one process, or DDP), ``fsdp2`` or ``deepspeed``.
        stage: 0 nothing, 1 AdamW's moments, 2 gradients too, 3 weights too.
        offload: of :data:`WEIGHTS` and :data:`MOMENTS` (gradients go with them) what lives in host memory.
        regather: False where weights that a forward has gathered stay until the backward (FSDP2).
        bucket: elements of gradients that DeepSpeed exchanges at once.
        live: elements of weights that ZeRO-3 has gathered at once.
    """

    processes: int = 1
    engine: str = "plain"
    stage: int = 0
    offload: frozenset[int] = frozenset()
    regather: bool = True
    bucket: int = BUCKET
    live: int = LIVE

    def held(self, size: int, what: int) -> int:
        """Bytes that a process holds on its device of ``size`` of weights, gradients or moments.

        Evenly divided: FSDP2 divides rows, and the last process may have fewer.
        """
        if (WEIGHTS if what == WEIGHTS else MOMENTS) in self.offload:
            return 0
        return -(-size // self.processes) if self.stage >= what else size


def sharing_of(accelerator: Any, engine: str) -> Sharing:
    """What accelerate was told.

    Args:
        accelerator: accelerate's.
        engine: see :func:`rewardbench.align.engines.engine_name`.
    """
    world = int(accelerator.num_processes)
    if engine == "fsdp2":
        plugin = accelerator.state.fsdp_plugin
        offload = frozenset({WEIGHTS, MOMENTS}) if plugin.cpu_offload else frozenset()
        return Sharing(world, engine, WEIGHTS, offload, regather=bool(plugin.reshard_after_forward))
    if engine == "deepspeed":
        told = accelerator.state.deepspeed_plugin.deepspeed_config["zero_optimization"]
        away = {WEIGHTS: "offload_param", MOMENTS: "offload_optimizer"}
        return Sharing(
            world,
            engine,
            int(told["stage"]),
            frozenset(what for what, name in away.items() if _device(told, name) != "none"),
            bucket=_number(told, "reduce_bucket_size", BUCKET),
            live=_number(told, "stage3_max_live_parameters", LIVE),
        )
    return Sharing(world)


def _device(told: Mapping[str, Any], name: str) -> str:
    return str((told.get(name) or {}).get("device") or "none")


def _number(told: Mapping[str, Any], name: str, usual: int) -> int:
    """``auto`` is DeepSpeed's own."""
    value = told.get(name, usual)
    return usual if isinstance(value, str) else int(value)
