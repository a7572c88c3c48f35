"""Frames of the pairs that the browser shows, as files beside the pages, where the benchmark's licence allows it."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from rewardbench.cache import cache_folder
from rewardbench.errors import RewardbenchError
from rewardbench.leaderboard.board import BenchmarkBoard

if TYPE_CHECKING:
    from rewardbench.report.frames import Strip

FOLDER = "frames"


Pictures = dict[str, dict[str, dict[str, object]]]
"""Pair id to side (A, B) to {file, width, height}."""


def write_frames(board: BenchmarkBoard, site: Path) -> tuple[Pictures, str]:
    """Write strips of frames of all shown pairs; nothing where the board's list of benchmarks names no source.

    Returns:
        The pictures of each pair's sides, and one sentence why there are none (empty where there are).
    """
    from rewardbench.benchmark import load_benchmark
    from rewardbench.report.frames import strip
    from rewardbench.scoring.decoder import Decoder

    if not board.frames:
        return {}, "The board may not show this benchmark's clips."
    try:
        benchmark = load_benchmark(board.frames)
    except RewardbenchError as error:
        return {}, f"The clips were not at hand when this page was made: {error}."
    if benchmark.sha256 != board.sha256:
        return {}, "The clips at hand when this page was made were of another version."
    kept = cache_folder() / "leaderboard"
    kept.mkdir(parents=True, exist_ok=True)
    (site / FOLDER).mkdir(exist_ok=True)
    pairs = {comparison.pair_id: comparison for comparison in benchmark.comparisons}
    found: Pictures = {}
    made_before: dict[str, dict[str, object] | None] = {}
    with Decoder() as decoder:
        for dimension in board.dimensions:
            for shown in dimension.pairs:
                pair = pairs.get(shown.pair_id)
                if pair is None:
                    continue
                # The benchmark at hand says which clips a pair has; a bundle's own names of them are not asked.
                for side, clip_id in (("A", pair.clip_a), ("B", pair.clip_b)):
                    if clip_id not in made_before:
                        made = strip(benchmark.clips[clip_id].video, None, kept, decoder)
                        made_before[clip_id] = None if made.missing else _written(made, site)
                    picture = made_before[clip_id]
                    if picture is not None:
                        found.setdefault(shown.pair_id, {})[side] = picture
    return found, "" if found else "No clip of this benchmark could be read when this page was made."


def _written(made: Strip, site: Path) -> dict[str, object]:
    content = base64.b64decode(made.uri.partition(",")[2])
    file = f"{FOLDER}/{hashlib.sha256(content).hexdigest()[:16]}.jpg"
    (site / file).write_bytes(content)
    return {"file": file, "width": made.width, "height": made.height}
