"""Losses of reward models: pure functions of rewards and of what people said.

Labels are +1 (A is better), -1 (B is better), 0 (a tie) and NaN (nobody said). What is not counted has no gradient and
is not in the mean's denominator (VideoAlign's training script keeps it there, which scales the step by the share of
missing labels).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING

from rewardbench.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

OBJECTIVES = ("regression", "bt", "btt")
THETA = 5.0
"""Tie parameter of VideoReward ("Improving Video Generation with Human Feedback", section 3.2)."""


@dataclass(frozen=True)
class RewardLoss:
    """``loss``: the mean of ``each`` over ``counted``, a scalar (0 where nothing is counted).

    Attributes:
        each: the loss of every element, the inputs' shape; 0 where not counted.
        counted: bool, same shape.
    """

    loss: Tensor
    each: Tensor
    counted: Tensor


def regression_loss(reward: Tensor, rating: Tensor) -> RewardLoss:
    """Squared error of rewards against ratings of the same shape, NaN where there is no rating (the paper's L_reg)."""
    counted = ~rating.isnan()
    return _mean((reward - rating.nan_to_num()).square(), counted)


def bradley_terry_loss(reward_a: Tensor, reward_b: Tensor, label: Tensor) -> RewardLoss:
    """-log P(the better one wins), P(A) = sigmoid(r_A - r_B) (Bradley and Terry 1952; the paper's L_BT).

    The model has no tie, so tied pairs are not counted.
    """
    from torch.nn.functional import logsigmoid

    counted = ~label.isnan() & (label != 0)
    return _mean(-logsigmoid(label.nan_to_num() * (reward_a - reward_b)), counted)


def bradley_terry_with_ties_loss(
    reward_a: Tensor, reward_b: Tensor, label: Tensor, *, theta: float = THETA
) -> RewardLoss:
    """-log P(label) under Bradley-Terry with ties (Rao and Kupper 1967; the paper's Eq. 1 and 2).

    With d = r_A - r_B: P(A) = sigmoid(d - ln θ), P(B) = sigmoid(-d - ln θ), P(tie) = (θ² - 1) P(A) P(B); they sum to 1
    (:func:`rewardbench.metrics.bradley_terry_with_ties` gives the same numbers in numpy). The printed Eq. 1 has θ on
    the wrong reward of P(A), where they do not; this is VideoAlign's code.

    Raises:
        InputError: theta not above 1, where a tie has no probability.
    """
    from torch.nn.functional import logsigmoid

    if not 1.0 < theta < float("inf"):
        raise InputError(f"theta is {theta}; the tie parameter of the objective btt is a number above 1")
    counted = ~label.isnan()
    sign = label.nan_to_num()
    d = reward_a - reward_b
    log_a, log_b = logsigmoid(d - log(theta)), logsigmoid(-d - log(theta))
    log_tie = log_a + log_b + log(theta**2 - 1.0)
    return _mean(-log_a.where(sign > 0, log_b.where(sign < 0, log_tie)), counted)


def _mean(each: Tensor, counted: Tensor) -> RewardLoss:
    each = each.where(counted, each.new_zeros(()))
    return RewardLoss(each.sum() / counted.sum().clamp(min=1), each, counted)
