"""A pairwise judge that looks its verdicts up in a table: one row per pair, one column per judge."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, cast

import numpy as np

from rewardbench_plugin import Dimension, Item, Judgements, NativeTieRule, PairwiseJudge, RewardCard

_CARD = RewardCard(
    name="verdicts",
    version="1.0",
    dimensions=(Dimension("verdict", -1.0, 1.0),),
    summary="verdicts looked up in a table",
    training_data="unknown (recorded verdicts)",
    code_licence="Apache-2.0",
    native_tie_rule=NativeTieRule({"verdict": 0.0}, "the judge says tie"),
    notes="Nothing is asked: recorded verdicts are taken as they are, in the one order they were given.",
)


class TabulatedVerdicts(PairwiseJudge):
    """Verdicts of one column. Options: ``table``, ``judge`` (the column), ``format`` (``plain`` or ``genai``)."""

    card = _CARD
    option_names = ("table", "judge", "format")
    per_pair = True
    both_orders = False
    matches_by: str | None = None
    """``pair_id`` or ``order``: how the rows are found."""

    def configure(
        self,
        *,
        preset: str | None = None,
        weights: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
        dimensions: Sequence[str] | None = None,
        seed: int = 0,
    ) -> None:
        from rewardbench_scores.table import read_rows

        chosen = dict(options or {})
        if not chosen.get("table"):
            raise ValueError("it needs a table of verdicts (--verdicts FILE)")
        if not chosen.get("judge"):
            raise ValueError("it needs the judge's column (--map LABEL=JUDGE)")
        columns, rows = read_rows(Path(chosen["table"]))
        judge = chosen["judge"]
        if judge not in columns:
            raise ValueError(f"{chosen['table']} has no column {judge!r}; columns: {', '.join(columns)}")
        by_id = "pair_id" in columns
        names = [row["pair_id"] for row in rows] if by_id else [str(n) for n in range(len(rows))]
        if len(set(names)) != len(names):
            number = next(n for n, name in enumerate(names) if name in names[:n])
            raise ValueError(f"{chosen['table']}, row {number + 1}: pair_id {names[number]!r} stands twice")
        self.matches_by = "pair_id" if by_id else "order"
        self._path = chosen["table"]
        self._format = chosen.get("format", "plain")
        self._verdicts = dict(zip(names, (row[judge] for row in rows), strict=True))
        self.rows_by_order = None if by_id else len(rows)
        rule = NativeTieRule({judge: 0.0}, "the judge says tie")
        self.card = replace(_CARD, dimensions=(Dimension(judge, -1.0, 1.0),), native_tie_rule=rule)
        super().configure(preset=preset, weights=weights, options=options, dimensions=None, seed=seed)

    def compare(self, batch: Sequence[tuple[Item, Item]]) -> Judgements:
        # The one definition of the spellings is the host's, and recorded verdicts are only ever read in the host's
        # environment.
        from rewardbench_scores.table import row_name

        from rewardbench.metrics.verdicts import verdict_margins

        texts: list[str] = []
        errors: list[str | None] = []
        for first, _ in batch:
            assert self.matches_by is not None, "configured"
            name, error = row_name(first.clip.metadata, self.matches_by, self._path)
            found = self._verdicts.get(name) if error is None else None
            if error is None and found is None:
                error = f"{self._path} has no row for pair {name!r}"
            errors.append(error)
            texts.append(found or "")
        p = np.full((len(batch), 3), np.nan)
        margins = verdict_margins(texts, cast(Literal["genai", "plain"], self._format))
        for row, margin in zip(p, margins, strict=True):
            if not np.isnan(margin):
                row[:] = 0.0
                row[1 - int(margin)] = 1.0
        return Judgements(p, texts, errors)

    def fingerprint(self) -> str:
        state = json.dumps([self.card.version, self._format, sorted(self._verdicts.items())])
        return hashlib.sha256(state.encode()).hexdigest()
