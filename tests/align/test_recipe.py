"""Recipes: refusals say why, presets give what their sources state, options keep their types."""

from __future__ import annotations

import dataclasses

import pytest

from rewardbench.align.presets import DEFAULTS, PRESETS, recipe_for, unstated
from rewardbench.align.recipe import Recipe, make_recipe
from rewardbench.errors import InputError


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"algorithm": "dpo", "error_space": "epsilon", "beta_schedule": "(1-t)^2"}, "the same factor twice"),
        ({"algorithm": "sft", "pair_weight": "gap"}, "sft has none"),
        ({"algorithm": "gapo"}, "gapo is DPO with pair_weight gap"),
        ({"algorithm": "gapo", "pair_weight": "gap", "alpha": 1.0}, "above 1"),
        ({"algorithm": "dpo", "tuning": "full"}, "choose frozen_copy or ema"),
        ({"algorithm": "dpo", "cache_reference": True, "reference": "ema", "draws_per_pair": 4}, "reference ema moves"),
        ({"algorithm": "dpo", "cache_reference": True}, "needs draws_per_pair"),
        ({"algorithm": "sft", "cache_reference": True, "draws_per_pair": 4}, "has no reference"),
        ({"algorithm": "sft", "sft_weight": 0.1}, "sft is one already"),
        ({"algorithm": "dpo", "sft_weight": -0.1}, "not negative"),
        ({"algorithm": "dpo", "share_time": False, "beta_schedule": "(1-t)^2"}, "no one factor"),
        ({"algorithm": "dpo", "batch_size": 6, "micro_batch_size": 4}, "does not divide"),
        ({"algorithm": "realdpo", "losers": 5}, "at least as many samples_per_prompt"),
        (
            {"algorithm": "dpo", "tuning": "full", "reference": "ema", "lora_from": 1},
            "tuning full has none; leave lora_",
        ),
        ({"algorithm": "flow-nrg", "lora_from": 1}, "flow-nrg has none; leave lora_from out"),
        ({"algorithm": "dpo", "lora_from": -1}, "lora_from is not negative"),
        ({"algorithm": "ppo"}, "'ppo' is not known"),
        ({"algorithm": "dpo", "beta": 0.0}, "beta is positive"),
        ({"algorithm": "dpo", "condition_dropout": 1.5}, "between 0 and 1"),
        ({"algorithm": "dpo", "time_low": 0.9, "time_high": 0.1}, "lowest first"),
        ({"algorithm": "dpo", "betta": 1.0}, "no setting 'betta'"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_a_sentence(changes, sentence) -> None:
    with pytest.raises(InputError, match=sentence) as error:
        make_recipe({}, changes)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_recipe_that_holds_what_its_source_states(name) -> None:
    recipe = recipe_for(None, name, {})
    for setting, value in PRESETS[name].stated.items():
        assert getattr(recipe, setting) == value
    assert PRESETS[name].source
    assert unstated(name, {}).keys() | PRESETS[name].stated.keys() == {f.name for f in dataclasses.fields(Recipe)}
    assert "beta" in unstated(name, {"beta": 1.0})


@pytest.mark.parametrize("algorithm", DEFAULTS)
def test_every_algorithm_has_a_recipe_of_its_own(algorithm) -> None:
    assert recipe_for(algorithm, None, {}).algorithm == algorithm


def test_the_users_changes_come_last() -> None:
    assert recipe_for("gapo", "gapo_paper", {"beta": 7.0}).beta == 7.0


@pytest.mark.parametrize(
    ("algorithm", "preset", "sentence"),
    [("sft", "gapo_paper", "is for gapo"), (None, "gapo_papers", "did you mean 'gapo_paper'"), ("ppo", None, "'ppo'")],
)
def test_names_that_do_not_go_together_are_refused(algorithm, preset, sentence) -> None:
    with pytest.raises(InputError, match=sentence):
        recipe_for(algorithm, preset, {})


def test_every_setting_is_described() -> None:
    text = " ".join((Recipe.__doc__ or "").split())
    for f in dataclasses.fields(Recipe):
        assert f.name in text, f.name
