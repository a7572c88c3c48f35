"""The clips plugins are examined on: the doctor's three drawn ones, and awkward ones made from them."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from rewardbench.doctor.bundle import bundled_clips
from rewardbench.video import content_hash, read_frames, write_video
from rewardbench_plugin.clip import Clip, FrameSpec, Sampling

LONG_FRAMES = 480
"""One minute at the bundled clips' 8 frames a second; every model of docs/models.md was made for less than 20 s."""


@dataclass(frozen=True)
class Clips:
    """Clips as the host hands them to plugins: with prompt, first-frame image and content hash.

    Attributes:
        ordinary: the three bundled clips (26 frames, 320x192, 8 frames a second).
        one_frame, odd_size, long: a single frame; 9 frames of 97x61 pixels; 480 frames of 64x48 pixels.
        corrupt: the first half of a bundled file, of which nothing can be decoded.
        copied: a bundled file under another name and id.
        unicode: a bundled file in a folder with spaces, quotes and letters outside ASCII.
    """

    ordinary: tuple[Clip, ...]
    one_frame: Clip
    odd_size: Clip
    long: Clip
    corrupt: Clip
    copied: Clip
    unicode: Clip


def make_clips(folder: Path) -> Clips:
    """Write the awkward clips into ``folder`` (about 0.3 s)."""
    ordinary = tuple(_marked(clip) for clip in bundled_clips())
    walk = ordinary[0]
    every = FrameSpec(sampling=Sampling("all", None))
    frames = read_frames(walk.video, [every])[every].rgb
    write_video(folder / "one-frame.mp4", frames[:1], 8.0)
    write_video(folder / "odd-size.mp4", np.ascontiguousarray(frames[:9, 40:101, 100:197]), 8.0, lossless=True)
    small = frames[:, 48:144:2, 96:224:2]
    there_and_back = np.concatenate([small, small[::-1]])
    repeated = there_and_back[np.arange(LONG_FRAMES) % len(there_and_back)]
    write_video(folder / "long.mp4", np.ascontiguousarray(repeated), 8.0)
    content = Path(walk.video).read_bytes()
    (folder / "corrupt.mp4").write_bytes(content[: len(content) // 2])
    shutil.copyfile(walk.video, folder / "another name.mp4")
    strange = folder / "Füße 歩く 🎬 it's"
    strange.mkdir(exist_ok=True)
    shutil.copyfile(walk.video, strange / "смех ñ.mp4")
    return Clips(
        ordinary=ordinary,
        one_frame=_like(walk, folder / "one-frame.mp4"),
        odd_size=_like(walk, folder / "odd-size.mp4"),
        long=_like(walk, folder / "long.mp4"),
        corrupt=_like(walk, folder / "corrupt.mp4"),
        copied=_like(walk, folder / "another name.mp4"),
        unicode=_like(walk, strange / "смех ñ.mp4"),
    )


def _like(clip: Clip, video: Path) -> Clip:
    """Another file with the prompt and image of ``clip``."""
    return _marked(replace(clip, clip_id=video.stem, video=str(video), metadata={"name": video.name}))


def _marked(clip: Clip) -> Clip:
    """The clip as plugins see it: the host puts the content hash among the metadata."""
    return replace(clip, metadata={**clip.metadata, "sha256": content_hash(clip.video)})
