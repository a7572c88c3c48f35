"""How a run makes clips and has them scored: by all processes together, each file once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rewardbench.align.checkpointing import lifted
from rewardbench.align.engines import is_sharded, settle
from rewardbench.align.families.base import VideoFamily
from rewardbench.align.identity import digest_of_prompts
from rewardbench.align.judging import Judge, JudgeFacts, read_scores, score_samples
from rewardbench.align.processes import from_main, on_all, on_main
from rewardbench.align.prompts import Prompt
from rewardbench.align.samples import Sample, sample_clips
from rewardbench.align.sampling import SamplingSettings, VelocityHook
from rewardbench.scoring.progress import Progress

if TYPE_CHECKING:
    from accelerate.state import PartialState


class RunClips:
    """Sampling and scoring of one run.

    Args:
        process: of the run.
        progress: told of phases.
        sampling: steps, guidance and batch of every clip of the run.
        precision: of the recipe; base and aligned are sampled in what is trained in.
        network_digest: of the generator's own weights; clips of another network are refused.
        device: that judges score on.
    """

    def __init__(
        self,
        process: PartialState,
        progress: Progress,
        *,
        sampling: SamplingSettings,
        precision: str,
        network_digest: str,
        device: str,
    ) -> None:
        self.process, self.progress = process, progress
        self.sampling, self.precision, self.network_digest, self.device = sampling, precision, network_digest, device
        self._asked: set[Path] = set()

    @property
    def part(self) -> tuple[int, int]:
        """This process's number, and how many share the work."""
        return self.process.process_index, self.process.num_processes

    def begin(self, phase: str, left: int) -> None:
        """What an earlier run has done is not counted: it would make the rate of this one."""
        if left > 0:
            self.progress.start_phase(phase, left)
        else:
            self.progress.end_phase()

    def sample(
        self,
        family: VideoFamily,
        prompts: Sequence[Prompt],
        folder: Path,
        *,
        phase: str,
        per_prompt: int,
        name: str,
        seed: int,
        hook: VelocityHook | None = None,
        identity: dict[str, object] | None = None,
    ) -> list[Sample]:
        """Clips of ``prompts`` from ``family`` as it is; those that lie in ``folder`` stay.

        Args:
            name: of the generator, as the clips' table has it.
            hook: changes the velocity (guidance).
            identity: what the clips depend on beside network, encoders, prompts and sampling.
        """
        was_training = family.transformer.training
        family.transformer.eval()
        depends_on = {
            "network": self.network_digest,
            "encoders": family.fingerprint(),
            "generator": family.describe(),
            "prompts": digest_of_prompts(prompts),
            **(identity or {}),
        }

        def sample() -> list[Sample]:
            return sample_clips(
                family,
                prompts,
                folder,
                per_prompt=per_prompt,
                settings=self.sampling,
                seed=seed,
                generator=name,
                identity=depends_on,
                hook=hook,
                precision=self.precision,
                part=self.part,
                in_step=self.process if is_sharded(family.transformer) else None,
                begin=partial(self.begin, phase),
                advance=self.progress.advance,
            )

        try:
            with lifted(family):
                return on_all(self.process, sample)
        finally:
            settle(family.transformer)
            family.transformer.train(was_training)
            family.release_encoders()

    def score(
        self, samples: Sequence[Sample], judge: Judge, facts: JudgeFacts, path: Path
    ) -> dict[str, dict[str, float]]:
        """Scores of all dimensions by clip; asked for by one process, read by all.

        Clips that the judge failed on in an earlier run are asked for again, once a run; those to learn from not after
        they were coded: what is learned from must stay what it is.
        """
        wanted = tuple(facts.dimensions)
        settled = path.exists() and (path in self._asked or (path.parent / "cache" / "cache.json").exists())
        if not from_main(self.process, settled):
            on_main(
                self.process,
                lambda: score_samples(
                    samples, judge, path, dimensions=wanted, device=self.device, progress=self.progress
                ),
            )
            self._asked.add(path)
        return read_scores(samples, judge, path, dimensions=wanted)
