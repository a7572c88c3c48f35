"""``train``: a table of preferences or ratings to a reward model that its plugin loads."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rewardbench.errors import InputError
from rewardbench.reward_training.examples import (
    TrainingData,
    check_apart,
    clip_key,
    read_examples,
    split_by_prompt,
)
from rewardbench.reward_training.settings import TrainingSettings
from rewardbench.reward_training.validation import normalise, validate
from rewardbench_plugin.clip import Clip
from rewardbench_plugin.digests import hash_path

if TYPE_CHECKING:
    from rewardbench.reward_training.trainee import Trainee

SCHEMA = "rewardbench.train/1"
Progress = Callable[[str, int, int], None]


def train(
    settings: TrainingSettings, *, progress: Progress | None = None, callbacks: Sequence[Any] = ()
) -> dict[str, Any]:
    """Train a reward model and write it; returns what ``train_result.json`` holds.

    ``out`` gets ``model/`` (the checkpoint: ``--weights OUT/model``), ``train_result.json``, ``train.log`` (one JSON
    line a logged step) and, while it runs, ``state/``: the same call goes on from there after an interruption. A run
    that is finished is not repeated.

    Args:
        progress: called with phase, steps done and steps in all.
        callbacks: further callbacks of transformers' Trainer.

    Raises:
        InputError: something about settings, data or base model, in one sentence; ``out`` holds
            another run.
        ClipError: a clip of the table cannot be read.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError("train runs in one process on one device; start it without torchrun or accelerate launch")
    training, validation = _read(settings)
    record = settings.record() | {"data_sha256": training.sha256, "validation_sha256": validation.sha256}
    record["base_sha256"] = hash_path(str(settings.base)) if settings.base.exists() else ""
    result_file = settings.out / "train_result.json"
    _claim(settings, record)
    if result_file.is_file():
        found: dict[str, Any] = json.loads(result_file.read_text(encoding="utf-8"))
        return found
    result = _train(settings, training, validation, progress, callbacks)
    result = {"schema": SCHEMA, "settings": record} | result
    _write_json(result_file, result)
    shutil.rmtree(settings.out / "state", ignore_errors=True)
    return result


def _train(
    settings: TrainingSettings,
    training: TrainingData,
    validation: TrainingData,
    progress: Progress | None,
    callbacks: Sequence[Any],
) -> dict[str, Any]:
    import torch
    import transformers

    from rewardbench.reward_training.loop import group_examples, run_loop, score_clips
    from rewardbench_plugin.worker import resolve_device

    started = time.monotonic()
    messages: Any = transformers.utils.logging
    messages.set_verbosity_error()
    messages.disable_progress_bar()
    transformers.set_seed(settings.seed)
    device = resolve_device(settings.device)
    bfloat16 = (settings.dtype or ("float32" if device == "cpu" else "bfloat16")) == "bfloat16"
    trainee = _trainee(settings, training, bfloat16)
    steps = run_loop(
        trainee,
        group_examples(training, settings.pairs_per_prompt),
        settings,
        states=settings.out / "state",
        log=settings.out / "train.log",
        device=device,
        bfloat16=bfloat16,
        callbacks=callbacks,
        progress=progress,
    )
    clips = distinct_clips(validation)
    scores = score_clips(trainee, clips, device=device, bfloat16=bfloat16, progress=progress)
    normalisation = normalise(scores, trainee.dimensions)
    weights = trainee.write(settings.out / "model", steps, normalisation)
    parameters = list(trainee.network.parameters())
    return {
        "checkpoint": str(weights.relative_to(settings.out)),
        "checkpoint_sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
        "dimensions": list(trainee.dimensions),
        "seed": settings.seed,
        "steps": steps,
        "examples": {"training": len(training), "validation": len(validation)},
        "prompts": {"training": len(training.prompts), "validation": len(validation.prompts)},
        "parameters": {
            "all": sum(p.numel() for p in parameters),
            "trained": sum(p.numel() for p in parameters if p.requires_grad),
        },
        "normalisation": {d: {"mean": m, "std": s} for d, (m, s) in normalisation.items()},
        "validation": validate(validation, clips, scores, trainee.dimensions, settings, normalisation),
        "device": device,
        "dtype": "bfloat16" if bfloat16 else "float32",
        "seconds": round(time.monotonic() - started, 1),
        "versions": {"python": platform.python_version(), "torch": torch.__version__} | _versions(),
    }


def _trainee(settings: TrainingSettings, data: TrainingData, bfloat16: bool) -> Trainee:
    """A folder as ``--base`` is a Qwen2-VL, a file one of AnimeReward's consistency models."""
    if settings.base.is_file():
        from rewardbench.reward_training.consistency import consistency_trainee

        return consistency_trainee(settings, data)
    from rewardbench.reward_training.vlm import vlm_trainee

    return vlm_trainee(settings, data.dimensions, bfloat16=bfloat16)


def distinct_clips(data: TrainingData) -> list[Clip]:
    """Every clip once; one video under two prompts is two clips."""
    return list({clip_key(clip): clip for clip in data.clips()}.values())


def _read(settings: TrainingSettings) -> tuple[TrainingData, TrainingData]:
    data = read_examples(settings.data, settings.objective, settings.dimensions)
    if settings.objective == "bt" and not any(v for pair in data.pairs for v in pair.labels.values()):
        raise InputError(f"{settings.data} has ties only; the objective bt learns from decided pairs")
    if settings.validation is None:
        return split_by_prompt(data, settings.validation_share, settings.seed)
    validation = read_examples(settings.validation, settings.objective, data.dimensions)
    check_apart(data, validation)
    return data, validation


def _claim(settings: TrainingSettings, record: dict[str, Any]) -> None:
    """Make ``out`` this run's own, or refuse: another run's states would be continued with other settings."""
    path = settings.out / "settings.json"
    if path.is_file():
        other = json.loads(path.read_text(encoding="utf-8"))
        changed = settings.changes_to(other)
        changed += [k for k in ("data_sha256", "validation_sha256", "base_sha256") if record[k] != other.get(k)]
        if changed:
            raise InputError(
                f"{settings.out} holds a run with another {', '.join(changed)}; use another --out, or delete it"
            )
        return
    if settings.out.exists() and (not settings.out.is_dir() or any(settings.out.iterdir())):
        raise InputError(f"{settings.out} exists and holds no training run; use another --out")
    settings.out.mkdir(parents=True, exist_ok=True)
    _write_json(path, record)


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    from rewardbench import __version__

    found = {"rewardbench": __version__}
    for package in ("transformers", "accelerate", "peft"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _write_json(path: Path, value: Any) -> None:
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(partial, path)
