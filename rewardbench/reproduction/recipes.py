"""The computations behind published rows: published files in, numbers out. None of them needs a model."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rewardbench.catalogue.ratings import RatedClip
from rewardbench.errors import InputError
from rewardbench.metrics import kendall_tau, spearman, verdict_accuracy

_RIGHT = {
    "leftvote": ("[[A>B]]", "[[A>>B]]"),
    "rightvote": ("[[B>A]]", "[[B>>A]]"),
    "tievote": ("[[A=B=Good]]", "[[A=B]]"),
    "bothbad_vote": ("[[A=B=Bad]]", "[[A=B]]"),
}
"""GenAI-Bench v1: the recorded votes that count for a human vote."""


@dataclass(frozen=True)
class Computed:
    """What a recipe found.

    Attributes:
        numbers: cell name to number, in the unit the row is printed in.
        n: items behind them.
        slack: cell name to how far rounding of printed inputs alone can move the number.
        abstained: pairs (of the label that has most) for which the model gave no number.
    """

    numbers: dict[str, float]
    n: int
    slack: Mapping[str, float] | None = None
    abstained: int = 0


def fetv_correlation(folder: Path, parameters: Mapping[str, Any]) -> Computed:
    """Kendall's tau-c and Spearman's rho of a metric with the mean of three raters' alignment, all systems pooled.

    The real clips are among them (3,017 in all). FETV-EVAL, corrected version of the table in arXiv:2311.01813.
    """
    from rewardbench_benchmarks.fetv.loader import read_clips

    clips = _with_score(read_clips(folder), str(parameters["score"]), folder)
    x = np.array([clip.scores[parameters["score"]] for clip in clips])
    y = np.array([_mean(clip, "alignment") for clip in clips])
    return Computed({"tau_c": kendall_tau(x, y, "c").value, "rho": spearman(x, y).value}, len(clips))


def tvge_correlation(folder: Path, parameters: Mapping[str, Any]) -> Computed:
    """Spearman's rho and Kendall's tau-b of a metric with the mean alignment rating, all clips pooled (T2VScore)."""
    from rewardbench_benchmarks.tvge.loader import read_clips

    clips = _with_score(read_clips(folder), str(parameters["score"]), folder)
    x = np.array([clip.scores[parameters["score"]] for clip in clips])
    y = np.array([_mean(clip, "alignment") for clip in clips])
    return Computed({"rho": spearman(x, y).value, "tau_b": kendall_tau(x, y, "b").value}, len(clips))


def genai_v1_judge(folder: Path, parameters: Mapping[str, Any]) -> Computed:
    """Accuracy in percent of a judge's recorded votes, by the published rule, and as read here.

    The published rule compares texts: a vote is right if it is, letter by letter, one of those in ``_RIGHT``.
    ``accuracy_as_read`` is `rewardbench.metrics.verdict_accuracy`, which does not mind case and blanks and takes the
    last verdict of a longer text; it differs for judges that do not keep to the form (idefics2, instructblip,
    minicpm-V-2.5, otterimage).
    """
    from rewardbench_benchmarks.genai_bench_video_v1.loader import read_votes

    votes = read_votes(folder)
    judge = str(parameters["judge"])
    if any(judge not in vote.judges for vote in votes):
        raise InputError(f"{folder} has no verdicts of {judge}; `rewardbench benchmarks fetch genai-bench-video-v1`")
    right = sum(vote.judges[judge] in _RIGHT.get(vote.human, ()) for vote in votes)
    found = verdict_accuracy([vote.human for vote in votes], [vote.judges[judge] for vote in votes], "genai")
    return Computed({"accuracy": 100 * right / len(votes), "accuracy_as_read": 100 * found.genai_v1}, found.n)


def vbench_i2v_totals(folder: Path, parameters: Mapping[str, Any]) -> Computed:
    """Totals in percent from printed dimensions (``parameters``), by VBench's own constants.

    The inputs are rounded to two decimals of a percent, so each total is known within ``slack`` only.
    """
    totals = importlib.import_module("rewardbench_vbench.totals")
    printed = {name: float(value) for name, value in parameters["dimensions"].items()}
    middle = _totals(totals, printed)
    high = _totals(totals, {name: value + 0.005 for name, value in printed.items()})
    return Computed(middle, len(printed), {name: high[name] - middle[name] for name in middle})


def _totals(module: Any, percent: Mapping[str, float]) -> dict[str, float]:
    found = module.i2v_totals({name: value / 100 for name, value in percent.items()})
    return {"total": 100 * found.total, "i2v": 100 * found.i2v, "quality": 100 * found.quality}


def _with_score(clips: list[RatedClip], score: str, folder: Path) -> list[RatedClip]:
    found = [clip for clip in clips if score in clip.scores]
    if not found:
        raise InputError(f"{folder} has no scores of {score}")
    return found


def _mean(clip: RatedClip, dimension: str) -> float:
    given = [value for value in clip.ratings[dimension] if value is not None]
    return float(sum(given)) / len(given)


Recipe = Callable[[Path, Mapping[str, Any]], Computed]
RECIPES: dict[str, Recipe] = {
    "fetv-correlation": fetv_correlation,
    "genai-v1-judge": genai_v1_judge,
    "tvge-correlation": tvge_correlation,
    "vbench-i2v-totals": vbench_i2v_totals,
}
