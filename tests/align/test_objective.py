"""Weights of pairs: what is refused because nothing, or something else, would be learned."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rewardbench.align import losses
from rewardbench.align.objective import pair_weights, strength
from rewardbench.align.pairs import PreferencePair
from rewardbench.align.prompts import Prompt
from rewardbench.align.recipe import Recipe
from rewardbench.errors import InputError

GAPO = replace(Recipe(), algorithm="gapo", pair_weight="gap")
RWR = replace(Recipe(), algorithm="flow-rwr")


def pairs(*rewards: tuple[float, ...]) -> list[PreferencePair]:
    """One pair for every (winner, losers...)."""
    prompt = Prompt("p", "a girl", None)
    return [PreferencePair(f"{i}", prompt, "w", ("l",) * len(r[1:]), r[0], r[1:]) for i, r in enumerate(rewards)]


def test_rewards_outside_the_declared_range_are_refused_with_where_they_lie() -> None:
    with pytest.raises(
        InputError, match=r"^4 of 4 rewards lie outside \[0, 1\].*from 40 to 90\); choose gap_range data$"
    ):
        pair_weights(pairs((90.0, 40.0), (80.0, 50.0)), GAPO, (0.0, 1.0))
    found = pair_weights(pairs((90.0, 40.0), (80.0, 50.0)), replace(GAPO, gap_range="data"), None)
    assert found == pytest.approx({"0": 2.0 - 1.0, "1": 2**0.8 - 2**0.2})


def test_rewards_at_the_ends_of_the_range_are_taken_with_their_rounding() -> None:
    assert pair_weights(pairs((1.0 + 1e-9, -1e-9)), GAPO, (0.0, 1.0)) == pytest.approx({"0": 1.0})


@pytest.mark.parametrize("gap_range", ["plugin", "data"])
def test_pairs_that_all_weigh_nothing_are_refused(gap_range) -> None:
    with pytest.raises(InputError, match="the same reward in all 2 pairs"):
        pair_weights(pairs((0.5, 0.5), (0.9, 0.9)), replace(GAPO, gap_range=gap_range), (0.0, 1.0))


def test_it_is_said_how_many_pairs_weigh_nothing(make_trainer) -> None:
    weights = pair_weights(pairs((0.5, 0.5), (0.9, 0.4), (0.3, 0.2, 0.4)), GAPO, (0.0, 1.0))
    assert weights["0"] == 0.0
    (said,) = [s for s in strength(make_trainer().family, GAPO, weights) if s.startswith("weights")]
    assert "2 weigh 0, effective sample size 1.0" in said


def test_the_pull_that_is_said_is_the_losss_derivative_at_the_start(make_trainer) -> None:
    recipe = replace(GAPO, sft_weight=3.0, beta=500.0, scale=0.25)
    win, lose = (torch.full((1, 1), e, dtype=torch.float64, requires_grad=True) for e in (0.7, 0.9))
    found = losses.preference_loss(win, lose, win.detach(), lose.detach(), beta=recipe.beta, scale=recipe.scale)
    down, up = torch.autograd.grad(found.loss, (win, lose))
    (said,) = [s for s in strength(make_trainer().family, recipe, {}) if "sft_weight" in s]
    assert f"at most {float(down):g} times" in said
    assert float(up) == -float(down)
    assert not [s for s in strength(make_trainer().family, replace(recipe, sft_weight=0.0), {}) if "sft_weight" in s]


@pytest.mark.parametrize("recipe", [GAPO, replace(GAPO, gap_range="data"), RWR], ids=["gapo", "gapo-data", "flow-rwr"])
@pytest.mark.parametrize("bad", [float("inf"), float("-inf")])
def test_infinite_rewards_are_refused(recipe, bad) -> None:
    lone = recipe.algorithm == "flow-rwr"
    with pytest.raises(InputError, match="1 rewards are infinite"):
        pair_weights(pairs((bad,), (0.5,)) if lone else pairs((bad, 0.1), (0.5, 0.2)), recipe, (0.0, 1.0))
