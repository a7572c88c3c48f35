"""What a plugin sees of a video: the clip's identity, what to sample from it, and the sampled frames."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field
from typing import Any, Mapping, Optional, Tuple, Union

import numpy as np

READERS = ("pyav", "decord", "torchcodec")
RESIZE_FILTERS = (
    "none",
    "bicubic-antialias",
    "bilinear-antialias",
    "pil-bicubic",
    "pil-bilinear",
    "pil-box",
)
SAMPLING_RULES = ("all", "count", "count-repeat", "stride", "fps", "head", "middle", "windows", "seconds")
ROUNDING_RULES = ("floor", "round", "half-even")


@dataclass(frozen=True)
class Clip:
    """One clip as the benchmark or the user named it.

    Attributes:
        clip_id: unique name inside one run.
        video: path of the video file.
        prompt: the text the clip was generated from, or None where unknown.
        image: path of the conditioning (first-frame) image, or None.
        metadata: further columns of the clip's row, as text.
    """

    clip_id: str
    video: str
    prompt: Optional[str] = None
    image: Optional[str] = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Sampling:
    """Which frames of a clip are taken, as data (so that it can stand in a key and in provenance).

    The frame pool is the first ``max_frames`` frames (all, if None). From a pool of ``n`` frames:

    * ``rule="all"``: every frame;
    * ``rule="count"``: ``count`` frames spread as ``linspace(0, n - 1, count)``; all frames where n <= count;
    * ``rule="count-repeat"``: the same, but always ``count`` frames: a shorter clip repeats some (VideoScore's
      benchmark);
    * ``rule="stride"``: ``count`` frames at ``arange(0, n, n / count)``; all frames where n <= count
      (AnimeReward, VideoScore's example script);
    * ``rule="fps"``: ``n / video_fps * fps`` frames, at least ``min_count``, at most ``count`` (if given) and ``n``,
      rounded half to even to a multiple of ``multiple``, spread as ``linspace(0, n - 1, …)`` (``multiple=2``,
      ``min_count=4``, ``count=768``, ``rounding="half-even"`` is Qwen2-VL's and VideoReward's rule, except that a
      clip of one frame gives that frame where they refuse it);
    * ``rule="head"``: the first ``count`` frames;
    * ``rule="middle"``: ``count`` consecutive frames from the middle of the pool;
    * ``rule="windows"``: the pool is first thinned to ``fps`` frames a second (``n * fps / video_fps``, rounded down,
      at ``linspace(0, n - 1, …)``); of these, ``count / multiple`` windows of ``multiple`` consecutive ones each, their
      centres spread over the thinned clip (VideoAlign's ``multi_pts``). Windows of a short clip overlap, so indices
      may repeat and step back. A clip with fewer than ``multiple + 1`` thinned frames is refused;
    * ``rule="seconds"``: for each whole second from 0 to the last frame's time (rounded half to even) the frame
      nearest in time, the earlier of two as near, at most ``count``; below one frame a second frames repeat
      (CogVLM2-Video's and VisionReward's ``chat`` strategy).

    Positions become indices by ``rounding``: ``floor``, ``round`` (half away from zero) or ``half-even``.
    """

    rule: str = "count"
    count: Optional[int] = 16
    fps: Optional[float] = None
    max_frames: Optional[int] = None
    min_count: int = 1
    multiple: int = 1
    rounding: str = "floor"

    def __post_init__(self) -> None:
        if self.rule not in SAMPLING_RULES:
            raise ValueError(f"unknown sampling rule {self.rule!r}; use one of {', '.join(SAMPLING_RULES)}")
        if self.rounding not in ROUNDING_RULES:
            raise ValueError(f"unknown rounding {self.rounding!r}; use one of {', '.join(ROUNDING_RULES)}")
        if self.rule == "fps" and not (self.fps is not None and self.fps > 0):
            raise ValueError("sampling rule 'fps' needs fps above 0")
        if self.rule not in ("all", "fps") and (self.count is None or self.count < 1):
            raise ValueError(f"sampling rule {self.rule!r} needs count of at least 1")
        if self.multiple < 1 or self.min_count < 1 or (self.max_frames is not None and self.max_frames < 1):
            raise ValueError("multiple, min_count and max_frames are at least 1")
        if self.rule == "fps" and self.count is not None and self.count < 1:
            raise ValueError("sampling rule 'fps' needs count of at least 1, or None")
        if self.rule == "windows":
            self._check_windows()

    def indices(self, total: int, video_fps: float, pts: Optional[np.ndarray] = None) -> np.ndarray:
        """Frame indices, int64 (K,), for a clip of ``total`` decodable frames at ``video_fps``; ascending, but for
        ``windows``.

        ``pts`` float64 (total,) are the frames' times in seconds; only ``seconds`` looks at them, and takes a regular
        grid from 0 where they are None.
        """
        if total < 1:
            raise ValueError("a clip without frames cannot be sampled")
        pool = total if self.max_frames is None else min(total, self.max_frames)
        if self.rule in ("fps", "windows", "seconds"):
            return self._by_time(pool, video_fps, pts)
        k = int(self.count or 1)
        if self.rule == "count-repeat":
            return self._spread(pool, k)
        if self.rule == "all" or pool <= k:
            return np.arange(pool, dtype=np.int64)
        if self.rule in ("head", "middle"):
            return np.arange(k, dtype=np.int64) + ((pool - k) // 2 if self.rule == "middle" else 0)
        return self._spread(pool, k) if self.rule == "count" else self._round(np.arange(k) * (pool / k))

    def _by_time(self, pool: int, video_fps: float, pts: Optional[np.ndarray]) -> np.ndarray:
        if self.rule == "seconds":
            return self._nearest(_grid(pool, video_fps) if pts is None else pts[:pool])
        if self.rule == "windows":
            return self._windows(pool, video_fps)
        return self._spread(pool, self._fps_count(pool, video_fps))

    def _fps_count(self, pool: int, video_fps: float) -> int:
        """How many frames the ``fps`` rule takes (qwen-vl-utils' ``smart_nframes``)."""
        if not video_fps > 0:
            raise ValueError("sampling by fps needs the clip's frame rate, which its container does not state")
        wanted = max(pool / video_fps * float(self.fps or 0.0), self.min_count)
        most = pool if self.count is None else min(pool, self.count)
        wanted = min(wanted, most // self.multiple * self.multiple)
        return max(1, round(wanted / self.multiple) * self.multiple)  # Python's round: half to even

    def _check_windows(self) -> None:
        if not (self.fps is not None and self.fps > 0):
            raise ValueError("sampling rule 'windows' needs fps above 0")
        if self.multiple % 2 or int(self.count or 0) % self.multiple:
            raise ValueError("sampling rule 'windows' needs an even multiple, and a count that is a multiple of it")

    def _windows(self, pool: int, video_fps: float) -> np.ndarray:
        if not video_fps > 0:
            raise ValueError("sampling by fps needs the clip's frame rate, which its container does not state")
        thinned = int(pool * float(self.fps or 0.0) // video_fps)
        if thinned < self.multiple + 1:
            raise ValueError(
                f"the clip has {thinned} frames at {self.fps:g} frames a second; windows of {self.multiple} need at "
                f"least {self.multiple + 1}"
            )
        grid = self._round(_linspace32(0, pool - 1, thinned))
        half = self.multiple // 2
        centres = self._round(_linspace32(half, thinned - half - 1, int(self.count or 0) // self.multiple))
        windows: np.ndarray = grid[(centres[:, None] + np.arange(-half, half)).reshape(-1)]
        return windows

    def _nearest(self, pts: np.ndarray) -> np.ndarray:
        times = pts.astype(np.float32)  # the reader of the published scripts gives float32, which decides ties
        last = max(0, int(np.rint(times.max())))
        seconds = np.arange(min(last + 1, int(self.count or 1)), dtype=np.float32)
        nearest: np.ndarray = np.array([np.abs(times - second).argmin() for second in seconds], dtype=np.int64)
        return nearest

    def _spread(self, pool: int, count: int) -> np.ndarray:
        return self._round(np.linspace(0, pool - 1, count))

    def _round(self, positions: np.ndarray) -> np.ndarray:
        if self.rounding == "floor":
            rounded = np.floor(positions)
        elif self.rounding == "round":
            rounded = np.floor(positions + 0.5)
        else:
            rounded = np.round(positions)
        indices: np.ndarray = rounded.astype(np.int64)
        return indices


def _linspace32(start: int, stop: int, count: int) -> np.ndarray:
    """``count`` evenly spaced float32 values as torch computes them on processors with fused multiply-add: from both
    ends towards the middle, each rounded once.

    Where a position lies half-way between two frames, float64 throughout rounds it elsewhere (3 % of odd counts).
    """
    if count == 1:
        return np.array([start], np.float32)
    step = np.float64(np.float32(stop - start) / np.float32(count - 1))
    number = np.arange(count, dtype=np.float64)
    spread = np.where(number < count // 2, start + step * number, stop - step * number[::-1])
    return spread.astype(np.float32)


def _grid(total: int, video_fps: float) -> np.ndarray:
    if not video_fps > 0:
        raise ValueError("sampling by seconds needs the clip's frame rate, which its container does not state")
    times: np.ndarray = np.arange(total) / video_fps
    return times


@dataclass(frozen=True)
class Size:
    """The size sampled frames are brought to.

    Exactly one of the forms applies: ``height`` and ``width`` (aspect ratio not kept), ``short_side`` (kept),
    ``long_side`` (kept, never enlarges), or ``max_pixels`` (kept: both sides become multiples of ``multiple``, at
    most ``max_pixels`` and at least ``min_pixels`` pixels, Qwen2-VL's rule). ``center_crop`` (height, width) is cut
    after resizing.
    """

    height: Optional[int] = None
    width: Optional[int] = None
    short_side: Optional[int] = None
    long_side: Optional[int] = None
    max_pixels: Optional[int] = None
    min_pixels: int = 0
    multiple: int = 1
    center_crop: Optional[Tuple[int, int]] = None

    def __post_init__(self) -> None:
        forms = [self.height is not None, self.short_side is not None, self.long_side is not None]
        forms.append(self.max_pixels is not None)
        if (self.height is None) != (self.width is None):
            raise ValueError("height and width go together")
        if sum(forms) != 1:
            raise ValueError("a size is exactly one of height+width, short_side, long_side, max_pixels")

    def target(self, height: int, width: int) -> Tuple[int, int]:
        """(height, width) after resizing and before the crop."""
        if self.height is not None and self.width is not None:
            return self.height, self.width
        if self.short_side is not None:
            if height <= width:  # the product first: 720 * (256 / 480) can fall below 384
                return self.short_side, max(1, int(self.short_side * width / height))
            return max(1, int(self.short_side * height / width)), self.short_side
        if self.long_side is not None:
            scale = min(1.0, self.long_side / max(height, width))
            return max(1, round(height * scale)), max(1, round(width * scale))
        return self._pixel_budget(height, width)

    def _pixel_budget(self, height: int, width: int) -> Tuple[int, int]:
        assert self.max_pixels is not None
        m = self.multiple
        h, w = max(m, round(height / m) * m), max(m, round(width / m) * m)
        if h * w > self.max_pixels:
            scale = math.sqrt(height * width / self.max_pixels)
            h, w = max(m, math.floor(height / scale / m) * m), max(m, math.floor(width / scale / m) * m)
        elif h * w < self.min_pixels:
            scale = math.sqrt(self.min_pixels / (height * width))
            h, w = math.ceil(height * scale / m) * m, math.ceil(width * scale / m) * m
        return h, w


@dataclass(frozen=True)
class FrameSpec:
    """The frames a plugin asks the host for: reader, sampling, size and resize filter. Equal specs are decoded once.

    ``size`` None with ``filter`` ``none`` keeps the decoded size; ``filter`` names the one implementation used
    (``*-antialias`` give torchvision's values for uint8 tensors, ``pil-*`` is Pillow's).
    """

    reader: str = "pyav"
    sampling: Sampling = field(default_factory=Sampling)
    size: Optional[Size] = None
    filter: str = "none"

    def __post_init__(self) -> None:
        if self.reader not in READERS:
            raise ValueError(f"unknown reader {self.reader!r}; use one of {', '.join(READERS)}")
        if self.filter not in RESIZE_FILTERS:
            raise ValueError(f"unknown resize filter {self.filter!r}; use one of {', '.join(RESIZE_FILTERS)}")
        if (self.filter == "none") != (self.size is None):
            raise ValueError("size and filter go together: a size needs a named filter, and 'none' keeps the size")

    def to_json(self) -> Mapping[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> FrameSpec:
        size = None
        if data["size"] is not None:
            fields = dict(data["size"])
            if fields.get("center_crop") is not None:
                fields["center_crop"] = tuple(fields["center_crop"])
            size = Size(**fields)
        return cls(data["reader"], Sampling(**data["sampling"]), size, data["filter"])

    def key(self) -> str:
        """Short hash, stable across processes and versions, that stands in every score's key."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()[:16]


class _Path:
    """The type of :data:`PATH`."""

    def __repr__(self) -> str:
        return "PATH"

    def key(self) -> str:
        return "path"


PATH = _Path()
"""In ``RewardCard.inputs``: the plugin opens the file itself (its provenance then says ``decode=plugin``)."""

InputSpec = Union[FrameSpec, _Path]


@dataclass(frozen=True)
class Frames:
    """Sampled, resized frames of one clip.

    Attributes:
        rgb: uint8 (T, H, W, 3), RGB, 0..255.
        indices: int64 (T,), positions among the decodable frames.
        pts: float64 (T,), presentation times in seconds, as the container has them (the first need not be 0).
        fps: average frame rate of the clip, frames per second.
        total: number of frames that really decode (headers can lie).
        height, width: size of the displayed frames (rotation applied) before resizing, pixels.
    """

    rgb: np.ndarray
    indices: np.ndarray
    pts: np.ndarray
    fps: float
    total: int
    height: int
    width: int
