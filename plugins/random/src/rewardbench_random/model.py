"""Uniform scores that depend on nothing but the clip's content, its prompt and the seed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from rewardbench_plugin import Dimension, FrameSpec, Item, RewardCard, RewardModel, Sampling, Scores, Size
from rewardbench_random import VERSION

# One small frame is asked for, so that a clip nobody can read fails here as it does for a real model.
FIRST_FRAME = FrameSpec(sampling=Sampling("head", 1), size=Size(height=16, width=16), filter="pil-box")


class Random(RewardModel):
    """A coin. The same file, prompt and seed always get the same score, on every machine."""

    card = RewardCard(
        name="random",
        version=VERSION,
        summary="seeded random scores, to see what chance gives",
        dimensions=(Dimension("overall", 0.0, 1.0, description="uniform on [0, 1), independent of what is seen"),),
        inputs={"overall": FIRST_FRAME},
        overall_rule="the only score",
        default_score="overall",
        training_data="none",
        code_licence="Apache-2.0",
        weights_licence="none",
        parameters=0,
        notes="Not a model: scores carry no information on the clip.",
    )

    def score(self, batch: Sequence[Item]) -> Scores:
        """Uniform values on [0, 1); an item error where the host did not say the clip's content hash."""
        values = np.full((len(batch), 1), np.nan)
        errors: list[str | None] = [None] * len(batch)
        for i, item in enumerate(batch):
            content = item.clip.metadata.get("sha256")
            if content is None:
                errors[i] = "the clip's content hash (metadata 'sha256') is missing"
            else:
                values[i, 0] = uniform(content, item.clip.prompt, self.seed)
        return Scores(values, errors=errors)

    def fingerprint(self) -> str:
        """The seed changes every score, so it is part of the fingerprint."""
        return hashlib.sha256(f"{super().fingerprint()} seed {self.seed}".encode()).hexdigest()


def uniform(content: str, prompt: str | None, seed: int) -> float:
    """A number in [0, 1) with 53 random bits from a hash of content, prompt and seed."""
    text = "\0".join([str(seed), content, "" if prompt is None else f"prompt {prompt}"])
    return (int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 11) / 2**53
