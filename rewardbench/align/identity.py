"""What a run depends on, as its folder remembers it: the same folder is never used for two different runs."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from rewardbench.align import adapters
from rewardbench.align.families import VideoFamily
from rewardbench.align.prompts import Prompt, read_prompts
from rewardbench.align.sampling import SamplingSettings
from rewardbench.align.settings import AlignSettings
from rewardbench.errors import InputError
from rewardbench.video import content_hash


def run_identity(s: AlignSettings, family: VideoFamily, sampling: SamplingSettings) -> dict[str, object]:
    """Everything that decides what a run's files are; held-out judges do not, and may change between calls.

    Raises:
        InputError: a file that is named cannot be read.
    """
    return {
        "recipe": s.recipe.as_dict(),
        "judge": {
            "plugin": s.judge.plugin,
            "mix": dict(s.judge.mix),
            "weights": dict(s.judge.weights),
            "options": dict(s.judge.options),
        },
        "network": family.network_digest(),
        "encoders": family.fingerprint(),
        "dtype": s.dtype,
        "generator": family.describe(),
        "clip": dataclasses.asdict(family.clip),
        "sampling": dataclasses.asdict(sampling),
        "prompts": digest_of_file(s.prompts),
        "evaluation_prompts": digest_of_file(s.evaluation_prompts),
        "first_frames": digest_of_images([s.prompts, s.evaluation_prompts]),
        "prompt_count": s.prompt_count,
        "evaluation_count": s.evaluation_count,
        "pairs": digest_of_file(s.pairs),
        "label": s.label,
        "winners": digest_of_file(s.winners),
        "start": None if s.start is None else digest_of_file(adapters.lora_file(s.start)),
        "latent_reward": digest_or_name(s.latent_reward),
        "min_gap": s.min_gap,
        "evaluations": s.evaluations,
        "watch_count": s.watch_count,
    }


def digest_of_file(path: Path | None) -> str | None:
    """SHA-256 (hex) of a file that the run depends on.

    Raises:
        InputError: it cannot be read.
    """
    if path is None:
        return None
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None


def digest_of_prompts(prompts: Sequence[Prompt]) -> str:
    """SHA-256 (hex) of ids, captions and images."""
    rows = [[p.prompt_id, p.text, content_hash(p.image) if p.image else ""] for p in prompts]
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def digest_of_images(tables: Sequence[Path | None]) -> str | None:
    """SHA-256 (hex) of the images that prompt tables name, in their order; None where they name none.

    Raises:
        InputError: a table cannot be read, or an image is not there.
    """
    prompts = [p for table in tables if table is not None for p in read_prompts(table, needs_image=False)]
    found = [content_hash(p.image) if p.image else "" for p in prompts]
    return hashlib.sha256(json.dumps(found).encode()).hexdigest() if any(found) else None


def digest_or_name(given: str | None) -> str | None:
    """Of a file its digest, of anything else the name."""
    return digest_of_file(Path(given)) if given is not None and Path(given).is_file() else given
