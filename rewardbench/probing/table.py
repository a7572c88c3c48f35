"""``probe.csv``: every score of every form of every clip."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rewardbench.runfolder import write_text
from rewardbench_plugin.clip import Clip


@dataclass(frozen=True)
class Row:
    """One scored form of a clip; ``scores`` is empty where it failed, NaN where the model abstained."""

    source: int
    name: str
    family: str
    treatment: str
    level: str
    clip: Clip
    scores: Mapping[str, float]
    note: str
    error: str


def write_table(path: Path, rows: Sequence[Row], dimensions: Sequence[str]) -> None:
    """Write the rows; an empty score is an abstention or, with an ``error``, a failure. Numbers keep all digits."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["clip", "family", "treatment", "level", "prompt", *dimensions, "note", "error"])
    for row in rows:
        scores = [row.scores.get(d, math.nan) for d in dimensions]
        texts = ["" if math.isnan(score) else repr(float(score)) for score in scores]
        said = [row.name, row.family, row.treatment, row.level, row.clip.prompt or ""]
        writer.writerow([*said, *texts, row.note, row.error])
    write_text(path, stream.getvalue())
