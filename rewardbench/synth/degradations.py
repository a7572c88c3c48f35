"""Controlled degradations of any clip, drawn or real: one named fault, a severity in [0, 1], a seed.

Every degradation is exact identity at severity 0, deterministic in ``(frames, name, severity, seed)``, and monotone:
the random draws depend on the seed alone and the severity only scales them (or selects nested sets of frames), so a
clip at severity 0.8 carries the fault of severity 0.4 and more of it. Lengths are relative to the short side of the
frame, so that a severity means the same at every resolution.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewardbench.errors import InputError
from rewardbench.synth.codecs import CODECS, recompress

ClipArray = NDArray[np.uint8]
Floats = NDArray[np.float32]

MAX_FLICKER_GAIN = 0.35
MAX_HELD_SHARE = 0.75
MAX_DROPPED_SHARE = 0.65
DROP_BURST = 3
MAX_JITTER = 0.02  # of the short side, standard deviation of a frame's offset
MAX_WARP = 0.02  # of the short side, standard deviation of a pixel's offset
MAX_BLUR_SIGMA = 0.015  # of the short side
MAX_NOISE_SIGMA = 45.0  # grey levels
MAX_CAST_GAIN = 0.5
MAX_DRIFT_HUE = 1.2  # radians
MAX_IDENTITY_HUE = 2.6  # radians
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class DegradationInfo:
    """What a degradation does.

    Attributes:
        affects: AnimeReward dimensions that the fault lowers by construction.
        description: one sentence.
    """

    affects: tuple[str, ...]
    description: str


DEGRADATIONS: dict[str, DegradationInfo] = {
    "flicker": DegradationInfo(("smoothness",), "the brightness of the whole frame changes at random between frames"),
    "stutter": DegradationInfo(("smoothness",), "frames are held at irregular moments, then playback jumps ahead"),
    "frame_drop": DegradationInfo(("smoothness",), "short bursts of frames are missing, so that the motion jumps"),
    "jitter": DegradationInfo(("smoothness",), "the whole frame is displaced at random between frames"),
    "warp": DegradationInfo(("smoothness",), "lines melt: a smooth local displacement that changes in time"),
    "blur": DegradationInfo(("appeal",), "Gaussian blur of every frame"),
    "noise": DegradationInfo(("appeal",), "Gaussian noise, independent in every frame and channel"),
    "compression": DegradationInfo(("appeal",), "a real codec round trip at low quality (option codec)"),
    "colour_cast": DegradationInfo(("appeal", "image_video"), "channel gains tint every frame, the first included"),
    "freeze": DegradationInfo(("motion",), "from some moment on the picture stands still; at severity 1 throughout"),
    "style_drift": DegradationInfo(
        ("image_video",), "palette, saturation and line weight move away from the first frame as time goes on"
    ),
    "identity_change": DegradationInfo(
        ("character",), "the main moving, central region is recoloured from the middle of the clip on"
    ),
}


def degrade(frames: ClipArray, name: str, severity: float, seed: int = 0, *, codec: str = "h264") -> ClipArray:
    """The clip with one fault.

    Args:
        frames: uint8 (T, H, W, 3), RGB; any T, H, W of at least 1. Not changed.
        name: a key of :data:`DEGRADATIONS`.
        severity: in [0, 1]; 0 returns the clip as it is.
        seed: draws of the fault; equal seeds give equal draws at every severity.
        codec: for ``compression``, one of :data:`rewardbench.synth.codecs.CODECS`.

    Returns:
        uint8 (T', H, W, 3), a new array; T' < T for ``frame_drop`` only.

    Raises:
        InputError: unknown name or codec, severity outside [0, 1], or frames of another shape or type.
    """
    if name not in DEGRADATIONS:
        raise InputError(f"unknown degradation {name!r}: use one of {', '.join(DEGRADATIONS)}")
    if not 0.0 <= severity <= 1.0:
        raise InputError(f"severity {severity!r} of {name} must lie in [0, 1]")
    if codec not in CODECS:
        raise InputError(f"unknown codec {codec!r} of the compression degradation: use one of {', '.join(CODECS)}")
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or 0 in frames.shape:
        raise InputError(f"degrade takes uint8 frames (T, H, W, 3), not {frames.dtype} {frames.shape}")
    if severity == 0.0:
        return frames.copy()
    if name == "compression":
        return recompress(frames, codec, severity)
    rng = np.random.default_rng([seed & 0xFFFFFFFF, zlib.crc32(name.encode())])
    return _DRAW[name](frames, float(severity), rng)


# --- time ----------------------------------------------------------------------------------------------------------


def _flicker(frames: ClipArray, severity: float, rng: np.random.Generator) -> ClipArray:
    sign = np.where(np.arange(len(frames)) % 2 == 0, 1.0, -1.0) * rng.choice((-1.0, 1.0))
    swing = 0.5 * sign * rng.uniform(0.3, 1.0, len(frames)) + 0.5 * rng.uniform(-1.0, 1.0, len(frames))
    gains = 1.0 + severity * MAX_FLICKER_GAIN * swing
    levels = np.arange(256, dtype=np.float64)
    return np.stack([_to_uint8(levels * gain)[frame] for gain, frame in zip(gains, frames, strict=True)])


def _stutter(frames: ClipArray, severity: float, rng: np.random.Generator) -> ClipArray:
    total = len(frames)
    order = rng.permutation(np.arange(1, total)) if total > 1 else np.zeros(0, np.int64)
    held = set(order[: int(np.ceil(severity * MAX_HELD_SHARE * (total - 1)))].tolist())
    source = np.arange(total)
    for t in range(1, total):
        if t in held:
            source[t] = source[t - 1]
    return frames[source]


def _frame_drop(frames: ClipArray, severity: float, rng: np.random.Generator) -> ClipArray:
    total = len(frames)
    if total < 3:
        return frames.copy()
    starts = rng.permutation(np.arange(1, total - 1, DROP_BURST))
    order = np.concatenate([np.arange(s, min(s + DROP_BURST, total - 1)) for s in starts])
    dropped = order[: min(int(np.ceil(severity * MAX_DROPPED_SHARE * total)), len(order))]
    return np.delete(frames, dropped, axis=0)


def _freeze(frames: ClipArray, severity: float, rng: np.random.Generator) -> ClipArray:
    last = int(np.floor((1.0 - severity) * (len(frames) - 1)))
    return frames[np.minimum(np.arange(len(frames)), last)]


# --- place ---------------------------------------------------------------------------------------------------------


def _jitter(frames: ClipArray, severity: float, rng: np.random.Generator) -> ClipArray:
    from PIL import Image

    height, width = frames.shape[1:3]
    reach = MAX_JITTER * min(height, width)
    offsets = severity * reach * np.clip(rng.normal(size=(len(frames), 2)), -2.5, 2.5)
    pad = int(np.ceil(2.5 * reach)) + 2
    out = np.empty_like(frames)
    for t, (dy, dx) in enumerate(offsets):
        padded = Image.fromarray(np.pad(frames[t], ((pad, pad), (pad, pad), (0, 0)), mode="edge"))
        moved = padded.transform(
            (width, height), Image.Transform.AFFINE, (1, 0, pad + dx, 0, 1, pad + dy), Image.Resampling.BICUBIC
        )
        out[t] = np.asarray(moved)
    return out


def _warp(frames: ClipArray, severity: float, rng: np.random.Generator) -> ClipArray:
    from PIL import Image
    from scipy.ndimage import gaussian_filter1d

    total, height, width = frames.shape[:3]
    side = min(height, width)
    cells = (max(3, round(10 * height / side)), max(3, round(10 * width / side)))
    coarse = rng.normal(size=(total + 8, 2, *cells))
    coarse = gaussian_filter1d(coarse, 0.8, axis=0)[4 : total + 4]
    coarse *= severity * MAX_WARP * side * 1.7  # 1.7 restores the deviation that the smoothing in time takes
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    out = np.empty_like(frames)
    for t in range(total):
        dy, dx = (
            np.asarray(Image.fromarray(c.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC))
            for c in coarse[t]
        )
        out[t] = _sample(frames[t], rows + dy, columns + dx)
    return out


def _sample(frame: ClipArray, rows: Floats, columns: Floats) -> ClipArray:
    """Bilinear samples of a frame at (rows, columns), edges repeated."""
    height, width = frame.shape[:2]
    rows = np.clip(rows, 0, height - 1)
    columns = np.clip(columns, 0, width - 1)
    top, left = rows.astype(np.int64), columns.astype(np.int64)
    bottom, right = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    v, h = (rows - top)[..., None], (columns - left)[..., None]
    upper = frame[top, left] * (1 - h) + frame[top, right] * h
    lower = frame[bottom, left] * (1 - h) + frame[bottom, right] * h
    return _to_uint8(upper * (1 - v) + lower * v)


# --- picture -------------------------------------------------------------------------------------------------------


def _blur(frames: ClipArray, severity: float, rng: np.random.Generator) -> ClipArray:
    from PIL import Image, ImageFilter

    kernel = ImageFilter.GaussianBlur(severity * MAX_BLUR_SIGMA * min(frames.shape[1:3]))
    return np.stack([np.asarray(Image.fromarray(frame).filter(kernel)) for frame in frames])


def _noise(frames: ClipArray, severity: float, rng: np.random.Generator) -> ClipArray:
    sigma = np.float32(severity * MAX_NOISE_SIGMA)
    shape = frames.shape[1:]
    return np.stack([_to_uint8(frame + sigma * rng.standard_normal(shape, dtype=np.float32)) for frame in frames])


def _colour_cast(frames: ClipArray, severity: float, rng: np.random.Generator) -> ClipArray:
    angle = rng.uniform(0, 2 * np.pi)
    direction = np.cos(angle + np.array([0.0, 2.0, 4.0]) * np.pi / 3)
    tables = [_to_uint8(np.arange(256) * (1 + severity * MAX_CAST_GAIN * d) + 25.0 * severity * d) for d in direction]
    return np.stack([table[frames[..., c]] for c, table in enumerate(tables)], axis=-1)


def _style_drift(frames: ClipArray, severity: float, rng: np.random.Generator) -> ClipArray:
    from scipy.ndimage import grey_dilation, grey_erosion

    hue = rng.choice((-1.0, 1.0)) * rng.uniform(0.4, 1.0) * MAX_DRIFT_HUE
    saturation = rng.choice((-0.7, 0.8)) * rng.uniform(0.6, 1.0)
    line_filter, line = (grey_erosion, grey_dilation)[int(rng.integers(2))], rng.uniform(0.5, 1.0)
    progress = np.linspace(0.0, 1.0, len(frames)) if len(frames) > 1 else np.ones(1)
    out = np.empty_like(frames)
    for t, strength in enumerate(severity * progress):
        colour = _hue_matrix(hue * strength)
        changed = frames[t].astype(np.float32) @ colour.T
        luma = (changed @ LUMA)[..., None]
        changed = luma + (changed - luma) * np.float32(1 + saturation * strength)
        # a thicker or thinner line moves luminance only, so that it does not undo the palette's drift
        changed += np.float32(line * strength) * (line_filter(luma[..., 0], size=(3, 3))[..., None] - luma)
        out[t] = _to_uint8(changed)
    return out


def _identity_change(frames: ClipArray, severity: float, rng: np.random.Generator) -> ClipArray:
    start = round(len(frames) * rng.uniform(0.4, 0.6))
    turn = rng.choice((-1.0, 1.0)) * rng.uniform(0.6, 1.0) * MAX_IDENTITY_HUE
    tint_angle = rng.uniform(0, 2 * np.pi)
    tint = (128 + 90 * np.cos(tint_angle + np.array([0.0, 2.0, 4.0]) * np.pi / 3)).astype(np.float32)
    weight = main_region(frames)[..., None]
    colour = _hue_matrix(turn * severity)
    out = frames.copy()
    for t in range(start, len(frames)):
        frame = frames[t].astype(np.float32)
        luma = (frame @ LUMA)[..., None]
        recoloured = frame @ colour.T
        tinted = tint * (0.35 + 0.65 * luma / 128)  # grey and black regions have no hue to turn: they take a tint
        recoloured += np.float32(0.4 * severity) * (tinted - recoloured)
        out[t] = _to_uint8(frame + weight * (recoloured - frame))
    return out


def main_region(frames: ClipArray) -> Floats:
    """Soft mask float32 (H, W) in [0, 1] of the largest region that is central, moving and unlike the border.

    A rough stand-in for a character mask that works on any clip; used where nothing better is known of the scene.
    """
    from scipy.ndimage import gaussian_filter, label

    height, width = frames.shape[1:3]
    side = min(height, width)
    picks = frames[np.linspace(0, len(frames) - 1, min(8, len(frames))).astype(int)].astype(np.float32)
    rim = max(1, side // 16)
    edge = np.concatenate([picks[:, :rim].reshape(-1, 3), picks[:, :, :rim].reshape(-1, 3)])
    unlike = np.abs(picks.mean(0) - np.median(edge, axis=0)).mean(-1)
    moving = picks.std(0).mean(-1)
    y, x = np.mgrid[0:height, 0:width]
    central = np.exp(-(((y / height - 0.5) / 0.35) ** 2 + ((x / width - 0.5) / 0.25) ** 2))
    saliency = central * (0.15 + _unit(unlike) + _unit(moving))
    saliency = gaussian_filter(saliency, side / 40)
    regions, count = label(saliency >= np.quantile(saliency, 0.8))
    sizes = np.bincount(regions.ravel(), minlength=count + 1)
    sizes[0] = 0
    mask = (regions == sizes.argmax()).astype(np.float32)
    return np.asarray(np.clip(gaussian_filter(mask, side / 100) * 1.2, 0, 1), np.float32)


def _unit(values: Floats) -> Floats:
    top = float(values.max())
    return values / top if top > 0 else values


def _hue_matrix(angle: float) -> Floats:
    """RGB rotation (3, 3) about the grey axis; keeps grey and, to first order, luminance."""
    cos, sin = np.cos(angle), np.sin(angle)
    third, root = (1 - cos) / 3, np.sqrt(1 / 3) * sin
    return np.array(
        [
            [cos + third, third - root, third + root],
            [third + root, cos + third, third - root],
            [third - root, third + root, cos + third],
        ],
        np.float32,
    )


def _to_uint8(values: NDArray[Any]) -> ClipArray:
    return np.asarray(np.clip(np.rint(values), 0, 255), np.uint8)


_DRAW: dict[str, Callable[[ClipArray, float, np.random.Generator], ClipArray]] = {
    "flicker": _flicker,
    "stutter": _stutter,
    "frame_drop": _frame_drop,
    "jitter": _jitter,
    "warp": _warp,
    "blur": _blur,
    "noise": _noise,
    "colour_cast": _colour_cast,
    "freeze": _freeze,
    "style_drift": _style_drift,
    "identity_change": _identity_change,
}
