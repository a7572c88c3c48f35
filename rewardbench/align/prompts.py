"""Prompts a generator is asked for: read from the user's table, or drawn for the toy."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rewardbench.align.disk import partial_of
from rewardbench.align.families.base import ClipShape
from rewardbench.clip_tables import locate
from rewardbench.errors import InputError
from rewardbench.tables import read_table
from rewardbench.video import read_image, resize_frames, write_video
from rewardbench_plugin.clip import FrameSpec, Sampling, Size

_ID = re.compile(r"[^\W.][\w.-]*")


@dataclass(frozen=True)
class Prompt:
    """What one clip is asked for.

    Attributes:
        prompt_id: unique in its table.
        text: the caption.
        image: path of the first frame, or None.
    """

    prompt_id: str
    text: str
    image: str | None


def read_prompts(path: Path, *, needs_image: bool) -> list[Prompt]:
    """Read a prompt table: ``prompt``, ``image?`` (path relative to the table), ``prompt_id?`` (else the row number).

    A ``.txt`` file has one caption a line.

    Raises:
        InputError: no prompts, an id twice, or images that the generator needs and that are not there (all are named).
    """
    if path.suffix.lower() == ".txt":
        if not path.is_file():
            raise InputError(f"{path} does not exist")
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path} cannot be read: {error}; save it as UTF-8 text") from None
        rows = [{"prompt": line.strip()} for line in lines if line.strip()]
    else:
        columns, rows = read_table(path)
        if "prompt" not in columns:
            raise InputError(f"{path} has no column 'prompt' (columns: {', '.join(columns)})")
    if not rows:
        raise InputError(f"{path} holds no prompts")
    prompts: list[Prompt] = []
    for number, row in enumerate(rows, start=1):
        image = row.get("image", "")
        found = locate(path.parent, image, f"{path}, row {number}") if image else None
        prompts.append(Prompt(row.get("prompt_id") or f"{number:05d}", row["prompt"], found))
    ids = [p.prompt_id for p in prompts]
    odd = [i for i in ids if not _ID.fullmatch(i)]
    if odd:
        raise InputError(f"{path}: prompt_id {odd[0]!r} names files; use letters, digits, '-', '_' and '.'")
    repeated = sorted({i for i in ids if ids.count(i) > 1}) if len(set(ids)) < len(ids) else []
    if repeated:
        raise InputError(f"{path}: prompt_id {repeated[0]!r} stands twice; ids must be unique")
    check_images(prompts, str(path), needs_image=needs_image)
    return prompts


def check_images(prompts: Sequence[Prompt], source: str, *, needs_image: bool) -> None:
    """Every image named is there, and every prompt has one where the generator needs it.

    Raises:
        InputError: naming the first few that are missing, and how many there are.
    """
    missing = list(dict.fromkeys(p.image for p in prompts if p.image and not Path(p.image).is_file()))
    if missing:
        raise InputError(f"{source}: {_counted(missing)} missing: {_few(missing)}")
    without = [p.prompt_id for p in prompts if not p.image] if needs_image else []
    if without:
        raise InputError(
            f"{source}: this generator makes video from images, and {len(without)} of {len(prompts)} prompts have none "
            f"(column 'image'): {_few(without)}"
        )


def _counted(missing: Sequence[str | None]) -> str:
    return "1 of the images is" if len(missing) == 1 else f"{len(missing)} of the images are"


def _few(names: Sequence[str | None]) -> str:
    shown = ", ".join(str(n) for n in names[:3])
    return shown if len(names) <= 3 else f"{shown}, …"


def draw_prompts(folder: Path, part: str, count: int) -> Path:
    """Write a part's (``align`` or ``evaluate``) first ``count`` drawn prompts with their images; the table's path."""
    from PIL import Image

    from rewardbench.align.toy.drawn import drawn_prompt

    images = folder / f"{part}-images"
    images.mkdir(parents=True, exist_ok=True)
    rows = []
    for index in range(count):
        prompt = drawn_prompt(part, index)
        name = f"{part}-{index:04d}"
        path = images / f"{name}.png"
        if not path.exists():
            partial = path.with_suffix(".partial")
            Image.fromarray(prompt.image()).save(partial, "png")
            os.replace(partial, path)
        rows.append({"prompt_id": name, "prompt": prompt.caption, "image": path.relative_to(folder).as_posix()})
    table = folder / f"{part}.csv"
    write_table(table, rows)
    return table


def drawn_prompts(part: str, count: int) -> list[Prompt]:
    """What :func:`draw_prompts` writes, without images."""
    from rewardbench.align.toy.drawn import drawn_prompt

    return [Prompt(f"{part}-{index:04d}", drawn_prompt(part, index).caption, None) for index in range(count)]


def check_drawn(prompts: Sequence[Prompt]) -> None:
    """
    Raises:
        InputError: a prompt is not one to learn on of :func:`draw_prompts`.
    """
    for prompt in prompts:
        _drawn(prompt)


def _drawn(prompt: Prompt) -> Any:
    from rewardbench.align.toy.drawn import drawn_prompt

    part, _, index = prompt.prompt_id.rpartition("-")
    drawn = drawn_prompt(part, int(index)) if part == "align" and index.isdigit() else None
    if drawn is None or drawn.caption != prompt.text:
        raise InputError(f"prompt {prompt.prompt_id} is not of the drawn world; name real clips with --winners")
    return drawn


def draw_clips(folder: Path, prompts: Sequence[Prompt]) -> Path:
    """Write what the drawn world itself shows for drawn prompts to learn on, its real clips; the table's path.

    Raises:
        InputError: a prompt is not one of :func:`draw_prompts`.
    """
    from rewardbench.align.toy.drawn import FPS

    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for prompt in prompts:
        drawn = _drawn(prompt)
        path = folder / f"{prompt.prompt_id}.mp4"
        if not path.exists():
            partial = path.with_name(f".{path.stem}.partial.mp4")
            write_video(partial, drawn.clip(), FPS, crf=12)
            os.replace(partial, path)
        rows.append({"video": path.name, "prompt": prompt.text, "prompt_id": prompt.prompt_id})
    write_table(folder / "real.csv", rows)
    return folder / "real.csv"


def read_first_frames(prompts: Sequence[Prompt], clip: ClipShape) -> np.ndarray | None:
    """uint8 (N, H, W, 3) of the prompts' images at the clip's size (covered, middle cut out), or None without any.

    Raises:
        InputError: some prompts have an image and others have none.
    """
    paths = [p.image for p in prompts if p.image]
    if not paths:
        return None
    if len(paths) < len(prompts):
        without = [p.prompt_id for p in prompts if not p.image]
        raise InputError(f"{len(without)} of {len(prompts)} prompts have no first-frame image: {_few(without)}")
    return np.stack([fit(read_image(path)[None], clip.height, clip.width)[0] for path in paths])


def fit(frames: np.ndarray, height: int, width: int) -> np.ndarray:
    """Frames (T, h, w, 3) resized to cover (height, width), and their middle; untouched where the size is right."""
    h, w = frames.shape[1:3]
    if (h, w) == (height, width):
        return frames
    scale = max(height / h, width / w)
    tall, wide = max(height, round(h * scale)), max(width, round(w * scale))
    size = Size(height=tall, width=wide, center_crop=(height, width))
    return resize_frames(frames, FrameSpec("pyav", Sampling(rule="all", count=None), size, "bicubic-antialias"))


def write_table(path: Path, rows: Sequence[dict[str, str]]) -> None:
    """Write rows as .csv, all at once."""
    partial = partial_of(path)
    with open(partial, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    os.replace(partial, path)
