"""The repository's own board: measure, submit, verify, build.

    python leaderboard/measure.py                     the embedded benchmark: bundles into leaderboard/results
    python leaderboard/measure.py --data DIR --board BOARD
                                                      FETV and TVGE from recorded scores, into a board elsewhere

The embedded benchmark is the project's own (Apache-2.0). The recorded scores are somebody else's: bundles made of them
hold ids, prompts, labels and scores, so they are made only of tables whose licence in ``DIR/MANIFEST.csv`` lets them be
passed on, and never into the repository's own folder.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rewardbench.cli.progress import terminal_progress
from rewardbench.errors import InputError, RewardbenchError
from rewardbench.leaderboard.bundle import Declaration
from rewardbench.leaderboard.folder import RESULTS, build_site
from rewardbench.leaderboard.known import admit, fingerprint
from rewardbench.leaderboard.submission import bundle_name, make_bundle, plain_name, write_bundle
from rewardbench.runs import RunSettings, run_benchmark

OWN = Path(__file__).parent
MODELS: Mapping[str, Declaration] = {"animereward": "clean", "random": "clean"}
"""``animereward`` is its preset ``mini``, trained on clips of the same drawing program but of other seeds."""
MAY_BE_PASSED_ON = ("CC-BY-4.0", "Apache-2.0", "MIT")


@dataclass(frozen=True)
class Table:
    """One table of pairs with recorded scores. Every score answers every label."""

    file: str
    labels: tuple[str, ...]
    scores: tuple[str, ...]
    citation: str


TABLES = (
    Table(
        "tables/fetv_pairs_even.csv",
        ("alignment_mean3", "static_quality_mean3", "temporal_quality_mean3"),
        ("CLIPScore", "CLIPScore-ft", "BLIPScore", "Otter-VQA", "UMTScore"),
        "Liu et al., FETV, 2023, arXiv:2311.01813 (even prompt ids)",
    ),
    Table(
        "tables/tvge_pairs.csv",
        ("alignment", "quality"),
        ("CLIP Score", "X-CLIP Score", "BLIP-BLEU"),
        "Wu et al., Towards a Better Metric for Text-to-Video Generation, 2024, arXiv:2401.07781",
    ),
)


def measure_embedded(board: Path) -> None:
    """Run the models that ship with the package on ``anime-probe``."""
    for model, declaration in MODELS.items():
        with tempfile.TemporaryDirectory() as folder:
            _submit(RunSettings((model,), out=Path(folder) / "run", command=_command(model)), board, declaration)


def measure_tables(data: Path, board: Path) -> None:
    """Bundles of the recorded scores in ``data``."""
    if board.resolve() == OWN.resolve():
        raise InputError(
            "recorded scores of others do not go into the repository's own board; name a --board elsewhere"
        )
    licences = licences_of(data / "MANIFEST.csv")
    for table in TABLES:
        licence = licences.get(table.file, "none stated")
        if not licence.startswith(MAY_BE_PASSED_ON):
            print(f"{table.file}: left out, its licence is {licence}", file=sys.stderr)
            continue
        path = data / table.file
        admit(board, fingerprint(str(path), labels=table.labels, licence=licence, citation=table.citation))
        pairs = tuple((label, score) for label in table.labels for score in table.scores)
        with tempfile.TemporaryDirectory() as folder:
            settings = RunSettings(
                ("scores",),
                (str(path),),
                score_map=pairs,
                scores=path,
                out=Path(folder) / "run",
                command=f"leaderboard/measure.py --data . ({path.name})",
            )
            _submit(settings, board, "unknown")


def licences_of(manifest: Path) -> dict[str, str]:
    """Licence of each file by the data folder's manifest."""
    try:
        with open(manifest, newline="", encoding="utf-8") as stream:
            return {row["path"]: row["licence"] for row in csv.DictReader(stream)}
    except (OSError, KeyError) as error:
        raise InputError(f"{manifest} is not a manifest with path and licence ({error}); check --data") from None


def _submit(settings: RunSettings, board: Path, declaration: Declaration) -> None:
    with terminal_progress() as progress:
        (outcome,) = run_benchmark(settings, progress)
    content = make_bundle(outcome.folder, training_data=declaration)
    place = board / RESULTS / plain_name(outcome.benchmark)
    path = place / bundle_name(outcome.folder, content)
    for earlier in place.glob(f"{path.name.rpartition('--')[0]}--*.zip"):  # the same models measured before
        earlier.unlink()
    write_bundle(path, content)
    print(path)


def _command(model: str) -> str:
    return f"rewardbench run --plugin {model} --benchmark anime-probe"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--board", type=Path, default=OWN, help="folder of the board (default: this one)")
    parser.add_argument("--data", type=Path, help="folder with MANIFEST.csv and tables/: measure these instead")
    parser.add_argument("--no-build", action="store_true", help="make bundles only")
    options = parser.parse_args(arguments)
    try:
        if options.data is None:
            measure_embedded(options.board)
        else:
            measure_tables(options.data, options.board)
        if not options.no_build:
            page, _ = build_site(options.board)
            print(page)
    except RewardbenchError as error:
        print(f"{Path(__file__).name}: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
