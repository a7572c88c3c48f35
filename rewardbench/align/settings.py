"""What ``rewardbench align`` can be told, beside the recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rewardbench.align.judging import Judge
from rewardbench.align.recipe import Recipe
from rewardbench.align.sampling import SamplingChoice

STAGES = ("sample", "score", "pair", "encode", "train", "evaluate", "report")
"""In order. ``--stage`` runs one of them on the files of those before it."""

TOY_PROMPTS, TOY_EVALUATION_PROMPTS = 64, 64


@dataclass(frozen=True)
class AlignSettings:
    """One alignment.

    Attributes:
        recipe: what is learned and how.
        judge: whose reward is optimised.
        held_out: judges that are only watched.
        out: folder of the run; the same command goes on from it.
        model: generator, see :func:`rewardbench.align.families.load_family`.
        model_options: further choices of its family.
        prompts: table of prompts to learn on; drawn ones if None (toy only), then ``prompt_count`` of them.
        evaluation_prompts: table of prompts to compare base and aligned on; drawn ones if None (toy), else the last
            quarter of ``prompts``, which are then not learned on.
        prompt_count, evaluation_count: how many prompts are used; all of a table if None.
        sampling: steps and guidance; the family's usual ones where nothing is said.
        pairs: pairs file to learn from; nothing is then sampled or scored for learning.
        label: of that file.
        winners: clip table of real winners (RealDPO).
        min_gap: smallest difference of rewards that makes a pair.
        latent_reward: Flow-NRG: a registered latent reward, or the file of one trained before; a new one if None.
        start: folder of a LoRA to start from.
        evaluations: how often the policy is looked at while it learns, the end included.
        watch_count: evaluation prompts that are looked at while it learns.
        on_alarm: ``warn`` or ``stop``.
        device, dtype: of the generator; ``auto`` is a GPU where there is one.
        save_every, log_every: steps.
        preset: name of the recipe's preset, for the record.
        command: how it was called, for the record.
    """

    recipe: Recipe
    judge: Judge
    out: Path
    held_out: tuple[Judge, ...] = ()
    model: str = "toy"
    model_options: Mapping[str, str] = field(default_factory=dict)
    prompts: Path | None = None
    evaluation_prompts: Path | None = None
    prompt_count: int | None = None
    evaluation_count: int | None = None
    sampling: SamplingChoice = field(default_factory=SamplingChoice)
    pairs: Path | None = None
    label: str | None = None
    winners: Path | None = None
    min_gap: float = 0.0
    latent_reward: str | None = None
    start: Path | None = None
    evaluations: int = 3
    watch_count: int = 32
    on_alarm: str = "warn"
    device: str = "auto"
    dtype: str = "float32"
    save_every: int = 50
    log_every: int = 10
    preset: str | None = None
    command: str = ""
