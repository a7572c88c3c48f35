"""What ``rewardbench align`` can be told, beside the recipe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from rewardbench.align.families.base import ClipShape
from rewardbench.align.judging import Judge
from rewardbench.align.recipe import Recipe
from rewardbench.align.sampling import SamplingChoice
from rewardbench.errors import InputError

STAGES = ("sample", "score", "pair", "encode", "train", "evaluate", "report")
"""In order. ``--stage`` runs what is missing up to one of the first five; ``evaluate``, which writes the page as well,
and ``report`` take the files of those before them."""

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
        clip: size of the clips; the generator's usual one if None.
        prompts: table of prompts to learn on; drawn ones if None (toy only), then ``prompt_count`` of them.
        evaluation_prompts: table of prompts to compare base and aligned on; drawn ones if None (toy), else the last
            quarter of ``prompts``, which are then not learned on.
        prompt_count, evaluation_count: how many prompts are used; all of a table if None.
        sampling: steps and guidance; the family's usual ones where nothing is said.
        pairs: pairs file to learn from; nothing is then sampled or scored for learning.
        label: of that file.
        winners: clip table of real winners (RealDPO); the toy has the drawn world's own clips if None.
        min_gap: smallest difference of rewards that makes a pair.
        latent_reward: Flow-NRG: a registered latent reward, or the file of one trained before; a new one if None.
        start: folder of a LoRA to start from; base clips are then made with it too.
        evaluations: how often the policy is looked at while it learns, the end included.
        watch_count: evaluation prompts that are looked at while it learns.
        on_alarm: ``warn`` or ``stop``.
        device: of the generator; ``auto`` is a GPU where there is one.
        dtype: of the generator's frozen weights; ``auto`` is bfloat16 for real generators on a GPU, else float32.
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
    clip: ClipShape | None = None
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
    dtype: str = "auto"
    save_every: int = 50
    log_every: int = 10
    preset: str | None = None
    command: str = ""


def check_settings(s: AlignSettings, *, toy: bool) -> None:
    """Refuse what cannot be meant, before anything is computed.

    Args:
        s: the settings; its recipe was checked when it was made.
        toy: the generator is a toy, which has prompts and real clips of its own.

    Raises:
        InputError: one sentence that says why and what to do.
    """
    r = s.recipe
    counts = ("prompt_count", "evaluation_count", "watch_count", "evaluations", "save_every", "log_every")
    for name in counts:
        value = getattr(s, name)
        if value is not None and value < 1:
            raise InputError(f"{name} is at least 1, not {value}")
    optimised = s.judge.name
    if any(j.name == optimised for j in s.held_out):
        raise InputError(
            f"{optimised} is optimised and cannot be held out as well, whatever the preset; name another judge"
        )
    if not toy and s.prompts is None and (s.pairs is None or s.evaluation_prompts is None):
        asked = "--evaluation-prompts" if s.pairs is not None else "--prompts"
        raise InputError(f"name prompts with {asked}; only the toy generator draws its own")
    if s.winners is not None and (r.algorithm == "flow-rwr" or r.pair_weight == "gap"):
        raise InputError(
            f"{r.algorithm} needs a reward of the winners, and real clips have none; choose dpo or realdpo"
        )
    if r.algorithm == "realdpo" and not toy and s.winners is None and s.pairs is None:
        raise InputError("realdpo takes real clips as winners: name their table with --winners")
    sampled = s.pairs is None and s.winners is None and r.algorithm not in ("realdpo", "flow-rwr")
    if sampled and r.samples_per_prompt < 2:
        raise InputError("a pair needs two clips of a prompt: samples_per_prompt is at least 2")
    if sampled and r.compares and r.losers >= r.samples_per_prompt:
        raise InputError(
            f"one of {r.samples_per_prompt} clips of a prompt wins, and {r.losers} losers are not left; lower losers "
            "or raise samples_per_prompt"
        )
    _refuse_without_effect(s)
    if s.start is not None and r.compares and r.reference == "adapter_off":
        raise InputError(
            "reference adapter_off would compare with the generator without the LoRA it starts from; choose "
            "reference frozen_adapter, frozen_copy or ema"
        )


def _refuse_without_effect(s: AlignSettings) -> None:
    """What is asked for and would do nothing is a mistake, and is told so rather than ignored."""
    r = s.recipe
    if not s.min_gap >= 0:
        raise InputError(f"--min-gap is not negative, and {s.min_gap} is no such number")
    if s.label is not None and s.pairs is None:
        raise InputError(f"--label {s.label} is a label of a pairs file; name the file with --pairs, or leave it out")
    if s.label is not None and r.algorithm == "flow-rwr":
        raise InputError(
            "flow-rwr takes every clip of --pairs by its own reward, whatever the labels say; leave --label out"
        )
    if s.latent_reward is not None and r.algorithm != "flow-nrg":
        raise InputError(f"--latent-reward guides flow-nrg, and {r.algorithm} has no use for it; leave it out")
    if r.algorithm == "flow-nrg" and (s.pairs is not None or s.winners is not None):
        raise InputError("flow-nrg learns from clips that it samples itself; leave --pairs and --winners out")
    if r.rounds > 1 and (s.pairs is not None or r.algorithm == "flow-nrg" or (s.winners and r.algorithm == "sft")):
        raise InputError("a round begins with new clips of the policy, and this run samples none; choose rounds 1")
    if s.start is not None and r.algorithm == "flow-nrg":
        raise InputError("flow-nrg leaves the generator as it is and takes no LoRA; leave --start out")
    if r.algorithm == "realdpo" and r.pair_weight == "gap" and s.pairs is None:
        raise InputError(
            "pair_weight gap needs a reward of the winners, and realdpo's are real clips that have none; leave "
            "pair_weight out"
        )
