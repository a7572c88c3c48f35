"""The user's clips: from a folder or a table, each once, with the prompt and the image it goes with."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rewardbench.errors import InputError
from rewardbench.synth.make import CLIP_SUFFIXES
from rewardbench_plugin.clip import Clip


@dataclass(frozen=True)
class Source:
    """One of the user's clips.

    Attributes:
        number: its place in the list, from 0.
        name: how the user knows it.
        clip: as the user named it; for a model that uses an image, with the clip's own first frame where it had none.
        reference: path of the working copy, which every treatment starts from.
        frames: of the working copy.
        shrunk: the working copy is smaller or shorter than the file.
    """

    number: int
    name: str
    clip: Clip
    reference: str
    frames: int
    shrunk: bool


def clips_of_folder(folder: Path) -> list[Clip]:
    """The clips of a folder, by name, not those of its subfolders; they have no prompt.

    Raises:
        InputError: no folder, or no clip in it.
    """
    if not folder.is_dir():
        raise InputError(f"--videos {folder} is not a folder; name one, or a table of clips with --clips TABLE")
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in CLIP_SUFFIXES and p.is_file())
    if not found:
        raise InputError(f"--videos {folder} holds no clip ({', '.join(CLIP_SUFFIXES)}); subfolders are not searched")
    return [Clip(path.name, str(path), None, None, {"name": path.name}) for path in found]


def name_of(clip: Clip) -> str:
    return str(clip.metadata.get("name") or clip.clip_id)


def next_others(contents: Sequence[Hashable | None]) -> list[int | None]:
    """For each clip the place of the next other content in the list (around its end); None where there is none to swap.

    ``contents`` are equal where clips have the same, and None where they have none. Nothing is drawn at random, so that
    a list grown at its end changes the fewest swaps.
    """
    places: list[int | None] = []
    for i, own in enumerate(contents):
        later = [*range(i + 1, len(contents)), *range(i)]
        places.append(next((j for j in later if None not in (own, contents[j]) and contents[j] != own), None))
    return places


def other_prompts(prompts: Sequence[str | None]) -> list[str | None]:
    """For each clip the next other prompt in the list, None where it has none or there is no other."""
    contents = [((prompt or "").strip() if prompt else None) for prompt in prompts]
    return [None if place is None else prompts[place] for place in next_others(contents)]
