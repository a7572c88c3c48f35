"""Where a step's time goes, and how near its arithmetic comes to what the device can do."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping

import torch

from rewardbench.align.precision import PRECISIONS
from rewardbench.align.recipe import Recipe


class Phases:
    """Seconds by phase (data, reference, forward, backward, optimiser), summed since the last :meth:`take`."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._seconds: dict[str, float] = {}

    @contextlib.contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Time a block, with what it started on the GPU."""
        began = self._now()
        try:
            yield
        finally:
            self._seconds[name] = self._seconds.get(name, 0.0) + self._now() - began

    def take(self) -> dict[str, float]:
        """Seconds since the last call."""
        taken, self._seconds = self._seconds, {}
        return taken

    def so_far(self) -> dict[str, float]:
        """Seconds since the last :meth:`take`, which they stay part of."""
        return dict(self._seconds)

    def go_on(self, seconds: Mapping[str, float]) -> None:
        """Count on from these seconds."""
        self._seconds = dict(seconds)

    def _now(self) -> float:
        if self._cuda:
            torch.cuda.synchronize()
        return time.perf_counter()


def forward_flops(ask: Callable[[], object]) -> float:
    """Floating-point operations of one call, counted by torch (matrix products, convolutions, attention)."""
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        ask()
    return float(counter.get_total_flops())


def arithmetic_bound(recipe: Recipe, first: float, later: float, device: torch.device) -> dict[str, float]:
    """Seconds that the arithmetic of a step would take at the device's own speed of matrix products: forward once for
    the policy and once for a live reference, backward twice the forward (three times with full checkpointing).

    Args:
        recipe: what a step goes through.
        first: floating-point operations of a step's first forward.
        later: of any other; fewer where a frozen prefix is shared.
        device: that is measured.
    """
    units = 1.0 if recipe.compares and not recipe.cache_reference else 0.0
    units += 1.0 if recipe.tuning == "lora" else 2.0
    units += {"none": 0.0, "full": 1.0, "selective": 0.6}[recipe.checkpointing] + float(recipe.low_memory)
    forwards = 1.0 + units * later / first
    peak = peak_flops(device, PRECISIONS.get(recipe.precision, torch.float32))
    return {
        "forward_flops": first,
        "forwards_per_step": forwards,
        "peak_flops": peak,
        "seconds_per_step": first * forwards / peak,
    }


def peak_flops(device: torch.device, dtype: torch.dtype, size: int | None = None) -> float:
    """Operations per second of one large matrix product, measured here: the limit that a step is held against."""
    n = size or (8192 if device.type == "cuda" else 1024)
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(5):
        if device.type == "cuda":
            torch.cuda.synchronize()
        began = time.perf_counter()
        a @ b
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return 2.0 * n**3 / best
