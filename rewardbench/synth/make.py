"""The same kind of set from a folder of the user's own clips: controlled degradations, pairs with known answers, ties.

What can be known of a clip that nobody drew is less. Smoothness, appeal, motion (by freezing) and image-video (by
style drift away from the clip's own first frame) need nothing but the clip. Text-video needs to know what is wrong
with a caption, so it is made only on request and where prompts are given, from the plainest case: one prompt, the clip
it belongs to, and a clip of another prompt. Character needs a mask of the person; the recolouring of a region found by
motion and position is a rough stand-in, so it too is made only on request.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rewardbench.errors import ClipError, InputError
from rewardbench.synth.pairs import TIE_SHARE, Pair, Specimen, choose_pairs, write_tables
from rewardbench.synth.probe import Progress
from rewardbench.synth.recipes import EFFECTS, SEED_TIES

CLIP_SUFFIXES = (".mp4", ".mov", ".webm", ".mkv", ".avi", ".ts", ".gif")
TYPES: dict[str, tuple[str, ...]] = {
    "smoothness": ("flicker", "frame_drop", "warp", "stutter", "jitter"),
    "motion": ("freeze",),
    "appeal": ("blur", "compression", "noise", "colour_cast"),
    "image_video": ("style_drift",),
    "character": ("identity_change",),
}
DEFAULT_DIMENSIONS = ("smoothness", "motion", "appeal", "image_video")
NEED_MOVEMENT = ("smoothness", "motion")
MAX_ROUNDS = 5
"""A clip gets at most so many pairs of degraded copies for each dimension."""
MIN_MOVEMENT = 0.5
"""Mean difference of consecutive frames, in grey levels, below which a clip counts as still: freezing, stutter and
dropped frames would change nothing that can be seen, so it serves appeal and image-video only."""
_CODECS = ("h264", "vp9", "jpeg", "mpeg4", "webp")
_CRF = 16


@dataclass(frozen=True)
class _Source:
    """One of the user's clips, cut and sized: where it is and what may be asked of it."""

    path: Path
    name: str
    prompt: str
    moves: bool


def make_probe(
    clips_folder: str | os.PathLike[str],
    out_folder: str | os.PathLike[str],
    *,
    seed: int = 0,
    pairs_per_dimension: int = 30,
    dimensions: Sequence[str] = DEFAULT_DIMENSIONS,
    seconds: float = 3.0,
    long_side: int = 512,
    progress: Progress | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> Path:
    """Write a benchmark of degraded copies of the clips in a folder.

    Its pairs have a column ``labels_by`` that says ``construction``, so that no result of it speaks of people.

    Args:
        clips_folder: searched for clips (mp4, mov, webm, mkv, avi, ts, gif), not in its subfolders. A ``clips.csv``
            there with the columns ``video`` and ``prompt`` gives prompts.
        out_folder: made if missing; ``videos``, ``images``, ``clips.csv`` and ``pairs.csv`` as in `anime-probe`.
        seed: draws of the degradations and the choice of pairs.
        pairs_per_dimension: about so many pairs of every dimension, a third of them ties; more clips or fewer pairs
            are needed where the set comes out smaller.
        dimensions: of smoothness, motion, appeal, image_video, character, text_video.
        seconds: longer clips are cut to their first seconds.
        long_side: larger clips are scaled down to this many pixels.
        progress: called as ``progress("degrading", done, total)``.
        tell: is given one sentence about clips that cannot be read and were left out.

    Returns:
        Path of ``pairs.csv``.

    Raises:
        InputError: no readable clip in the folder, a bad option, or text_video without two different prompts.
    """
    folder, out = Path(clips_folder), Path(out_folder)
    _check_options(folder, out, pairs_per_dimension, dimensions, seconds)
    prompts = _prompts(folder)
    if "text_video" in dimensions and len(set(prompts.values())) < 2:
        raise InputError(
            f"text_video needs {folder / 'clips.csv'} with the columns video and prompt, two prompts or more"
        )
    rng = np.random.default_rng([seed, 6])
    sources = _sources(folder, prompts, seconds, long_side, tell)
    specimens = _plan(sources, dimensions, round(pairs_per_dimension * (1 - TIE_SHARE)), rng)
    pairs = choose_pairs(specimens, rng, per_dimension=pairs_per_dimension, per_cluster=3 * MAX_ROUNDS)
    pairs = [p for p in (_only(pair, dimensions) for pair in pairs) if p is not None]
    if "text_video" in dimensions:
        pairs += _prompt_pairs(sources, specimens, pairs_per_dimension, rng)
    if not pairs:
        raise InputError(f"the clips in {folder} give no pair of {', '.join(dimensions)}: none of them moves")
    named = {s.video for pair in pairs for s in (pair.a, pair.b)}
    used = [s for s in specimens if s.video in named]
    (out / "videos").mkdir(parents=True, exist_ok=True)
    (out / "images").mkdir(exist_ok=True)
    by_name = {source.name: source for source in sources}
    for done, _ in enumerate(_write_clips(out, used, by_name, seconds, long_side), start=1):
        if progress is not None:
            progress("degrading", done, len(used))
    return write_tables(out, used, pairs)


def _check_options(folder: Path, out: Path, pairs: int, dimensions: Sequence[str], seconds: float) -> None:
    known = (*TYPES, "text_video")
    for dimension in dimensions:
        if dimension not in known:
            raise InputError(f"cannot make pairs of dimension {dimension!r}; use some of {', '.join(known)}")
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder of clips")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} is not empty; name a new folder for the set")
    if pairs < 1 or not seconds > 0:
        raise InputError("pairs per dimension must be at least 1 and seconds above 0")


def _prompts(folder: Path) -> dict[str, str]:
    """File name to prompt, from ``clips.csv`` beside the clips."""
    import csv

    table = folder / "clips.csv"
    if not table.is_file():
        return {}
    with table.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    return {row["video"]: row["prompt"] for row in rows if row.get("video") and row.get("prompt")}


def _sources(
    folder: Path, prompts: dict[str, str], seconds: float, long_side: int, tell: Callable[[str], None]
) -> list[_Source]:
    found = sorted(p for p in folder.iterdir() if p.suffix.lower() in CLIP_SUFFIXES and p.is_file())
    if not found:
        raise InputError(f"{folder} holds no clip ({', '.join(CLIP_SUFFIXES)})")
    sources: list[_Source] = []
    problems: list[str] = []
    for path in found:
        try:
            frames, _ = _read(path, seconds, long_side)
        except ClipError as error:
            problems.append(str(error))
            continue
        moves = len(frames) > 2 and float(np.abs(np.diff(frames.astype(np.int16), axis=0)).mean()) >= MIN_MOVEMENT
        sources.append(_Source(path, f"c{len(sources):03d}", prompts.get(path.name, ""), moves))
    if not sources:
        raise InputError(f"no clip in {folder} can be read: {problems[0]}")
    if problems:
        left = "1 clip" if len(problems) == 1 else f"{len(problems):,} clips"
        tell(f"{left} of {len(found):,} left out, which cannot be read; the first: {problems[0]}")
    return sources


def _read(path: Path, seconds: float, long_side: int) -> tuple[np.ndarray, float]:
    """The first ``seconds`` of a clip, even-sized, uint8 (T, H, W, 3), and its frame rate."""
    from rewardbench.video import probe, read_frames
    from rewardbench_plugin import FrameSpec, Sampling, Size

    declared = probe(path).fps or 24.0
    count = max(2, round(seconds * declared))
    spec = FrameSpec("pyav", Sampling("head", count=count), Size(long_side=long_side), "pil-bicubic")
    frames = read_frames(path, [spec])[spec]
    height, width = frames.rgb.shape[1] // 2 * 2, frames.rgb.shape[2] // 2 * 2
    if height < 16 or width < 16:
        raise ClipError(f"{path} is too small to be degraded ({frames.rgb.shape[2]}x{frames.rgb.shape[1]})")
    return frames.rgb[:, :height, :width], frames.fps or declared


def _plan(
    sources: Sequence[_Source], dimensions: Sequence[str], decided: int, rng: np.random.Generator
) -> list[Specimen]:
    """Clean clips and their degradations: per dimension as many rounds over the clips as ``decided`` pairs take.

    A round gives every clip two copies of the dimension's next type, and these at least two decided pairs.
    """
    moving = sum(source.moves for source in sources)
    rounds = {}
    for dimension in TYPES:
        usable = moving if dimension in NEED_MOVEMENT else len(sources)
        rounds[dimension] = min(MAX_ROUNDS, -(-decided // max(1, 2 * usable)))
    specimens = []
    for number, source in enumerate(sources):
        plans = [("none", 0.0, 0)]
        for dimension in dimensions:
            if dimension == "text_video" or (dimension in NEED_MOVEMENT and not source.moves):
                continue
            for turn in range(rounds[dimension]):
                name = TYPES[dimension][(number + turn) % len(TYPES[dimension])]
                plans += _severities(name, number + turn, rng)
        slices = {"source": source.path.name, "labels_by": "construction"}
        for i, (name, severity, draw) in enumerate(plans):
            effect = EFFECTS[name]
            levels = dict.fromkeys(effect.neutral, 1.0) | dict.fromkeys(effect.lowers, 1.0 - severity)
            video = f"videos/{source.name}-{i:02d}.mp4"
            image = f"images/{source.name}.png"
            specimens.append(Specimen(video, source.name, source.prompt, image, name, severity, draw, levels, slices))
    return specimens


def _severities(name: str, turn: int, rng: np.random.Generator) -> list[tuple[str, float, int]]:
    """Two degraded copies: two severities of one draw or, every third time, two draws of one severity."""
    first, second = (int(s) for s in rng.integers(2**31, size=2))
    if name in SEED_TIES and turn % 3 == 2:
        severity = round(float(rng.uniform(0.5, 0.9)), 2)
        return [(name, severity, first), (name, severity, second)]
    return [
        (name, round(float(rng.uniform(0.35, 0.5)), 2), first),
        (name, round(float(rng.uniform(0.8, 1.0)), 2), first),
    ]


def _only(pair: Pair, dimensions: Sequence[str]) -> Pair | None:
    """The pair with the labels of the wanted dimensions; text-video ties need a prompt."""
    kept = {d: a for d, a in pair.labels.items() if d in dimensions and (d != "text_video" or pair.a.prompt)}
    return replace(pair, labels=kept) if kept else None


def _prompt_pairs(
    sources: Sequence[_Source], specimens: Sequence[Specimen], wanted: int, rng: np.random.Generator
) -> list[Pair]:
    """Text-video: the clip a prompt belongs to against a clip with another prompt."""
    clean = {s.cluster: s for s in specimens if s.treatment == "none"}
    pairs = []
    with_prompt = [s for s in sources if s.prompt]
    options = [(a, b) for a in with_prompt for b in with_prompt if a.prompt != b.prompt]
    for count, k in enumerate(rng.permutation(len(options))[: round(wanted * (1 - TIE_SHARE))]):
        right, wrong = (clean[s.name] for s in options[k])
        wrong = replace(wrong, treatment="wrong_facts", severity=1.0)
        wrong = replace(wrong, prompt=right.prompt, image=right.image, cluster=right.cluster, slices=right.slices)
        a, b = (right, wrong) if count % 2 else (wrong, right)
        pairs.append(Pair(a, b, {"text_video": "A" if count % 2 else "B"}))
    neutral = [s for s in specimens if s.prompt and s.treatment != "none" and "text_video" in s.levels]
    n_ties = round(len(pairs) * TIE_SHARE / (1 - TIE_SHARE))
    for count, k in enumerate(rng.permutation(len(neutral))[:n_ties]):
        treated, whole = neutral[k], clean[neutral[k].cluster]
        a, b = (treated, whole) if count % 2 else (whole, treated)
        pairs.append(Pair(a, b, {"text_video": "tie"}))
    return pairs


def _write_clips(
    out: Path, used: Sequence[Specimen], by_name: dict[str, _Source], seconds: float, long_side: int
) -> Iterator[str]:
    from PIL import Image

    from rewardbench.synth.degradations import degrade
    from rewardbench.video import write_video

    at, clip, fps = "", np.zeros((0, 0, 0, 3), np.uint8), 0.0
    for number, specimen in enumerate(used):
        name = Path(specimen.video).name.split("-")[0]
        if name != at:
            at, (clip, fps) = name, _read(by_name[name].path, seconds, long_side)
            Image.fromarray(clip[0]).save(out / "images" / f"{name}.png")
        frames = clip
        if specimen.treatment not in ("none", "wrong_facts"):
            codec = _CODECS[number % len(_CODECS)] if specimen.treatment == "compression" else "h264"
            frames = degrade(clip, specimen.treatment, specimen.severity, specimen.seed, codec=codec)
        write_video(out / specimen.video, frames, fps, crf=_CRF)
        yield specimen.video
