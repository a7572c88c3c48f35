"""The prompts of a run: to learn on, and others to compare on, copied into its folder with their images."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from rewardbench.align.disk import partial_of
from rewardbench.align.prompts import Prompt, draw_prompts, read_prompts, write_table
from rewardbench.align.settings import TOY_EVALUATION_PROMPTS, TOY_PROMPTS, AlignSettings
from rewardbench.errors import ClipError, InputError
from rewardbench.video import read_image


def chosen_prompts(s: AlignSettings, needs_image: bool) -> tuple[list[Prompt], list[Prompt]]:
    """(to learn on, to compare on) of the tables that are named, with the user's images; a side that is drawn, or comes
    with a pairs file, is empty.

    Raises:
        InputError: a table cannot be read or split, or an image is missing or cannot be opened.
    """
    learn: list[Prompt] = []
    check: list[Prompt] = []
    if s.prompts is not None:
        learn, check = split_prompts(s, needs_image)
    elif s.evaluation_prompts is not None:
        check = read_prompts(s.evaluation_prompts, needs_image=needs_image)[: s.evaluation_count]
    return learn, check


def open_images(prompts: Sequence[Prompt]) -> None:
    """Open every image, so that a broken one is named as the user knows it and not as the run's copy.

    Raises:
        InputError: naming the first that cannot be read.
    """
    for image in dict.fromkeys(p.image for p in prompts if p.image):
        try:
            read_image(image)
        except ClipError as error:
            raise InputError(str(error)) from None


def keep_prompts(s: AlignSettings, chosen: tuple[Sequence[Prompt], Sequence[Prompt]], folder: Path) -> None:
    """Write ``align.csv`` and ``evaluate.csv`` into ``folder``, once.

    Args:
        s: how many are drawn where there is no table.
        chosen: see :func:`chosen_prompts`.
        folder: made if missing.
    """
    learned, compared = (folder / f"{name}.csv" for name in ("align", "evaluate"))
    if learned.exists() and compared.exists():
        return
    folder.mkdir(exist_ok=True)
    learn, check = chosen
    if s.prompts is not None:
        copy_prompts(learn, learned)
        copy_prompts(check, compared)
        return
    if s.evaluation_prompts is None:
        draw_prompts(folder, "evaluate", s.evaluation_count or TOY_EVALUATION_PROMPTS)
    else:
        copy_prompts(check, compared)
    if s.pairs is None:
        draw_prompts(folder, "align", s.prompt_count or TOY_PROMPTS)
    else:
        copy_prompts([], learned)  # a pairs file brings its own


def kept_prompts(s: AlignSettings, needs_image: bool, folder: Path) -> tuple[list[Prompt], list[Prompt]]:
    """(to learn on, to compare on) as :func:`keep_prompts` wrote them."""
    own = s.pairs is not None and s.prompts is None
    learn = [] if own else read_prompts(folder / "align.csv", needs_image=needs_image)
    return learn, read_prompts(folder / "evaluate.csv", needs_image=needs_image)


def split_prompts(settings: AlignSettings, needs_image: bool) -> tuple[list[Prompt], list[Prompt]]:
    """(to learn on, to compare on); a table that serves for both gives its last quarter to the comparison.

    Raises:
        InputError: too few prompts to split, or one prompt on both sides.
    """
    assert settings.prompts is not None
    learn = read_prompts(settings.prompts, needs_image=needs_image)
    if settings.evaluation_prompts is not None:
        check = read_prompts(settings.evaluation_prompts, needs_image=needs_image)
    else:
        texts = list(dict.fromkeys(p.text for p in learn))
        if len(texts) < 2:
            raise InputError(
                f"{settings.prompts} has one prompt; the comparison needs others than are learned on "
                "(--evaluation-prompts)"
            )
        kept = set(texts[-max(1, len(texts) // 4) :])
        learn, check = [p for p in learn if p.text not in kept], [p for p in learn if p.text in kept]
    learn, check = learn[: settings.prompt_count], check[: settings.evaluation_count]
    both = {(p.text, p.image) for p in learn} & {(p.text, p.image) for p in check}
    if both:
        raise InputError(f"{len(both)} prompts are learned on and compared on; take them out of one of the tables")
    return learn, check


def copy_prompts(prompts: Sequence[Prompt], table: Path) -> None:
    """Write prompts and copies of their images beside ``table``; of none, an empty file."""
    if not prompts:
        table.write_text("prompt_id,prompt,image\n", encoding="utf-8")
        return
    images = table.with_suffix("").with_name(f"{table.stem}-images")
    rows = []
    for number, p in enumerate(prompts):
        image = ""
        if p.image:
            images.mkdir(exist_ok=True)
            copy = images / f"{number:05d}{Path(p.image).suffix}"
            if not copy.exists():
                partial = partial_of(copy)
                shutil.copyfile(p.image, partial)
                os.replace(partial, copy)
            image = copy.relative_to(table.parent).as_posix()
        rows.append({"prompt_id": p.prompt_id, "prompt": p.text, "image": image})
    write_table(table, rows)
