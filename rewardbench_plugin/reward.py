"""The classes a reward plugin subclasses."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any, ClassVar, Dict, Mapping, Optional, Sequence, Tuple

import numpy as np

from rewardbench_plugin.card import RewardCard
from rewardbench_plugin.clip import Clip, Frames, FrameSpec
from rewardbench_plugin.digests import hash_path

Prepared = Dict[str, np.ndarray]


@dataclass(frozen=True)
class Item:
    """One element of a batch: the clip and what :meth:`RewardModel.prepare` made of it."""

    clip: Clip
    data: Prepared


@dataclass
class Scores:
    """Scores of a batch of N clips in the order of ``dimensions`` (D).

    Attributes:
        values: float64 (N, D). NaN means the model abstains; infinities are refused by the host.
        raw: float64 (N, D), before rounding or normalisation; equals ``values`` where None.
        notes: N strings (may be empty), e.g. why a dimension abstains.
        errors: N entries, a sentence where that clip could not be scored, else None.
    """

    values: np.ndarray
    raw: Optional[np.ndarray] = None
    notes: Sequence[str] = ()
    errors: Sequence[Optional[str]] = ()


@dataclass
class Judgements:
    """Verdicts of a pairwise judge: ``p`` float64 (N, 3) for A better, tie, B better (rows sum to 1; NaN abstains)."""

    p: np.ndarray
    text: Sequence[str] = ()
    errors: Sequence[Optional[str]] = ()


class RewardModel:
    """A reward model: clip in, scores out.

    The host creates the object without arguments, calls :meth:`configure`, reads :attr:`card` and
    :meth:`fingerprint`, and only if a clip has to be scored calls :meth:`load` in a process of its own.
    :meth:`prepare` runs in decode processes, where :meth:`load` was never called.
    """

    card: RewardCard
    preset: Optional[str] = None
    weights: Mapping[str, str]
    options: Mapping[str, str]
    dimensions: Tuple[str, ...]
    option_names: ClassVar[Tuple[str, ...]] = ()
    """Names that ``--option NAME=VALUE`` may set; anything else is refused by the host."""
    device: Optional[str] = None
    """Set by :meth:`load` where the model computes elsewhere than it was told (a numpy model: ``cpu``)."""
    load_message: Optional[str] = None
    """Set by :meth:`load` where the user should know how it went (``loaded one after the other``); shown once."""
    per_pair: bool = False
    """True: clips are handed over per pair and side, with ``row``, ``side`` and, where the benchmark has the column,
    ``pair_id`` in their metadata."""
    matches_by: Optional[str] = None
    """``pair_id`` or ``order``, where a recorded table is matched to pairs; the host refuses what cannot be matched."""
    rows_by_order: Optional[int] = None
    """Number of rows, where a recorded table is matched to pairs by row order; the host refuses another length."""

    def configure(
        self,
        *,
        preset: Optional[str] = None,
        weights: Optional[Mapping[str, str]] = None,
        options: Optional[Mapping[str, str]] = None,
        dimensions: Optional[Sequence[str]] = None,
        seed: int = 0,
    ) -> None:
        """Take the user's choices. Cheap: opens no weights. Subclasses may check values and adapt ``self.card``.

        ``weights`` maps part to path (part ``""`` is a bare ``--weights PATH``); ``options`` maps name to text;
        ``dimensions`` are the ones asked for (all, if None).

        Raises:
            ValueError: with one sentence, where a value cannot be used.
        """
        self.preset = preset
        self.weights = dict(weights or {})
        self.options = dict(options or {})
        self.dimensions = tuple(dimensions) if dimensions else self.card.dimension_names
        self.seed = seed

    def load(self, device: str, dtype: Optional[str], weights: Mapping[str, str], options: Mapping[str, str]) -> None:
        """Load weights. ``device`` is a torch device string, ``dtype`` ``float32|float16|bfloat16`` or None."""

    def prepare(self, clip: Clip, frames: Mapping[FrameSpec, Frames]) -> Prepared:
        """Turn decoded frames into named arrays for :meth:`score`. No torch needed, never pickled."""
        return {f"frames{i}": f.rgb for i, f in enumerate(frames.values())}

    def score(self, batch: Sequence[Item]) -> Scores:
        """Score N items; columns follow ``self.dimensions``."""
        raise NotImplementedError

    def fingerprint(self) -> str:
        """Everything that can change a score: name, version, preset, options, weights by content."""
        return fingerprint(self.card, self.preset, self.weights, self.options)

    def close(self) -> None:
        """Release what :meth:`load` took."""


class PairwiseJudge(RewardModel):
    """A judge that compares two clips. The host asks both orders and keeps rows keyed (pair, order)."""

    both_orders: ClassVar[bool] = True
    """False where asking again in the other order has no meaning (recorded verdicts)."""

    def compare(self, batch: Sequence[Tuple[Item, Item]]) -> Judgements:
        """Judge N pairs (A, B)."""
        raise NotImplementedError


class LatentReward:
    """A differentiable reward on latents, for guidance while sampling."""

    card: RewardCard

    def reward(self, latents: Any, t: Any, text: Any) -> Any:
        """Rewards (B, D) of latents (B, …) at times ``t`` (B,) under conditioning ``text``."""
        raise NotImplementedError


def fingerprint(card: RewardCard, preset: Optional[str], weights: Mapping[str, str], options: Mapping[str, str]) -> str:
    """SHA-256 (hex) over name, version, preset, options and the content of every weights part."""
    state = {
        "name": card.name,
        "version": card.version,
        "preset": preset,
        "options": dict(sorted(options.items())),
        "weights": {part: hash_path(path) for part, path in sorted(weights.items())},
    }
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()
