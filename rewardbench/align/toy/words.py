"""Words of the drawn world's captions, as numbers."""

from __future__ import annotations

import re
from functools import lru_cache

import torch
from torch import Tensor

from rewardbench.synth.caption import caption
from rewardbench.synth.scene import Scene

LENGTH = 48
"""Words a caption may have; the grammar's longest has fewer."""
UNKNOWN = 1


@lru_cache(maxsize=1)
def vocabulary() -> tuple[str, ...]:
    """All words the grammar uses, in alphabetical order; the id of a word is its place plus 2."""
    import numpy as np

    rng = np.random.default_rng(0)
    found: set[str] = set()
    for _ in range(4000):
        found.update(split(caption(Scene.sample(rng), rng)))
    return tuple(sorted(found))


def split(text: str) -> list[str]:
    return re.findall(r"[a-z]+", text.lower())


def encode(captions: list[str], words: tuple[str, ...]) -> Tensor:
    """int64 (B, LENGTH), 0 padded; words beyond LENGTH are left out, unknown ones are 1."""
    ids = {word: i + 2 for i, word in enumerate(words)}
    out = torch.zeros(len(captions), LENGTH, dtype=torch.int64)
    for row, text in enumerate(captions):
        numbers = [ids.get(word, UNKNOWN) for word in split(text)][:LENGTH]
        out[row, : len(numbers)] = torch.tensor(numbers, dtype=torch.int64)
    return out
