"""The gallery of known characters: pictures and the name of each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rewardbench_animereward.character.crops import gallery_picture

LIST = "gallerys.json"
LISTS = (LIST, f"BLIP/data/{LIST}", f"data/{LIST}", f"../{LIST}")
"""Where the list may be, relative to the folder named; the second is the published layout's."""
PICTURES = ("", "gallery", "videos")
"""Where the pictures named in the list may lie, relative to the folder."""


@dataclass(frozen=True)
class Gallery:
    """Pictures of known characters, in the list's order.

    Attributes:
        paths: of the pictures.
        names: of the characters as the list spells them; spellings that differ in case only are one character.
    """

    paths: tuple[Path, ...]
    names: tuple[str, ...]

    @property
    def identities(self) -> tuple[str, ...]:
        """Lower-case names, each once, by first appearance."""
        return tuple(dict.fromkeys(name.lower() for name in self.names))

    @property
    def members(self) -> tuple[np.ndarray, ...]:
        """For each of :attr:`identities`, the positions of its pictures."""
        lower = np.array([name.lower() for name in self.names])
        return tuple(np.flatnonzero(lower == identity) for identity in self.identities)

    def pictures(self, at_once: int) -> Iterator[np.ndarray]:
        """The pictures at the recogniser's size, uint8 (N, 224, 224, 3) with N up to ``at_once``.

        Raises:
            ValueError: where one cannot be read.
        """
        for start in range(0, len(self.paths), at_once):
            yield np.stack([_read(path) for path in self.paths[start : start + at_once]])


def read_gallery(path: Path) -> Gallery:
    """The gallery of a folder with ``gallerys.json`` and the pictures it names, or of the list itself.

    The list is a JSON array of ``{"image", "caption"}``. The pictures are looked for in the folder, in its ``gallery``
    and in its ``videos`` (what the published archive unpacks to).

    Raises:
        ValueError: where the list or a picture is missing, in one sentence.
    """
    listed = path if path.is_file() else next((path / name for name in LISTS if (path / name).is_file()), None)
    if listed is None:
        raise ValueError(f"the character gallery {path} holds no {LIST}; it is published beside AnimeReward's code")
    try:
        entries = json.loads(listed.read_text(encoding="utf-8"))
        images, names = [str(e["image"]) for e in entries], [str(e["caption"]) for e in entries]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f'{listed} is not a list of {{"image", "caption"}} ({type(error).__name__})') from None
    if not images:
        raise ValueError(f"{listed} names no picture")
    folder = path.parent if path.is_file() else path
    return Gallery(_find_pictures(folder, images, listed), tuple(names))


def _find_pictures(folder: Path, images: Sequence[str], listed: Path) -> tuple[Path, ...]:
    """The pictures, all below the one of the :data:`PICTURES` folders that holds most of them."""
    candidates = [[folder / inner / image for image in images] for inner in PICTURES]
    best = max(candidates, key=lambda paths: sum(p.is_file() for p in paths))
    missing = [path for path in best if not path.is_file()]
    if missing:
        raise ValueError(
            f"{len(missing)} of the {len(images)} pictures that {listed} names are missing, the first is {missing[0]}; "
            "unpack the published gallery archive there"
        )
    return tuple(best)


def _read(path: Path) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(path) as image:
            return gallery_picture(image)
    except OSError as error:
        raise ValueError(f"the gallery picture {path} cannot be read ({error})") from None
