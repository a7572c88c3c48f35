"""Base against policy: clips of the same prompts from the same noise, what the judges say of them, and the alarm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rewardbench.align import adapters
from rewardbench.align.comparison import compare
from rewardbench.align.families.base import VideoFamily
from rewardbench.align.generator import load_generator
from rewardbench.align.judging import Judge, JudgeFacts, facts_of
from rewardbench.align.monitors import Alarm
from rewardbench.align.processes import from_main
from rewardbench.align.prompts import Prompt
from rewardbench.align.run_clips import RunClips
from rewardbench.align.samples import Sample, read_samples, table_of
from rewardbench.align.sampling import VelocityHook, seed_of
from rewardbench.align.settings import AlignSettings
from rewardbench.align.watching import ByPrompt, failed_prompts, judge_scores, look_folders, read_so_far, scores_path
from rewardbench.errors import CheckFailed


@dataclass(frozen=True)
class Look:
    """Clips of the generator at one step, and their scores by ``judge:dimension`` and prompt."""

    samples: list[Sample]
    scores: dict[str, ByPrompt]


class Looks:
    """All looks of a run, under ``evaluate/``.

    Args:
        clips: samples and scores.
        family: the generator that learns.
        settings: of the run.
        facts: of its judge.
    """

    def __init__(self, clips: RunClips, family: VideoFamily, settings: AlignSettings, facts: JudgeFacts) -> None:
        self.clips, self.family, self.settings, self.facts = clips, family, settings, facts
        self.folder = settings.out / "evaluate"

    @property
    def base_is_a_load(self) -> bool:
        """Adapters off is not base: all weights learned, or the adapter did not begin as nothing."""
        return self.settings.recipe.tuning == "full" or self.settings.start is not None

    def of_untrained(self, prompts: Sequence[Prompt]) -> Look:
        """Of base, which the generator is as long as nothing was learned."""
        return self._take(self.family, 0, prompts, self.folder / "base")

    def of_base(self, prompts: Sequence[Prompt]) -> Look:
        """Of base, when the generator has learned: adapters off, or loaded anew (with the LoRA that the run started
        from)."""
        transformer = self.family.transformer
        if not self.base_is_a_load and bool(getattr(transformer, "peft_config", None)):
            transformer.disable_adapters()
            try:
                return self.of_untrained(prompts)
            finally:
                transformer.enable_adapters()
                adapters.activate(transformer, adapters.POLICY)
        if from_main(self.clips.process, table_of(self.folder / "base").exists()):  # only its files are read
            return self.of_untrained(prompts)
        base = load_generator(self.settings)
        if self.settings.recipe.tuning == "full":  # as what was learned, which is compared with it
            base.transformer.float()
        if self.settings.start is not None:
            adapters.load_policy(base, self.settings.start)
        return self._take(base, 0, prompts, self.folder / "base")

    def of_learning(self, step: int, prompts: Sequence[Prompt]) -> Look:
        """Of the policy while it learns."""
        return self._take(self.family, step, prompts, self.folder / f"step-{step:08d}")

    def of_aligned(
        self, prompts: Sequence[Prompt], hook: VelocityHook | None = None, guided_by: Mapping[str, object] | None = None
    ) -> Look:
        """Of what the run ends with: the policy, or the generator guided by ``hook`` (``guided_by`` tells by what)."""
        steps = self.settings.recipe.steps
        return self._take(self.family, steps, prompts, self.folder / "aligned", hook, guided_by)

    def _take(
        self,
        family: VideoFamily,
        step: int,
        prompts: Sequence[Prompt],
        folder: Path,
        hook: VelocityHook | None = None,
        guided_by: Mapping[str, object] | None = None,
    ) -> Look:
        recipe = self.settings.recipe
        samples = self.clips.sample(
            family,
            prompts,
            folder,
            phase=f"sampling at step {step}",
            per_prompt=1,
            name=f"{self.settings.model} at step {step}",
            seed=seed_of(recipe.seed, "evaluate") >> 32,
            hook=hook,
            identity={"step": step, "recipe": recipe.as_dict() if step else None, **(guided_by or {})},
        )
        found: dict[str, ByPrompt] = {}
        for judge, facts in self._judges():
            path = scores_path(folder, judge, self.settings)
            found.update(judge_scores(samples, judge, facts, self.clips.score(samples, judge, facts, path)))
        return Look(samples, found)

    def _judges(self) -> list[tuple[Judge, JudgeFacts]]:
        return [(self.settings.judge, self.facts), *((j, facts_of(j)) for j in self.settings.held_out)]

    def score_all(self) -> None:
        """Let every judge score every look: one that is held out since then has not seen the earlier ones."""
        for folder in look_folders(self.settings.out):
            samples = read_samples(folder)
            for judge, facts in self._judges():
                self.clips.score(samples, judge, facts, scores_path(folder, judge, self.settings))

    def alarm(self) -> Alarm | None:
        """That the looks so far raise, if any."""
        self.score_all()
        return read_so_far(self.settings.out, self.settings)

    def watch(self, step: int, prompts: Sequence[Prompt]) -> None:
        """Look at the policy while it learns, at the first of ``prompts``, and at the alarm's rule.

        Raises:
            CheckFailed: the alarm is raised and stops the run.
        """
        self.of_base(prompts)
        self.of_learning(step, prompts[: self.settings.watch_count])
        alarm = self.alarm()
        if alarm is None:
            return
        self.clips.progress.message(f"alarm: {alarm.sentence}")
        if self.settings.on_alarm == "stop":
            raise CheckFailed(f"{alarm.sentence}; the run was stopped at step {step} (--on-alarm warn goes on)")

    def changes(self, before: Look, after: Look) -> dict[str, Any]:
        """How every judge's dimension changed; a prompt that its judge failed on did not make it abstain."""
        failed = failed_prompts(self.settings.out, self.settings)
        changes = {}
        for name, base in before.scores.items():
            broken = failed.get(name.rpartition(":")[0], set())
            change = compare(base, after.scores[name], seed=self.settings.recipe.seed, failed=broken)
            changes[name] = None if change is None else change.as_dict()
        return changes
