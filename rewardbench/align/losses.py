"""Losses of alignment as pure functions of numbers: no model, no device, float32 or better.

Every function takes per-sample squared errors E or rewards and returns tensors. What differs from paper to paper (the
constant before beta, sum or mean, which space the error lives in, how a pair is weighted) is an argument here and never
a hidden constant. Sources: Wallace et al., 2024 (Diffusion-DPO, arXiv:2311.12908, Eq. 14); Zhu et al., 2025 (GAPO,
arXiv:2504.10044); Liu et al., 2025 (Flow-DPO, Flow-RWR, arXiv:2501.13918v2); RealDPO (arXiv:2510.14955).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

ERROR_SPACES = ("velocity", "epsilon", "x0")
REDUCTIONS = ("mean", "sum")
BETA_SCHEDULES = ("constant", "(1-t)^2")

Number = Tensor | float


@dataclass(frozen=True)
class PreferenceLoss:
    """What :func:`preference_loss` returns.

    Attributes:
        loss: scalar, the mean of ``per_pair``.
        per_pair: loss of every pair, in the broadcast shape of the errors.
        logits: z = -scale·beta·[(E_w - E_w,ref) - (E_l - E_l,ref)], in the same shape; positive where the policy
            prefers the winner more than the reference does.
        accuracy: scalar, share of pairs with z > 0; z = 0 counts one half, so that it is 0.5 before the first step.
        margin: scalar, mean of z: the implicit reward of winners above losers.
    """

    loss: Tensor
    per_pair: Tensor
    logits: Tensor
    accuracy: Tensor
    margin: Tensor


def sample_error(prediction: Tensor, target: Tensor, *, reduction: str = "mean", mask: Tensor | None = None) -> Tensor:
    """Squared error of every sample, float32 (B,).

    Args:
        prediction, target: (B, …).
        reduction: ``mean`` over the elements of a sample, or ``sum``. They differ by the number of elements, about a
            million for a clip of CogVideoX, and beta with them.
        mask: broadcastable to (B, …), 0 or 1; masked elements count neither in the sum nor in the mean's denominator.

    Raises:
        ValueError: unknown reduction, or a mask that leaves a sample without an element.
    """
    _check("reduction", reduction, REDUCTIONS)
    squares = (_wide(prediction) - _wide(target)).square().flatten(1)
    if mask is None:
        return squares.mean(1) if reduction == "mean" else squares.sum(1)
    kept = mask.to(squares.dtype).expand(prediction.shape).flatten(1)
    count = kept.sum(1)
    if bool((count == 0).any()):
        raise ValueError("the loss mask leaves a sample without an element")
    total = (squares * kept).sum(1)
    return total / count if reduction == "mean" else total


def to_error_space(
    velocity_error: Number, t: Number, space: str, *, alpha: Number | None = None, sigma: Number | None = None
) -> Tensor:
    """The error in another space: E_epsilon = α²·E_v, E_x0 = σ²·E_v (exact identities, not approximations).

    Args:
        velocity_error: E_v (B,).
        t: (B,) in [0, 1], 1 is noise.
        space: ``velocity``, ``epsilon`` or ``x0``.
        alpha, sigma: (B,) coefficients of clean latent and noise; rectified flow's, 1 - t and t, where left out.

    Raises:
        ValueError: unknown space.
    """
    _check("error space", space, ERROR_SPACES)
    error, time = _wide(velocity_error), _wide(t)
    if space == "epsilon":
        return error * (1.0 - time if alpha is None else _wide(alpha)).square()
    if space == "x0":
        return error * (time if sigma is None else _wide(sigma)).square()
    return error


def scheduled_beta(beta: float, t: Number, schedule: str) -> Tensor:
    """beta at times t (B,): constant, or beta·(1 - t)² (Flow-DPO, Eq. 6), which on a rectified flow is epsilon space.

    Raises:
        ValueError: unknown schedule.
    """
    _check("beta schedule", schedule, BETA_SCHEDULES)
    time = _wide(t)
    return beta * ((1.0 - time).square() if schedule == "(1-t)^2" else torch.ones_like(time))


def preference_loss(
    policy_win: Number,
    policy_lose: Number,
    ref_win: Number,
    ref_lose: Number,
    *,
    beta: Number,
    scale: float = 0.5,
    weight: Number | None = None,
) -> PreferenceLoss:
    """DPO on squared errors: loss_i = -w_i · log σ(-scale·β·[(E_w - E_w,ref) - (E_l - E_l,ref)]).

    Args:
        policy_win, policy_lose, ref_win, ref_lose: per-sample squared errors of policy and reference on winner and
            loser, (B,); several losers a winner are (B, M) against (B, 1).
        beta: strength of the pull to the reference, one number or (B,).
        scale: 0.5 in the Diffusion-DPO code and Flow-DPO, 1 in the paper's formula with T·ω folded into beta.
        weight: w (B,), not averaged before it is applied: :func:`gap_weight`, or None for 1.
    """
    win = _wide(policy_win) - _wide(ref_win)
    lose = _wide(policy_lose) - _wide(ref_lose)
    logits = -scale * _factor(beta) * (win - lose)
    per_pair = -torch.nn.functional.logsigmoid(logits)
    if weight is not None:
        per_pair = _factor(weight) * per_pair
    with torch.no_grad():
        accuracy = ((logits > 0).to(logits.dtype) + 0.5 * (logits == 0).to(logits.dtype)).mean()
        margin = logits.mean()
    return PreferenceLoss(per_pair.mean(), per_pair, logits, accuracy, margin)


def gap_weight(reward_win: Number, reward_lose: Number, *, alpha: float = 2.0) -> Tensor:
    """GAPO's weight of a pair: α^R_w - α^R_l, with rewards in [0, 1] (arXiv:2504.10044, Eq. 13).

    With α = 2 the rewards .9/.4 weigh .546 and .7/.6 weigh .109. It also makes gradients smaller throughout; where the
    gradient is clipped at batch 1 that cancels the weight, see ``gap_normalize``.

    Raises:
        ValueError: alpha is not above 1, or a reward lies outside [0, 1].
    """
    if not alpha > 1.0:
        raise ValueError(f"alpha of the gap weight is above 1, not {alpha}: otherwise a larger gap would weigh less")
    win, lose = _wide(reward_win), _wide(reward_lose)
    for rewards in (win, lose):
        if not bool(((rewards >= 0) & (rewards <= 1)).all()):
            raise ValueError("rewards of the gap weight lie in [0, 1]; normalise them first")
    return alpha**win - alpha**lose


def normalise_rewards(rewards: Tensor, low: float, high: float) -> Tensor:
    """(r - low) / (high - low), limited to [0, 1]: what lies beyond by more than rounding is the caller's to refuse.

    Raises:
        ValueError: low is not below high.
    """
    if not low < high:
        raise ValueError(f"rewards cannot be normalised from [{low}, {high}]")
    return ((_wide(rewards) - low) / (high - low)).clamp(0.0, 1.0)


def reward_weight(reward: Number, *, temperature: float, clip: float | None) -> Tensor:
    """Flow-RWR's weight of a sample: min(exp(r / temperature), clip) (Eq. 9, where temperature is 1).

    Raises:
        ValueError: temperature or clip is not positive.
    """
    if not temperature > 0 or (clip is not None and not clip > 0):
        raise ValueError(f"temperature and clip of the reward weight are positive, not {temperature} and {clip}")
    exponent = _wide(reward) / temperature
    if clip is not None:
        exponent = exponent.clamp(max=float(torch.tensor(clip, dtype=torch.float64).log()))
    return exponent.exp()


def effective_sample_size(weight: Tensor) -> Tensor:
    """(Σw)² / Σw²: how many equally weighted samples these are worth; between 1 and their number."""
    w = _wide(weight)
    return w.sum().square() / w.square().sum()


def weighted_loss(error: Tensor, weight: Number | None = None) -> Tensor:
    """Scalar mean of w·E: SFT (w = 1) and Flow-RWR."""
    wide = _wide(error)
    return (wide if weight is None else _wide(weight) * wide).mean()


def bradley_terry_loss(reward_win: Tensor, reward_lose: Tensor) -> Tensor:
    """-log σ(r_w - r_l), averaged over pairs and dimensions; (B, D) each."""
    return -torch.nn.functional.logsigmoid(_wide(reward_win) - _wide(reward_lose)).mean()


@dataclass(frozen=True)
class EffectiveBeta:
    """What multiplies a difference of errors inside the sigmoid.

    Attributes:
        per_sample: of the *mean* squared error of a sample.
        per_element: of one element's squared error; per_sample divided by the number of elements.
    """

    per_sample: float
    per_element: float


def effective_beta(beta: float, *, scale: float, reduction: str, elements: int) -> EffectiveBeta:
    """scale·beta in units that can be compared between papers, whatever they reduce with.

    Raises:
        ValueError: unknown reduction.
    """
    _check("reduction", reduction, REDUCTIONS)
    strength = scale * beta
    if reduction == "mean":
        return EffectiveBeta(strength, strength / elements)
    return EffectiveBeta(strength * elements, strength)


def _factor(value: Number) -> Number:
    """A number stays one: it keeps its digits and takes the type of what it multiplies."""
    return _wide(value) if isinstance(value, Tensor) else value


def _wide(value: Number) -> Tensor:
    """As a tensor of at least float32; a number by itself becomes float64."""
    if not isinstance(value, Tensor):
        return torch.as_tensor(value, dtype=torch.float64)
    tensor = value
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _check(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"{what} {value!r} is not known; there are {', '.join(known)}")
