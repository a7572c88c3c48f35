"""``benchmarks verify``: are the files at hand the published ones, and do they give the pairs the card promises."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rewardbench.cache import cache_folder
from rewardbench.catalogue.card import MEDIA, BenchmarkCard, need_card
from rewardbench.catalogue.fetching import is_published, load_from
from rewardbench.catalogue.folders import data_folder, remember_folder
from rewardbench.catalogue.prompts import read_suite
from rewardbench.errors import InputError


@dataclass(frozen=True)
class Verification:
    """What was found.

    Attributes:
        files: (checked, in the card) without clips and images.
        media: (at hand, named by the pairs or the card).
        fingerprints: variant to the SHA-256 of its pairs as they are here.
        faults: one sentence each; empty where everything is as published.
        notes: what could not be checked.
    """

    name: str
    folder: Path
    files: tuple[int, int]
    media: tuple[int, int]
    fingerprints: dict[str, str]
    faults: tuple[str, ...]
    notes: tuple[str, ...]


def verify_benchmark(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> Verification:
    """Check the files at hand against the card.

    Label files are compared by SHA-256, under any name, and the pairs they give by fingerprint and number. Where all
    known fingerprints agree, the pairs are the published ones in whatever files they came: a missing file is a note.
    Clips have no published checksums: the SHA-256 of each is kept at the first verification, and a clip whose content
    changed is a fault later.
    With ``data_dir`` later commands find the benchmark there, if no fault was found.

    Raises:
        InputError: an unknown benchmark, or one without a card.
    """
    card = need_card(name)
    folder = data_folder(card.name, data_dir)
    faults: list[str] = []
    notes: list[str] = [f"layout unseen: {what}" for what in card.unseen]
    checked, absent = _check_files(card, folder, faults)
    fingerprints: dict[str, str] = {}
    media: dict[str, Path | None] = {
        file.path: folder / file.path if (folder / file.path).is_file() else None
        for file in card.files
        if file.part == MEDIA and file.sha256 == ""
    }
    if card.kind == "prompts":
        _check_prompts(card, folder, faults)
    else:
        for variant in dict.fromkeys(["", *card.fingerprints]):
            media |= _check_pairs(card, variant, folder, fingerprints, faults)
    same = bool(card.fingerprints) and fingerprints == card.fingerprints
    for part, count in absent.items():
        sentence = f"{_files(count)} of part {part!r} {'is' if count == 1 else 'are'} not in {folder}"
        if part not in ("labels", "prompts"):
            notes.append(sentence)
        elif same:
            notes.append(f"{sentence}, but the pairs are the published ones")
        else:
            faults.append(sentence)
    present = {key: path for key, path in media.items() if path is not None}
    faults += _check_media(card.name, present, progress)
    if not faults and data_dir is not None:
        remember_folder(card.name, folder)
    return Verification(
        card.name, folder, checked, (len(present), len(media)), fingerprints, tuple(faults), tuple(notes)
    )


def _check_files(card: BenchmarkCard, folder: Path, faults: list[str]) -> tuple[tuple[int, int], dict[str, int]]:
    """(right, all) of the files that must be there (clips and images only where they are), and part to how many lack.

    A file that is not there under its published name may be there under another that the loader reads.
    """
    right = needed = 0
    absent: dict[str, int] = {}
    by_size = _files_by_size(folder)
    for file in card.files:
        path = folder / file.path
        needed += file.part != MEDIA
        if not path.is_file():
            renamed = bool(file.sha256) and any(is_published(other, file) for other in by_size.get(file.bytes, ()))
            if renamed:
                right += file.part != MEDIA
            else:
                absent[file.part] = absent.get(file.part, 0) + 1
        elif is_published(path, file):
            right += file.part != MEDIA
        else:
            faults.append(f"{path} is not the published file (SHA-256 expected {file.sha256[:16]}…)")
    return (right, needed), absent


def _files_by_size(folder: Path) -> dict[int, list[Path]]:
    """Files in the folder and one level below it: no loader's other names lie deeper."""
    found: dict[int, list[Path]] = {}
    for pattern in ("*", "*/*"):
        for path in folder.glob(pattern):
            if path.is_file():
                found.setdefault(path.stat().st_size, []).append(path)
    return found


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"


def _check_pairs(
    card: BenchmarkCard, variant: str, folder: Path, fingerprints: dict[str, str], faults: list[str]
) -> dict[str, Path | None]:
    """Load a variant; the clips its pairs name, each with its place or None."""
    named = f"{card.name}:{variant}" if variant else card.name
    try:
        found = load_from(card.name, variant or None, folder)
    except InputError as error:
        faults.append(f"{named} cannot be loaded: {error}")
        return {}
    fingerprints[variant] = found.sha256
    expected = card.fingerprints.get(variant)
    if expected and expected != found.sha256:
        faults.append(
            f"{named} gives other pairs than the published files: {len(found.comparisons):,} pairs, fingerprint "
            f"{found.sha256[:16]}…, expected {expected[:16]}…"
        )
    elif not variant and card.size.pairs is not None and card.size.pairs != len(found.comparisons):
        faults.append(f"{named} has {len(found.comparisons):,} pairs, the card says {card.size.pairs:,}")
    return {
        str(clip.metadata.get("name", clip_id)): Path(clip.video) if clip.video and Path(clip.video).is_file() else None
        for clip_id, clip in found.clips.items()
    }


def _check_prompts(card: BenchmarkCard, folder: Path, faults: list[str]) -> None:
    try:
        prompts = read_suite(card.name, folder)
    except InputError as error:
        faults.append(f"{card.name} cannot be read: {error}")
        return
    if card.size.prompts is not None and card.size.prompts != len(prompts):
        faults.append(f"{card.name} has {len(prompts):,} prompts, the card says {card.size.prompts:,}")


def _check_media(name: str, present: dict[str, Path], progress: Callable[[str, int, int], None] | None) -> list[str]:
    """Compare clips with what they were at the first verification, and remember those that are new."""
    record = cache_folder() / "benchmarks" / f"{name}.media.csv"
    known = _read_record(record)
    now: dict[str, str] = {}
    for number, (key, path) in enumerate(sorted(present.items()), start=1):
        with open(path, "rb") as stream:
            now[key] = hashlib.file_digest(stream, "sha256").hexdigest()
        if progress is not None:
            progress("hashing clips", number, len(present))
    changed = sorted(key for key, digest in now.items() if known.get(key, digest) != digest)
    if now:
        merged = {**now, **known}
        record.parent.mkdir(parents=True, exist_ok=True)
        partial = record.with_name(f".{record.name}.partial")
        with open(partial, "w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(["clip", "sha256"])
            writer.writerows(sorted(merged.items()))
        os.replace(partial, record)
    return [f"{present[key]} changed since it was first verified ({record})" for key in changed]


def _read_record(path: Path) -> dict[str, str]:
    try:
        with open(path, newline="", encoding="utf-8") as stream:
            return {row["clip"]: row["sha256"] for row in csv.DictReader(stream)}
    except (OSError, UnicodeDecodeError, csv.Error, KeyError):
        return {}
