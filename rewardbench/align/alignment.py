"""The whole loop: sample, score, pair, encode, train, sample again, compare.

Every stage leaves files that the next one reads, and finds its own work done where it was done: the same command goes
on where an interrupted one stopped. Layout of the run's folder::

    align.json               settings; another run's are refused
    prompts/                 the prompts and first frames that were used
    round-1/base(.csv)       clips sampled from the generator, their latents
    round-1/scores.csv       of the judge; scores.judge.json says who that is
    round-1-pairs.csv        a pairs file; round-1-pairs.json says where its pairs come from
    round-1/cache/           latents and conditions
    round-1/train/           log.jsonl and states
    weights/                 LoRA or network, as diffusers loads it
    evaluate/                clips of base and aligned, their scores
    result.json, report.html, README.md
"""

from __future__ import annotations

import dataclasses
import json
from functools import partial
from pathlib import Path
from typing import Any

import torch

from rewardbench.align import adapters
from rewardbench.align.disk import drop_broken, writing
from rewardbench.align.engines import check_engine, engine_name, make_accelerator
from rewardbench.align.families import family_name
from rewardbench.align.generator import device_of, load_generator
from rewardbench.align.identity import run_identity
from rewardbench.align.judging import facts_of, reward_of
from rewardbench.align.latent_cache import LatentCache
from rewardbench.align.looks import Looks
from rewardbench.align.memory import available_to, check_fits, estimate
from rewardbench.align.objective import check_gap_range, pair_weights, strength
from rewardbench.align.pairs import PairSet, write_pairs
from rewardbench.align.processes import join, on_all, on_main
from rewardbench.align.prompts import draw_clips
from rewardbench.align.record import pair_facts, write_pair_facts, write_result
from rewardbench.align.run_clips import RunClips
from rewardbench.align.run_pairs import check_sources, drawn_winners, draws_winners, given_pairs, pairs_of_round
from rewardbench.align.run_prompts import chosen_prompts, keep_prompts, kept_prompts, open_images
from rewardbench.align.run_states import moved_reference
from rewardbench.align.samples import Sample, claim_folder
from rewardbench.align.sampling import seed_of
from rewardbench.align.settings import STAGES, AlignSettings, check_settings
from rewardbench.align.sharing import sharing_of
from rewardbench.align.training import Trainer, states
from rewardbench.align.watching import look_steps
from rewardbench.align.weights import adopt, is_trained, load_weights, write_weights
from rewardbench.errors import CheckFailed, InputError
from rewardbench.scoring.progress import Progress, Silent


class Alignment:
    """One run, stage by stage; :func:`align` is all of them.

    Args:
        settings: what is asked for.
        progress: told of phases.

    Raises:
        InputError: the command or its input is wrong.
    """

    def __init__(self, settings: AlignSettings, progress: Progress | None = None) -> None:
        from accelerate.state import AcceleratorState

        self.is_toy = family_name(settings.model) == "toy"
        check_settings(settings, toy=self.is_toy)
        self.settings, self.progress = settings, progress or Silent()
        self.recipe = settings.recipe
        self.out = settings.out
        self.process = join(on_cpu=device_of(settings.device) == "cpu")
        if self.process.num_processes == 1:  # a run before this one may have had another precision
            AcceleratorState._reset_state()
        self.facts = facts_of(settings.judge)
        check_gap_range(self.recipe, self.facts.reward_range)
        self.family = load_generator(settings)
        self.sampling = settings.sampling.filled(self.family)
        self.generator = settings.model
        self.network_digest = self.family.network_digest()
        self.clips = RunClips(
            self.process,
            self.progress,
            sampling=self.sampling,
            precision=self.recipe.precision,
            network_digest=self.network_digest,
            device=settings.device,
        )
        self.looks = Looks(self.clips, self.family, settings, self.facts)
        self._claimed = self._is_trainable = False

    def _claim(self) -> None:
        """Make the folder this run's; what is wrong with the input is said before, so that it can be mended and the
        same folder named again."""
        s, needs_image = self.settings, self.family.needs_image
        chosen = chosen_prompts(s, needs_image)
        if not (self.out / "prompts").is_dir():
            open_images([*chosen[0], *chosen[1]])
        check_sources(s, chosen, needs_image=needs_image)
        identity = run_identity(s, self.family, self.sampling)
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            claim_folder(self.out / "align.json", identity, "the files")
        except OSError as error:
            raise InputError(
                f"--out {self.out} cannot be written: {error.strerror or error}; name another folder"
            ) from None

        def keep() -> None:
            with writing(self.out / "prompts"):
                keep_prompts(s, chosen, self.out / "prompts")

        on_main(self.process, keep)
        self.prompts, self.evaluation = kept_prompts(s, needs_image, self.out / "prompts")

    # ------------------------------------------------------------------ stages

    def run(self, stage: str | None = None) -> dict[str, Any]:
        """All stages, those up to one of learning, or one of ``evaluate`` (which writes the page anew) and ``report``;
        the result so far.

        Raises:
            InputError: an unknown stage, or files of the stages before it are missing.
            CheckFailed: the loss diverged, or an alarm that stops the run.
        """
        if stage is not None and stage not in STAGES:
            raise InputError(f"there is no stage {stage!r}; there are {', '.join(STAGES)}")
        learns = stage in (None, "sample", "score", "pair", "encode", "train")
        if learns and not self._is_trainable:
            self._prepare_to_learn(stage)
            self._is_trainable = True
        if not self._claimed:
            if not learns:
                self._refuse_what_has_not_learned(stage)
            self._claim()
            self._claimed = True
        if learns:
            self._learn(stage)
        if stage in (None, "evaluate"):
            self.evaluate()
        if stage in (None, "evaluate", "report"):  # a page of an older result would contradict this one
            from rewardbench.align.report import write_report

            on_main(self.process, lambda: write_report(self.out))
        path = self.out / "result.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}

    def _refuse_what_has_not_learned(self, stage: str | None) -> None:
        """An empty folder has nothing to show, and is not made this run's by asking."""
        if not self.out.is_dir() or not any(self.out.iterdir()):
            raise InputError(f"{self.out} holds no run yet; run the stages before {stage}")

    def _prepare_to_learn(self, stage: str | None) -> None:
        """Make the network trainable, and refuse what could not be trained: before hours of sampling, not after."""
        adapters.attach(self.family, self.recipe, self.settings.start)
        accelerator = make_accelerator(self.family, self.recipe)
        check_engine(engine_name(accelerator), self.recipe)
        self.recipe.share_of(accelerator.num_processes)
        if stage in (None, "train") and not states(self.out / "round-1" / "train"):
            self._refuse_what_does_not_fit(accelerator)

    def _learn(self, stage: str | None) -> None:
        steps = self.recipe.steps // self.recipe.rounds
        for number in range(self.recipe.rounds):
            folder = self.out / f"round-{number + 1}"
            folder.mkdir(exist_ok=True)
            if number:
                before = self.out / f"round-{number}" / "train"
                if stage not in (None, "train") and not is_trained(before, steps):
                    self.progress.message(f"round {number + 1} waits until round {number} is trained")
                    break
                adopt(self.family, self.recipe, before, steps)
            samples = self._sample_round(folder, number)
            if stage == "sample":
                continue
            rewards = self._score_round(folder, samples)
            if stage == "score":
                continue
            pairs = self._pair_round(folder, samples, rewards)
            if stage == "pair":
                continue
            prompts = [p.prompt for p in pairs.pairs]
            cache = LatentCache(folder / "cache", self.family, list(pairs.clips.values()), self.recipe.seed, prompts)
            self._fill(cache)
            if stage == "encode":
                continue
            cache.open()
            self._train_round(folder, number, pairs, cache)
        if stage in (None, "train"):
            with writing(self.out / "weights"):
                write_weights(self.family, self.recipe, self.out / "weights", self.process)

    def _fill(self, cache: LatentCache) -> None:
        begin = partial(self.clips.begin, "encoding")
        on_all(self.process, lambda: cache.fill(part=self.clips.part, begin=begin, advance=self.progress.advance))
        self.family.release_encoders()

    def _sample_round(self, folder: Path, number: int) -> list[Sample]:
        if self.settings.pairs is not None or (self.settings.winners is not None and self.recipe.algorithm == "sft"):
            return []
        return self.clips.sample(
            self.family,
            self.prompts,
            folder / "base",
            phase=f"sampling (round {number + 1})",
            per_prompt=self.recipe.samples_per_prompt,
            name=self._name(number),
            seed=_round_seed(self.recipe.seed, number),
        )

    def _name(self, number: int) -> str:
        return self.generator if number == 0 else f"{self.generator} after round {number}"

    def _score_round(self, folder: Path, samples: list[Sample]) -> dict[str, float]:
        if not samples:
            return {}
        judge = self.settings.judge
        return reward_of(judge, self.facts, self.clips.score(samples, judge, self.facts, folder / "scores.csv"))

    def _pair_round(self, folder: Path, samples: list[Sample], rewards: dict[str, float]) -> PairSet:
        s, r = self.settings, self.recipe
        if draws_winners(s):
            on_main(self.process, lambda: draw_clips(drawn_winners(s).parent, self.prompts))
        if s.pairs is not None:
            pairs = given_pairs(s, self.evaluation, needs_image=self.family.needs_image)
        else:
            pairs = pairs_of_round(s, self.prompts, samples, rewards)
        for sentence in (*pairs.left_out, pairs.off_policy):
            if sentence:
                self.progress.message(sentence)
        pair_weights(pairs.pairs, r, self.facts.reward_range)  # what it refuses, it refuses before clips are encoded
        if s.pairs is None and any(p.lose for p in pairs.pairs):
            on_main(self.process, lambda: write_pairs(pairs, folder.parent / f"{folder.name}-pairs.csv"))
        on_main(self.process, lambda: write_pair_facts(pair_facts(pairs), folder))
        return pairs

    def _train_round(self, folder: Path, number: int, pairs: PairSet, cache: LatentCache) -> None:
        steps = self.recipe.steps // self.recipe.rounds
        recipe = dataclasses.replace(self.recipe, steps=steps, seed=_round_seed(self.recipe.seed, number))
        weights = pair_weights(pairs.pairs, recipe, self.facts.reward_range)
        if number == 0:
            for sentence in strength(self.family, recipe, weights):
                self.progress.message(sentence)
        total, before = steps * self.recipe.rounds, steps * number
        looks = look_steps(total, self.settings.evaluations)
        on_main(self.process, lambda: self._drop_broken_states(folder / "train"))
        if number == 0 and self.looks.base_is_a_load and not states(folder / "train"):  # the network is base only now
            self.looks.of_untrained(self.evaluation)
        accelerator = make_accelerator(self.family, recipe)
        trainer = Trainer(
            self.family,
            recipe,
            pairs.pairs,
            weights,
            cache,
            folder / "train",
            save_every=self.settings.save_every,
            log_every=self.settings.log_every,
            accelerator=accelerator,
        )
        if number and trainer.reference is not None and not states(folder / "train"):  # the reference moves on
            trainer.reference.load_state(moved_reference(states(self.out / f"round-{number}" / "train")[-1]))
        for until in sorted({step - before for step in looks if before < step <= before + steps} | {steps}):
            begin = partial(self.clips.begin, f"training (round {number + 1}) to step {until}")
            try:
                trainer.train(until, begin=begin, advance=self.progress.advance)
            except CheckFailed as error:
                raise CheckFailed(f"{error}{self._what_stays(folder)}") from None
            if before + until in looks and before + until < total:
                self.looks.watch(before + until, self.evaluation)

    def _what_stays(self, folder: Path) -> str:
        """How a training of other settings learns from the same scored clips."""
        pairs = folder.parent / f"{folder.name}-pairs.csv"
        if not pairs.exists():
            return ""
        check = self.out / "prompts" / "evaluate.csv"
        return f" (another --out can learn from the same clips: --pairs {pairs} --evaluation-prompts {check})"

    def _say_who_is_held_out_no_longer(self) -> None:
        try:
            before = json.loads((self.out / "result.json").read_text(encoding="utf-8"))["held_out"]
        except (OSError, ValueError, KeyError):  # there is none, or none that can be read: it is written anew
            return
        gone = [name for name in before if name not in {judge.plugin for judge in self.settings.held_out}]
        if gone:
            self.progress.message(f"no longer held out, and left out of the result: {', '.join(gone)}")

    def _drop_broken_states(self, folder: Path) -> None:
        for state in drop_broken(states(folder)):
            self.progress.message(
                f"{state} was cut short and is left out; training goes on from the one before, if any"
            )

    def _refuse_what_does_not_fit(self, accelerator: Any) -> None:
        """The check of ``--dry-run``, with what the engine shares out."""
        sharing = sharing_of(accelerator, engine_name(accelerator))
        needed = estimate(self.family, self.recipe, sharing=sharing)
        on_all(self.process, lambda: check_fits(needed, available_to(self.family.transformer)))

    def evaluate(self) -> dict[str, Any]:
        """Compare base and aligned on the evaluation prompts, from the same noise; writes ``result.json``."""
        if not (self.out / "weights").is_dir():
            raise InputError(f"{self.out} holds no weights yet; run the stages before evaluate")
        load_weights(self.family, self.recipe, self.out / "weights")
        self._say_who_is_held_out_no_longer()
        base, aligned = self.looks.of_base(self.evaluation), self.looks.of_aligned(self.evaluation)
        return write_result(self, base, aligned)


def align(settings: AlignSettings, progress: Progress | None = None, *, stage: str | None = None) -> dict[str, Any]:
    """Align a generator; returns the content of ``result.json``.

    Args:
        settings: what is asked for.
        progress: told of phases.
        stage: of :data:`rewardbench.align.settings.STAGES`; all if None.

    Raises:
        InputError: the command or its input is wrong.
        CheckFailed: the loss diverged, or an alarm stopped the run.
    """
    kind = Alignment
    if settings.recipe.algorithm == "flow-nrg":
        from rewardbench.align.guided import GuidedAlignment

        kind = GuidedAlignment
    try:
        return kind(settings, progress).run(stage)
    except torch.OutOfMemoryError as error:
        raise InputError(
            f"the GPU ran out of memory ({str(error).splitlines()[0]}); what is finished stays: lower --sampling-batch "
            "or micro_batch_size, or choose checkpointing full or low_memory, and run the command again"
        ) from error


def _round_seed(seed: int, number: int) -> int:
    return seed if number == 0 else seed_of(seed, "round", number) >> 32
