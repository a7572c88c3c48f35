"""The training loop: transformers' Trainer on batches whose clips are computed once, however many pairs they are in."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import Trainer, TrainerCallback, TrainingArguments

from rewardbench.reward_training.examples import Pair, Rated, TrainingData, clip_key, same_prompt
from rewardbench.reward_training.objectives import (
    RewardLoss,
    bradley_terry_loss,
    bradley_terry_with_ties_loss,
    regression_loss,
)
from rewardbench.reward_training.settings import TrainingSettings
from rewardbench.reward_training.trainee import Trainee
from rewardbench_plugin.clip import Clip

STATES_KEPT = 2
Example = Sequence[Pair] | Sequence[Rated]


def group_examples(data: TrainingData, pairs_per_prompt: int) -> list[Example]:
    """What one element of a batch is: up to ``pairs_per_prompt`` pairs of one prompt in file order, or one rating."""
    if data.kind == "ratings":
        return [(rated,) for rated in data.ratings]
    groups: dict[str, list[Pair]] = {}
    for pair in data.pairs:
        groups.setdefault(same_prompt(pair.a.prompt), []).append(pair)
    n = pairs_per_prompt
    return [group[i : i + n] for group in groups.values() for i in range(0, len(group), n)]


@dataclass
class Collator:
    """Examples to a batch: the N distinct clips, and either pairs of them (P) or their ratings.

    ``clips`` are N prepared clips; ``pairs`` int64 (P, 2) are positions in them (a rating uses the first); ``labels``
    float32 (P, D), NaN where nothing is said.
    """

    prepare: Callable[[Clip], Any]
    dimensions: tuple[str, ...]

    def __call__(self, examples: Sequence[Example]) -> dict[str, Any]:
        at: dict[tuple[str, str | None, str | None], int] = {}
        clips: list[Any] = []

        def place(clip: Clip) -> int:
            key = clip_key(clip)
            if key not in at:
                at[key] = len(clips)
                clips.append(self.prepare(clip))
            return at[key]

        pairs, labels = [], []
        for example in (one for group in examples for one in group):
            said: Mapping[str, float]
            if isinstance(example, Pair):
                pairs.append((place(example.a), place(example.b)))
                said = example.labels
            else:
                pairs.append((place(example.clip),) * 2)
                said = example.ratings
            labels.append([float(said.get(d, math.nan)) for d in self.dimensions])
        return {"clips": clips, "pairs": torch.tensor(pairs), "labels": torch.tensor(labels, dtype=torch.float32)}


def objective_loss(settings: TrainingSettings, rewards: Tensor, pairs: Tensor, labels: Tensor) -> RewardLoss:
    """The chosen objective of rewards (N, D) for ``pairs`` (P, 2) and ``labels`` (P, D)."""
    first, second = rewards[pairs[:, 0]], rewards[pairs[:, 1]]
    if settings.objective == "regression":
        return regression_loss(first, labels)
    if settings.objective == "bt":
        return bradley_terry_loss(first, second, labels)
    return bradley_terry_with_ties_loss(first, second, labels, theta=settings.theta)


class RewardTrainer(Trainer):
    """transformers' Trainer with the reward objectives and a learning rate for each part of the model."""

    def __init__(self, settings: TrainingSettings, trainee: Trainee, **arguments: Any) -> None:
        super().__init__(model=trainee.network, **arguments)
        self.settings = settings
        self.trainee = trainee

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        rewards = model(inputs["clips"])
        loss = objective_loss(self.settings, rewards, inputs["pairs"], inputs["labels"]).loss
        return (loss, rewards) if return_outputs else loss

    def create_optimizer(self, model: Any = None) -> Any:
        if self.optimizer is None:
            self.optimizer = torch.optim.AdamW(self.trainee.groups(), lr=self.settings.learning_rate)
        return self.optimizer


class _Log(TrainerCallback):
    """Appends every logged step to a file of JSON lines and tells the caller of progress."""

    def __init__(self, path: Path, progress: Callable[[str, int, int], None] | None) -> None:
        self.path = path
        self.progress = progress
        self.started = time.monotonic()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        if logs and "loss" in logs:
            entry = {"step": state.global_step, "epoch": round(float(state.epoch or 0), 4)}
            entry |= {k: float(logs[k]) for k in ("loss", "grad_norm", "learning_rate") if k in logs}
            entry["seconds"] = round(time.monotonic() - self.started, 2)
            with self.path.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(entry) + "\n")

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.progress is not None:
            self.progress("training", state.global_step, state.max_steps)


def run_loop(
    trainee: Trainee,
    examples: Sequence[Example],
    settings: TrainingSettings,
    *,
    states: Path,
    log: Path,
    device: str,
    bfloat16: bool,
    callbacks: Sequence[TrainerCallback] = (),
    progress: Callable[[str, int, int], None] | None = None,
) -> int:
    """Train, from the newest state in ``states`` if there is one; returns the number of optimiser steps.

    The states hold weights, optimiser, schedule, random generators and position in the data, so that an interrupted
    run ends with the weights of an uninterrupted one.
    """
    steps = math.ceil(len(examples) / settings.batch_size)
    total = max(1, math.ceil(steps / settings.gradient_accumulation * settings.epochs))
    arguments = TrainingArguments(
        output_dir=str(states),
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation,
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule,
        warmup_steps=settings.warmup_share if settings.warmup_share < 1 else total,
        max_grad_norm=settings.max_grad_norm,
        save_strategy="steps",
        save_steps=settings.save_every or max(1, total // 10),
        save_total_limit=STATES_KEPT,
        logging_strategy="steps",
        logging_steps=max(1, total // 100),
        seed=settings.seed,
        data_seed=settings.seed,
        bf16=bfloat16,
        use_cpu=device == "cpu",
        dataloader_num_workers=settings.workers,
        dataloader_pin_memory=device != "cpu",
        remove_unused_columns=False,
        label_names=["labels"],
        report_to=[],
        disable_tqdm=True,
        log_level="error",
    )
    arguments._n_gpu = min(1, arguments.n_gpu)  # a second GPU would be used by a thread, which the batches are not for
    trainer = RewardTrainer(
        settings,
        trainee,
        args=arguments,
        data_collator=Collator(trainee.prepare, trainee.dimensions),
        train_dataset=list(examples),
        callbacks=[_Log(log, progress), *callbacks],
    )
    _quiet(trainer)
    newest = newest_state(states)
    trainer.train(resume_from_checkpoint=None if newest is None else str(newest))
    return int(trainer.state.global_step)


def newest_state(states: Path) -> Path | None:
    """The newest complete state; one that was cut off while it was written has no ``trainer_state.json``."""
    found = [(int(p.name.rsplit("-", 1)[1]), p) for p in states.glob("checkpoint-*") if p.name[11:].isdecimal()]
    complete = [(step, p) for step, p in found if (p / "trainer_state.json").is_file()]
    return max(complete)[1] if complete else None


def _quiet(trainer: Trainer) -> None:
    from transformers.trainer_callback import PrinterCallback

    trainer.remove_callback(PrinterCallback)


def score_clips(
    trainee: Trainee,
    clips: Sequence[Clip],
    *,
    device: str,
    bfloat16: bool,
    batch_size: int = 8,
    progress: Callable[[str, int, int], None] | None = None,
) -> np.ndarray:
    """Raw rewards float64 (N, D) of clips, without gradients."""
    network = trainee.network.to(device).eval()
    rows = []
    with torch.inference_mode(), torch.autocast(torch.device(device).type, torch.bfloat16, enabled=bfloat16):
        for start in range(0, len(clips), batch_size):
            part = [trainee.prepare(clip) for clip in clips[start : start + batch_size]]
            rows.append(network(part).double().cpu().numpy())
            if progress is not None:
                progress("validating", min(start + batch_size, len(clips)), len(clips))
    return np.concatenate(rows)
