"""Finished runs to a typed comparison: outcomes first, then paired tests, ranks, calibration and generators."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict
from itertools import combinations
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

import rewardbench
from rewardbench.comparing.finished_runs import (
    Answers,
    FinishedRun,
    LabelledPairs,
    generator_names,
    join,
    labels_of,
    read_runs,
)
from rewardbench.comparing.record import (
    CalibrationRecord,
    ComparedRun,
    Comparison,
    Contender,
    GeneratorRecord,
    PairedRecord,
    RuleComparison,
    Settings,
    Standing,
)
from rewardbench.errors import InputError
from rewardbench.metrics import evaluate_pairs
from rewardbench.metrics.calibration import calibrate
from rewardbench.metrics.generators import Strength, compare_generators
from rewardbench.metrics.inputs import BoolArray, FloatArray
from rewardbench.metrics.paired import ALPHA, POWER, checked_permutations, holm, paired_test
from rewardbench.metrics.ranking import standings
from rewardbench.metrics.ties import sort_margins
from rewardbench.registry import nearest

RULES = ("crossfit", "without-ties")
FEW_CLUSTERS, FEW_GENERATORS = 10, 6


def compare_runs(
    paths: Sequence[Path],
    *,
    labels: Sequence[str] | None = None,
    rules: Sequence[str] = RULES,
    n_permutations: int = 9999,
    n_bootstrap: int = 1000,
    seed: int | None = None,
    generator_columns: tuple[str, str] | None = None,
) -> Comparison:
    """Compare every two scores that answer the same label on the same pairs.

    "crossfit" is right where the prediction, with the tie threshold of the other folds, is the label; "without-ties"
    counts the pairs people decided, and a margin of 0 is wrong there. Thresholds are fitted first, on all pairs the
    model answered, exactly as in its own result; the outcomes are then fixed for tests and intervals.

    Args:
        paths: folders of finished runs on one benchmark; one may do if it holds several scores for a label.
        labels: which labels; None takes all that two scores answer.
        rules: "crossfit", "without-ties" or both; each rule is one family of tests for Holm's adjustment.
        n_permutations: sign flips where more than 16 clusters differ.
        n_bootstrap: draws of clusters behind all intervals; 0 leaves them undefined.
        seed: of folds, flips and draws; None takes that of the runs (they must agree).
        generator_columns: the columns that name the generators of clip A and B; None leaves generators out.

    Raises:
        InputError: what :func:`rewardbench.comparing.finished_runs.read_runs` refuses, an unknown label or rule,
            nothing to compare, or no generators in the columns asked for.
    """
    checked_permutations(n_permutations)
    for rule in rules:
        if rule not in RULES:
            raise InputError(f"rule {rule!r} is unknown; use {' or '.join(RULES)}")
    runs = read_runs(paths)
    seed = _common_seed(runs) if seed is None else seed
    warnings: list[str] = []
    joined = _joined(runs, labels)
    options = {"n_bootstrap": n_bootstrap, "seed": seed}
    outcomes = {rule: [_outcomes(pairs, rule, seed) for pairs in joined] for rule in dict.fromkeys(rules)}
    comparisons = [
        one
        for rule, tables in outcomes.items()
        for one in _one_family(rule, joined, tables, n_permutations=n_permutations, warnings=warnings, **options)
    ]
    generators = []
    if generator_columns is not None:
        generators = _generators(runs[0], joined, generator_columns, n_permutations, warnings, options)
    first = runs[0].result
    return Comparison(
        benchmark=first.benchmark,
        cluster=first.cluster,
        runs=[
            ComparedRun(
                name=run.name,
                plugins=[plugin.label for plugin in run.result.plugins],
                pairs_sha256=run.pairs_sha256,
                rewardbench=run.result.provenance.rewardbench,
            )
            for run in runs
        ],
        settings=Settings(
            rules=list(outcomes),
            permutations=n_permutations,
            bootstrap=n_bootstrap,
            seed=seed,
            alpha=ALPHA,
            power=POWER,
        ),
        contenders=[
            Contender(
                label=pairs.label,
                model=one.model,
                run=one.run.name,
                plugin=one.plugin,
                score=one.score,
                n_abstained=int(np.isnan(one.margin).sum()),
            )
            for pairs in joined
            for one in pairs.answers
        ],
        comparisons=comparisons,
        calibration=[_calibration(pairs, one, options) for pairs in joined for one in pairs.answers],
        generators=generators,
        warnings=warnings,
        versions={
            "rewardbench": rewardbench.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    )


def _common_seed(runs: Sequence[FinishedRun]) -> int:
    seeds = list(dict.fromkeys(run.result.bootstrap.seed for run in runs))
    if len(seeds) > 1:
        raise InputError(
            f"the runs were made with the seeds {', '.join(map(str, seeds))}, so their folds differ; "
            "name one for the comparison with --seed"
        )
    return seeds[0]


def _joined(runs: Sequence[FinishedRun], labels: Sequence[str] | None) -> list[LabelledPairs]:
    """The labels asked for, or all that two scores answer."""
    known = labels_of(runs)
    wanted = known if labels is None else [label.removeprefix("label_") for label in dict.fromkeys(labels)]
    joined = []
    for label in wanted:
        pairs = join(runs, label)
        if pairs is None:
            raise InputError(f"no run has the label {label!r}{nearest(label, known)}")
        if len(pairs.answers) > 1:
            joined.append(pairs)
        elif labels is not None:
            raise InputError(f"only {pairs.answers[0].model!r} answers the label {label!r}; comparing needs two scores")
    if not joined:
        raise InputError(
            f"no label is answered by two scores (labels: {', '.join(known)}); "
            "name two runs, or one with several --map for the same label"
        )
    return joined


def _counted(pairs: LabelledPairs, rule: str) -> BoolArray:
    """The pairs (n,) that a rule is about: all, or those people decided."""
    return np.asarray(pairs.human != 0, dtype=np.bool_) if rule == "without-ties" else np.ones(pairs.human.size, bool)


def _outcomes(pairs: LabelledPairs, rule: str, seed: int) -> FloatArray:
    """1 right, 0 wrong, NaN where the model abstained or the rule does not count the pair: (models, n)."""
    rows = []
    for one in pairs.answers:
        if rule == "crossfit":
            predicted = evaluate_pairs(
                pairs.human, one.margin, groups=pairs.cluster, n_bootstrap=0, seed=seed
            ).predicted
            row = np.where(np.isnan(predicted), np.nan, predicted == pairs.human)
        else:
            row = np.full(pairs.human.size, np.nan)
            answered = ~np.isnan(one.margin)
            row[answered] = sort_margins(one.margin[answered]).sign == pairs.human[answered]
            row[~_counted(pairs, rule)] = np.nan
        rows.append(row)
    return np.stack(rows)


def _one_family(
    rule: str,
    joined: Sequence[LabelledPairs],
    tables: Sequence[FloatArray],
    *,
    n_permutations: int,
    n_bootstrap: int,
    seed: int,
    warnings: list[str],
) -> list[RuleComparison]:
    """All labels under one rule, p adjusted over all of them together."""
    found: list[RuleComparison] = []
    for pairs, table in zip(joined, tables, strict=True):
        places, n, n_clusters = _standings(pairs, table, rule, n_bootstrap, seed, warnings)
        counted = _counted(pairs, rule)
        clusters = _chosen(pairs.cluster, counted)
        tested = []
        for a, b in combinations([model for model, _ in places], 2):
            test = paired_test(
                table[a, counted],
                table[b, counted],
                clusters,
                n_permutations=n_permutations,
                n_bootstrap=n_bootstrap,
                seed=seed,
            )
            names = {"model_a": pairs.answers[a].model, "model_b": pairs.answers[b].model, "p_holm": None}
            tested.append(PairedRecord.model_validate(asdict(test) | names))
        standing = [record for _, record in places]
        found.append(
            RuleComparison(label=pairs.label, rule=rule, n=n, n_clusters=n_clusters, standings=standing, pairs=tested)
        )
    records = [record for one in found for record in one.pairs]
    adjusted = holm([np.nan if record.p is None else record.p for record in records])
    for record, p in zip(records, adjusted, strict=True):
        record.p_holm = None if np.isnan(p) else float(p)
    needed = _permutations_needed(records, n_permutations)
    if needed is not None:
        warnings.append(
            f"{rule}: with {n_permutations:,} permutations no drawn p can stay at or below {ALPHA:g} among "
            f"{np.count_nonzero(~np.isnan(adjusted)):,} comparisons; give --permutations {needed} or more, "
            "or compare fewer models or labels at a time"
        )
    return found


def _permutations_needed(records: Sequence[PairedRecord], n_permutations: int) -> int | None:
    """The fewest draws with which a drawn p could be significant after Holm's adjustment; None where these are enough.

    The smallest p of R draws is 1 / (R + 1), and Holm multiplies it by the number of tests with no smaller p.
    """
    known = [record for record in records if record.p is not None]
    if all(record.exact for record in known):
        return None
    factor = sum(record.p * (n_permutations + 1) > 1 - 1e-9 for record in known if record.p is not None)
    fewest = ceil(factor / ALPHA - 1e-9) - 1
    return fewest if fewest > n_permutations else None


def _chosen(names: Sequence[str], kept: BoolArray) -> list[str]:
    return [name for name, keep in zip(names, kept, strict=True) if keep]


def _standings(
    pairs: LabelledPairs, table: FloatArray, rule: str, n_bootstrap: int, seed: int, warnings: list[str]
) -> tuple[list[tuple[int, Standing]], int, int]:
    """(row of the table, standing) from best to worst, equals by name; pairs and clusters that all models answered.

    As in a run's own result, prompts are drawn whether the rule counts one of their pairs or not, so that one accuracy
    has one interval.
    """
    answered = np.asarray(~np.isnan([one.margin for one in pairs.answers]).any(axis=0), dtype=np.bool_)
    common = answered & _counted(pairs, rule)
    counted = int(_counted(pairs, rule).sum())
    n, n_clusters = int(common.sum()), len(set(_chosen(pairs.cluster, common)))
    where = f"label {pairs.label!r}, {rule}"
    if n == 0:
        warnings.append(f"{where}: no pair is answered by all {len(pairs.answers)} models, so nothing is ranked")
        rows = sorted(range(len(pairs.answers)), key=lambda k: pairs.answers[k].model)
        return [(k, Standing(model=pairs.answers[k].model)) for k in rows], 0, 0
    if n < counted:
        warnings.append(f"{where}: ranked on the {n:,} of {counted:,} pairs that every model answered")
    if n_clusters < FEW_CLUSTERS:
        warnings.append(f"{where}: {n_clusters} clusters are too few for intervals, which may be far too narrow")
    found = standings(table[:, answered], _chosen(pairs.cluster, answered), n_bootstrap=n_bootstrap, seed=seed)
    records = [
        (
            k,
            Standing(
                model=one.model,
                value=place.mean,
                ci95=place.ci95,
                rank=place.rank.rank,
                rank_low=place.rank.low,
                rank_high=place.rank.high,
            ),
        )
        for k, (one, place) in enumerate(zip(pairs.answers, found, strict=True))
    ]
    return sorted(records, key=lambda pair: (pair[1].rank or 0, pair[1].model)), n, n_clusters


def _calibration(pairs: LabelledPairs, one: Answers, options: dict[str, int]) -> CalibrationRecord:
    found = calibrate(pairs.human, one.margin, groups=pairs.cluster, **options)
    return CalibrationRecord.model_validate(
        {
            "label": pairs.label,
            "model": one.model,
            "n": found.n,
            "scale": found.fit.scale,
            "theta": found.fit.theta,
            "log_loss": found.log_loss,
            "log_loss_ci95": found.log_loss_ci95,
            "brier": found.brier,
            "brier_ci95": found.brier_ci95,
            "base_log_loss": found.base_log_loss,
            "base_brier": found.base_brier,
            "decided": asdict(found.decided),
            "tie": asdict(found.tie),
        }
    )


def _generators(
    run: FinishedRun,
    joined: Sequence[LabelledPairs],
    columns: tuple[str, str],
    n_permutations: int,
    warnings: list[str],
    options: dict[str, int],
) -> list[GeneratorRecord]:
    records = []
    for pairs in joined:
        names = generator_names(run, pairs.pair_id, columns)
        usable = np.array([bool(a) and bool(b) and a != b for a, b in zip(*names, strict=True)], dtype=np.bool_)
        for one in pairs.answers:
            if not (usable & ~np.isnan(one.margin)).any():
                raise InputError(
                    f"no pair of label {pairs.label!r} names two generators and has a score of {one.model!r}"
                )
            records.append(_generator_record(pairs, one, names, usable, n_permutations, options))
        n_generators = len(records[-1].by_people)
        if n_generators < FEW_GENERATORS:
            warnings.append(
                f"label {pairs.label!r}: {n_generators} generators are few for a statement on ranking generators"
            )
    return records


def _generator_record(
    pairs: LabelledPairs,
    one: Answers,
    names: tuple[list[str], list[str]],
    usable: BoolArray,
    n_permutations: int,
    options: dict[str, int],
) -> GeneratorRecord:
    rows = np.flatnonzero(usable)
    found = compare_generators(
        [names[0][i] for i in rows],
        [names[1][i] for i in rows],
        pairs.human[rows],
        one.margin[rows],
        groups=[pairs.cluster[i] for i in rows],
        n_permutations=n_permutations,
        **options,
    )
    return GeneratorRecord.model_validate(
        {
            "label": pairs.label,
            "model": one.model,
            "n": found.n,
            "n_abstained": found.n_abstained,
            "n_left_out": int(usable.size - rows.size),
            "n_generator_pairs": found.n_generator_pairs,
            "soft_pairwise_accuracy": found.soft_pairwise_accuracy,
            "soft_pairwise_accuracy_ci95": found.soft_pairwise_accuracy_ci95,
            "pair_agreement": found.pair_agreement,
            "kendall_tau_b": found.kendall_tau_b,
            "by_people": [_strength(strength) for strength in found.human],
            "by_model": [_strength(strength) for strength in found.model],
        }
    )


def _strength(found: Strength) -> dict[str, Any]:
    rank = found.rank
    return {
        "generator": found.name,
        "n_pairs": found.n_pairs,
        "points": found.points,
        "strength": found.strength,
        "ci95": found.ci95,
        "rank": None if rank is None else rank.rank,
        "rank_low": None if rank is None else rank.low,
        "rank_high": None if rank is None else rank.high,
    }
