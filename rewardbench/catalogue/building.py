"""Pairs that a loader read, as a :class:`rewardbench.Benchmark` with stable ids and a fingerprint."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rewardbench.benchmark import Benchmark, Comparison, Label
from rewardbench.catalogue.folders import find_media
from rewardbench.clip_tables import locate
from rewardbench.errors import InputError
from rewardbench_plugin.clip import Clip


@dataclass(frozen=True)
class Side:
    """One clip of a pair: its id in the source (usually a relative path), prompt and first-frame image."""

    video: str
    prompt: str
    image: str = ""


@dataclass(frozen=True)
class PairRow:
    """One pair as the source has it. A label of None was not decided; ``columns`` are texts to slice by."""

    pair_id: str
    a: Side
    b: Side
    labels: Mapping[str, Label | None]
    columns: Mapping[str, str] = field(default_factory=dict)


def build_benchmark(
    name: str,
    version: str,
    rows: Sequence[PairRow],
    folder: Path,
    *,
    label_format: str = "plain",
    has_pair_ids: bool = True,
) -> Benchmark:
    """The benchmark of ``rows``; clips are looked for in ``folder``.

    Where no clip is there, the benchmark has ids and labels only (``has_clips`` is False); where some are, the missing
    ones cost themselves when they are scored. ``sha256`` is the fingerprint of the pairs, so it does not depend on
    where the files lie or in which form they were published. Where pairs go across prompts a column ``cluster`` says
    which of them depend on each other.

    Raises:
        InputError: no pairs, a pair id twice, or a clip that leads out of ``folder``.
    """
    source = str(folder)
    if not rows:
        raise InputError(f"{source} holds no pairs of benchmark {name!r}")
    repeated = [pair_id for pair_id, count in Counter(row.pair_id for row in rows).items() if count > 1]
    if repeated:
        raise InputError(f"{source}: pair {repeated[0]!r} of benchmark {name!r} stands twice; ids must be unique")
    videos = dict.fromkeys(side.video for row in rows for side in (row.a, row.b))
    places = {video: find_media(folder, video) for video in videos}
    has_clips = any(place is not None for place in places.values())
    clips: dict[str, Clip] = {}
    ids: dict[Side, str] = {}

    def clip_of(side: Side) -> str:
        if side not in ids:
            clip_id, copy = side.video, 2
            while clip_id in clips:  # the same file under another prompt or image is another clip
                clip_id, copy = f"{side.video}#{copy}", copy + 1
            ids[side] = clip_id
            clips[clip_id] = _clip(clip_id, side, places[side.video], folder, has_clips)
        return ids[side]

    clusters = connected_prompts(rows)
    comparisons = tuple(
        Comparison(
            row.pair_id,
            row.a.prompt,
            clip_of(row.a),
            clip_of(row.b),
            {label: value for label, value in row.labels.items() if value is not None},
            {"prompt": row.a.prompt, **row.columns, **({"cluster": _cluster(row, clusters)} if clusters else {})},
        )
        for row in rows
    )
    further = [column for row in rows for column in row.columns]
    columns = tuple(dict.fromkeys(["prompt", *further, *(["cluster"] if clusters else [])]))
    return Benchmark(
        name=name,
        version=version,
        source=source,
        sha256=fingerprint(rows),
        labels=tuple(dict.fromkeys(label for row in rows for label in row.labels)),
        comparisons=comparisons,
        clips=clips,
        has_clips=has_clips,
        columns=columns,
        label_format=label_format,
        has_pair_ids=has_pair_ids,
    )


def connected_prompts(rows: Sequence[PairRow]) -> dict[str, str]:
    """Prompt to cluster, where pairs go across prompts: prompts that any chain of pairs connects are one cluster.

    A cluster has the name of its first prompt in alphabetical order. Empty where every pair is of one prompt: then
    the prompt is the cluster. A side without a prompt connects nothing.
    """
    if all(row.a.prompt == row.b.prompt for row in rows):
        return {}
    parent: dict[str, str] = {}

    def root(prompt: str) -> str:
        while parent.setdefault(prompt, prompt) != prompt:
            parent[prompt] = prompt = parent[parent[prompt]]
        return prompt

    for row in rows:
        a, b = root(row.a.prompt), root(row.b.prompt)
        if row.a.prompt.strip() and row.b.prompt.strip():
            parent[max(a, b)] = min(a, b)
    return {prompt: root(prompt) for prompt in list(parent)}


def _cluster(row: PairRow, clusters: Mapping[str, str]) -> str:
    return clusters[row.a.prompt if row.a.prompt.strip() else row.b.prompt]


def _clip(clip_id: str, side: Side, place: str | None, folder: Path, has_clips: bool) -> Clip:
    if not has_clips:
        video = ""
    elif place is None:
        video = str(folder / "videos" / side.video.replace("\0", "")) if "://" not in side.video else side.video
    else:
        video = locate(folder, place, str(folder))
    image = find_media(folder, side.image) if side.image else None
    return Clip(
        clip_id,
        video,
        side.prompt or None,
        None if image is None else locate(folder, image, str(folder)),
        {"name": side.video},
    )


def fingerprint(rows: Sequence[PairRow]) -> str:
    """SHA-256 over the pairs in order: id, prompts, clip ids and labels. Folders and further columns do not count."""
    digest = hashlib.sha256()
    for row in rows:
        sides = [[side.video, side.prompt, side.image] for side in (row.a, row.b)]
        line = json.dumps([row.pair_id, *sides, sorted(row.labels.items())], ensure_ascii=False)
        digest.update(line.encode("utf-8", "surrogatepass") + b"\n")
    return digest.hexdigest()
