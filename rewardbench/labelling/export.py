"""Everybody's answers as one pairs file, and how far the raters agree."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from rewardbench.errors import InputError
from rewardbench.labelling.pairs import LabelPair
from rewardbench.labelling.session import Answer, all_answers
from rewardbench.labelling.settings import read_settings, write_whole
from rewardbench.labelling.trials import combined, label_of
from rewardbench.metrics.agreement import krippendorff_alpha, leave_one_out, majority
from rewardbench.metrics.inputs import FloatArray
from rewardbench.video import content_hash

SCHEMA = "rewardbench.label-agreement/1"
TABLE = "labels.csv"
AGREEMENT = "agreement.json"
CLIPS = "clips"
_WORDS = {1.0: "A", -1.0: "B", 0.0: "tie"}


@dataclass(frozen=True)
class RaterFigures:
    """One rater on one dimension; shares in [0, 1], None where there is nothing to share.

    Attributes:
        n: pairs with a label of this rater.
        tie_share: of these, after both orders were combined.
        first_share: decided choices (no tie) that took the clip shown in the first place; 0.5 without a habit.
        n_both_orders, same_in_both_orders: pairs answered in both orders, and the share that got the same label.
        against_others: accuracy against the label the others make, ties at their word.
        against_others_decided: the same over the pairs that the others decided, on which a tie is wrong.
    """

    rater: str
    n: int
    tie_share: float | None
    first_share: float | None
    n_both_orders: int
    same_in_both_orders: float | None
    against_others: float | None = None
    against_others_decided: float | None = None


@dataclass(frozen=True)
class DimensionAgreement:
    """All raters on one dimension; None where undefined (one rater, or nothing shared).

    Attributes:
        n_pairs: with a label. n_shared: with labels of two raters at least; n_unanimous: of these, all the same.
        n_no_majority: of the shared, without a value that more than half gave: they are ties in the table.
        labels: pairs by their label in the table.
        alpha: Krippendorff's alpha, ordinal (B < tie < A).
        ceiling_with_ties, ceiling_without_ties: means of the raters' accuracies against the others.
    """

    dimension: str
    n_pairs: int
    n_shared: int
    n_unanimous: int
    n_no_majority: int
    labels: dict[str, int]
    alpha: float | None
    ceiling_with_ties: float | None
    ceiling_without_ties: float | None
    raters: tuple[RaterFigures, ...]


@dataclass(frozen=True)
class Exported:
    """What was written: the pairs file, the agreement, and how many answers belong to pairs that are gone."""

    table: Path
    n_pairs: int
    n_stale: int
    agreement: tuple[DimensionAgreement, ...]


def export(pairs: Sequence[LabelPair], folder: Path) -> Exported:
    """Write ``labels.csv`` and ``agreement.json`` into a labelling folder from all raters' files.

    A pair's label is what more than half of its raters say, else a tie; a rater who saw both orders says what both
    orders say, else a tie. Pairs without a label are left out. Clips that do not lie in ``folder`` are linked (or
    copied) into ``clips/`` by content, so that the folder is a benchmark of its own, and moves as one.

    Raises:
        InputError: nobody answered anything, a rater's file cannot be read, or two files name the same rater.
    """
    settings = read_settings(folder)
    raters = all_answers(folder)
    by_id = {pair.pair_id: pair for pair in pairs}
    current = {rater: [one for one in answers if _belongs(one, by_id)] for rater, answers in raters.items()}
    current = {rater: answers for rater, answers in sorted(current.items()) if answers}
    n_stale = sum(len(answers) for answers in raters.values()) - sum(len(answers) for answers in current.values())
    tables = {name: label_table(pairs, list(current.values()), name) for name in settings.dimensions}
    labels = {name: majority(table, no_majority=0.0) for name, table in tables.items()}
    kept = [i for i in range(len(pairs)) if any(not math.isnan(column[i]) for column in labels.values())]
    if not kept:
        raise InputError(f"{folder} holds no label for these pairs yet")
    agreement = tuple(_agreement(name, tables[name], labels[name], current) for name in settings.dimensions)
    rows = []
    for i in kept:
        rows.append(
            {
                **_columns(pairs[i], folder),
                **{f"label_{name}": _word(labels[name][i]) for name in labels},
                **{
                    f"{name}_by_{rater}": _word(tables[name][i, k])
                    for name in labels
                    for k, rater in enumerate(current)
                },
            }
        )
    table = folder / TABLE
    write_whole(table, _csv(rows))
    summary = {
        "schema": SCHEMA,
        "settings": asdict(settings),
        "n_pairs": len(kept),
        "n_stale_answers": n_stale,
        "dimensions": [asdict(one) for one in agreement],
    }
    write_whole(folder / AGREEMENT, json.dumps(summary, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return Exported(table, len(kept), n_stale, agreement)


def label_table(pairs: Sequence[LabelPair], raters: Sequence[Sequence[Answer]], dimension: str) -> FloatArray:
    """Labels (n_pairs, n_raters) of one dimension: 1 = A, -1 = B, 0 = tie of the pair's own sides; NaN = none."""
    place = {pair.pair_id: i for i, pair in enumerate(pairs)}
    table = np.full((len(pairs), len(raters)), np.nan)
    for k, answers in enumerate(raters):
        for pair_id, labels in _by_pair(answers, dimension).items():
            label = combined(labels)
            if label is not None:
                table[place[pair_id], k] = label
    return table


def _by_pair(answers: Iterable[Answer], dimension: str) -> dict[str, list[int | None]]:
    found: dict[str, list[int | None]] = {}
    for one in answers:
        if one.dimension == dimension:
            found.setdefault(one.pair_id, []).append(label_of(one.choice, one.swapped))
    return found


def _belongs(one: Answer, by_id: dict[str, LabelPair]) -> bool:
    pair = by_id.get(one.pair_id)
    return pair is not None and (pair.name_a, pair.name_b) == (one.video_a, one.video_b)


def _agreement(name: str, table: FloatArray, labels: FloatArray, raters: dict[str, list[Answer]]) -> DimensionAgreement:
    shared = table[(~np.isnan(table)).sum(axis=1) >= 2]
    unanimous = np.nanmin(shared, axis=1) == np.nanmax(shared, axis=1) if len(shared) else np.zeros(0, bool)
    figures = [_figures(rater, answers, name, table[:, k]) for k, (rater, answers) in enumerate(raters.items())]
    ceiling_with, ceiling_without = None, None
    if len(raters) > 1:
        ceiling = leave_one_out(table)
        ceiling_with, ceiling_without = _defined(ceiling.with_ties), _defined(ceiling.without_ties)
        figures = [
            RaterFigures(
                **{
                    **asdict(one),
                    "against_others": _defined(ceiling.raters[k].with_ties),
                    "against_others_decided": _defined(ceiling.raters[k].without_ties),
                }
            )
            for k, one in enumerate(figures)
        ]
    return DimensionAgreement(
        name,
        int((~np.isnan(labels)).sum()),
        len(shared),
        int(unanimous.sum()),
        int(np.isnan(majority(shared)).sum()) if len(shared) else 0,
        {word: int((labels == value).sum()) for value, word in _WORDS.items()},
        _defined(krippendorff_alpha(table, "ordinal")),
        ceiling_with,
        ceiling_without,
        tuple(figures),
    )


def _figures(rater: str, answers: Sequence[Answer], dimension: str, labels: FloatArray) -> RaterFigures:
    own = [one for one in answers if one.dimension == dimension]
    decided = [one for one in own if one.choice in ("first", "second")]
    both = [two for two in _by_pair(own, dimension).values() if len(two) == 2 and None not in two]
    n = int((~np.isnan(labels)).sum())
    return RaterFigures(
        rater,
        n,
        _share(int((labels == 0).sum()), n),
        _share(sum(one.choice == "first" for one in decided), len(decided)),
        len(both),
        _share(sum(first == second for first, second in both), len(both)),
    )


def _columns(pair: LabelPair, folder: Path) -> dict[str, str]:
    row = {
        "pair_id": pair.pair_id,
        "prompt": pair.prompt,
        "video_a": _inside(pair.video_a, folder),
        "video_b": _inside(pair.video_b, folder),
    }
    if pair.image is not None:
        row["image"] = _inside(pair.image, folder)
    return {**row, **{name: value for name, value in pair.columns.items() if name not in row}}


def _inside(file: Path, folder: Path) -> str:
    """The file's name relative to the labelling folder, into which it is brought where it lies elsewhere."""
    root, real = folder.resolve(), file.resolve()
    if real.is_relative_to(root):
        return real.relative_to(root).as_posix()
    name = f"{CLIPS}/{content_hash(real)[:32]}{file.suffix.lower()}"
    target = root / name
    if not target.exists():
        target.parent.mkdir(exist_ok=True)
        partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
        try:
            os.link(real, partial)
        except OSError:  # another disk, or a file system without hard links
            shutil.copyfile(real, partial)
        os.replace(partial, target)
    return name


def _csv(rows: Sequence[dict[str, str]]) -> str:
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _word(value: float) -> str:
    return _WORDS.get(float(value), "")


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _defined(value: float) -> float | None:
    return value if math.isfinite(value) else None
