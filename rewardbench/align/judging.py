"""Scores of sampled clips by reward plugins, through ``rewardbench score``'s engine, and the reward made of them."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rewardbench.align.samples import Sample
from rewardbench.clip_scores import ScoreSettings, score_clips
from rewardbench.errors import InputError
from rewardbench.jobs import model_jobs
from rewardbench.runfolder import plugin_record
from rewardbench.scoring.plan import Job
from rewardbench.scoring.progress import Progress
from rewardbench.tables import read_table
from rewardbench_plugin.card import RewardCard
from rewardbench_plugin.clip import Clip

Scores = dict[str, dict[str, float]]
"""Dimension to clip id to score; NaN where the judge abstained or failed."""


@dataclass(frozen=True)
class Judge:
    """A reward plugin as it is asked.

    Attributes:
        plugin: ``NAME`` or ``NAME:PRESET``.
        mix: weight of every dimension that makes the reward; they need not sum to 1. One dimension is ``{name: 1}``.
        weights, options: as ``rewardbench score`` takes them.
    """

    plugin: str
    mix: Mapping[str, float] = field(default_factory=lambda: {"overall": 1.0})
    weights: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The plugin's, whatever its preset."""
        return self.plugin.partition(":")[0]

    @property
    def label(self) -> str:
        """``animereward:overall``, or ``animereward:3*smoothness+5*motion``."""
        if len(self.mix) == 1:
            return f"{self.plugin}:{next(iter(self.mix))}"
        return f"{self.plugin}:" + "+".join(f"{w:g}*{d}" for d, w in self.mix.items())

    @property
    def key(self) -> str:
        """Name of its files: the plugin, and a digest of weights and options where some were given."""
        name = self.plugin.replace(":", "-")
        if not self.weights and not self.options:
            return name
        given = json.dumps([dict(self.weights), dict(self.options)], sort_keys=True)
        return f"{name}-{hashlib.sha256(given.encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class JudgeFacts:
    """What a judge's card says.

    Attributes:
        dimensions: all it offers, with +1 where higher is better, else -1.
        reward_range: lowest and highest reward, or None where a dimension of the mix declares no finite range.
    """

    dimensions: Mapping[str, float]
    reward_range: tuple[float, float] | None


def card_of(
    plugin: str, weights: Mapping[str, str] | None = None, options: Mapping[str, str] | None = None
) -> RewardCard:
    """The card of a plugin that scores single clips.

    Raises:
        InputError: a pairwise judge, or choices it does not take.
    """
    return _job(plugin, weights or {}, options or {}).model.card


def _job(plugin: str, weights: Mapping[str, str], options: Mapping[str, str]) -> Job:
    (job,) = model_jobs([plugin], weights=weights, options=options, dimensions=None, dtype=None, seed=0)
    if job.is_judge:
        raise InputError(f"{plugin} compares two clips; aligning needs a plugin that scores one")
    return job


def judge_record(judge: Judge) -> dict[str, Any]:
    """Who judges, as a result says it: label, plugin and version, preset, options, SHA-256 of every part of its
    weights, packages of its own environment, and the fingerprint that stands for all of it.

    Raises:
        InputError: see :func:`card_of`.
    """
    record = plugin_record(_job(judge.plugin, judge.weights, judge.options))
    return record.model_dump(include=_RECORDED)


_RECORDED = {"label", "name", "version", "preset", "fingerprint", "weights", "options", "environment"}


def facts_of(judge: Judge) -> JudgeFacts:
    """Read the judge's card; loads no weights.

    Raises:
        InputError: the mix names a dimension it does not have, or weighs nothing; see also :func:`card_of`.
    """
    cards = {d.name: d for d in card_of(judge.plugin, judge.weights, judge.options).dimensions}
    unknown = [d for d in judge.mix if d not in cards]
    if unknown:
        raise InputError(f"{judge.plugin} has no dimension {unknown[0]!r}; there are {', '.join(cards)}")
    if not judge.mix or min(judge.mix.values()) < 0 or not sum(judge.mix.values()) > 0:
        raise InputError(f"weights of {judge.plugin}'s dimensions are not negative and not all 0")
    signs = {name: 1.0 if d.higher_is_better else -1.0 for name, d in cards.items()}
    total = sum(judge.mix.values())
    low = high = 0.0
    for name, weight in judge.mix.items():
        ends = sorted((signs[name] * cards[name].low, signs[name] * cards[name].high))
        low, high = low + weight * ends[0] / total, high + weight * ends[1] / total
    finite = math.isfinite(low) and math.isfinite(high)
    return JudgeFacts(signs, (low, high) if finite else None)


def reward_of(judge: Judge, facts: JudgeFacts, scores: Scores) -> dict[str, float]:
    """The weighted mean of the judge's dimensions, by clip, higher is better; NaN where one of them is."""
    total = sum(judge.mix.values())
    clips = scores[next(iter(judge.mix))]
    return {c: sum(w * facts.dimensions[d] * scores[d][c] for d, w in judge.mix.items()) / total for c in clips}


def score_samples(
    samples: Sequence[Sample],
    judge: Judge,
    path: Path,
    *,
    dimensions: Sequence[str] | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Scores:
    """Scores of clips, from ``path`` where they stand there already, else scored and written there.

    Clips on which the judge failed are scored again, and ``path`` is written again where that helped. Who scored is
    written beside them (``.judge.json``): scores of another version or other weights are not mixed in.

    Args:
        samples: the clips.
        judge: who scores.
        path: .csv with ``clip_id``, ``error`` and one column a dimension.
        dimensions: all of the judge's if None.
        device: for the judge.
        progress: of the scoring engine.

    Raises:
        InputError: the judge scored no clip (the reason of the first is given), or it is no longer who it was when the
            scores were written.
    """
    wanted = tuple(dimensions or facts_of(judge).dimensions)
    before: dict[str, dict[str, str]] = {}
    if path.exists() and _judge_file(path).exists():  # else nobody knows whose scores they are
        read_scores(samples, judge, path, dimensions=wanted)
        before = {row["clip_id"]: row for row in read_table(path)[1]}
    left = [s for s in samples if s.clip_id not in before or before[s.clip_id].get("error")]
    if not left:
        return read_scores(samples, judge, path, dimensions=wanted)
    found = _ask(left, judge, wanted, device, progress)
    failed = [row["error"] for row in found.values() if row["error"]]
    if len(failed) == len(samples):
        raise InputError(f"{judge.plugin} scored none of the {len(samples)} clips: {failed[0]}")
    after = before | {clip_id: row for clip_id, row in found.items() if clip_id not in before or not row["error"]}
    _write(path, judge, wanted, [after[s.clip_id] for s in samples])
    return read_scores(samples, judge, path, dimensions=wanted)


def _ask(
    samples: Sequence[Sample], judge: Judge, wanted: Sequence[str], device: str, progress: Progress | None
) -> dict[str, dict[str, str]]:
    """Rows of the table by clip id, of clips that are scored now."""
    clips = [Clip(s.clip_id, s.video, s.prompt.text, s.prompt.image, {"name": s.clip_id}) for s in samples]
    rows = score_clips(
        ScoreSettings(
            clips, judge.plugin, weights=judge.weights, options=judge.options, dimensions=tuple(wanted), device=device
        ),
        progress,
    )
    found = {}
    for s, row in zip(samples, rows, strict=True):
        values = {d: row["scores"].get(d) for d in wanted}
        cells = {d: "" if v is None else repr(float(v)) for d, v in values.items()}
        found[s.clip_id] = {"clip_id": s.clip_id, **cells, "error": row["error"] or ""}
    return found


def _write(path: Path, judge: Judge, wanted: Sequence[str], rows: Sequence[Mapping[str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(judge_record(judge), indent=1, ensure_ascii=False), encoding="utf-8")
    os.replace(partial, _judge_file(path))  # before the scores: where they are, it is known whose they are
    with open(partial, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ["clip_id", *wanted, "error"], lineterminator="\n", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    os.replace(partial, path)


def read_scores(samples: Sequence[Sample], judge: Judge, path: Path, *, dimensions: Sequence[str]) -> Scores:
    """What :func:`score_samples` wrote; nothing is scored.

    Raises:
        InputError: there is no such table, it is of other clips, or of a judge that is no longer who it was.
    """
    _check_judge(path, judge)
    return _read(path, samples, dimensions)


def failures(path: Path) -> dict[str, str]:
    """Clip id to error of the clips that the judge failed on, in a table that :func:`score_samples` wrote."""
    if not path.exists():
        return {}
    return {row["clip_id"]: row["error"] for row in read_table(path)[1] if row.get("error")}


def _judge_file(scores: Path) -> Path:
    return scores.with_suffix(".judge.json")


def _check_judge(path: Path, judge: Judge) -> None:
    if not _judge_file(path).exists():
        raise InputError(f"nothing says who scored {path}; choose another --out, or remove it to score again")
    before, now = json.loads(_judge_file(path).read_text(encoding="utf-8")), judge_record(judge)
    if before["fingerprint"] != now["fingerprint"]:
        versions = f"{before['version']}, now {now['version']}"
        what = versions if before["version"] != now["version"] else f"{now['version']} with other weights or options"
        raise InputError(
            f"{path} was scored by another {judge.plugin} ({what}); choose another --out, or remove all tables of its "
            "scores to score again"
        )


def _read(path: Path, samples: Sequence[Sample], wanted: Sequence[str]) -> Scores:
    columns, rows = read_table(path)
    by_id = {row["clip_id"]: row for row in rows}
    if any(d not in columns for d in wanted) or any(s.clip_id not in by_id for s in samples):
        raise InputError(f"{path} holds scores of other clips or dimensions; remove it to score again")
    return {d: {s.clip_id: float(by_id[s.clip_id][d] or "nan") for s in samples} for d in wanted}
