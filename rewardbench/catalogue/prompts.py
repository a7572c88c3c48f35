"""Prompt suites: the table that ``rewardbench align --prompts`` takes, and its rows."""

from __future__ import annotations

import csv
import importlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from rewardbench.catalogue.card import need_card
from rewardbench.catalogue.folders import data_folder, find_media
from rewardbench.errors import InputError
from rewardbench.registry import find_benchmark, nearest

PROMPTS_FILE = "prompts.csv"


@dataclass(frozen=True)
class SuitePrompt:
    """One prompt: ``languages`` maps ``en``, ``zh`` … to its text; ``image`` is relative to the suite's folder."""

    prompt_id: str
    languages: dict[str, str]
    image: str = ""
    columns: dict[str, str] = field(default_factory=dict)


def refuse_to_load(name: str) -> NoReturn:
    """What a suite says where a benchmark is expected.

    Raises:
        InputError: always.
    """
    raise InputError(
        f"{name!r} is a suite of prompts without labels: generate clips for it (`rewardbench benchmarks prompts {name} "
        "--out FILE` writes the table that `rewardbench align --prompts` takes) and score them with `rewardbench score`"
    )


def read_suite(name: str, data_dir: str | os.PathLike[str] | None = None) -> list[SuitePrompt]:
    """The prompts of a registered suite, from its published files.

    Raises:
        InputError: it is no suite, or its files are not at hand or not what they should be.
    """
    card = need_card(name)
    if card.kind != "prompts":
        raise InputError(f"benchmark {name!r} has pairs, not a suite of prompts")
    module = importlib.import_module(find_benchmark(name).target.partition(":")[0])
    prompts: list[SuitePrompt] = module.read_prompts(data_folder(name, data_dir))
    ids = [prompt.prompt_id for prompt in prompts]
    if len(set(ids)) < len(ids):
        raise InputError(f"the prompts of {name!r} have an id twice; the files are not the published ones")
    return prompts


def write_prompts(
    name: str,
    out: Path,
    *,
    language: str = "",
    data_dir: str | os.PathLike[str] | None = None,
) -> int:
    """Write a suite's table (``prompt_id``, ``prompt``, ``image`` where all prompts' images are at hand, categories).

    Images are named relative to ``out``, so the table has to lie in the suite's folder for them to be named at all.

    Returns:
        The number of prompts.

    Raises:
        InputError: an unknown language, or what :func:`read_suite` refuses.
    """
    prompts = read_suite(name, data_dir)
    known = list(dict.fromkeys(key for prompt in prompts for key in prompt.languages))
    chosen = language or known[0]
    if chosen not in known:
        raise InputError(f"{name!r} has no prompts in {chosen!r}{nearest(chosen, known)}")
    folder = data_folder(name, data_dir)
    images = _images(prompts, folder, out)
    further = list(dict.fromkeys(column for prompt in prompts for column in prompt.columns))
    header = ["prompt_id", "prompt", *(["image"] if images else []), *further]
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f"{out.name}.partial")
    with open(partial, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        for prompt in prompts:
            image = [images[prompt.prompt_id]] if images else []
            text = prompt.languages.get(chosen, "")
            writer.writerow([prompt.prompt_id, text, *image, *(prompt.columns.get(column, "") for column in further)])
    os.replace(partial, out)
    return len(prompts)


def _images(prompts: Sequence[SuitePrompt], folder: Path, out: Path) -> dict[str, str]:
    """Prompt id to image, relative to the table's folder; empty unless every prompt's image is there and below it."""
    found = {}
    for prompt in prompts:
        place = find_media(folder, prompt.image) if prompt.image else None
        if place is None:
            return {}
        relative = os.path.relpath(folder / place, out.absolute().parent)
        if relative.startswith(".."):
            return {}
        found[prompt.prompt_id] = Path(relative).as_posix()
    return found
