"""``rewardbench reproduce``: one published row, as far as data and weights are at hand."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rewardbench.catalogue.fetching import fetch_benchmark
from rewardbench.catalogue.folders import data_folder
from rewardbench.errors import InputError
from rewardbench.reproduction.comparing import Compared, compare
from rewardbench.reproduction.manifest import Manifest, find_manifest
from rewardbench.reproduction.model_rows import RECIPE, RunRequest, fetch_for, missing_for, run_model
from rewardbench.reproduction.recipes import RECIPES, Computed

EQUAL, DIFFERS, NOTHING_RAN = 0, 1, 2
State = Literal["reproduces", "differs", "does not reproduce, as known", "not run"]


@dataclass(frozen=True)
class Reproduction:
    """What came of one row.

    Attributes:
        cells: every printed number beside ours.
        n: items behind our numbers; 0 where nothing ran.
        missing: what has to be at hand first, one sentence each.
    """

    manifest: Manifest
    cells: tuple[Compared, ...]
    n: int
    missing: tuple[str, ...]

    @property
    def state(self) -> State:
        """In words: of the cells that were computed."""
        states = {cell.state for cell in self.cells} - {"not computed"}
        if not states:
            return "not run"
        if "differs" in states:
            return "differs"
        return "does not reproduce, as known" if "known to differ" in states else "reproduces"

    @property
    def exit_code(self) -> int:
        """0: all computed numbers are the printed ones; 1: one is not, known or not; 2: nothing could be run."""
        if self.state == "not run":
            return NOTHING_RAN
        return EQUAL if self.state == "reproduces" else DIFFERS


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
        limit: the first pairs only; the numbers are then not compared.
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
    try:
        computed = recipe(data_folder(base, data_dir), manifest.parameters)
    except InputError as error:
        return _nothing(manifest, [str(error)])
    return _compared(manifest, computed)


def _model_row(
    manifest: Manifest,
    request: RunRequest,
    data_dir: str | os.PathLike[str] | None,
    fetch: bool,
    tell: Callable[[str], None],
) -> Reproduction:
    if data_dir is not None:
        fetch_benchmark(manifest.benchmark.partition(":")[0], data_dir=data_dir, tell=tell)
    if fetch:
        fetch_for(manifest, request, tell)
    missing = missing_for(manifest, request)
    if missing:
        return _nothing(manifest, missing)
    return _compared(manifest, run_model(manifest, request))


def _compared(manifest: Manifest, computed: Computed) -> Reproduction:
    cells = compare(manifest.cells, computed.numbers, computed.data, computed.slack)
    return Reproduction(manifest, tuple(cells), computed.n, ())


def _nothing(manifest: Manifest, missing: list[str]) -> Reproduction:
    return Reproduction(manifest, tuple(compare(manifest.cells, {}, "all")), 0, tuple(missing))
