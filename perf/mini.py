"""How well AnimeReward's preset mini tells known faults apart, beside one-line baselines, and how fast it is.

    python perf/mini.py --set anime-probe --set anime-probe:full --real FOLDER_OF_SETS --out perf/results/mini.json

``--real`` takes a folder made by ``python perf/mini.py --make-real SHARED_DATA FOLDER`` (degraded real clips, see
REAL_SETS). What was measured of single clips is kept beside the JSON file: an interrupted measurement goes on where
it was, and other rating heads are tried without decoding again.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "plugins" / "animereward" / "src")]

DIMENSIONS = ("smoothness", "motion", "appeal", "text_video", "image_video", "character")
REAL_DIMENSIONS = ("smoothness", "motion", "appeal", "image_video")
REAL_SETS: dict[str, tuple[str, ...]] = {
    # looked at while the features were designed (a few clips, never trained on)
    "real-open": ("cogvideox",),
    # never looked at before the final measurement
    "real-anime": ("anime", "base_vs_aligned/wan21"),
    "real-other": ("videoalign/videos", "videophy/videos", "fetv_gifs"),
}
"""Sets of degraded real clips and the folders (under the data folder) whose clips they are made of."""
BASELINES: dict[str, dict[str, int]] = {
    "frame_difference": {
        "smoothness": -1,
        "motion": 1,
        "appeal": 1,
        "text_video": 1,
        "image_video": -1,
        "character": -1,
    },
    "laplacian_variance": {
        "smoothness": 1,
        "motion": 1,
        "appeal": 1,
        "text_video": 1,
        "image_video": 1,
        "character": 1,
    },
    "first_frame_histogram": {d: (1 if d == "motion" else -1) for d in DIMENSIONS},
}
"""One-line baselines and the sign with which each one rates a dimension."""
TARGETS = {
    "smoothness": 0.90,
    "motion": 0.90,
    "appeal": 0.90,
    "image_video": 0.90,
    "text_video": 0.85,
    "character": 0.85,
}
REAL_TARGET = 0.80
TIE_TARGET = 0.15  # accuracy with ties above the majority floor


def frame_difference(frames: np.ndarray) -> float:
    """Mean absolute difference of neighbouring frames, grey levels."""
    return float(np.abs(np.diff(frames.astype(np.float32), axis=0)).mean()) if len(frames) > 1 else 0.0


def laplacian_variance(frames: np.ndarray) -> float:
    """Mean over frames of the variance of the Laplacian of the luma."""
    y = frames.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    laplacian = y[:, 1:-1, :-2] + y[:, 1:-1, 2:] + y[:, :-2, 1:-1] + y[:, 2:, 1:-1] - 4 * y[:, 1:-1, 1:-1]
    return float(laplacian.var(axis=(1, 2)).mean())


def first_frame_histogram(frames: np.ndarray, image: np.ndarray) -> float:
    """Mean over frames of the distance of their 8 x 8 x 8 RGB histogram to that of the first-frame image, 0 to 1."""

    def histogram(x: np.ndarray) -> np.ndarray:
        bins = (x // 32).astype(np.int64).reshape(-1, 3) @ np.array([64, 8, 1])
        return np.bincount(bins, minlength=512) / len(bins)

    reference = histogram(image)
    return float(np.mean([0.5 * np.abs(histogram(frame) - reference).sum() for frame in frames]))


@lru_cache(maxsize=1)
def model() -> Any:
    from rewardbench_animereward.mini import MiniAnimeReward

    made = MiniAnimeReward()
    made.configure()
    made.load("cpu", None, made.weights, {})
    return made


def measure(task: tuple[str, str, str]) -> dict[str, Any]:
    """What mini rates in one clip (video, prompt, image), the baselines' scores, and the seconds each step took."""
    from rewardbench_animereward.mini import CONSECUTIVE, SPREAD, first_frame

    from rewardbench.video import read_frames
    from rewardbench_plugin import Clip, Item

    video, prompt, image = task
    clip = Clip(video, video, prompt or None, image or None)
    start = time.process_time()
    frames = read_frames(video, [CONSECUTIVE, SPREAD], threads=1)
    decoded = time.process_time()
    prepared = model().prepare(clip, frames)
    model().score([Item(clip, prepared)])
    rated = time.process_time()
    spread = frames[SPREAD].rgb
    reference = first_frame(image, *spread.shape[1:3]) if image else spread[0]
    return {
        "prepared": {k: v.tolist() for k, v in prepared.items()},
        "frame_difference": frame_difference(frames[CONSECUTIVE].rgb),
        "laplacian_variance": laplacian_variance(spread),
        "first_frame_histogram": first_frame_histogram(spread, reference),
        "decode_s": decoded - start,
        "model_s": rated - decoded,
    }


def measured(
    pairs: Path, rows: Sequence[dict[str, str]], store: Path, workers: int, fingerprint: str
) -> dict[str, Any]:
    """Every clip of the pairs, key to measurement; what an earlier run stored is kept."""
    folder = pairs.parent
    done: dict[str, Any] = {}
    if store.exists():
        for line in store.read_text().splitlines():
            entry = json.loads(line)
            if entry["fingerprint"] == fingerprint:
                done[entry["key"]] = entry["value"]
    tasks = {}
    for row in rows:
        for side in ("video_a", "video_b"):
            image = str(folder / row["image"]) if row.get("image") else ""
            tasks[clip_key(row, side)] = (str(folder / row[side]), row.get("prompt", ""), image)
    missing = {k: t for k, t in tasks.items() if k not in done}
    with store.open("a") as log, ProcessPoolExecutor(workers) as pool:
        for key, value in zip(missing, pool.map(measure, missing.values(), chunksize=4), strict=True):
            done[key] = value
            log.write(json.dumps({"fingerprint": fingerprint, "key": key, "value": value}) + "\n")
            log.flush()
    return {k: done[k] | {"mini": ratings(tasks[k], done[k]["prepared"])} for k in tasks}


def ratings(task: tuple[str, str, str], prepared: dict[str, list[float]]) -> dict[str, float]:
    """The model's ratings of what was prepared from a clip."""
    from rewardbench_plugin import Clip, Item

    video, prompt, image = task
    arrays = {k: np.array(v, np.float32) for k, v in prepared.items()}
    scores = model().score([Item(Clip(video, video, prompt or None, image or None), arrays)])
    return dict(zip(model().dimensions, scores.values[0].tolist(), strict=True))


def features_key() -> str:
    """Changes whenever anything but the rating heads does: then stored clips are prepared again."""
    from rewardbench_animereward.mini import REGRESSED, WEIGHTS, read_weights

    tensors, names = read_weights(model().weights["mini"])
    digest = hashlib.sha256(json.dumps({k: list(v) for k, v in sorted(names.items())}).encode())
    for name in sorted(k for k in tensors if k.split(".")[0] not in REGRESSED):
        digest.update(name.encode() + tensors[name].tobytes())
    for source in sorted(WEIGHTS.parent.parent.glob("*.py")):
        if source.name not in ("__init__.py", "networks.py"):
            digest.update(source.read_bytes())
    return digest.hexdigest()


def clip_key(row: dict[str, str], side: str) -> str:
    return "|".join((row[side], row.get("prompt", ""), row.get("image", "")))


def evaluate(rows: Sequence[dict[str, str]], clips: dict[str, Any], dimensions: Sequence[str]) -> dict[str, Any]:
    """Per dimension: the accuracies of mini and of each baseline, with 95 % intervals over base clips."""
    from rewardbench.metrics import evaluate_pairs

    signs = {"A": 1, "B": -1, "tie": 0}
    out: dict[str, Any] = {}
    for dimension in dimensions:
        labelled = [r for r in rows if r.get(f"label_{dimension}")]
        if not labelled:
            continue
        human = np.array([signs[r[f"label_{dimension}"]] for r in labelled])
        groups = [r["cluster"] for r in labelled]
        slices = {"degradation": [r["degradation"] for r in labelled]}
        scorers: dict[str, Callable[[Any], float]] = {"mini": lambda c, d=dimension: c["mini"].get(d, np.nan)}
        for name, of in BASELINES.items():
            scorers[name] = lambda c, n=name, s=of[dimension]: s * c[n]
        out[dimension] = {}
        for name, rate in scorers.items():
            margin = np.array(
                [rate(clips[clip_key(r, "video_a")]) - rate(clips[clip_key(r, "video_b")]) for r in labelled]
            )
            found = evaluate_pairs(
                human, margin.astype(float), groups=groups, slices=slices if name == "mini" else None
            )
            out[dimension][name] = summary(found, human, margin, slices["degradation"], name == "mini")
    return out


def summary(found: Any, human: np.ndarray, margin: np.ndarray, kinds: Sequence[str], sliced: bool) -> dict[str, Any]:
    out = {
        "n": int(found.n),
        "n_abstained": int(found.n_abstained),
        "tie_rate": round(float(found.human_tie_rate), 4),
        "majority_floor": round(float(found.majority_floor), 4),
        "without_ties": round(float(found.accuracy_without_ties.value), 4),
        "without_ties_ci95": interval(found.accuracy_without_ties.ci95),
        "with_ties_crossfit": round(float(found.accuracy_with_ties.crossfit.value), 4),
        "with_ties_crossfit_ci95": interval(found.accuracy_with_ties.crossfit.ci95),
        "with_ties_threshold": round(float(found.accuracy_with_ties.threshold.value), 4),
    }
    if sliced:
        decided = human != 0
        out["without_ties_by_type"] = {
            kind: [round(float((np.sign(margin[rows]) == human[rows]).mean()), 4), int(rows.sum())]
            for kind in sorted(set(kinds))
            if (rows := decided & (np.array(kinds) == kind)).any()
        }
    return out


def interval(ci: Any) -> list[float]:
    return [round(float(v), 4) for v in ci]


def make_real(data: Path, out: Path) -> Iterator[Path]:
    """Write the sets of :data:`REAL_SETS`: degraded copies of real clips, by ``benchmarks make``'s own function."""
    from rewardbench.synth.make import make_probe

    for name, folders in REAL_SETS.items():
        if (out / name / "pairs.csv").exists():
            continue
        gathered = out / f"{name}-clips"
        gathered.mkdir(parents=True, exist_ok=True)
        for folder in folders:
            for path in sorted((data / folder).iterdir()):
                if path.suffix in (".mp4", ".gif"):
                    shutil.copy(path, gathered / f"{folder.replace('/', '-')}-{path.name}")
        yield make_probe(gathered, out / name, seed=0, pairs_per_dimension=48, dimensions=REAL_DIMENSIONS, seconds=2.0)


def markdown(result: dict[str, Any]) -> str:
    """The tables of ``docs/animereward-mini.md``."""
    lines: list[str] = []
    for name, found in result["sets"].items():
        lines += [f"### {name}", ""]
        lines += [
            "| dimension | pairs | floor | mini, without ties | target | mini, with ties | target "
            "| best baseline, without ties | best baseline, with ties |"
        ]
        lines += ["|---|---|---|---|---|---|---|---|---|"]
        for dimension, scores in found.items():
            mini = scores["mini"]
            real = name.startswith("real")
            target = REAL_TARGET if real else TARGETS[dimension]
            tie_target = mini["majority_floor"] + TIE_TARGET
            lines.append(
                f"| {dimension} | {mini['n']} | {mini['majority_floor']:.3f} | {shown(mini, 'without_ties', target)} | "
                f"{target:.2f} | {shown(mini, 'with_ties_crossfit', None if real else tie_target)} | "
                f"{'' if real else f'{tie_target:.3f}'} | {best_baseline(scores, 'without_ties')} | "
                f"{best_baseline(scores, 'with_ties_crossfit')} |"
            )
        lines += ["", "Without ties by type of fault:", ""]
        lines += ["| dimension | " + "type: accuracy (decided pairs) |", "|---|---|"]
        for dimension, scores in found.items():
            kinds = scores["mini"]["without_ties_by_type"].items()
            lines.append(f"| {dimension} | " + "; ".join(f"{k}: {v[0]:.3f} ({v[1]})" for k, v in kinds) + " |")
        lines.append("")
    return "\n".join(lines)


def best_baseline(scores: dict[str, Any], key: str) -> str:
    """Name and accuracy of the best baseline, and whether it is the better scorer."""
    best = max((name for name in scores if name != "mini"), key=lambda name: scores[name][key])
    better = scores[best][key] > scores["mini"][key]
    return f"{best.replace('_', ' ')} {scores[best][key]:.3f}{' **(better than mini)**' if better else ''}"


def shown(scores: dict[str, Any], key: str, target: float | None) -> str:
    low, high = scores[f"{key}_ci95"]
    missed = target is not None and scores[key] < target
    return f"{scores[key]:.3f} [{low:.3f}, {high:.3f}]{' **missed**' if missed else ''}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", action="append", default=[], help="anime-probe, anime-probe:full or a pairs.csv")
    parser.add_argument("--real", type=Path, help="folder made by --make-real; all its sets are measured")
    parser.add_argument("--make-real", nargs=2, type=Path, metavar=("DATA", "FOLDER"))
    parser.add_argument("--out", type=Path, default=ROOT / "perf" / "results" / "mini.json")
    parser.add_argument("--store", type=Path, help="scores of single clips; beside --out by default")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--markdown", action="store_true", help="print the tables")
    parser.add_argument("--tables", type=Path, metavar="RESULT", help="print the tables of an earlier measurement")
    options = parser.parse_args()
    if options.tables:
        print(markdown(json.loads(options.tables.read_text())))
        return
    if options.make_real:
        for path in make_real(*options.make_real):
            print(path)
        return
    from rewardbench.synth.probe import load

    sets: dict[str, Path] = {}
    for name in options.set:
        base, _, variant = name.partition(":")
        sets[name] = Path(name) if name.endswith(".csv") else load(base, variant or None)
    if options.real:
        sets.update({p.parent.name: p for p in sorted(options.real.glob("*/pairs.csv"))})
    fingerprint = model().fingerprint()
    result: dict[str, Any] = {"machine": platform.platform(), "processor": platform.machine(), "sets": {}}
    result |= {"python": platform.python_version(), "numpy": np.__version__, "fingerprint": fingerprint}
    seconds: list[dict[str, float]] = []
    for name, pairs in sets.items():
        with pairs.open(newline="") as file:
            rows = list(csv.DictReader(file))
        store = (options.store or options.out.with_suffix(".clips")).with_suffix(
            f".{name.replace(':', '-').replace('/', '_')}.jsonl"
        )
        store.parent.mkdir(parents=True, exist_ok=True)
        clips = measured(pairs, rows, store, options.workers, features_key())
        seconds += [{k: c[k] for k in ("decode_s", "model_s")} for c in clips.values()]
        result["sets"][name] = evaluate(rows, clips, DIMENSIONS)
    result["cpu_seconds_per_clip"] = {
        k: round(float(np.median([s[k] for s in seconds])), 4) for k in ("decode_s", "model_s")
    }
    weights = Path(model().weights["mini"])
    result["weights_bytes"] = weights.stat().st_size
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(markdown(result) if options.markdown else options.out)


if __name__ == "__main__":
    main()
