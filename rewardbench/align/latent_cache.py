"""Latents and conditions, computed once: sharded files that several processes or machines can fill.

``cache.json`` says what was coded by what; ``latents-N.safetensors`` holds clips under their ids, ``conditions-N`` the
text and image conditions of prompts. A shard is written under another name and renamed, so there are no halves. Filling
goes on where it was stopped.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from rewardbench.align.disk import is_whole, partial_of, writing
from rewardbench.align.families.base import ClipShape, Condition, VideoFamily
from rewardbench.align.prompts import Prompt, fit
from rewardbench.align.samples import Sample, claim_folder, conditions
from rewardbench.errors import ClipError, InputError
from rewardbench.video import content_hash, read_frames
from rewardbench_plugin.clip import FrameSpec, Sampling

SHARD = 64
"""Clips or prompts in a file."""


class LatentCache:
    """A filled (or fillable) folder of latents and conditions for a list of clips.

    Args:
        folder: made if missing.
        family: who codes; its fingerprint and latent shape are part of the cache's identity.
        clips: in a fixed order; of each, ``latents`` is used where it names a file, else the video is read and coded.
        seed: of the noise that families put on image conditions.
        prompts: whose conditions are needed; those of the clips if None. A clip may stand under several.

    Attributes:
        identity: content of ``cache.json``: everything that its latents and conditions follow from.

    Raises:
        InputError: the folder is the cache of another generator, another size, or other clips.
    """

    def __init__(
        self,
        folder: Path,
        family: VideoFamily,
        clips: Sequence[Sample],
        seed: int,
        prompts: Sequence[Prompt] | None = None,
    ) -> None:
        self._folder, self._family, self._seed = folder, family, seed
        self._clips = list(clips)
        asked = [s.prompt for s in clips] if prompts is None else prompts
        self._prompts = list({p.prompt_id: p for p in asked}.values())
        folder.mkdir(parents=True, exist_ok=True)
        state: dict[str, object] = {
            "generator": family.fingerprint(),
            "latent_shape": list(family.latent_shape),
            "clips": [[s.clip_id, _content(s)] for s in self._clips],
            "prompts": [[p.prompt_id, p.text, content_hash(p.image) if p.image else ""] for p in self._prompts],
            "seed": seed,
        }
        claim_folder(folder / "cache.json", state, "latents")
        self.identity = (folder / "cache.json").read_text(encoding="utf-8")
        self._latents: dict[str, Tensor] = {}
        self._conditions: dict[str, Condition] = {}

    def fill(
        self,
        *,
        part: tuple[int, int] = (0, 1),
        begin: Callable[[int], None] = lambda n: None,
        advance: Callable[[int], None] = lambda n: None,
    ) -> None:
        """Write the shards that are missing or were cut short; with ``part`` (i, n) only every n-th, from the i-th.

        Args:
            part: of several processes or machines.
            begin: called once, with the number of clips that are left to do here.
            advance: called with the number of clips that were done.

        Raises:
            ClipError: a clip cannot be read, or is shorter than the generator's clips.
        """

        def missing(kind: str, shards: Iterable[list[Any]]) -> list[tuple[Path, list[Any]]]:
            mine = [(self._path(kind, i), items) for i, items in enumerate(shards) if i % part[1] == part[0]]
            return [(path, items) for path, items in mine if not is_whole(path)]

        left = missing("latents", _shards(self._clips))
        begin(sum(len(clips) for _, clips in left))
        for path, clips in left:
            _write(path, {s.clip_id: self._code(s) for s in clips})
            advance(len(clips))
        for path, prompts in missing("conditions", _shards(self._prompts)):
            _write(path, self._conditions_of(prompts))

    def open(self) -> None:
        """Map the files; what is asked for is read when it is asked for.

        Raises:
            InputError: shards are missing.
        """
        wanted = [self._path("latents", i) for i, _ in enumerate(_shards(self._clips))]
        wanted += [self._path("conditions", i) for i, _ in enumerate(_shards(self._prompts))]
        missing = [p.name for p in wanted if not p.exists()]
        if missing:
            raise InputError(
                f"{self._folder} lacks {len(missing)} of {len(wanted)} files ({missing[0]}, …); fill it first"
            )
        self._shard_of = {s.clip_id: i for i, clips in enumerate(_shards(self._clips)) for s in clips}
        self._prompt_shard = {p.prompt_id: i for i, prompts in enumerate(_shards(self._prompts)) for p in prompts}
        self._files: dict[Path, safe_open] = {}

    def latents(self, clip_ids: Sequence[str]) -> Tensor:
        """float32 (B, …) of clips."""
        rows = [self._file("latents", self._shard_of[i]).get_tensor(i) for i in clip_ids]
        return torch.stack(rows).float()

    def condition(self, prompt_ids: Sequence[str], *, without_text: Sequence[bool] | None = None) -> Condition:
        """Conditions of prompts, one row each; without their caption where ``without_text`` is True."""
        rows: list[Condition] = []
        for i, prompt_id in enumerate(prompt_ids):
            file = self._file("conditions", self._prompt_shard[prompt_id])
            kind = "empty" if without_text is not None and without_text[i] else "full"
            rows.append(_read(file, f"{kind}/{prompt_id}/"))
        return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}

    def _file(self, kind: str, index: int) -> safe_open:
        path = self._path(kind, index)
        if path not in self._files:
            self._files[path] = safe_open(path, framework="pt")
        return self._files[path]

    def _path(self, kind: str, index: int) -> Path:
        return self._folder / f"{kind}-{index:05d}.safetensors"

    def _code(self, clip: Sample) -> Tensor:
        if clip.latents is not None:
            with safe_open(clip.latents, framework="pt") as file:
                latent: Tensor = file.get_tensor(clip.clip_id)
            return latent
        frames = read_clip(clip.video, self._family.clip)
        with torch.no_grad():
            return self._family.encode_video(torch.from_numpy(frames)[None].float() / 127.5 - 1.0)[0].cpu()

    def _conditions_of(self, prompts: Sequence[Prompt]) -> dict[str, Tensor]:
        tensors: dict[str, Tensor] = {}
        both = conditions(self._family, prompts, self._seed, training=True)
        for kind, found in zip(("full", "empty"), both, strict=True):
            for name, value in found.items():
                tensors |= {f"{kind}/{p.prompt_id}/{name}": value[row].cpu() for row, p in enumerate(prompts)}
        return tensors


def read_clip(path: str, clip: ClipShape) -> np.ndarray:
    """uint8 (frames, height, width, 3) of a file, at the generator's frame rate and size, from its beginning.

    Raises:
        ClipError: it cannot be read, or is too short.
    """
    spec = FrameSpec("pyav", Sampling(rule="all", count=None))
    found = read_frames(path, [spec])[spec]
    index = [round(i * found.fps / clip.fps) for i in range(clip.frames)]
    if index[-1] >= len(found.rgb):
        seconds = len(found.rgb) / found.fps
        raise ClipError(f"{path}: lasts {seconds:.2f} s, and the generator's clips last {clip.frames / clip.fps:.2f} s")
    return fit(np.ascontiguousarray(found.rgb[index]), clip.height, clip.width)


def _read(file: safe_open, prefix: str) -> Condition:
    """Tensors whose names begin with ``prefix``, by the rest of their names."""
    names = list(file.keys())
    return {name.removeprefix(prefix): file.get_tensor(name) for name in names if name.startswith(prefix)}


def _content(clip: Sample) -> str:
    """What a clip's latent depends on."""
    return content_hash(clip.latents or clip.video)


def _shards(items: Sequence[Sample] | Sequence[Prompt]) -> Iterable[list]:  # type: ignore[type-arg]
    return [list(items[i : i + SHARD]) for i in range(0, len(items), SHARD)]


def _write(path: Path, tensors: Mapping[str, Tensor]) -> None:
    partial = partial_of(path)
    with writing(path):
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial)
        os.replace(partial, path)
