"""What a run would do and need, said before it starts: clips, steps, strength of the pull, memory."""

from __future__ import annotations

from collections.abc import Iterator

from rewardbench.align.adapters import attach
from rewardbench.align.families import family_name
from rewardbench.align.generator import load_generator
from rewardbench.align.judging import facts_of
from rewardbench.align.losses import effective_beta
from rewardbench.align.memory import available_to, check_fits, estimate
from rewardbench.align.objective import check_gap_range, loss_elements
from rewardbench.align.run_pairs import check_sources, given_pairs
from rewardbench.align.run_prompts import chosen_prompts, open_images
from rewardbench.align.settings import TOY_EVALUATION_PROMPTS, TOY_PROMPTS, AlignSettings, check_settings


def describe_run(settings: AlignSettings) -> Iterator[str]:
    """Lines for the terminal, all of them before too little memory is refused.

    Raises:
        InputError: what the run itself would refuse at its start, too little memory among it.
    """
    recipe = settings.recipe
    check_settings(settings, toy=family_name(settings.model) == "toy")
    check_gap_range(recipe, facts_of(settings.judge).reward_range)
    family = load_generator(settings)
    sides = chosen_prompts(settings, family.needs_image)
    open_images([*sides[0], *sides[1]])
    check_sources(settings, sides, needs_image=family.needs_image)
    check = len(sides[1]) or settings.evaluation_count or TOY_EVALUATION_PROMPTS
    elements = loss_elements(family, recipe)
    yield (
        f"generator: {settings.model}, clips of {family.clip.frames} frames, {family.clip.width}x{family.clip.height}, "
        f"{elements:,} latent elements each in the loss"
    )
    yield f"judge: {settings.judge.label}; held out: {', '.join(j.plugin for j in settings.held_out) or 'none'}"
    if settings.pairs is not None:
        pairs = given_pairs(settings, sides[1], needs_image=family.needs_image)
        what = "clips" if recipe.algorithm == "flow-rwr" else "pairs"
        yield f"to learn from: {len(pairs.pairs):,} {what} of {settings.pairs}, {len(pairs.clips):,} clips to encode"
        sampled = "to sample: "
    elif settings.winners is not None and recipe.algorithm == "sft":
        yield f"to learn from: the clips of {settings.winners}"
        sampled = "to sample: "
    else:
        learn = len(sides[0]) or settings.prompt_count or TOY_PROMPTS
        clips = learn * recipe.samples_per_prompt * recipe.rounds
        sampled = f"to sample: {clips:,} clips of {learn} prompts to learn on, "
    steps = settings.sampling.filled(family).steps
    yield f"{sampled}{2 * check:,} clips of {check} prompts to compare on, {steps} steps each"
    if recipe.algorithm == "flow-nrg":
        yield (
            f"to train: {recipe.steps} steps of {recipe.batch_size} pairs, a latent reward on the first "
            f"{recipe.latent_depth} blocks, flow-nrg"
        )
        yield "memory: not estimated for flow-nrg; the generator has no gradient, the latent reward's blocks have"
        return
    yield f"to train: {recipe.steps} steps of {recipe.batch_size} examples, {recipe.tuning}, {recipe.algorithm}"
    if recipe.compares:
        beta = effective_beta(recipe.beta, scale=recipe.scale, reduction=recipe.reduction, elements=elements)
        yield f"effective beta: {beta.per_sample:g} per sample, {beta.per_element:.3g} per element"
    attach(family, recipe, settings.start)
    needed = estimate(family, recipe)
    yield needed.describe()
    check_fits(needed, available_to(family.transformer))
