"""The probe matrix: what each model reacts to, from ``probe.json`` files (``rewardbench probe``)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rewardbench.probing.record import ProbeCell, ProbeRecord, read_probe
from rewardbench.report.notation import plain


@dataclass(frozen=True)
class Cell:
    """The strongest level of one treatment on one dimension. ``effect`` in standard deviations between clips.

    ``verdict`` is empty where nothing was expected.
    """

    effect: float | None
    level: str
    verdict: str
    n: int


@dataclass(frozen=True)
class MatrixRow:
    treatment: str
    family: str
    description: str
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class ProbeView:
    """One probe: dimensions are columns, treatments rows."""

    model: str
    version: str
    n_clips: int
    clips_sha256: str
    dimensions: tuple[str, ...]
    rows: tuple[MatrixRow, ...]
    finished: str


def probe_files(folder: Path) -> list[Path]:
    """Every ``*.probe.json`` and ``probe.json`` under ``folder``, by name."""
    return sorted({*folder.rglob("*.probe.json"), *folder.rglob("probe.json")}) if folder.is_dir() else []


def read_probes(folder: Path) -> list[ProbeView]:
    """What each of :func:`probe_files` found.

    Raises:
        InputError: a file that is no such probe.
    """
    return [probe_view(read_probe(path)) for path in probe_files(folder)]


def probe_view(probe: ProbeRecord) -> ProbeView:
    """The matrix of one probe."""
    names = [dimension.name for dimension in probe.dimensions]
    cells: dict[tuple[str, str], list[ProbeCell]] = {}
    for cell in probe.cells:
        cells.setdefault((cell.treatment, cell.dimension), []).append(cell)
    rows = [
        MatrixRow(
            plain(treatment.name, 60),
            plain(treatment.family, 40),
            plain(treatment.description, 300),
            tuple(_strongest(cells.get((treatment.name, name), [])) for name in names),
        )
        for treatment in probe.treatments
    ]
    return ProbeView(
        model=plain(probe.plugin.label, 80),
        version=plain(probe.plugin.version, 40),
        n_clips=probe.clips.n,
        clips_sha256=probe.clips.sha256,
        dimensions=tuple(plain(name, 60) for name in names),
        rows=tuple(rows),
        finished=plain(probe.provenance.finished, 40),
    )


def _strongest(cells: list[ProbeCell]) -> Cell | None:
    known = [cell for cell in cells if cell.effect is not None]
    if not known:
        return None
    cell = max(known, key=lambda one: abs(one.effect or 0.0))
    return Cell(cell.effect, plain(cell.level, 60), cell.verdict or "", cell.n)
