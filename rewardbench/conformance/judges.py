"""Checks of judges that compare two clips."""

from __future__ import annotations

import numpy as np

from rewardbench.conformance.checks import CheckList, Fault, NotChecked
from rewardbench.conformance.session import Asked
from rewardbench.conformance.subject import RewardSubject, ask_or_fault, title
from rewardbench.scoring.batches import PROBABILITY_SLACK

CHECKS = CheckList()


@CHECKS.add(
    "probabilities",
    "Each verdict is three probabilities (first better, tie, second better) from 0 that sum to 1, or NaN throughout.",
    needs=["answers"],
)
def _probabilities(subject: RewardSubject) -> str:
    for asked, row in zip(subject.asked, subject.ordinary.values, strict=True):
        fine = np.isnan(row).all() or (np.all(row >= 0) and abs(float(row.sum()) - 1) < PROBABILITY_SLACK)
        if not fine:
            raise Fault(
                f"{title(asked)}: {row.tolist()}, which sums to {row.sum():g}",
                "end in a softmax over first, tie and second, or divide by the sum; NaN three times where it abstains",
            )
    return f"sums are 1 within {PROBABILITY_SLACK:g}"


@CHECKS.add(
    "both-orders",
    "Asked in the other order it answers for the order shown: its verdict turns with the clips.",
    needs=["probabilities", "repeats-itself"],
)
def _both_orders(subject: RewardSubject) -> str:
    if not getattr(subject.job.model, "both_orders", True):
        raise NotChecked("its verdicts are recorded for one order")
    advice = (
        "answer for the clip shown first and the one shown second, whatever their ids; the host turns verdicts back"
    )
    turned: list[Asked] = [(second, first) for first, second in subject.asked]
    there = subject.ordinary.values
    back = ask_or_fault(subject, turned, advice).values
    decided = np.abs(there[:, 0] - there[:, 2]) > subject.tolerance
    if not decided.any():
        return "it decides none of the three pairs, so nothing can turn"
    same = (np.abs(there - back)[decided] <= subject.tolerance).all(axis=1)  # False where it abstains once
    if same.all():
        number, example = int(decided.sum()), there[decided][0].round(3).tolist()
        raise Fault(
            f"all {number} verdicts stay the same when the clips change places, the first {example}",
            f"{advice}; if it does that, the model prefers a place and not a clip",
        )
    gaps = np.abs(there - back[:, ::-1])[decided]
    gap = np.max(gaps[np.isfinite(gaps)], initial=0.0)
    return f"largest change of a probability between the orders: {gap:.3g}"
