"""Decoded frames kept in memory, so that a small set is decoded once and not in every epoch."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from rewardbench_plugin.clip import Frames, FrameSpec

CACHE_BYTES = 2 << 30


@dataclass
class FrameCache:
    """Frames of one spec by path; the least recently used make way above ``limit`` bytes."""

    spec: FrameSpec
    limit: int = CACHE_BYTES
    _kept: OrderedDict[str, Frames] = field(default_factory=OrderedDict)
    _bytes: int = 0

    def read(self, video: str) -> Frames:
        """The frames of a file.

        Raises:
            ClipError: it cannot be read.
        """
        from rewardbench.video import read_frames

        if video in self._kept:
            self._kept.move_to_end(video)
            return self._kept[video]
        frames = read_frames(video, [self.spec], threads=1)[self.spec]
        self._kept[video] = frames
        self._bytes += frames.rgb.nbytes
        while self._bytes > self.limit and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1].rgb.nbytes
        return frames
