"""One batch as messages: what a model's process is asked, and what must come back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from rewardbench.errors import PluginError
from rewardbench.registry import RewardChoice
from rewardbench.scoring.plan import Job, Work
from rewardbench_plugin.clip import Clip
from rewardbench_plugin.transport import Arrays, Message

PROBABILITY_SLACK = 1e-2
"""How far a judge's three probabilities may be from summing to 1: those of half-precision models are off by 1e-3."""


@dataclass(eq=False)
class Item:
    """Work whose clips are decoded and prepared; arrays are named ``clip/name`` (position in the work)."""

    work: Work
    arrays: Arrays


@dataclass(frozen=True)
class Answer:
    """A checked batch: ``values`` and ``raw`` (N, D), or (N, 3) for a judge, N notes, and N faults (None: good)."""

    values: np.ndarray
    raw: np.ndarray
    notes: list[str]
    faults: list[str | None]


def load_request(choice: RewardChoice, device: str, dtype: str | None) -> Message:
    """Ask a worker to build and load the model that was chosen."""
    return {
        "op": "load",
        "target": choice.target,
        "configure": choice.configure_arguments(),
        "device": device,
        "dtype": dtype,
    }


def load_failure(reply: Mapping[str, Any]) -> str:
    """Why a model could not be loaded. A plugin's own ValueError is a sentence for the user."""
    return str(reply["error"] if reply["type"] == "ValueError" else f"{reply['type']}: {reply['error']}")


def batch_request(items: Sequence[Item], *, is_judge: bool) -> tuple[Message, Arrays]:
    """Ask a worker to score (or compare) a batch; arrays are named ``clip/name`` (position in the batch)."""
    clips = [clip_json(clip) for item in items for clip in item.work.clips]
    arrays: Arrays = {}
    base = 0
    for item in items:
        for name, array in item.arrays.items():
            clip, _, rest = name.partition("/")
            arrays[f"{base + int(clip)}/{rest}"] = array
        base += len(item.work.clips)
    return {"op": "compare" if is_judge else "score", "clips": clips}, arrays


def clip_json(clip: Clip) -> dict[str, Any]:
    fields = asdict(clip)
    fields["metadata"] = dict(fields["metadata"])
    return fields


def read_answer(job: Job, n: int, reply: Message, arrays: Arrays) -> Answer:
    """The answer to a batch of ``n``, checked against the plugin's own card.

    Raises:
        PluginError: if its shape is not that of the batch; no clip is at fault then.
    """
    label = job.label
    width = 3 if job.is_judge else len(job.dimensions)
    values = arrays.get("p" if job.is_judge else "values", np.empty(0))
    raw = arrays.get("raw", values)
    for name, array in (("scores", values), ("raw scores", raw)):
        if array.shape != (n, width):
            raise PluginError(
                f"plugin {label!r} returned {name} of shape {array.shape} for {n} clips where {(n, width)} "
                "belongs (clips, dimensions)"
            )
    texts = list(reply.get("text") or reply.get("notes") or [])
    errors = list(reply.get("errors") or [])
    for name, entries in (("notes", texts), ("errors", errors)):
        if entries and len(entries) != n:
            raise PluginError(f"plugin {label!r} returned {len(entries)} {name} for {n} clips")
    notes = [str(text or "") for text in texts] or [""] * n
    faults = [error or _fault(job, row) for error, row in zip(errors or [None] * n, values, strict=True)]
    return Answer(values, raw, notes, faults)


def _fault(job: Job, row: np.ndarray) -> str | None:
    """Why a row of scores breaks the card, or None."""
    if job.is_judge:
        if np.isnan(row).all() or (np.all(row >= 0) and abs(float(row.sum()) - 1) < PROBABILITY_SLACK):
            return None
        return f"returned {row.tolist()} where probabilities of A, tie and B belong"
    for name, value in zip(job.dimensions, row.tolist(), strict=True):
        dimension = job.model.card.dimension(name)
        if not math.isnan(value) and not dimension.low <= value <= dimension.high:
            return f"scored {name} {value:g}, outside its declared range [{dimension.low:g}, {dimension.high:g}]"
        if abs(value) == float("inf"):
            return f"returned an infinite score for {name}"
    return None
