"""What a command asks for and cannot have is refused in a sentence, before anything is computed."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from rewardbench.align.judging import Judge
from rewardbench.align.presets import recipe_for
from rewardbench.align.settings import AlignSettings, check_settings
from rewardbench.errors import InputError

FILE = Path("pairs.csv")


def check(algorithm: str, changes: dict[str, object], given: dict[str, object]) -> None:
    recipe = recipe_for(algorithm, None, {"samples_per_prompt": 4, **changes})
    check_settings(AlignSettings(recipe=recipe, judge=Judge("random"), out=Path("out"), **given), toy=True)


@pytest.mark.parametrize(
    ("algorithm", "changes", "given", "sentence"),
    [
        (
            "dpo",
            {},
            {"latent_reward": "head.safetensors"},
            "--latent-reward guides flow-nrg, and dpo has no use for it",
        ),
        ("flow-nrg", {}, {"start": Path("lora")}, "takes no LoRA; leave --start out"),
        ("dpo", {}, {"label": "overall"}, "name the file with --pairs, or leave it out"),
        ("flow-rwr", {}, {"label": "overall", "pairs": FILE}, "leave --label out"),
        ("dpo", {"losers": 4}, {}, "one of 4 clips of a prompt wins, and 4 losers are not left"),
        ("gapo", {}, {"min_gap": -1.0}, "--min-gap is not negative"),
        ("gapo", {}, {"min_gap": math.nan}, "--min-gap is not negative"),
        ("realdpo", {"pair_weight": "gap"}, {}, "realdpo's are real clips"),
    ],
)
def test_options_that_would_do_nothing_are_refused(algorithm, changes, given, sentence) -> None:
    with pytest.raises(InputError, match=sentence):
        check(algorithm, changes, given)


@pytest.mark.parametrize(
    ("algorithm", "changes", "given"),
    [
        ("flow-nrg", {}, {"latent_reward": "head.safetensors"}),
        ("dpo", {}, {"label": "overall", "pairs": FILE}),
        ("dpo", {"losers": 3}, {}),
        ("realdpo", {"losers": 4}, {}),
        ("realdpo", {"pair_weight": "gap"}, {"pairs": FILE}),
        ("gapo", {}, {"min_gap": 0.5}),
    ],
)
def test_the_same_options_are_taken_where_they_mean_something(algorithm, changes, given) -> None:
    check(algorithm, changes, given)
