"""Clips sampled from a generator into a folder: files a reward model can score, and the latents they were decoded from.

Layout: ``FOLDER/videos/``, ``FOLDER/latents-N.safetensors``, and beside the folder ``FOLDER.csv`` (video, prompt,
image, clip_id, prompt_id, sample, generator). A chunk of clips is finished when its latents file is there; the same
call goes on with what is missing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from rewardbench.align.disk import is_whole, partial_of, writing
from rewardbench.align.families.base import Condition, VideoFamily
from rewardbench.align.processes import from_main
from rewardbench.align.prompts import Prompt, read_first_frames, write_table
from rewardbench.align.sampling import SamplingSettings, VelocityHook, sample, seed_of
from rewardbench.errors import CheckFailed, InputError
from rewardbench.tables import read_table
from rewardbench.video import write_video

CRF = 12
"""Constant rate factor of sampled clips: visually lossless, and H.264 that browsers play."""


@dataclass(frozen=True)
class Sample:
    """One sampled clip.

    Attributes:
        clip_id: ``PROMPT_ID-SAMPLE``.
        video: path of the file.
        prompt: what it was asked for.
        number: of the sample among those of its prompt.
        generator: who made it.
        latents: file that holds its latent under ``clip_id``, or None for a clip that was not sampled here.
    """

    clip_id: str
    video: str
    prompt: Prompt
    number: int
    generator: str
    latents: str | None


def conditions(
    family: VideoFamily, prompts: Sequence[Prompt], seed: int, *, training: bool = False
) -> tuple[Condition, Condition]:
    """(condition, the same without captions) of prompts, one row each; a family's image noise follows seed and prompt.

    With ``training`` first frames are noised where the family does so; clips are sampled from clean ones.
    """
    noisy = family.image_noise
    family.image_noise = noisy and training
    try:
        return _conditions(family, prompts, seed)
    finally:
        family.image_noise = noisy


def _conditions(family: VideoFamily, prompts: Sequence[Prompt], seed: int) -> tuple[Condition, Condition]:
    frames = read_first_frames(prompts, family.clip)
    images = None if frames is None else torch.from_numpy(frames).float() / 127.5 - 1.0
    full: list[Condition] = []
    empty: list[Condition] = []
    for i, prompt in enumerate(prompts):
        image = None if images is None else images[i : i + 1]
        for rows, text in ((full, prompt.text), (empty, "")):
            generator = torch.Generator().manual_seed(seed_of(seed, "image", prompt.prompt_id))
            with torch.no_grad():
                rows.append(family.encode_condition([text], image, generator))
    return _stacked(full), _stacked(empty)


def _stacked(rows: Sequence[Condition]) -> Condition:
    return {name: torch.cat([row[name] for row in rows]) for name in rows[0]}


def sample_clips(
    family: VideoFamily,
    prompts: Sequence[Prompt],
    folder: Path,
    *,
    per_prompt: int,
    settings: SamplingSettings,
    seed: int,
    generator: str,
    identity: dict[str, object],
    network: nn.Module | None = None,
    hook: VelocityHook | None = None,
    precision: str = "no",
    part: tuple[int, int] = (0, 1),
    in_step: Any = None,
    begin: Callable[[int], None] = lambda n: None,
    advance: Callable[[int], None] = lambda n: None,
) -> list[Sample]:
    """Sample what is missing, and return all clips of the folder in the order of prompts and samples.

    Args:
        family, prompts, settings: what is sampled.
        folder: made if missing.
        per_prompt: clips a prompt.
        seed: the noise of a clip follows from it, the prompt's id and the sample's number: two generators that sample
            the same prompts with the same seed start from the same noise.
        generator: name that goes into the table.
        identity: what the clips depend on; a folder with another identity is refused.
        network, hook, precision: see :func:`rewardbench.align.sampling.sample`.
        part: (i, n): only every n-th chunk, from the i-th: for several processes or machines.
        in_step: accelerate's ``PartialState`` where the network is shared out over its processes, ``part``'s n: each
            makes as many forwards as every other; one without a chunk of its own repeats another's and drops it.
        begin: called once, with the number of clips that are left to make here.
        advance: called with the number of clips that were made.

    Raises:
        InputError: the folder holds clips of another identity.
        CheckFailed: latents are not finite.
    """
    (folder / "videos").mkdir(parents=True, exist_ok=True)
    state = {
        "seed": seed,
        "per_prompt": per_prompt,
        "sampling": asdict(settings),
        "clip": asdict(family.clip),
        "precision": precision,
        **identity,
    }
    claim_folder(folder / "samples.json", state, "clips")
    wanted = [(p, n) for p in prompts for n in range(per_prompt)]
    chunks = [wanted[i : i + settings.batch_size] for i in range(0, len(wanted), settings.batch_size)]
    files = [folder / f"latents-{index:05d}.safetensors" for index in range(len(chunks))]
    samples: list[Sample] = []
    for path, chunk in zip(files, chunks, strict=True):
        for p, n in chunk:
            name = f"{p.prompt_id}-{n}"
            video = folder / "videos" / f"{name}.mp4"
            samples.append(Sample(name, str(video), p, n, generator, str(path)))
    turns = [(i, True) for i, path in enumerate(files) if i % part[1] == part[0] and not is_whole(path)]
    if in_step is not None:
        turns = _turns(from_main(in_step, [i for i, path in enumerate(files) if not is_whole(path)]), part)
    broken: list[str] = []
    begin(sum(len(chunks[i]) for i, kept in turns if kept))
    for index, kept in turns:
        chunk, names = chunks[index], [f"{p.prompt_id}-{n}" for p, n in chunks[index]]
        condition, empty = conditions(family, [p for p, _ in chunk], seed)
        seeds = [seed_of(seed, "noise", p.prompt_id, n) for p, n in chunk]
        made = sample(family, condition, empty, seeds, settings, network=network, hook=hook, precision=precision)
        if not kept:
            continue
        if not bool(torch.isfinite(made).all()):
            broken += [name for row, name in enumerate(names) if not bool(torch.isfinite(made[row]).all())]
            continue
        for row, name in enumerate(names):
            write_clip(family, made[row : row + 1], folder / "videos" / f"{name}.mp4")
        tensors = {name: made[row].cpu().contiguous() for row, name in enumerate(names)}
        with writing(files[index]):
            partial = partial_of(files[index])
            save_file(tensors, partial)
            os.replace(partial, files[index])
        advance(len(chunk))
    if broken:  # said when all have had their turn: processes that sample in step wait for each other
        raise CheckFailed(
            f"{len(broken)} clips came out as no numbers (NaN or infinite), {broken[0]} the first; the generator has "
            "diverged, or its dtype is too narrow (--dtype float32)"
        )
    if all(Path(s.latents or "").exists() for s in samples):
        write_table(table_of(folder), [row_of(s, folder.parent) for s in samples])
    return samples


def _turns(missing: Sequence[int], part: tuple[int, int]) -> list[tuple[int, bool]]:
    """Chunks that a process samples in step with the others, and whether it keeps them: as many in every process."""
    rank, world = part
    rounds = [missing[i : i + world] for i in range(0, len(missing), world)]
    return [(ours[rank], True) if rank < len(ours) else (ours[0], False) for ours in rounds]


def write_clip(family: VideoFamily, latent: Tensor, path: Path) -> None:
    """Decode one latent (1, …) into a file."""
    with torch.no_grad():
        pixels = family.decode_latents(latent)[0]
    frames = ((pixels.float().cpu() + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8).numpy()
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    with writing(path):
        write_video(partial, np.ascontiguousarray(frames), family.clip.fps, crf=CRF)
        os.replace(partial, path)


def table_of(folder: Path) -> Path:
    """The table of a folder of clips: beside it, so that images of the prompts can be named in it."""
    return folder.parent / f"{folder.name}.csv"


def row_of(sample: Sample, folder: Path) -> dict[str, str]:
    """A sample as a row of a table in ``folder``."""
    image = os.path.relpath(sample.prompt.image, folder) if sample.prompt.image else ""
    return {
        "video": os.path.relpath(sample.video, folder),
        "prompt": sample.prompt.text,
        "image": image,
        "clip_id": sample.clip_id,
        "prompt_id": sample.prompt.prompt_id,
        "sample": str(sample.number),
        "generator": sample.generator,
    }


def read_samples(folder: Path) -> list[Sample]:
    """The clips of a finished folder.

    Raises:
        InputError: it is not finished, or not one.
    """
    _, rows = read_table(table_of(folder))
    where: dict[str, str] = {}
    for path in sorted(folder.glob("latents-*.safetensors")):
        with safe_open(path, framework="pt") as file:
            where.update(dict.fromkeys(file.keys(), str(path)))
    samples = []
    for row in rows:
        image = os.path.normpath(folder.parent / row["image"]) if row["image"] else None
        prompt = Prompt(row["prompt_id"], row["prompt"], image)
        video = os.path.normpath(folder.parent / row["video"])
        samples.append(
            Sample(row["clip_id"], video, prompt, int(row["sample"]), row["generator"], where.get(row["clip_id"]))
        )
    return samples


def claim_folder(path: Path, state: dict[str, object], what: str) -> None:
    """Write what a folder's files depend on, or check that they depend on the same.

    Raises:
        InputError: naming what differs; or the file is damaged.
    """
    text = json.dumps(state, indent=1, sort_keys=True)
    if not path.exists():
        partial = partial_of(path)
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
        return
    try:
        found = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise InputError(
            f"{path} is damaged and does not say whose {what} in its folder are; choose another --out, or remove it if "
            "they were made by this very command"
        ) from None
    new = json.loads(text)
    different = [name for key in sorted(found.keys() | new.keys()) for name in _differences(key, found, new)]
    if different:
        raise InputError(
            f"{path.parent} holds {what} of another run (different: {', '.join(different)}); choose another --out, or "
            "give the settings they were made with"
        )


def _differences(key: str, found: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """``key`` if it differs; of a table the entries that do, with what they were and are."""
    old, now = found.get(key), new.get(key)
    if old == now:
        return []
    if not (isinstance(old, dict) and isinstance(now, dict)):
        return [key]
    names = sorted(n for n in old.keys() | now.keys() if old.get(n) != now.get(n))
    return [f"{key}.{n} {json.dumps(old.get(n))}, now {json.dumps(now.get(n))}" for n in names]
