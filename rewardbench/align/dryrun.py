"""What a run would do and need, said before it starts: clips, steps, strength of the pull, memory."""

from __future__ import annotations

from rewardbench.align.families import family_name
from rewardbench.align.generator import load_generator
from rewardbench.align.judging import facts_of
from rewardbench.align.losses import effective_beta
from rewardbench.align.memory import available_to, check_fits, estimate
from rewardbench.align.objective import loss_elements
from rewardbench.align.run_prompts import split_prompts
from rewardbench.align.settings import TOY_EVALUATION_PROMPTS, TOY_PROMPTS, AlignSettings, check_settings


def describe_run(settings: AlignSettings) -> list[str]:
    """Lines for the terminal.

    Raises:
        InputError: what the run itself would refuse at its start, too little memory among it.
    """
    recipe = settings.recipe
    check_settings(settings, toy=family_name(settings.model) == "toy")
    facts_of(settings.judge)
    family = load_generator(settings)
    if settings.prompts is None:
        learn = settings.prompt_count or TOY_PROMPTS
        check = settings.evaluation_count or TOY_EVALUATION_PROMPTS
    else:
        sides = split_prompts(settings, family.needs_image)
        learn, check = len(sides[0]), len(sides[1])
    elements = loss_elements(family, recipe)
    lines = [
        f"generator: {settings.model}, clips of {family.clip.frames} frames, {family.clip.width}x{family.clip.height}, "
        f"{elements:,} latent elements each in the loss",
        f"judge: {settings.judge.label}; held out: {', '.join(j.plugin for j in settings.held_out) or 'none'}",
        f"to sample: {learn * recipe.samples_per_prompt * recipe.rounds:,} clips of {learn} prompts to learn on, "
        f"{2 * check:,} of {check} prompts to compare on, {settings.sampling.filled(family).steps} steps each",
        f"to train: {recipe.steps} steps of {recipe.batch_size} examples, {recipe.tuning}, {recipe.algorithm}",
    ]
    if recipe.compares:
        beta = effective_beta(recipe.beta, scale=recipe.scale, reduction=recipe.reduction, elements=elements)
        lines.append(f"effective beta: {beta.per_sample:g} per sample, {beta.per_element:.3g} per element")
    if recipe.algorithm != "flow-nrg":
        needed = estimate(family, recipe)
        lines.append(needed.describe())
        check_fits(needed, available_to(family.transformer))
    return lines
