"""Reading clips: ours against the decode limit and against a VideoAlign-style loop, in the same rounds.

    python perf/decode.py FOLDER_OF_CLIPS

Each round reads every clip of the folder in three ways, in turn:
  limit       PyAV decodes every frame, automatic threads, no colour conversion, nothing kept
  ours        rewardbench.video.read_frames: verified frame count, 2 frames per second, resized to at most 200,704
              pixels (multiples of 28) by `bicubic-antialias`
  videoalign  decord, the same frames by random access, then torchvision's float bicubic with antialias on the batch
`ours, 1 thread` is what a decode worker of a run does. The ratios are taken within each round, so that a load on the
machine falls on both sides; their median is reported beside that of the best times, and beside the ratio of processor
times, which a loaded machine disturbs least. A target counts as met where both medians meet it. The pixels of
`ours` and `videoalign` are compared. The result goes to perf/results/decode.json.
"""

from __future__ import annotations

import importlib.metadata
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from machine import machine, write_result  # the neighbouring script

from rewardbench.video import probe, read_frames
from rewardbench_plugin.clip import FrameSpec, Sampling, Size

ROUNDS = 9
UNMEASURED = 1
SAMPLING = Sampling("fps", fps=2.0, min_count=4, count=768, multiple=2, rounding="half-even")
SIZE = Size(max_pixels=200_704, min_pixels=100_352, multiple=28)
SPEC = FrameSpec("pyav", SAMPLING, SIZE, "bicubic-antialias")
LIMIT_TARGET = 1.25
VIDEOALIGN_TARGET = 1.3


def decode_only(paths: list[Path]) -> None:
    import av

    for path in paths:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for _ in container.decode(stream):
                pass


def ours(paths: list[Path], threads: int | None = None) -> list[np.ndarray]:
    return [read_frames(path, [SPEC], threads=threads)[SPEC].rgb for path in paths]


def videoalign_style(paths: list[Path]) -> list[np.ndarray]:
    import decord
    import torch
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.functional import resize

    found = []
    for path in paths:
        reader = decord.VideoReader(str(path))
        indices = SAMPLING.indices(len(reader), reader.get_avg_fps())
        clip = torch.tensor(reader.get_batch(indices.tolist()).asnumpy()).permute(0, 3, 1, 2)
        size = list(SIZE.target(*clip.shape[2:]))
        small = resize(clip, size, interpolation=InterpolationMode.BICUBIC, antialias=True).float()
        found.append(small.permute(0, 2, 3, 1).numpy())
    return found


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python perf/decode.py FOLDER_OF_CLIPS")
    paths = sorted(path for path in Path(sys.argv[1]).rglob("*") if path.suffix in (".mp4", ".mov", ".mkv"))
    if not paths:
        sys.exit(f"{sys.argv[1]}: holds no .mp4, .mov or .mkv clip")
    difference = [np.abs(a - b) for a, b in zip(ours(paths), videoalign_style(paths), strict=True)]
    worst = max(float(d.max()) for d in difference)
    differing = sum(int((d > 0).sum()) for d in difference) / sum(d.size for d in difference)

    ways: dict[str, Callable[[], object]] = {
        "limit": lambda: decode_only(paths),
        "ours": lambda: ours(paths),
        "videoalign": lambda: videoalign_style(paths),
        "ours, 1 thread": lambda: ours(paths, threads=1),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    processor: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(UNMEASURED + ROUNDS):
        for name, way in ways.items():
            started, worked = time.perf_counter(), time.process_time()
            way()
            if number >= UNMEASURED:
                seconds[name].append(time.perf_counter() - started)
                processor[name].append(time.process_time() - worked)
    for name, times in seconds.items():
        used = statistics.median(processor[name])
        print(f"{name:<16}median {statistics.median(times):.3f} s   best {min(times):.3f} s   processor {used:.3f} s")

    def ratio(a: str, b: str) -> dict[str, float]:
        return {
            "median": statistics.median(x / y for x, y in zip(seconds[a], seconds[b], strict=True)),
            "best": min(seconds[a]) / min(seconds[b]),
            "processor": statistics.median(x / y for x, y in zip(processor[a], processor[b], strict=True)),
        }

    over_limit, faster = ratio("ours", "limit"), ratio("videoalign", "ours")
    for title, found, target in (
        ("ours / limit", over_limit, f"<= {LIMIT_TARGET}"),
        ("videoalign / ours", faster, f">= {VIDEOALIGN_TARGET}"),
    ):
        print(f"{title:<20}" + "".join(f"{name} {value:.2f}   " for name, value in found.items()) + f"({target})")
    print(f"pixels: largest difference {worst:.0f}, {1e6 * differing:.1f} values per million differ")
    write_result(
        "decode",
        {
            "what": "reading, sampling and resizing every clip of a folder, wall time",
            "machine": machine(),
            "versions": {name: importlib.metadata.version(name) for name in ("av", "decord", "torch", "torchvision")},
            "clips": [
                {"frames": i.frames, "width": i.width, "height": i.height, "fps": i.fps} for i in map(probe, paths)
            ],
            "rounds": ROUNDS,
            "median_s": {name: statistics.median(times) for name, times in seconds.items()},
            "processor_median_s": {name: statistics.median(times) for name, times in processor.items()},
            "best_s": {name: min(times) for name, times in seconds.items()},
            "ours_over_limit": {
                **over_limit,
                "target": LIMIT_TARGET,
                "met": max(over_limit["median"], over_limit["processor"]) <= LIMIT_TARGET,
            },
            "videoalign_over_ours": {
                **faster,
                "target": VIDEOALIGN_TARGET,
                "met": min(faster["median"], faster["processor"]) >= VIDEOALIGN_TARGET,
            },
            "largest_pixel_difference": worst,
            "differing_values_per_million": 1e6 * differing,
        },
    )


if __name__ == "__main__":
    main()
