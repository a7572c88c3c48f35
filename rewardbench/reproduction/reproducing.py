"""``rewardbench reproduce``: one published row, as far as data and weights are at hand."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rewardbench.benchmark import Benchmark
from rewardbench.catalogue.card import need_card
from rewardbench.catalogue.fetching import fetch_benchmark, load_from
from rewardbench.catalogue.folders import data_folder
from rewardbench.catalogue.identity import ALL, Identity, identify
from rewardbench.errors import InputError
from rewardbench.reproduction.comparing import EQUAL_STATES, Compared, compare
from rewardbench.reproduction.manifest import Manifest, find_manifest
from rewardbench.reproduction.model_rows import RECIPE, RunRequest, fetch_for, missing_for, run_model
from rewardbench.reproduction.recipes import RECIPES, Computed

EQUAL, DIFFERS, NOTHING_RAN = 0, 1, 2
State = Literal[
    "reproduces",
    "reproduces within rounding of inputs",
    "reproduces in part",
    "recomputed only",
    "differs",
    "does not reproduce, as known",
    "limited",
    "not compared",
    "not run",
]


@dataclass(frozen=True)
class Reproduction:
    """What came of one row.

    Attributes:
        cells: every printed number beside ours.
        n: items behind our numbers; 0 where nothing ran.
        missing: what has to be at hand first, one sentence each.
        limited: only the first pairs were run, as asked for.
        notes: what a reader of our numbers has to know, one sentence each.
    """

    manifest: Manifest
    cells: tuple[Compared, ...]
    n: int
    missing: tuple[str, ...]
    limited: bool = False
    notes: tuple[str, ...] = ()

    @property
    def state(self) -> State:
        """In words. "Reproduces" is said of printed numbers only, and only where every one of them was met."""
        states = {cell.state for cell in self.cells}
        if "differs" in states:
            return "differs"
        if "known to differ" in states:
            return "does not reproduce, as known"
        if "not compared" in states:
            return "limited" if self.limited else "not compared"
        printed = [cell.state for cell in self.cells if cell.origin == "paper"]
        met = [state for state in printed if state in EQUAL_STATES]
        if met and len(met) < len(printed):
            return "reproduces in part"
        if met:
            return "reproduces" if set(met) == {"equal"} else "reproduces within rounding of inputs"
        return "recomputed only" if states & set(EQUAL_STATES) else "not run"

    @property
    def exit_code(self) -> int:
        """0: nothing that was to be compared differs; 1: a number differs, known or not, or is not there; 2: else.

        That is 0 for a limited run too, which was not to be compared, and 2 where nothing ran or could be compared.
        """
        if self.state in ("not run", "not compared"):
            return NOTHING_RAN
        return DIFFERS if self.state in ("differs", "does not reproduce, as known", "reproduces in part") else EQUAL


def reproduce(
    name: str,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    weights: Mapping[str, str] | None = None,
    device: str = "auto",
    dtype: str | None = None,
    limit: int | None = None,
    out: Path | None = None,
    fetch: bool = False,
    tell: Callable[[str], None] = lambda _: None,
) -> Reproduction:
    """Compute a published row again.

    Args:
        name: ``MODEL@BENCHMARK``.
        data_dir: folder of the benchmark's files.
        weights: of the model, where the row needs one.
        limit: the first pairs only; the numbers are then not compared. Rows without a model are computed whole.
        out: run folder of a model's row.
        fetch: bring what is missing (weights and clips may be many GB).

    Raises:
        InputError: an unknown row, files that are not what they should be, or a fetch that failed.
    """
    manifest = find_manifest(name)
    if manifest.recipe == RECIPE:
        request = RunRequest(weights or {}, device, dtype, limit, out)
        return _model_row(manifest, request, data_dir, fetch, tell)
    recipe = RECIPES[manifest.recipe]
    base = manifest.benchmark.partition(":")[0]
    if fetch and not manifest.parameters.get("printed_inputs"):
        fetch_benchmark(base, data_dir=data_dir, tell=tell)
    folder = data_folder(base, data_dir)
    if manifest.parameters.get("printed_inputs"):
        return _compared(manifest, recipe(folder, manifest.parameters), Identity("published", ALL))
    try:
        computed = recipe(folder, manifest.parameters)
        identity = _identity(manifest, load_from(base, manifest.benchmark.partition(":")[2] or None, folder))
    except InputError as error:
        return _nothing(manifest, [str(error)])
    return _compared(manifest, computed, identity)


def _model_row(
    manifest: Manifest,
    request: RunRequest,
    data_dir: str | os.PathLike[str] | None,
    fetch: bool,
    tell: Callable[[str], None],
) -> Reproduction:
    if fetch:
        fetch_for(manifest, request, tell, data_dir)
    missing, benchmark = missing_for(manifest, request, data_dir)
    if missing or benchmark is None:
        return _nothing(manifest, missing)
    identity = _identity(manifest, benchmark)
    cut = request.limit is not None and request.limit < len(benchmark.comparisons)
    return _compared(manifest, run_model(manifest, request), identity, f"first {request.limit:,} pairs" if cut else "")


def _identity(manifest: Manifest, benchmark: Benchmark) -> Identity:
    return identify(need_card(manifest.benchmark), manifest.benchmark.partition(":")[2], benchmark)


def _compared(manifest: Manifest, computed: Computed, identity: Identity, cut: str = "") -> Reproduction:
    """Numbers of other pairs than the print's stand beside it and are not held against it."""
    notes = [identity.sentence]
    if identity.state == "unknown":
        notes.append(
            f"the card of {manifest.benchmark} has no fingerprint, so whether these are its pairs is not known"
        )
    if computed.abstained:
        notes.append(f"the model gave no number for {computed.abstained:,} pairs; ours leaves them out")
    other = cut or (identity.sentence if identity.state == "other" else "")
    cells = compare(manifest.cells, computed.numbers, identity.part, computed.slack, other)
    return Reproduction(manifest, tuple(cells), computed.n, (), bool(cut), tuple(filter(None, notes)))


def _nothing(manifest: Manifest, missing: list[str]) -> Reproduction:
    return Reproduction(manifest, tuple(compare(manifest.cells, {}, "all")), 0, tuple(missing))
