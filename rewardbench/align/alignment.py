"""The whole loop: sample, score, pair, encode, train, sample again, compare.

Every stage leaves files that the next one reads, and finds its own work done where it was done: the same command goes
on where an interrupted one stopped. Layout of the run's folder::

    align.json               settings; another run's are refused
    prompts/                 the prompts and first frames that were used
    round-1/base(.csv)       clips sampled from the generator, their latents
    round-1/scores.csv       of the judge
    round-1/pairs.csv        a pairs file
    round-1/cache/           latents and conditions
    round-1/train/           log.jsonl and states
    weights/                 LoRA or network, as diffusers loads it
    evaluate/                clips of base and aligned, their scores
    result.json, report.html, README.md
"""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from rewardbench.align import adapters
from rewardbench.align.comparison import compare
from rewardbench.align.families import VideoFamily, load_family
from rewardbench.align.judging import Judge, JudgeFacts, facts_of, reward_of, score_samples
from rewardbench.align.latent_cache import LatentCache
from rewardbench.align.losses import effective_beta, effective_sample_size
from rewardbench.align.memory import available, check_fits, estimate
from rewardbench.align.objective import pair_weights
from rewardbench.align.pairs import (
    PairSet,
    best_against_worst,
    every_clip,
    pairs_from_file,
    real_against_generated,
    write_pairs,
)
from rewardbench.align.prompts import Prompt, draw_prompts, read_prompts, write_table
from rewardbench.align.record import write_result
from rewardbench.align.samples import Sample, claim_folder, sample_clips
from rewardbench.align.sampling import VelocityHook, seed_of
from rewardbench.align.settings import STAGES, TOY_EVALUATION_PROMPTS, TOY_PROMPTS, AlignSettings
from rewardbench.align.training import Trainer, states
from rewardbench.align.watching import judge_scores, read_so_far
from rewardbench.errors import CheckFailed, InputError
from rewardbench.scoring.progress import Progress, Silent

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Alignment:
    """One run, stage by stage; :func:`align` is all of them.

    Args:
        settings: what is asked for.
        progress: told of phases.

    Raises:
        InputError: the command or its input is wrong.
    """

    def __init__(self, settings: AlignSettings, progress: Progress | None = None) -> None:
        from accelerate import PartialState

        self.settings, self.progress = settings, progress or Silent()
        self.recipe = settings.recipe
        self.out = settings.out
        self.process = PartialState(cpu=_device(settings.device) == "cpu")
        self.facts = facts_of(settings.judge)
        self.family = load_generator(settings)
        self.sampling = settings.sampling.filled(self.family)
        self.generator = settings.model
        self.out.mkdir(parents=True, exist_ok=True)
        claim_folder(self.out / "align.json", self._identity(), "the files")
        self.prompts, self.evaluation = self._prompts()

    # ------------------------------------------------------------------ what is asked for

    def _identity(self) -> dict[str, object]:
        """Everything that decides what the run's files are."""
        s = self.settings
        return {
            "recipe": self.recipe.as_dict(),
            "judge": {"plugin": s.judge.plugin, "mix": dict(s.judge.mix), "options": dict(s.judge.options)},
            "model": s.model,
            "generator": self.family.describe(),
            "sampling": dataclasses.asdict(self.sampling),
            "pairs": None if s.pairs is None else str(s.pairs),
            "winners": None if s.winners is None else str(s.winners),
            "start": None if s.start is None else str(s.start),
            "min_gap": s.min_gap,
            "evaluations": s.evaluations,
            "watch_count": s.watch_count,
        }

    def _prompts(self) -> tuple[list[Prompt], list[Prompt]]:
        """(to learn on, to compare on), copied into the run's folder with their images."""
        s, folder = self.settings, self.out / "prompts"
        needs = self.family.needs_image
        done = [folder / "align.csv", folder / "evaluate.csv"]
        if not all(p.exists() for p in done) and self.process.is_main_process:
            folder.mkdir(exist_ok=True)
            if s.prompts is None:
                if self.family.name != "toy":
                    raise InputError(
                        "name the prompts to learn on with --prompts; only the toy generator draws its own"
                    )
                draw_prompts(folder, "align", s.prompt_count or TOY_PROMPTS)
                if s.evaluation_prompts is None:
                    draw_prompts(folder, "evaluate", s.evaluation_count or TOY_EVALUATION_PROMPTS)
                else:
                    copy_prompts(read_prompts(s.evaluation_prompts, needs_image=needs)[: s.evaluation_count], done[1])
            else:
                learn, check = split_prompts(s, needs)
                copy_prompts(learn, done[0])
                copy_prompts(check, done[1])
        self.process.wait_for_everyone()
        return read_prompts(done[0], needs_image=needs), read_prompts(done[1], needs_image=needs)

    # ------------------------------------------------------------------ stages

    def run(self, stage: str | None = None) -> dict[str, Any]:
        """All stages, or one; the result so far.

        Raises:
            InputError: an unknown stage, or files of the stages before it are missing.
            CheckFailed: the loss diverged, or an alarm that stops the run.
        """
        if stage is not None and stage not in STAGES:
            raise InputError(f"there is no stage {stage!r}; there are {', '.join(STAGES)}")
        if stage in (None, "sample", "score", "pair", "encode", "train"):
            self._learn(stage)
        if stage in (None, "evaluate"):
            self.evaluate()
        if stage in (None, "report"):
            from rewardbench.align.report import write_report

            if self.process.is_main_process:
                write_report(self.out)
        path = self.out / "result.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def _learn(self, stage: str | None) -> None:
        adapters.attach(self.family, self.recipe, self.settings.start)
        for number in range(self.recipe.rounds):
            folder = self.out / f"round-{number + 1}"
            folder.mkdir(exist_ok=True)
            if number:
                self._adopt(self.out / f"round-{number}" / "train")
            samples = self._sample_round(folder, number)
            if stage == "sample":
                continue
            rewards = self._score_round(folder, samples)
            if stage == "score":
                continue
            pairs = self._pair_round(folder, samples, rewards)
            if stage == "pair":
                continue
            cache = LatentCache(folder / "cache", self.family, list(pairs.clips.values()), self.recipe.seed)
            self.progress.start_phase("encoding", len(pairs.clips))
            cache.fill(part=self._part(), advance=self.progress.advance)
            self.process.wait_for_everyone()
            if stage == "encode":
                continue
            cache.open()
            self._train_round(folder, number, pairs, cache)
        if stage in (None, "train"):
            self._write_weights()

    def _part(self) -> tuple[int, int]:
        return self.process.process_index, self.process.num_processes

    def _sample_round(self, folder: Path, number: int) -> list[Sample]:
        if self.settings.pairs is not None:
            return []
        self.progress.start_phase(f"sampling (round {number + 1})", len(self.prompts) * self.recipe.samples_per_prompt)
        samples = self._sample(
            self.prompts, folder / "base", per_prompt=self.recipe.samples_per_prompt, name=self._name(number)
        )
        return samples

    def _name(self, number: int) -> str:
        return self.generator if number == 0 else f"{self.generator} after round {number}"

    def _sample(
        self,
        prompts: Sequence[Prompt],
        folder: Path,
        *,
        per_prompt: int,
        name: str,
        seed: int | None = None,
        hook: VelocityHook | None = None,
        identity: dict[str, object] | None = None,
    ) -> list[Sample]:
        family = self.family
        was_training = family.transformer.training
        family.transformer.eval()
        try:
            samples = sample_clips(
                family,
                prompts,
                folder,
                per_prompt=per_prompt,
                settings=self.sampling,
                seed=self.recipe.seed if seed is None else seed,
                generator=name,
                identity={"model": self.settings.model, "generator": family.describe(), **(identity or {})},
                hook=hook,
                part=self._part(),
                advance=self.progress.advance,
            )
        finally:
            family.transformer.train(was_training)
        self.process.wait_for_everyone()
        return samples

    def _score_round(self, folder: Path, samples: list[Sample]) -> dict[str, float]:
        if not samples or (self.settings.winners is not None and self.recipe.algorithm == "sft"):
            return {}
        judge = self.settings.judge
        return reward_of(judge, self.facts, self._score(samples, judge, self.facts, folder / "scores.csv"))

    def _score(
        self, samples: Sequence[Sample], judge: Judge, facts: JudgeFacts, path: Path
    ) -> dict[str, dict[str, float]]:
        """Scores of all dimensions; asked for by one process, read by all."""
        if self.process.is_main_process:
            score_samples(
                samples,
                judge,
                path,
                dimensions=tuple(facts.dimensions),
                device=self.settings.device,
                progress=self.progress,
            )
        self.process.wait_for_everyone()
        return score_samples(samples, judge, path, dimensions=tuple(facts.dimensions))

    def _pair_round(self, folder: Path, samples: list[Sample], rewards: dict[str, float]) -> PairSet:
        s, r = self.settings, self.recipe
        if s.pairs is not None:
            pairs = pairs_from_file(s.pairs, s.label, self.generator)
        elif s.winners is not None:
            pairs = real_against_generated(s.winners, samples, rewards, losers=r.losers)
        elif r.algorithm == "flow-rwr":
            pairs = every_clip(samples, rewards, s.judge.label)
        else:
            pairs = best_against_worst(samples, rewards, s.judge.label, losers=r.losers, min_gap=s.min_gap)
        for sentence in (*pairs.left_out, pairs.off_policy):
            if sentence:
                self.progress.message(sentence)
        if self.process.is_main_process and r.algorithm != "flow-rwr" and s.pairs is None:
            write_pairs(pairs, folder.parent / f"{folder.name}-pairs.csv")
        return pairs

    def _train_round(self, folder: Path, number: int, pairs: PairSet, cache: LatentCache) -> None:
        steps = self.recipe.steps // self.recipe.rounds
        recipe = dataclasses.replace(self.recipe, steps=steps, seed=_round_seed(self.recipe.seed, number))
        weights = pair_weights(pairs.pairs, recipe, self.facts.reward_range)
        if number == 0:
            self._say_strength(weights)
            free = self._free_memory()
            if free is not None:
                check_fits(estimate(self.family, recipe, processes=self.process.num_processes), free)
        trainer = Trainer(
            self.family,
            recipe,
            pairs.pairs,
            weights,
            cache,
            folder / "train",
            save_every=self.settings.save_every,
            log_every=self.settings.log_every,
        )
        looks = self.settings.evaluations if number + 1 == self.recipe.rounds else 1
        for until in sorted({round(steps * (i + 1) / looks) for i in range(looks)}):
            self.progress.start_phase(f"training (round {number + 1}) to step {until}", until)
            trainer.train(until, advance=self.progress.advance)
            if until < steps:
                self._watch(trainer, number * steps + until)

    def _free_memory(self) -> int | None:
        """Of a GPU; on a CPU the operating system swaps before it refuses, and only --dry-run shows estimates."""
        device = next(self.family.transformer.parameters()).device
        return available(device) if device.type == "cuda" else None

    def _say_strength(self, weights: dict[str, float]) -> None:
        r = self.recipe
        elements = math.prod(self.family.latent_shape)
        if r.compares:
            found = effective_beta(r.beta, scale=r.scale, reduction=r.reduction, elements=elements)
            self.progress.message(
                f"effective beta: {found.per_sample:g} per sample (of the mean squared error), "
                f"{found.per_element:.3g} per element ({elements:,} elements a clip; beta {r.beta:g}, "
                f"reduction {r.reduction}, scale {r.scale:g}, {r.error_space} space, {r.beta_schedule})"
            )
        if weights:
            values = torch.tensor(list(weights.values()))
            self.progress.message(
                f"weights of {len(values)} examples: mean {values.mean():.3g}, largest {values.max():.3g}, effective "
                f"sample size {effective_sample_size(values):.1f}"
            )

    def _adopt(self, train: Path) -> None:
        """Go on from a finished round's weights."""
        found = states(train)
        if not found:
            raise InputError(f"{train} has no state; the round before is not finished")
        from safetensors.torch import load_file

        if self.recipe.tuning == "lora":
            mine = adapters.adapter_parameters(self.family.transformer, adapters.POLICY)
            with torch.no_grad():
                for name, tensor in load_file(found[-1] / "policy.safetensors").items():
                    mine[name].copy_(tensor)
        else:
            self.family.transformer.load_state_dict(load_file(found[-1] / "model.safetensors"))

    def _write_weights(self) -> None:
        if not self.process.is_main_process:
            return
        target, partial = self.out / "weights", self.out / ".weights.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        if self.recipe.tuning == "lora":
            adapters.activate(self.family.transformer, adapters.POLICY)
            self.family.save_adapter(partial)
        else:
            self.family.save_full(partial / "transformer")
        shutil.rmtree(target, ignore_errors=True)
        os.replace(partial, target)

    # ------------------------------------------------------------------ base against aligned

    def _judges(self) -> list[tuple[Judge, JudgeFacts]]:
        return [(self.settings.judge, self.facts), *((j, facts_of(j)) for j in self.settings.held_out)]

    def _look(
        self, step: int, prompts: Sequence[Prompt], folder: Path, hook: VelocityHook | None = None
    ) -> dict[str, Any]:
        """Sample and score ``prompts`` from the generator as it is; scores by ``judge:dimension`` and prompt."""
        self.progress.start_phase(f"sampling at step {step}", len(prompts))
        seed = seed_of(self.recipe.seed, "evaluate") >> 32
        samples = self._sample(
            prompts, folder, per_prompt=1, name=f"{self.generator} at step {step}", seed=seed, hook=hook,
            identity={"step": step, "recipe": self.recipe.as_dict() if step else None},
        )  # fmt: skip
        found: dict[str, dict[str, float]] = {}
        for number, (judge, facts) in enumerate(self._judges()):
            path = folder.parent / f"{folder.name}-scores-{number}.csv"
            found.update(judge_scores(samples, judge, facts, self._score(samples, judge, facts, path)))
        return {"samples": samples, "scores": found}

    def base_look(self, prompts: Sequence[Prompt]) -> dict[str, Any]:
        """The generator before it learned: adapters off, or loaded anew."""
        folder = self.out / "evaluate" / "base"
        if self.recipe.tuning == "lora" and getattr(self.family.transformer, "peft_config", None):
            self.family.transformer.disable_adapters()
            try:
                return self._look(0, prompts, folder)
            finally:
                self.family.transformer.enable_adapters()
                adapters.activate(self.family.transformer, adapters.POLICY)
        learned = self.family
        if self.recipe.tuning == "full":
            self.family = load_generator(self.settings)
        try:
            return self._look(0, prompts, folder)
        finally:
            self.family = learned

    def _watch(self, trainer: Trainer, step: int) -> None:
        """Look at the policy while it learns, and at the alarm's rule."""
        watched = self.evaluation[: self.settings.watch_count]
        self.base_look(self.evaluation)
        self._look(step, watched, self.out / "evaluate" / f"step-{step:08d}")
        alarm = read_so_far(self.out, self.settings)
        if alarm is not None:
            self.progress.message(f"alarm: {alarm.sentence}")
            if self.settings.on_alarm == "stop":
                raise CheckFailed(f"{alarm.sentence}; the run was stopped at step {step} (--on-alarm warn goes on)")

    def evaluate(self) -> dict[str, Any]:
        """Compare base and aligned on the evaluation prompts, from the same noise; writes ``result.json``."""
        if not (self.out / "weights").is_dir():
            raise InputError(f"{self.out} holds no weights yet; run the stages before evaluate")
        self._load_weights()
        base = self.base_look(self.evaluation)
        steps = self.recipe.steps // self.recipe.rounds * self.recipe.rounds
        aligned = self._look(steps, self.evaluation, self.out / "evaluate" / "aligned")
        changes = {}
        for name, before in base["scores"].items():
            change = compare(before, aligned["scores"][name], seed=self.recipe.seed)
            changes[name] = None if change is None else change.as_dict()
        alarm = read_so_far(self.out, self.settings)
        return write_result(self, changes, base["samples"], aligned["samples"], alarm)

    def _load_weights(self) -> None:
        """The trained network, where this process did not just train it."""
        network = self.family.transformer
        folder = self.out / "weights"
        if self.recipe.tuning == "lora":
            if not getattr(network, "peft_config", None):
                adapters.load_adapter(self.family, folder, adapters.POLICY)
                adapters.activate(network, adapters.POLICY)
            return
        from safetensors.torch import load_file

        files = sorted((folder / "transformer").glob("*.safetensors"))
        state = {name: tensor for path in files for name, tensor in load_file(path).items()}
        network.load_state_dict(state)


def align(settings: AlignSettings, progress: Progress | None = None, *, stage: str | None = None) -> dict[str, Any]:
    """Align a generator; returns the content of ``result.json``.

    Args:
        settings: what is asked for.
        progress: told of phases.
        stage: only this one of :data:`rewardbench.align.settings.STAGES`; all if None.

    Raises:
        InputError: the command or its input is wrong.
        CheckFailed: the loss diverged, or an alarm stopped the run.
    """
    if settings.recipe.algorithm == "flow-nrg":
        from rewardbench.align.guided import GuidedAlignment

        return GuidedAlignment(settings, progress).run(stage)
    return Alignment(settings, progress).run(stage)


def load_generator(settings: AlignSettings) -> VideoFamily:
    """The generator that is asked for, as it was before it learned anything."""
    return load_family(
        settings.model,
        device=_device(settings.device),
        dtype=_dtype(settings.dtype),
        options=settings.model_options,
    )


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
    """Write prompts and copies of their images beside ``table``."""
    images = table.with_suffix("").with_name(f"{table.stem}-images")
    rows = []
    for number, p in enumerate(prompts):
        image = ""
        if p.image:
            images.mkdir(exist_ok=True)
            copy = images / f"{number:05d}{Path(p.image).suffix}"
            if not copy.exists():
                shutil.copyfile(p.image, copy)
            image = copy.relative_to(table.parent).as_posix()
        rows.append({"prompt_id": p.prompt_id, "prompt": p.text, "image": image})
    write_table(table, rows)


def _round_seed(seed: int, number: int) -> int:
    return seed if number == 0 else seed_of(seed, "round", number) >> 32


def _device(name: str) -> str:
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


def _dtype(name: str) -> torch.dtype:
    if name not in DTYPES:
        raise InputError(f"dtype {name!r} is not known; there are {', '.join(DTYPES)}")
    return DTYPES[name]
