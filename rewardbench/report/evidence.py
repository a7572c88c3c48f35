"""What the figures are drawn from: the pairs of one metrics row, their accuracy curve, margins and disagreements."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from rewardbench.errors import InputError

if TYPE_CHECKING:
    import pyarrow

    from rewardbench.metrics.ties import TieCurve
    from rewardbench.results import MetricRecord

Number = TypeVar("Number", np.int32, np.uint8, np.float64)

_REPEATING = ["prompt", "cluster", "clip_a", "clip_b", "video_a", "video_b"]
_NEEDED = ("plugin", "label", "score", "human", "margin")


@dataclass(frozen=True)
class RowEvidence:
    """The labelled pairs behind one metrics row.

    Attributes:
        rows: int64 (N,), positions in the pairs table.
        human: int8 (N,), 1 (A preferred), -1 (B) or 0 (tie).
        margin: float64 (N,), > 0 favours A; NaN abstains.
    """

    rows: NDArray[np.int64]
    human: NDArray[np.int8]
    margin: NDArray[np.float64]


@dataclass(frozen=True)
class MarginHistogram:
    """Margins by human label: ``edges`` float64 (K + 1,), ``share`` {1, 0, -1: float64 (K,)} summing to 1 per label.

    Margins beyond the outer edges are counted in the outermost bins; ``clipped`` says how many.
    """

    edges: NDArray[np.float64]
    share: dict[int, NDArray[np.float64]]
    counts: dict[int, int]
    clipped: int


@dataclass(frozen=True)
class Disagreement:
    """One pair on which people and the scorer disagree. ``row`` is its position in the pairs table."""

    row: int
    human: int
    margin: float


class Pairs:
    """``pairs.parquet`` of a run folder, indexed by metrics row.

    Raises:
        InputError: if the file cannot be read or lacks a column.
    """

    def __init__(self, path: Path) -> None:
        self.table = _read(path, _NEEDED)
        self._human, self._margin = _floats(self.table["human"]), _floats(self.table["margin"])
        self._rows: dict[tuple[str, str, str], NDArray[np.int64]] = {}
        if not self.table.num_rows:
            return
        codes = np.zeros(self.table.num_rows, np.int64)
        names: list[list[str]] = []
        for column in ("plugin", "label", "score"):
            encoded = self.table[column].combine_chunks().dictionary_encode(null_encoding="encode")
            names.append([text or "" for text in encoded.dictionary.to_pylist()])
            codes = codes * max(1, len(names[-1])) + _values(encoded.indices, np.dtype(np.int32))
        present, inverse = np.unique(codes, return_inverse=True)
        order = np.argsort(inverse, kind="stable")
        for rows in np.split(order, np.cumsum(np.bincount(inverse.ravel(), minlength=len(present)))[:-1]):
            code, key = int(codes[rows[0]]), []
            for values in reversed(names):
                code, position = divmod(code, max(1, len(values)))
                key.append(values[position])
            self._rows[(key[2], key[1], key[0])] = rows.astype(np.int64)

    def of(self, metric: MetricRecord) -> RowEvidence | None:
        """The pairs of one metrics row; None where the table has none."""
        rows = self._rows.get((metric.plugin, metric.label, metric.score))
        if rows is None:  # a pairwise judge writes no score name
            rows = self._rows.get((metric.plugin, metric.label, ""))
        if rows is None:
            return None
        human, margin = self._human[rows], self._margin[rows]
        labelled = np.isfinite(human)
        return RowEvidence(rows[labelled], human[labelled].astype(np.int8), margin[labelled])

    def texts(self, row: int) -> dict[str, str | float | None]:
        """All columns of one row, for showing a single pair."""
        record: dict[str, str | float | None] = self.table.slice(row, 1).to_pylist()[0]
        return record


def _read(path: Path, needed: tuple[str, ...], columns: list[str] | None = None) -> pyarrow.Table:
    import pyarrow
    import pyarrow.parquet

    try:
        # ParquetFile, as read_table imports pandas where it is installed (0.35 s). Prompts and paths repeat: as
        # dictionaries, 420,000 pairs take a third of the memory.
        repeating = [name for name in pyarrow.parquet.read_schema(path).names if name in _REPEATING]
        with pyarrow.parquet.ParquetFile(path, read_dictionary=repeating) as file:
            table = file.read(columns).unify_dictionaries()
    except (OSError, pyarrow.ArrowException) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise InputError(f"{path} is not a readable parquet file ({reason}); run the command again") from None
    missing = [column for column in needed if column not in table.column_names]
    if missing:
        raise InputError(f"{path} lacks the column {missing[0]!r}; run the command again with this version")
    return table


def _values(array: pyarrow.Array, dtype: np.dtype[Number]) -> NDArray[Number]:
    """The values of an array as numpy, anything where it is null.

    Not ``to_numpy``, ``take`` with numpy indices or ``fill_null``: each imports pandas where it is installed.
    """
    buffer = array.buffers()[1] if len(array) else None
    if buffer is None:
        return np.zeros(len(array), dtype)
    return np.frombuffer(buffer, dtype)[array.offset : array.offset + len(array)]


def _floats(column: pyarrow.ChunkedArray) -> NDArray[np.float64]:
    """A column of numbers as float64, NaN where it is null."""
    array = column.cast("float64").combine_chunks()
    known = _values(array.is_valid().cast("uint8"), np.dtype(np.uint8))
    return np.where(known != 0, _values(array, np.dtype(np.float64)), np.nan)


class VideoHashes:
    """SHA-256 of each clip's video from ``scores.parquet``, looked up one by one: a page needs a few dozen."""

    def __init__(self, path: Path) -> None:
        needed = ("plugin", "clip_id", "video_sha256")
        self._table = _read(path, needed, list(needed)) if path.is_file() else None

    def of(self, plugin: str, clip_id: str) -> str | None:
        """The hash, or None where the table knows none."""
        import pyarrow.compute as pc

        if self._table is None:
            return None
        same = pc.and_(pc.equal(self._table["clip_id"], clip_id), pc.equal(self._table["plugin"], plugin))
        found = self._table.filter(same)["video_sha256"].to_pylist()
        return found[0] if found else None


def accuracy_curve(evidence: RowEvidence) -> TieCurve | None:
    """Accuracy with ties at every threshold that changes it, over the pairs with a margin; None where there is none."""
    from rewardbench.metrics.ties import tie_curve

    known = np.isfinite(evidence.margin)
    return tie_curve(evidence.human[known], evidence.margin[known]) if known.any() else None


def margin_histogram(evidence: RowEvidence, bins: int = 31) -> MarginHistogram | None:
    """Margins by human label over a range symmetric about 0 that holds 99 % of them; None where there is none."""
    known = np.isfinite(evidence.margin)
    human, margin = evidence.human[known], evidence.margin[known]
    if not len(margin):
        return None
    size = np.abs(margin)
    reach = float(np.quantile(size, 0.99))
    if size.max() <= 1.25 * reach:
        reach = float(size.max())
    reach = reach if np.isfinite(reach) and reach > 0 else 1.0
    edges = np.linspace(-reach, reach, bins + 1)
    inside = np.clip(margin, -reach, reach)
    share, counts = {}, {}
    for label in (1, 0, -1):
        counted, _ = np.histogram(inside[human == label], edges)
        counts[label] = int(counted.sum())
        share[label] = counted / max(1, counts[label])
    return MarginHistogram(edges, share, counts, int((size > reach).sum()))


def disagreements(evidence: RowEvidence, tie_threshold: float | None, limit: int) -> list[Disagreement]:
    """The strongest disagreements of a row, decided pairs first.

    Pairs whose human label is decided and whose margin points the other way, and pairs people call a tie with
    |margin| above ``tie_threshold``, each from the largest |margin| down; about a third are ties as long as there are
    decided pairs to show. Ties in |margin| keep the table's order.
    """
    human, margin = evidence.human, np.where(np.isfinite(evidence.margin), evidence.margin, 0.0)

    def strongest(chosen: NDArray[np.bool_]) -> Iterator[Disagreement]:
        places = np.flatnonzero(chosen)
        for place in places[np.argsort(-np.abs(margin[places]), kind="stable")][:limit]:
            yield Disagreement(int(evidence.rows[place]), int(human[place]), float(margin[place]))

    reversed_ = list(strongest((human != 0) & (np.sign(margin) == -human)))
    split = list(strongest((human == 0) & (np.abs(margin) > max(tie_threshold or 0.0, 0.0))))
    n_split = min(len(split), max(round(limit / 3), limit - len(reversed_)))
    return reversed_[: limit - n_split] + split[:n_split]
