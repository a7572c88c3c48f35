"""What is to be labelled: pairs of clips from a pairs file, a clips table, or a folder with one subfolder a system."""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import TypeVar

from rewardbench.clip_tables import locate, read_clip_table
from rewardbench.errors import InputError
from rewardbench.tables import read_table
from rewardbench_plugin.clip import Clip

CLIP_SUFFIXES = (".mp4", ".mov", ".webm", ".mkv", ".avi", ".ts", ".gif")
PROMPTS = "prompts.csv"
_OWN_COLUMNS = ("pair_id", "prompt", "video_a", "video_b", "path_A", "path_B", "image")
_OLD_LABELS = ("VQ", "MQ", "TA", "Overall")
T = TypeVar("T")


@dataclass(frozen=True)
class LabelPair:
    """Two clips to be held against each other.

    Attributes:
        pair_id: unique, the same whenever the source is read.
        name_a, name_b: the clips as the source names them; a label belongs to these names.
        video_a, video_b, image: files on this machine.
        columns: further columns of the source (``model_a``, ``model_b``, …), which the labelled table keeps.
    """

    pair_id: str
    prompt: str
    name_a: str
    name_b: str
    video_a: Path
    video_b: Path
    image: Path | None = None
    columns: Mapping[str, str] = field(default_factory=dict)


def draw(*parts: object) -> int:
    """A number in [0, 2**64) that depends on nothing but ``parts``; every random choice of labelling is made of it."""
    text = json.dumps([str(part) for part in parts], ensure_ascii=True)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def read_label_pairs(source: Path, *, limit: int | None = None, seed: int = 0) -> list[LabelPair]:
    """The pairs of a source, in its order.

    A folder holds one subfolder a system; clips of the same stem are paired, every system with every other. A table
    with ``video_a`` and ``video_b`` (or VideoAlign's ``path_A``, ``path_B``) is taken as it is, its labels unread. A
    clips table (``video``, ``prompt``, ``model?``) pairs the clips of each prompt (and image) that have different
    models, or all of them where no model is named. Which clip becomes A is drawn from the pair itself, except in a
    pairs file.

    Args:
        source: folder, or ``.csv``, ``.parquet``, ``.jsonl`` table.
        limit: this many pairs only, drawn with ``seed`` (the same for every rater).

    Raises:
        InputError: nothing to pair, a missing clip, a clip that is no local file, or a pair id that stands twice.
    """
    if source.is_dir():
        pairs = list(_folder_pairs(source))
    else:
        columns, rows = read_table(source)
        sides = next((two for two in (("video_a", "video_b"), ("path_A", "path_B")) if set(two) <= set(columns)), None)
        if sides is not None:
            pairs = [_row_pair(source, row, number, sides) for number, row in enumerate(rows)]
        elif "video" in columns:
            pairs = list(_clip_pairs(source))
        else:
            raise InputError(f"{source} has neither video_a and video_b (pairs) nor video (clips) among its columns")
    if not pairs:
        raise InputError(f"{source} holds no two clips to compare")
    _check(pairs, source)
    if limit is not None and limit < len(pairs):
        drawn = set(sorted((p.pair_id for p in pairs), key=lambda one: draw(seed, "limit", one))[:limit])
        pairs = [pair for pair in pairs if pair.pair_id in drawn]
    return pairs


def _row_pair(source: Path, row: Mapping[str, str], number: int, sides: tuple[str, str]) -> LabelPair:
    where = f"{source}, row {number + 1}"
    name_a, name_b = (row[side].strip() for side in sides)
    if not name_a or not name_b:
        raise InputError(f"{where}: a clip's path is empty")
    image = row.get("image", "")
    dropped = {*_OWN_COLUMNS, *(_OLD_LABELS if sides[0] == "path_A" else ())}
    return LabelPair(
        row["pair_id"] if "pair_id" in row else str(number),
        row.get("prompt", ""),
        name_a,
        name_b,
        _local(source.parent, name_a, where),
        _local(source.parent, name_b, where),
        _local(source.parent, image, where) if image else None,
        {k: v for k, v in row.items() if k not in dropped and not k.startswith("label_")},
    )


def _clip_pairs(source: Path) -> Iterator[LabelPair]:
    groups: dict[tuple[str, str], list[Clip]] = defaultdict(list)
    for clip in read_clip_table(source):
        if not clip.prompt:
            raise InputError(f"{source}: clip {clip.clip_id!r} has no prompt; clips are paired by their prompt")
        groups[clip.prompt, clip.image or ""].append(clip)
    for (prompt, image), clips in groups.items():
        for one, other in combinations(clips, 2):
            models = (one.metadata.get("model", ""), other.metadata.get("model", ""))
            if models[0] and models[0] == models[1]:
                continue
            (a, model_a), (b, model_b) = _sides((one, models[0]), (other, models[1]), one.clip_id, other.clip_id)
            yield LabelPair(
                f"{a.clip_id}|{b.clip_id}",
                prompt,
                a.metadata["name"],
                b.metadata["name"],
                _file(a.video, source),
                _file(b.video, source),
                _file(image, source) if image else None,
                {"model_a": model_a, "model_b": model_b} if any(models) else {},
            )


def _folder_pairs(folder: Path) -> Iterator[LabelPair]:
    found: dict[str, dict[str, str]] = defaultdict(dict)  # stem -> system -> name relative to the folder
    for system in sorted(one for one in folder.iterdir() if one.is_dir() and not one.name.startswith(".")):
        for file in sorted(system.iterdir()):
            if file.suffix.lower() in CLIP_SUFFIXES and file.is_file():
                if system.name in found[file.stem]:
                    raise InputError(f"{system} holds two clips named {file.stem!r}; keep one of them")
                found[file.stem][system.name] = f"{system.name}/{file.name}"
    if not any(len(systems) > 1 for systems in found.values()):
        raise InputError(
            f"{folder} has no two subfolders with a clip of the same name; put each system's clips into its own "
            f"subfolder (wan/fox.mp4, ltx/fox.mp4), or name a table"
        )
    prompts = _folder_prompts(folder)
    for stem, systems in sorted(found.items()):
        prompt, image = prompts.get(stem, ("", ""))
        for one, other in combinations(sorted(systems), 2):
            a, b = _sides(one, other, f"{stem}/{one}", f"{stem}/{other}")
            yield LabelPair(
                f"{stem}|{a}|{b}",
                prompt,
                systems[a],
                systems[b],
                _local(folder, systems[a], str(folder)),
                _local(folder, systems[b], str(folder)),
                _local(folder, image, str(folder / PROMPTS)) if image else None,
                {"model_a": a, "model_b": b, "item": stem},
            )


def _folder_prompts(folder: Path) -> dict[str, tuple[str, str]]:
    """Stem to (prompt, image) from the folder's ``prompts.csv``; empty where there is none."""
    table = folder / PROMPTS
    if not table.exists():
        return {}
    columns, rows = read_table(table)
    if not {"name", "prompt"} <= set(columns):
        raise InputError(f"{table} needs the columns name (a clip's name without its ending) and prompt")
    return {row["name"]: (row["prompt"], row.get("image", "")) for row in rows}


def _sides(one: T, other: T, first: str, second: str) -> tuple[T, T]:
    """Which of two is A, drawn from their names: were A always the same system, "always A" would be a good judge."""
    return (other, one) if draw("sides", *sorted((first, second))) % 2 else (one, other)


def _local(folder: Path, name: str, where: str) -> Path:
    return _file(locate(folder, name, where), where)


def _file(location: str, where: object) -> Path:
    if not os.path.isabs(location):  # `locate` leaves a URI as it is
        raise InputError(f"{where}: {location} is no file on this machine; only local clips can be labelled")
    return Path(location)


def _check(pairs: Sequence[LabelPair], source: Path) -> None:
    seen: set[str] = set()
    for pair in pairs:
        if not pair.pair_id:
            raise InputError(f"{source}: a pair_id is empty; ids must be unique and not empty")
        if pair.pair_id in seen:
            raise InputError(f"{source}: pair_id {pair.pair_id!r} stands twice; ids must be unique")
        seen.add(pair.pair_id)
    for file in _files(pairs):
        if not file.is_file():
            raise InputError(f"{source}: the file {file} does not exist; bring it, or take its pairs out")


def _files(pairs: Iterable[LabelPair]) -> Iterator[Path]:
    for pair in pairs:
        yield pair.video_a
        yield pair.video_b
        if pair.image is not None:
            yield pair.image
