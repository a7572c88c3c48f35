"""What a rater sees and when: order of pairs, sides, rounds; and what a choice says about the pair's own A and B."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rewardbench.labelling.pairs import LabelPair, draw
from rewardbench.labelling.settings import Settings

Choice = Literal["first", "second", "tie", "skip"]
CHOICES: tuple[Choice, ...] = ("first", "second", "tie", "skip")


@dataclass(frozen=True)
class Question:
    """One pair, shown once, asked about one dimension.

    Attributes:
        round: 1, or 2 where the pair is shown the other way round.
        swapped: the pair's B stands first on the page.
    """

    pair: LabelPair
    round: int
    swapped: bool
    dimension: str

    @property
    def key(self) -> tuple[str, int, str]:
        return self.pair.pair_id, self.round, self.dimension


def questions(pairs: Sequence[LabelPair], rater: str, settings: Settings) -> list[Question]:
    """All questions of one rater, in the order they are asked.

    Sides and order are drawn from the seed, the rater and the pair, so pairs added later change nothing for the
    others. The second round begins when every pair was shown once, in an order of its own: the two views of a pair
    lie apart.
    """
    asked = []
    for number in (1, 2) if settings.both_orders else (1,):
        shown = sorted(pairs, key=lambda p: draw(settings.seed, rater, "order", number, p.pair_id))
        for pair in shown:
            swapped = is_swapped(settings.seed, rater, pair.pair_id) != (number == 2)
            asked += [Question(pair, number, swapped, dimension) for dimension in settings.dimensions]
    return asked


def is_swapped(seed: int, rater: str, pair_id: str) -> bool:
    """Whether this rater first sees the pair's B in the first place."""
    return draw(seed, rater, "sides", pair_id) % 2 == 1


def label_of(choice: str, swapped: bool) -> int | None:
    """What a choice on the page says about the pair: 1 = A, -1 = B, 0 = tie; None for a question that was skipped."""
    if choice == "skip":
        return None
    if choice == "tie":
        return 0
    return 1 if (choice == "first") != swapped else -1


def combined(labels: Sequence[int | None]) -> int | None:
    """One label from a pair's rounds: what all of them say, a tie where they differ; None where none was decided.

    Where only one round was answered, it is taken.
    """
    decided = [label for label in labels if label is not None]
    if not decided:
        return None
    return decided[0] if len(set(decided)) == 1 else 0
