"""What a reward model is trained on: compared pairs and rated clips, split so that no prompt is on both sides."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rewardbench.benchmark import load_benchmark
from rewardbench.clip_tables import locate
from rewardbench.errors import InputError
from rewardbench.tables import read_table
from rewardbench_plugin.clip import Clip

_OVERALL = ("overall",)
"""Trained only where it is asked for: it is the sum of the others."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two clips of one prompt; ``labels``: dimension to +1 (A is better), -1 or 0 (tie), the decided ones only."""

    a: Clip
    b: Clip
    labels: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Rated:
    """One clip; ``ratings``: dimension to a number, higher is better, the given ones only."""

    clip: Clip
    ratings: Mapping[str, float]


@dataclass(frozen=True)
class TrainingData:
    """Examples of one kind.

    Attributes:
        kind: ``pairs`` or ``ratings``.
        dimensions: in the order of the model's scores.
        source, sha256: the table they come from.
    """

    kind: str
    dimensions: tuple[str, ...]
    pairs: tuple[Pair, ...]
    ratings: tuple[Rated, ...]
    source: str
    sha256: str

    @property
    def prompts(self) -> set[str]:
        """Prompts without regard to case and spacing."""
        return {same_prompt(clip.prompt) for clip in self.clips()}

    def clips(self) -> Iterable[Clip]:
        for pair in self.pairs:
            yield pair.a
            yield pair.b
        for rated in self.ratings:
            yield rated.clip

    def __len__(self) -> int:
        return len(self.pairs) + len(self.ratings)

    def only(self, prompts: set[str]) -> TrainingData:
        """The examples of these prompts (as :attr:`prompts` spells them)."""
        return replace(
            self,
            pairs=tuple(p for p in self.pairs if same_prompt(p.a.prompt) in prompts),
            ratings=tuple(r for r in self.ratings if same_prompt(r.clip.prompt) in prompts),
        )


def clip_key(clip: Clip) -> tuple[str, str | None, str | None]:
    """What makes a clip another one to a model: the same video under another prompt or image is."""
    return clip.video, clip.prompt, clip.image


def same_prompt(prompt: str | None) -> str:
    """The key under which two spellings of one prompt are one: case and spacing do not matter."""
    return " ".join((prompt or "").casefold().split())


def read_examples(path: Path, objective: str, dimensions: Sequence[str] | None = None) -> TrainingData:
    """Read a table for an objective.

    Pairs (``bt``, ``btt``): this project's pairs format or VideoAlign's csv. Ratings (``regression``): one row a clip
    (``video``, ``prompt?``, ``rating_<DIM>``), or a pairs table with ``rating_<DIM>_A`` and ``rating_<DIM>_B``. A
    dimension that is named may also stand in a column of just its name.

    Raises:
        InputError: the table cannot be read, has no column for a dimension, or says nothing about any clip.
    """
    columns, rows = read_table(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    is_pairs = bool({"video_a", "path_A"} & set(columns))
    if objective != "regression":
        if not is_pairs:
            raise InputError(
                f"{path} has no pairs (columns video_a and video_b, or path_A and path_B); the objective {objective} "
                "learns from pairs, --objective regression from ratings"
            )
        data = _read_pairs(path, digest, dimensions)
    elif is_pairs:
        data = _read_paired_ratings(path, columns, rows, digest, dimensions)
    else:
        data = _read_ratings(path, columns, rows, digest, dimensions)
    if not len(data):
        raise InputError(f"{path} has no row with a label or rating for {', '.join(data.dimensions)}")
    return data


def split_by_prompt(data: TrainingData, share: float, seed: int) -> tuple[TrainingData, TrainingData]:
    """Training and validation examples; ``share`` of the prompts (at least one, never all) are for validation.

    Prompts are ordered by a hash of seed and prompt, so that a prompt's side does not depend on the others' order.
    Prompts that have a video in common stay together: a clip seen in training says too much about itself.

    Raises:
        InputError: fewer than two groups of prompts.
    """
    groups = _prompts_sharing_videos(data)
    if len(groups) < 2:
        raise InputError(
            f"{data.source} has {len(data.prompts)} prompt{'s' * (len(data.prompts) != 1)} whose clips are not shared; "
            "a split by prompt needs two, so give a second table with --validation FILE"
        )
    ordered = sorted(groups, key=lambda group: _hash(seed, min(group)))
    held_out: set[str] = set()
    wanted = share * len(data.prompts)
    for group in ordered[:-1]:
        if held_out and len(held_out) + len(group) > wanted + 0.5:
            break
        held_out |= group
    return data.only(data.prompts - held_out), data.only(held_out)


def check_apart(training: TrainingData, validation: TrainingData) -> None:
    """Refuse a validation table that shares prompts or videos with the training table.

    Raises:
        InputError: naming how many, and one of them.
    """
    shared = sorted(training.prompts & validation.prompts)
    if shared:
        raise InputError(
            f"{validation.source} shares {len(shared)} prompts with {training.source}, e.g. {shared[0][:80]!r}; a "
            "validation table must have prompts of its own"
        )
    videos = {clip.video for clip in training.clips()}
    common = sorted({clip.video for clip in validation.clips()} & videos)
    if common:
        raise InputError(
            f"{validation.source} shares {len(common)} videos with {training.source}, e.g. {common[0]}; a validation "
            "table must have clips of its own"
        )


def _hash(seed: int, prompt: str) -> str:
    return hashlib.sha256(f"{seed}:{prompt}".encode()).hexdigest()


def _prompts_sharing_videos(data: TrainingData) -> list[set[str]]:
    parent = {prompt: prompt for prompt in data.prompts}

    def root(prompt: str) -> str:
        while parent[prompt] != prompt:
            parent[prompt] = prompt = parent[parent[prompt]]
        return prompt

    first: dict[str, str] = {}
    for clip in data.clips():
        prompt = same_prompt(clip.prompt)
        parent[root(prompt)] = root(first.setdefault(clip.video, prompt))
    groups: dict[str, set[str]] = {}
    for prompt in parent:
        groups.setdefault(root(prompt), set()).add(prompt)
    return list(groups.values())


# --- tables --------------------------------------------------------------------------------------------------------


def _read_pairs(path: Path, digest: str, dimensions: Sequence[str] | None) -> TrainingData:
    benchmark = load_benchmark(path, labels=dimensions)
    if not benchmark.has_clips:
        raise InputError(f"{path} names no video files; training has to read them")
    kept = tuple(dimensions or (d for d in benchmark.labels if d.lower() not in _OVERALL))
    if not kept:
        raise InputError(f"{path} has labels for {', '.join(benchmark.labels)} only; name it with --dimension")
    pairs = []
    for comparison in benchmark.comparisons:
        labels = {d: comparison.labels[d] for d in kept if d in comparison.labels}
        if labels:
            pairs.append(Pair(benchmark.clips[comparison.clip_a], benchmark.clips[comparison.clip_b], labels))
    return TrainingData("pairs", kept, tuple(pairs), (), str(path), digest)


def _read_ratings(
    path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, str]], digest: str, dimensions: Sequence[str] | None
) -> TrainingData:
    if "video" not in columns:
        raise InputError(f"{path} has no column 'video' (columns: {', '.join(columns)})")
    chosen = _rating_columns(path, columns, dimensions, "")
    rated = []
    for number, row in enumerate(rows, start=1):
        ratings = _ratings_of(path, number, row, chosen)
        if ratings:
            rated.append(Rated(_clip_of(path, number, row, row["video"]), ratings))
    return TrainingData("ratings", tuple(chosen), (), tuple(rated), str(path), digest)


def _read_paired_ratings(
    path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, str]], digest: str, dimensions: Sequence[str] | None
) -> TrainingData:
    """Ratings of both sides of pairs; a clip rated in several pairs has the mean of its ratings."""
    videos = ("video_a", "video_b") if "video_a" in columns else ("path_A", "path_B")
    sums: dict[tuple[str, str, str | None], tuple[Clip, dict[str, list[float]]]] = {}
    names: tuple[str, ...] = ()
    for side, video in zip("AB", videos, strict=True):
        if video not in columns:
            raise InputError(f"{path} has no column {video!r} (columns: {', '.join(columns)})")
        chosen = _rating_columns(path, columns, dimensions, f"_{side}")
        names = tuple(chosen)
        for number, row in enumerate(rows, start=1):
            clip = _clip_of(path, number, row, row[video])
            _, found = sums.setdefault((clip.video, same_prompt(clip.prompt), clip.image), (clip, {}))
            for dimension, value in _ratings_of(path, number, row, chosen).items():
                found.setdefault(dimension, []).append(value)
    rated = [Rated(clip, {d: sum(v) / len(v) for d, v in found.items()}) for clip, found in sums.values() if found]
    return TrainingData("ratings", names, (), tuple(rated), str(path), digest)


def _rating_columns(
    path: Path, columns: Sequence[str], dimensions: Sequence[str] | None, suffix: str
) -> dict[str, str]:
    """Dimension to the column of its ratings."""
    if dimensions is None:
        dimensions = [
            c.removeprefix("rating_").removesuffix(suffix)
            for c in columns
            if c.startswith("rating_") and c.endswith(suffix) and c[7 : len(c) - len(suffix)].lower() not in _OVERALL
        ]
        if not dimensions:
            raise InputError(
                f"{path} has no rating_<DIMENSION>{suffix} column; name the rated dimensions with --dimension "
                f"(columns: {', '.join(columns)})"
            )
    chosen = {}
    for dimension in dimensions:
        column = next((c for c in (f"rating_{dimension}{suffix}", f"{dimension}{suffix}") if c in columns), None)
        if column is None:
            raise InputError(
                f"{path} has no column rating_{dimension}{suffix} or {dimension}{suffix} with ratings "
                f"(columns: {', '.join(columns)})"
            )
        chosen[dimension] = column
    return chosen


def _ratings_of(path: Path, number: int, row: Mapping[str, str], chosen: Mapping[str, str]) -> dict[str, float]:
    ratings = {}
    for dimension, column in chosen.items():
        text = row[column].strip()
        if not text:
            continue
        try:
            value = float(text)
        except ValueError:
            value = math.inf
        if math.isnan(value):
            continue
        if math.isinf(value):
            raise InputError(f"{path}, row {number}: rating {text!r} in column {column!r} is not a number")
        ratings[dimension] = value
    return ratings


def _clip_of(path: Path, number: int, row: Mapping[str, str], video: str) -> Clip:
    where = f"{path}, row {number}"
    if not video.strip():
        raise InputError(f"{where}: the clip's path is empty")
    image = row.get("image", "")
    return Clip(
        video,
        locate(path.parent, video, where),
        row.get("prompt") or None,
        locate(path.parent, image, where) if image else None,
        {"name": video},
    )
