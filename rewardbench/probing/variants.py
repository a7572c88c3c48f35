"""One treated copy of a clip: frames in, frames and the way to write them out."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewardbench.probing.treatments import BY_NAME
from rewardbench.synth.degradations import degrade

REFERENCE_CRF = 10
"""Working copies and their treated forms alike, so that encoding is no part of what a treatment changes. On a drawn
clip of 256 x 256 the mean error is 1.6 grey levels; a lossless file is 4.7 times as large."""
WEBM_CRF = 10
REMUXED = ("mkv", "mov")

ClipArray = NDArray[np.uint8]


@dataclass(frozen=True)
class Made:
    """What is written: ``suffix`` chooses the container, ``encoder`` are arguments of ``write_video``."""

    frames: ClipArray
    fps: float
    suffix: str = ".mp4"
    encoder: dict[str, Any] = field(default_factory=lambda: {"crf": REFERENCE_CRF})


def suffix_of(treatment: str, level: str) -> str:
    """File name suffix of a treated copy."""
    return f".{level}" if treatment == "container" else ".mp4"


def is_remuxed(treatment: str, level: str) -> bool:
    """Whether the copy has the reference's own stream, not a new one."""
    return treatment == "container" and level in REMUXED


def treated(frames: ClipArray, fps: float, treatment: str, level: str, seed: int) -> Made | None:
    """A treated copy, or None where the treatment changes nothing on this clip (it is too short, or stands still).

    Args:
        frames: uint8 (T, H, W, 3) of the working copy, even sizes.
        fps: its frame rate.
        treatment, level: of :data:`rewardbench.probing.treatments.TREATMENTS`, but those that leave the file alone.
        seed: draws of degradations and of the shuffled order.
    """
    if BY_NAME[treatment].has_doses:
        changed, rate = degrade(frames, treatment, float(level), seed), fps
    elif treatment == "reencode":
        return Made(frames, fps, encoder={"crf": int(level.split()[1])})
    elif treatment == "container":
        return Made(frames, fps, ".webm", {"codec": "libvpx-vp9", "crf": WEBM_CRF})
    elif treatment == "resolution":
        changed, rate = _scaled(frames, float(Fraction(level))), fps
    elif treatment == "speed":
        return Made(frames, fps * float(Fraction(level))) if len(frames) > 1 else None
    else:
        changed, rate = _rearranged(frames, fps, treatment, level, seed)
    if changed.shape == frames.shape and np.array_equal(changed, frames):
        return None
    return Made(changed, rate)


def _rearranged(frames: ClipArray, fps: float, treatment: str, level: str, seed: int) -> tuple[ClipArray, float]:
    total = len(frames)
    if treatment == "frame_rate":
        return (frames[::2], fps / 2) if total > 3 else (frames, fps)
    if treatment == "length":
        half = total // 2
        if half < 2:
            return frames, fps
        return (frames[:half] if level == "first half" else frames[-half:]), fps
    if treatment == "reversed":
        return np.ascontiguousarray(frames[::-1]), fps
    if treatment == "shuffled":
        return frames[np.random.default_rng([seed & 0xFFFFFFFF, 7]).permutation(total)], fps
    raise AssertionError(f"{treatment} makes no file")


def _scaled(frames: ClipArray, part: float) -> ClipArray:
    """Every frame smaller, with PIL's antialiased bicubic filter; sides stay even and at least 16 pixels."""
    from PIL import Image

    height, width = (max(16, round(side * part / 2) * 2) for side in frames.shape[1:3])
    return np.stack([np.asarray(Image.fromarray(f).resize((width, height), Image.Resampling.BICUBIC)) for f in frames])


def remux(source: Path, target: Path) -> None:
    """The packets of a file in another container, undecoded; equal bytes on every machine with the same PyAV."""
    import os

    import av

    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    formats = {".mkv": "matroska", ".mov": "mov"}
    try:
        with (
            av.open(str(source)) as reading,
            av.open(str(partial), "w", format=formats[target.suffix], options={"fflags": "+bitexact"}) as writing,
        ):
            stream = reading.streams.video[0]
            copied = writing.add_stream_from_template(stream)
            for packet in reading.demux(stream):
                if packet.dts is None:
                    continue  # the flush packet
                packet.stream = copied
                writing.mux(packet)
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
