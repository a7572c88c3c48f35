"""The rows of a result once more, from a bundle's items alone, by the same functions that made them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rewardbench.evaluation import Labelled, Row, measure
from rewardbench.leaderboard.bundle import Bundle, ModelFacts, PairItem
from rewardbench.metrics import PairEvaluation, likeliest_verdict
from rewardbench.results import MetricRecord
from rewardbench.scoring.scorer import PairVerdict
from rewardbench.scoring.table import PairMargin, mean_margins


@dataclass(frozen=True)
class Recomputed:
    """One row of the result as the items give it."""

    row: Row
    facts: ModelFacts
    labelled: Labelled
    metric: MetricRecord
    found: PairEvaluation


def is_of(facts: ModelFacts, job: int, score: str) -> bool:
    """Whether ``facts`` speak of the model behind one row."""
    return facts.job == job and facts.score in (None, score)


def recompute(bundle: Bundle) -> tuple[Recomputed, ...]:
    """Every row of the result, from the items alone.

    Raises:
        InputError: if the items cannot be evaluated.
    """
    evaluation = bundle.manifest.evaluation
    scores: dict[str, dict[str, Mapping[str, float | None]]] = {}
    for one in bundle.scores:
        scores.setdefault(one.plugin, {})[one.clip_id] = one.values
    verdicts: dict[tuple[str, str], list[PairVerdict]] = {}
    for said in bundle.comparisons:
        verdict = PairVerdict(said.pair_id, said.order, said.p, said.text, said.error or None)
        verdicts.setdefault((said.plugin, said.score), []).append(verdict)
    margins = {key: mean_margins(one) for key, one in verdicts.items()}
    rows = []
    for record in evaluation.rows:
        row = Row(**record.model_dump())
        pairs = [pair for pair in bundle.pairs if row.label in pair.labels]
        labelled = _labelled(row, pairs, scores.get(row.plugin, {}), margins.get((row.plugin, row.score)))
        metric, found = measure(
            row,
            labelled,
            label_format=evaluation.label_format,
            tie_threshold=evaluation.tie_threshold,
            bootstrap=evaluation.bootstrap,
            seed=evaluation.seed,
        )
        facts = next(one for one in bundle.manifest.models if is_of(one, row.job, row.score))
        rows.append(Recomputed(row, facts, labelled, metric, found))
    return tuple(rows)


def _labelled(
    row: Row,
    pairs: Sequence[PairItem],
    scores: Mapping[str, Mapping[str, float | None]],
    said: Mapping[str, PairMargin] | None,
) -> Labelled:
    nothing = np.full(len(pairs), np.nan)
    score_a, score_b, said_ab, said_ba = nothing, nothing, nothing, nothing
    texts: list[str | None] = [None] * len(pairs)
    if said is None:
        score_a, score_b = (
            np.array([_number(scores[clip][row.score]) for clip in clips], dtype=np.float64)
            for clips in ([pair.clip_a for pair in pairs], [pair.clip_b for pair in pairs])
        )
        margin = score_a - score_b if row.higher_is_better else score_b - score_a
    else:
        found = [said[pair.pair_id] for pair in pairs]
        margin = np.array([one.margin for one in found], dtype=np.float64)
        said_ab = np.array([likeliest_verdict(one.p_ab) for one in found])
        said_ba = np.array([likeliest_verdict(one.p_ba) for one in found])
        texts = [one.text for one in found]
    columns = list(dict.fromkeys(name for pair in pairs for name in pair.slices))
    return Labelled(
        pair_id=[pair.pair_id for pair in pairs],
        prompt=[pair.prompt for pair in pairs],
        cluster=[pair.cluster for pair in pairs],
        clip_a=[pair.clip_a for pair in pairs],
        clip_b=[pair.clip_b for pair in pairs],
        video_a=[""] * len(pairs),
        video_b=[""] * len(pairs),
        human=np.array([pair.labels[row.label] for pair in pairs], dtype=np.int64),
        score_a=score_a,
        score_b=score_b,
        margin=margin,
        said_ab=said_ab,
        said_ba=said_ba,
        model_a=[None] * len(pairs),
        model_b=[None] * len(pairs),
        human_text=[pair.texts.get(row.label, "") for pair in pairs],
        verdict=texts,
        slices={name: [pair.slices.get(name, "") for pair in pairs] for name in columns},
    )


def _number(value: float | None) -> float:
    return float("nan") if value is None else float(value)
