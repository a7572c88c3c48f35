"""Frames of the pairs that the browser shows, as files beside the pages, where the benchmark's licence allows it."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from rewardbench.cache import cache_folder
from rewardbench.errors import RewardbenchError
from rewardbench.leaderboard.board import BenchmarkBoard

FOLDER = "frames"


def write_frames(board: BenchmarkBoard, site: Path) -> tuple[dict[str, dict[str, object]], str]:
    """Write strips of frames of all shown pairs; nothing where the board's list of benchmarks names no source.

    Returns:
        Clip id to {file, width, height}, and one sentence why there are none (empty where there are).
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
    found: dict[str, dict[str, object]] = {}
    with Decoder() as decoder:
        for dimension in board.dimensions:
            for shown in dimension.pairs:
                pair = pairs.get(shown.pair_id)
                if pair is None:
                    continue
                for name, clip_id in ((shown.clip_a, pair.clip_a), (shown.clip_b, pair.clip_b)):
                    if name in found:
                        continue
                    made = strip(benchmark.clips[clip_id].video, None, kept, decoder)
                    if made.missing:
                        continue
                    content = base64.b64decode(made.uri.partition(",")[2])
                    file = f"{FOLDER}/{hashlib.sha256(content).hexdigest()[:16]}.jpg"
                    (site / file).write_bytes(content)
                    found[name] = {"file": file, "width": made.width, "height": made.height}
    return found, "" if found else "No clip of this benchmark could be read when this page was made."
