"""What a run learns from: pairs of its own clips, of a file that was named, or with real clips as winners."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rewardbench.align.pairs import (
    PairSet,
    best_against_worst,
    clips_from_file,
    every_clip,
    pairs_from_file,
    real_against_generated,
    real_alone,
    without_contradictions,
)
from rewardbench.align.prompts import Prompt, check_drawn, check_images, drawn_prompts
from rewardbench.align.samples import Sample
from rewardbench.align.settings import TOY_PROMPTS, AlignSettings
from rewardbench.errors import InputError


def check_sources(s: AlignSettings, chosen: tuple[Sequence[Prompt], Sequence[Prompt]], *, needs_image: bool) -> None:
    """What can be known of files to learn from before any clip is sampled.

    Args:
        s: of the run.
        chosen: prompts to learn on and to compare on; a side that will be drawn is empty.
        needs_image: of the generator.

    Raises:
        InputError: the pairs cannot be learned from, or no real clip has a prompt of the run.
    """
    if s.pairs is not None:
        given_pairs(s, chosen[1], needs_image=needs_image)
        return
    prompts = chosen[0] or drawn_prompts("align", s.prompt_count or TOY_PROMPTS)
    if s.winners is not None:
        real_alone(s.winners, prompts)
    elif draws_winners(s):
        check_drawn(prompts)


def given_pairs(s: AlignSettings, compared: Sequence[Prompt], *, needs_image: bool) -> PairSet:
    """Those of the pairs file that was named; for Flow-RWR each of its clips by itself.

    Args:
        s: ``pairs`` is not None.
        compared: prompts that are compared on; none of them is learned from.
        needs_image: of the generator.

    Raises:
        InputError: the file has no pair to learn from, a prompt to compare on, or a prompt without its image.
    """
    assert s.pairs is not None
    if s.recipe.algorithm == "flow-rwr":
        pairs = clips_from_file(s.pairs, s.model)
    else:
        pairs = pairs_from_file(s.pairs, s.label, s.model)
    check_images([p.prompt for p in pairs.pairs], str(s.pairs), needs_image=needs_image)
    learned = {p.prompt.text for p in pairs.pairs}
    both = sum(p.text in learned for p in compared)
    if both:
        raise InputError(
            f"{both} prompts to compare on stand in {s.pairs}, which is learned from; take them out of one of the two"
        )
    return _usable(s, pairs)


def pairs_of_round(
    s: AlignSettings, prompts: Sequence[Prompt], samples: Sequence[Sample], rewards: Mapping[str, float]
) -> PairSet:
    """What the algorithm makes of a round's clips.

    Args:
        s: without ``pairs``.
        prompts: that are learned on.
        samples: clips of the round; none where only real clips are learned from.
        rewards: by clip id.

    Raises:
        InputError: there is nothing to learn from, with the reason.
    """
    r, judge = s.recipe, s.judge.label
    if s.winners is not None and r.algorithm == "sft":
        return real_alone(s.winners, prompts)
    if s.winners is not None or draws_winners(s):
        pairs = real_against_generated(s.winners or drawn_winners(s), samples, rewards, losers=r.losers)
    elif r.algorithm == "flow-rwr":
        pairs = every_clip(samples, rewards, judge)
    else:
        pairs = best_against_worst(samples, rewards, judge, losers=r.losers, min_gap=s.min_gap)
    return _usable(s, pairs)


def draws_winners(s: AlignSettings) -> bool:
    """The drawn world's own clips win: RealDPO on the toy, where no table of real clips is named."""
    return s.recipe.algorithm == "realdpo" and s.winners is None and s.pairs is None


def drawn_winners(s: AlignSettings) -> Path:
    """Their table."""
    return s.out / "real" / "real.csv"


def _usable(s: AlignSettings, pairs: PairSet) -> PairSet:
    return without_contradictions(pairs) if s.recipe.pair_weight == "gap" else pairs
