"""A board's folder: ``results/`` (bundles, and probes), ``benchmarks.json``, and the ``site/`` made of them.

The literature's numbers beside them are those this package ships, or those in ``published/`` where there is one.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from rewardbench.catalogue.published import published_folder
from rewardbench.errors import CheckFailed, InputError
from rewardbench.leaderboard.board import make_board
from rewardbench.leaderboard.known import known_benchmarks
from rewardbench.leaderboard.site import write_site
from rewardbench.leaderboard.site.matrix import read_probes
from rewardbench.leaderboard.site.tables import read_published
from rewardbench.leaderboard.verification import Verification, verify_bundles

RESULTS, PUBLISHED, SITE = "results", "published", "site"


def bundle_files(results: Path) -> list[Path]:
    """Every bundle under ``results``, by name."""
    return sorted(results.rglob("*.zip"), key=lambda path: path.relative_to(results).as_posix())


def verified_bundles(board: Path) -> tuple[list[Path], list[Verification]]:
    """The bundles of a board's folder, each verified.

    Raises:
        CheckFailed: one that is not sound, or two of one file name.
    """
    files = bundle_files(board / RESULTS)
    repeated = [name for name, count in Counter(path.name for path in files).items() if count > 1]
    if repeated:
        raise CheckFailed(f"two bundles under {board / RESULTS} are called {min(repeated)}; keep one of them")
    verified = verify_bundles(files, known_benchmarks(board))
    unsound = [one for one in verified if not one.sound]
    if unsound:
        raise CheckFailed(
            f"{len(unsound)} of {len(verified)} bundles are refused; the first is {unsound[0].source}: "
            f"{unsound[0].faults[0]} (rewardbench leaderboard verify lists all)"
        )
    return files, verified


def build_site(
    board: Path,
    out: Path | None = None,
    *,
    title: str = "Video reward models",
    frames: bool = True,
) -> tuple[Path, list[Verification]]:
    """Verify every bundle of a board's folder and make its site.

    Args:
        board: the board's folder.
        out: where the site goes; ``site`` in the board's folder if None.
        title: of the site.
        frames: whether to show frames where a benchmark's licence allows it.

    Returns:
        The site's first page, and what was verified.

    Raises:
        InputError: no such folder, or a file in it that cannot be read.
        CheckFailed: a bundle that is not sound; no site is made.
    """
    if not board.is_dir():
        raise InputError(f"{board} is not a folder; name the board's folder with --board (with results/ in it)")
    files, verified = verified_bundles(board)
    page = write_site(
        make_board(verified),
        out or board / SITE,
        title=title,
        published=read_published(board / PUBLISHED if (board / PUBLISHED).is_dir() else published_folder()),
        probes=read_probes(board / RESULTS),
        bundles=files,
        frames=frames,
    )
    return page, verified
