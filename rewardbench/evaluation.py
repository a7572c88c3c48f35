"""Labels held against scores: the pairs table of a run, and the metrics derived from it alone."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rewardbench.aliases import canonical
from rewardbench.benchmark import Benchmark, Label, column_values
from rewardbench.errors import InputError
from rewardbench.metrics import (
    PairEvaluation,
    evaluate_pairs,
    likeliest_verdict,
    position_consistency,
    verdict_accuracy,
)
from rewardbench.registry import nearest
from rewardbench.results import MetricRecord, PositionRecord, VerdictRecord
from rewardbench.scoring.table import ClipScores, PairMargin, write_parquet
from rewardbench_plugin.card import RewardCard

SLICE_PREFIX = "slice:"
_SPELLED: Mapping[str, Mapping[Label, str]] = {
    "plain": {1: "A", 0: "tie", -1: "B"},
    "genai": {1: "leftvote", 0: "tievote", -1: "rightvote"},
}
"""How a vote is written where the benchmark keeps no text of it."""


@dataclass(frozen=True)
class Row:
    """One line of the result: a label of the benchmark held against one score of one job."""

    job: int
    plugin: str
    label: str
    score: str
    higher_is_better: bool
    native_threshold: float | None


@dataclass(frozen=True)
class Labelled:
    """The labelled pairs of one row in file order: the columns of ``pairs.parquet`` that are not derived (n each).

    ``verdict`` holds recorded verdicts as they were written, None for scores and for judges that were asked.
    ``said_ab`` and ``said_ba`` hold the verdicts (1, 0, -1) of a judge that was asked in both orders, else NaN.
    ``model_a`` and ``model_b`` name the generators, None where the benchmark does not.
    """

    pair_id: list[str]
    prompt: list[str]
    cluster: list[str]
    clip_a: list[str]
    clip_b: list[str]
    video_a: list[str]
    video_b: list[str]
    human: np.ndarray
    score_a: np.ndarray
    score_b: np.ndarray
    margin: np.ndarray
    said_ab: np.ndarray
    said_ba: np.ndarray
    model_a: list[str | None]
    model_b: list[str | None]
    human_text: list[str]
    verdict: list[str | None]
    slices: dict[str, list[str]]


def pick_rows(
    benchmark: Benchmark,
    cards: Sequence[tuple[str, RewardCard, tuple[str, ...]]],
    score_map: Sequence[tuple[str, str]],
) -> list[Row]:
    """Decide which score answers which label. ``cards`` holds (plugin label, card, dimensions asked for).

    With ``score_map`` every mapping is used for each plugin that has the score. Without, a label is answered as the
    benchmark's card says for this plugin, else by the score of its own name (or alias), else by the plugin's declared
    ``default_score``; a plugin that answers no label is refused. Mappings that mean the same
    label and score (twice the same, or an alias) give one row.

    Raises:
        InputError: a label or score that does not exist, or a plugin without any label to answer.
    """
    for label, _ in score_map:
        if label.removeprefix("label_") not in benchmark.labels:
            raise InputError(f"{benchmark.source} has no label {label!r}{nearest(label, benchmark.labels)}")
    rows: list[Row] = []
    answered: set[tuple[str, str]] = set()
    for job, (plugin, card, dimensions) in enumerate(cards):
        wanted: Sequence[tuple[str, str | None]] = score_map or [
            (label, _answer(label, plugin, benchmark, card, dimensions)) for label in benchmark.labels
        ]
        found: dict[tuple[str, str], Row] = {}
        for label, score in wanted:
            name = None if score is None else _dimension(score, dimensions)
            if name is None:
                continue
            answered.add((label, score or ""))
            rule = card.native_tie_rule
            native = None if rule is None else rule.thresholds.get(name)
            plain = label.removeprefix("label_")
            row = Row(job, plugin, plain, name, card.dimension(name).higher_is_better, native)
            found.setdefault((plain, name), row)
        if not found and not score_map:
            raise InputError(
                f"plugin {plugin!r} has no score named like a label of {benchmark.name} "
                f"({', '.join(benchmark.labels)}); "
                f"say which score answers which label with --map LABEL=SCORE (scores: {', '.join(dimensions)})"
            )
        rows.extend(found.values())
    for label, score in score_map:
        if (label, score) not in answered:
            known = [d for _, _, dimensions in cards for d in dimensions]
            raise InputError(
                f"--map {label}={score}: no plugin of this run has a score {score!r}{nearest(score, known)}"
            )
    return rows


def _dimension(score: str, dimensions: Sequence[str]) -> str | None:
    name = canonical(score, dimensions)
    return name if name in dimensions else None


def _answer(label: str, plugin: str, benchmark: Benchmark, card: RewardCard, dimensions: Sequence[str]) -> str | None:
    """What the benchmark's card says of this plugin; a score that was not asked for leaves the label unanswered."""
    said = benchmark.answers.get(plugin.partition(":")[0], {}).get(label)
    if said is None:
        return _own_score(label, card, dimensions)
    return said if said in dimensions else None


def _own_score(label: str, card: RewardCard, dimensions: Sequence[str]) -> str | None:
    own = _dimension(label, dimensions)
    if own is None and card.default_score in dimensions:
        own = card.default_score
    return own


FEW_CLUSTERS = 10
"""Below this many clusters a bootstrap interval says little: drawn from two, it can have no width at all."""


def cluster_column(benchmark: Benchmark, asked: str) -> str:
    """The column that clusters are taken from: as asked, but ``cluster`` where prompts do not tell pairs apart.

    That is where no pair has a prompt, and where the two clips of a pair have different ones: a pair then depends on
    others through either side.
    """
    if asked != "prompt" or "cluster" not in benchmark.columns:
        return asked
    clips, pairs = benchmark.clips, benchmark.comparisons
    across = any((clips[c.clip_a].prompt or "") != (clips[c.clip_b].prompt or "") for c in pairs)
    return "cluster" if across or not any(c.prompt.strip() for c in pairs) else asked


def clusters_of(benchmark: Benchmark, column: str, warnings: list[str]) -> list[str]:
    """Cluster of every pair: its value in ``column``, its own pair id where that is empty (and a warning).

    Raises:
        InputError: if the column does not exist.
    """
    comparisons = benchmark.comparisons
    values = [c.prompt for c in comparisons] if column == "prompt" else column_values(benchmark, column, "cluster by")
    without = sum(not value.strip() for value in values)
    if without == len(values):
        warnings.append(f"no pair has a {column}: every pair is its own cluster, so intervals may be too narrow")
    elif without:
        pairs = "1 pair has" if without == 1 else f"{without:,} pairs have"
        its = "its" if without == 1 else "each its"
        warnings.append(f"{pairs} no {column}: {its} own cluster, so intervals may be too narrow")
    return [value if value.strip() else c.pair_id for value, c in zip(values, comparisons, strict=True)]


def too_few_clusters(clusters: Sequence[str], column: str) -> str | None:
    """A warning where intervals cannot be trusted, else None."""
    count = len(set(clusters))
    if count >= FEW_CLUSTERS:
        return None
    named = "1 cluster" if count == 1 else f"{count} clusters"
    return f"{named} by {column}: too few for intervals, which may be far too narrow; take no ▲ or ▼ at its word"


def label_scores(
    row: Row,
    benchmark: Benchmark,
    scores: ClipScores,
    column: int,
    clusters: Sequence[str],
    slices: Mapping[str, Sequence[str]],
) -> Labelled:
    """The pairs that carry the row's label, with their scores. ``clusters`` and ``slices`` have a value per pair."""
    kept = [i for i, c in enumerate(benchmark.comparisons) if row.label in c.labels]
    comparisons = [benchmark.comparisons[i] for i in kept]
    values = scores.values[:, column]
    score_a = np.array([values[scores.rows[c.clip_a]] for c in comparisons], dtype=np.float64)
    score_b = np.array([values[scores.rows[c.clip_b]] for c in comparisons], dtype=np.float64)
    margin = score_a - score_b if row.higher_is_better else score_b - score_a
    nothing = np.full(len(kept), np.nan)
    return _labelled(
        row, benchmark, kept, clusters, slices, margin, score_a, score_b, nothing, nothing, [None] * len(kept)
    )


def label_verdicts(
    row: Row,
    benchmark: Benchmark,
    verdicts: Mapping[str, PairMargin],
    clusters: Sequence[str],
    slices: Mapping[str, Sequence[str]],
) -> Labelled:
    """The same for a judge; ``verdicts`` is what :func:`rewardbench.scoring.table.mean_margins` gives."""
    kept = [i for i, c in enumerate(benchmark.comparisons) if row.label in c.labels]
    found = [verdicts[benchmark.comparisons[i].pair_id] for i in kept]
    margin = np.array([one.margin for one in found], dtype=np.float64)
    said_ab = np.array([likeliest_verdict(one.p_ab) for one in found])
    said_ba = np.array([likeliest_verdict(one.p_ba) for one in found])
    nothing = np.full(len(kept), np.nan)
    texts = [one.text for one in found]
    return _labelled(row, benchmark, kept, clusters, slices, margin, nothing, nothing, said_ab, said_ba, texts)


def _labelled(
    row: Row,
    benchmark: Benchmark,
    kept: Sequence[int],
    clusters: Sequence[str],
    slices: Mapping[str, Sequence[str]],
    margin: np.ndarray,
    score_a: np.ndarray,
    score_b: np.ndarray,
    said_ab: np.ndarray,
    said_ba: np.ndarray,
    verdict: list[str | None],
) -> Labelled:
    comparisons = [benchmark.comparisons[i] for i in kept]
    column = next((c for c in (f"label_{row.label}", row.label) if c in benchmark.columns), row.label)
    spelled = _SPELLED[benchmark.label_format]
    return Labelled(
        pair_id=[c.pair_id for c in comparisons],
        prompt=[c.prompt for c in comparisons],
        cluster=[clusters[i] for i in kept],
        clip_a=[c.clip_a for c in comparisons],
        clip_b=[c.clip_b for c in comparisons],
        video_a=[benchmark.clips[c.clip_a].video for c in comparisons],
        video_b=[benchmark.clips[c.clip_b].video for c in comparisons],
        human=np.array([c.labels[row.label] for c in comparisons], dtype=np.int64),
        score_a=score_a,
        score_b=score_b,
        margin=margin,
        said_ab=said_ab,
        said_ba=said_ba,
        model_a=[c.row.get("model_a") or None for c in comparisons],
        model_b=[c.row.get("model_b") or None for c in comparisons],
        human_text=[c.row.get(column) or spelled[c.labels[row.label]] for c in comparisons],
        verdict=verdict,
        slices={name: [values[i] for i in kept] for name, values in slices.items()},
    )


def measure(
    row: Row,
    labelled: Labelled,
    *,
    label_format: str,
    tie_threshold: float | None,
    bootstrap: int,
    seed: int,
) -> tuple[MetricRecord, PairEvaluation]:
    """All metrics of one row."""
    found = evaluate_pairs(
        labelled.human,
        labelled.margin,
        groups=labelled.cluster,
        slices=labelled.slices,
        native_threshold=row.native_threshold,
        fixed_threshold=tie_threshold,
        n_bootstrap=bootstrap,
        seed=seed,
    )
    verdict = None
    if any(text is not None for text in labelled.verdict):
        texts = [text or "" for text in labelled.verdict]
        accuracy = verdict_accuracy(labelled.human_text, texts, "genai" if label_format == "genai" else "plain")
        verdict = VerdictRecord.model_validate(asdict(accuracy))
    position = None
    if not np.all(np.isnan(labelled.said_ba)):  # asked in the other order too
        position = PositionRecord.model_validate(asdict(position_consistency(labelled.said_ab, labelled.said_ba)))
    return _record(row, found, verdict, position), found


def _record(
    row: Row, found: PairEvaluation, verdict: VerdictRecord | None, position: PositionRecord | None
) -> MetricRecord:
    ties = found.accuracy_with_ties

    def given(value: Any) -> dict[str, Any] | None:
        if value is None:
            return None
        return {"value": value.value, "tie_threshold": value.threshold, "ci95": value.ci95}

    return MetricRecord.model_validate(
        {
            "plugin": row.plugin,
            "label": row.label,
            "score": row.score,
            "n": found.n,
            "n_abstained": found.n_abstained,
            "human_tie_rate": found.human_tie_rate,
            "majority_floor": found.majority_floor,
            "accuracy_with_ties": {
                "crossfit": {
                    "value": ties.crossfit.value,
                    "ci95": ties.crossfit.ci95,
                    "tie_thresholds": list(ties.crossfit.thresholds),
                },
                "threshold": asdict(ties.threshold),
                "videoalign": {"value": ties.videoalign.value},
                "native": given(ties.native),
                "fixed": given(ties.fixed),
            },
            "accuracy_without_ties": asdict(found.accuracy_without_ties),
            "kendall_tau_b": found.kendall_tau_b,
            "verdict_accuracy": verdict,
            "position_consistency": position,
            "slices": {
                column: {value: asdict(one) for value, one in values.items()} for column, values in found.slices.items()
            },
        }
    )


def leaks(row: Row, labelled: Labelled) -> str | None:
    """A warning where a recorded score equals its label on every decided pair (labels leak into wide tables)."""
    decided = (labelled.human != 0) & ~np.isnan(labelled.margin)
    if decided.sum() >= 2 and bool(np.all(np.sign(labelled.margin[decided]) == labelled.human[decided])):
        return (
            f"score {row.score!r} agrees with label {row.label!r} on every one of {int(decided.sum())} decided pairs; "
            "it may be the label itself, or be made of it"
        )
    return None


NUMBER_COLUMNS = ("score_a", "score_b", "margin", "said_ab", "said_ba")
TEXT_COLUMNS = ("pair_id", "prompt", "cluster", "clip_a", "clip_b", "video_a", "video_b")
GENERATOR_COLUMNS = ("model_a", "model_b")


def write_pairs(path: Path, parts: Sequence[tuple[Row, Labelled, PairEvaluation]]) -> None:
    """Write ``pairs.parquet``, one line per labelled pair and result row.

    Raises:
        InputError: if the folder cannot be written.
    """
    import pyarrow as pa

    slice_names = list(parts[0][1].slices) if parts else []
    text, number = pa.string(), pa.float64()
    fields = [(name, text) for name in ("plugin", "label", "score", *TEXT_COLUMNS, *GENERATOR_COLUMNS)]
    fields += [("human", pa.int8()), *((name, number) for name in NUMBER_COLUMNS)]
    fields += [("fold", pa.int32()), ("tie_threshold", number), ("predicted", pa.int8())]
    fields += [("human_text", text), ("verdict", text)]
    fields += [(f"{SLICE_PREFIX}{name}", text) for name in slice_names]
    write_parquet(path, pa.schema(fields), _pair_records(parts))


def _pair_records(parts: Sequence[tuple[Row, Labelled, PairEvaluation]]) -> Iterator[dict[str, Any]]:
    for row, labelled, found in parts:
        for i in range(len(labelled.pair_id)):
            predicted = found.predicted[i]
            record: dict[str, Any] = {name: getattr(labelled, name)[i] for name in (*TEXT_COLUMNS, *GENERATOR_COLUMNS)}
            for name in NUMBER_COLUMNS:
                value = float(getattr(labelled, name)[i])
                record[name] = None if math.isnan(value) else value
            yield record | {
                "plugin": row.plugin,
                "label": row.label,
                "score": row.score,
                "human": int(labelled.human[i]),
                "fold": int(found.fold[i]),
                "tie_threshold": float(found.crossfit_threshold[i]),
                "predicted": None if math.isnan(predicted) else int(predicted),
                "human_text": labelled.human_text[i],
                "verdict": labelled.verdict[i],
                **{f"{SLICE_PREFIX}{name}": values[i] for name, values in labelled.slices.items()},
            }


def read_pairs_table(path: Path, rows: Sequence[Row]) -> list[Labelled]:
    """What :func:`write_pairs` wrote, without the derived columns, for each of ``rows``.

    Raises:
        InputError: if the file is missing or is not such a table.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    found = []
    for row in rows:
        same = [pc.equal(table[name], getattr(row, name)) for name in ("plugin", "label", "score")]
        part = table.filter(pc.and_(pc.and_(same[0], same[1]), same[2]))
        columns = {name: part[name].to_pylist() for name in (*TEXT_COLUMNS, "human_text", "verdict")}
        columns |= {name: _names(part, name) for name in GENERATOR_COLUMNS}
        numbers: dict[str, Any] = {name: _numbers(part, name) for name in NUMBER_COLUMNS}
        names = [name for name in table.column_names if name.startswith(SLICE_PREFIX)]
        slices = {name.removeprefix(SLICE_PREFIX): part[name].to_pylist() for name in names}
        found.append(Labelled(human=part["human"].to_numpy().astype(np.int64), slices=slices, **columns, **numbers))
    return found


def _numbers(table: Any, name: str) -> np.ndarray:
    """A column as float64, null as NaN; all NaN where a folder of an earlier version lacks it."""
    if name not in table.column_names:
        return np.full(table.num_rows, np.nan)
    numbers: np.ndarray = table[name].to_numpy(zero_copy_only=False).astype(float)
    return numbers


def _names(table: Any, name: str) -> list[str | None]:
    """A column of text; all None where a folder of an earlier version lacks it."""
    return table[name].to_pylist() if name in table.column_names else [None] * table.num_rows
