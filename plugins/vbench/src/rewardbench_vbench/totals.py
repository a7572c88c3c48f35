"""The totals of VBench-I2V, from raw scores and the constants that VBench publishes (its ``scripts/constant.py``)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

I2V: dict[str, tuple[float, float, float]] = {
    "camera_motion": (0.0, 1.0, 0.1),
    "i2v_subject": (0.1462, 1.0, 1.0),
    "i2v_background": (0.2615, 1.0, 1.0),
}
"""Lowest and highest value, and weight, of the dimensions behind the image-to-video score."""

QUALITY: dict[str, tuple[float, float, float]] = {
    "subject_consistency": (0.1462, 1.0, 1.0),
    "background_consistency": (0.2615, 1.0, 1.0),
    "motion_smoothness": (0.7060, 0.9975, 1.0),
    "dynamic_degree": (0.0, 1.0, 0.5),
    "aesthetic_quality": (0.0, 1.0, 1.0),
    "imaging_quality": (0.0, 1.0, 1.0),
}
"""The same for the quality score."""


@dataclass(frozen=True)
class I2VTotals:
    """``total`` is the mean of ``i2v`` and ``quality``; ``label`` says what it is to be called.

    ``label`` is ``total``, or ``total_8dim`` where there was no camera motion: such totals are not comparable with
    those of nine dimensions.
    """

    i2v: float
    quality: float
    total: float
    label: str


def i2v_totals(scores: Mapping[str, float]) -> I2VTotals:
    """Totals of VBench-I2V, all in 0 to 1 (nothing is clipped, so values out of the published ranges go beyond).

    Each score is brought to ``(x - low) / (high - low)`` and averaged with its weight. Without ``camera_motion`` its
    weight leaves the denominator too, which is how AnimeReward's Table 1 was computed; VBench's own script takes a
    missing camera motion as 0.

    Args:
        scores: dimension name to raw score in 0 to 1; other dimensions are ignored.

    Raises:
        ValueError: naming the dimensions that are missing or not between 0 and 1.
    """
    missing = [name for name in {**I2V, **QUALITY} if name not in scores and name != "camera_motion"]
    if missing:
        raise ValueError(f"the totals of VBench-I2V need {', '.join(missing)}")
    wrong = [name for name in {**I2V, **QUALITY} if name in scores and not 0.0 <= scores[name] <= 1.0 + 1e-5]
    if wrong:
        raise ValueError(f"not between 0 and 1: {', '.join(f'{name} {scores[name]:g}' for name in wrong)}")
    i2v, quality = _mean(scores, I2V), _mean(scores, QUALITY)
    label = "total" if "camera_motion" in scores else "total_8dim"
    return I2VTotals(i2v, quality, (i2v + quality) / 2, label)


def _mean(scores: Mapping[str, float], constants: Mapping[str, tuple[float, float, float]]) -> float:
    present = {name: constant for name, constant in constants.items() if name in scores}
    weight = math.fsum(w for _, _, w in present.values())
    return math.fsum(w * (scores[name] - low) / (high - low) for name, (low, high, w) in present.items()) / weight
