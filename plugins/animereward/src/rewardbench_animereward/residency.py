"""Which scorers are on the device at the same time. The choice changes time and memory, never a score."""

from __future__ import annotations

import gc
import json
import math
import struct
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rewardbench_animereward.rating import Scorer
from rewardbench_plugin.devices import require_memory

CHOICES = ("auto", "together", "one_by_one")
ITEM_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
ADVICE = "ask for other dimensions with --dimension, or use the preset mini, which needs no GPU"


class Residence:
    """The scorers of one model and those of them that are loaded."""

    def __init__(self, scorers: Sequence[Scorer], device: str, dtype: str | None, residency: str) -> None:
        self._scorers, self._device, self._dtype = tuple(scorers), device, dtype
        needed = {scorer.dimension: _needed(scorer, dtype) for scorer in scorers} if device != "cpu" else {}
        self.together, self.message = choose(residency, device, needed)
        self._loaded: list[Scorer] = []

    def load(self) -> None:
        """Load every scorer once, so that faulty weights are found before the first clip; keep what there is room for.

        Raises:
            ValueError: with one sentence, where a scorer's weights cannot be used.
        """
        for scorer in self._scorers:
            self._enter(scorer)

    def in_turn(self) -> Iterable[Scorer]:
        """Every scorer, loaded while it is the current one; what is loaded already comes first."""
        for scorer in sorted(self._scorers, key=lambda s: s not in self._loaded):
            self._enter(scorer)
            yield scorer

    def clear(self) -> None:
        for scorer in self._loaded:
            scorer.unload()
        self._loaded = []
        gc.collect()
        torch = sys.modules.get("torch")
        if torch is not None and self._device.startswith("cuda"):
            torch.cuda.empty_cache()

    def _enter(self, scorer: Scorer) -> None:
        if scorer in self._loaded:
            return
        if not self.together:
            self.clear()
        try:
            scorer.load(self._device, self._dtype)
        except BaseException:
            scorer.unload()
            raise
        self._loaded.append(scorer)


def choose(residency: str, device: str, needed: Mapping[str, int]) -> tuple[bool, str | None]:
    """Whether all scorers are kept loaded; and a sentence where they are not, though nobody asked for that.

    Args:
        needed: bytes per dimension, weights and working memory.

    Raises:
        ValueError: where the GPU has too little free memory for what was asked.
    """
    if not device.startswith("cuda"):
        return residency != "one_by_one", None
    import torch

    total, (largest, most) = sum(needed.values()), max(needed.items(), key=lambda pair: pair[1])
    require_memory(device, most, largest, ADVICE)
    if residency == "one_by_one":
        return False, None
    free, _ = torch.cuda.mem_get_info(device)
    if residency == "together":
        require_memory(device, total, " and ".join(needed), "leave out --option residency=together")
    if total <= free:
        return True, None
    return False, (
        f"{', '.join(needed)} need {total / 2**30:.1f} GiB of GPU memory together and {free / 2**30:.1f} GiB are free: "
        "they are loaded one after the other for each batch (a larger --batch-size loads them less often)"
    )


def _needed(scorer: Scorer, dtype: str | None) -> int:
    item = ITEM_BYTES[dtype or scorer.preferred]
    return sum(tensor_bytes(path, item) for path in scorer.weight_paths()) + scorer.working_memory


def tensor_bytes(path: Path, item: int) -> int:
    """Bytes of a checkpoint's tensors at ``item`` bytes each; a torch file is taken as stored in float32."""
    if path.is_dir():
        files = [file for file in path.rglob("*") if file.suffix in (".safetensors", ".pth", ".pt", ".bin")]
        return sum(tensor_bytes(file, item) for file in files)
    if path.suffix != ".safetensors":
        return path.stat().st_size * item // 4
    with open(path, "rb") as stream:
        try:
            header = json.loads(stream.read(struct.unpack("<Q", stream.read(8))[0]))
        except (struct.error, ValueError):
            return path.stat().st_size  # damaged: loading says so
    return sum(math.prod(entry["shape"]) * item for name, entry in header.items() if name != "__metadata__")
