"""Writing clips: the same frames give the same bytes, whatever the number of cores."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from rewardbench.errors import InputError

_FORMATS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska", ".webm": "webm", ".avi": "avi", ".ts": "mpegts"}
# What makes libx264 repeat itself: with the macroblock tree, equal frames of 352x256 pixels gave up to 9 streams in
# 12 runs; with AVX-512 code, 1 to 3 % of runs at 64x64 differed.
_REPEATABLE = "mbtree=0" + (":asm=sse4.2" if platform.machine() in ("x86_64", "AMD64") else "")
_DEFAULTS: dict[str, dict[str, str]] = {
    "libx264": {"crf": "18", "preset": "veryfast", "x264-params": _REPEATABLE},
    "libvpx-vp9": {"crf": "24", "b": "0", "deadline": "good", "cpu-used": "4"},
    "mpeg4": {"flags": "+qscale", "global_quality": str(3 * 118)},  # FF_QP2LAMBDA = 118
    "gif": {},
}


def write_video(
    path: str | os.PathLike[str],
    frames: np.ndarray,
    fps: float,
    *,
    codec: str = "libx264",
    crf: int | None = None,
    lossless: bool = False,
    options: Mapping[str, str] | None = None,
) -> None:
    """Write frames as a clip; the container follows the file name (.mp4, .mov, .mkv, .webm, .avi, .ts, .gif).

    The encoder runs in one thread and writes no dates or library versions into the container, so that equal frames
    give equal bytes on every machine with the same PyAV. Colours are BT.601, limited range, untagged, 4:2:0.

    Args:
        path: where to write; replaced at the end, so that an interrupted run leaves no half a clip.
        frames: uint8 (T, H, W, 3), RGB.
        fps: frames per second; for gif the nearest whole number of hundredths of a second per frame is written.
        codec: ``libx264``, ``libvpx-vp9``, ``mpeg4`` or ``gif`` (.gif always is).
        crf: constant rate factor of libx264 (0 to 51, default 18) and libvpx-vp9 (0 to 63, default 24).
        lossless: libx264 with 4:4:4 chroma and crf 0; only the RGB-YUV rounding (at most 2 grey levels) is lost, and
            odd sizes are allowed.
        options: further encoder options, e.g. ``{"g": "12", "bf": "2"}``.

    Raises:
        InputError: frames of another shape or dtype, an odd size (4:2:0 needs even ones; nothing is padded in
            silence), an unknown codec or container, or a path that cannot be written.
    """
    target = Path(path)
    suffix = target.suffix.lower()
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape:
        raise InputError(f"{target}: frames must be uint8 (T, H, W, 3), not {frames.dtype} {frames.shape}")
    if not fps > 0:
        raise InputError(f"{target}: fps must be positive, not {fps}")
    if suffix == ".gif":
        codec = "gif"
    elif suffix not in _FORMATS:
        raise InputError(f"{target}: clips are written as .gif, {', '.join(_FORMATS)}")
    if codec not in _DEFAULTS or (codec == "gif") != (suffix == ".gif"):
        raise InputError(f"{target}: codec {codec} cannot be written into {suffix}")
    if (lossless and codec != "libx264") or (crf is not None and codec not in ("libx264", "libvpx-vp9")):
        raise InputError(f"{target}: codec {codec} has no {'lossless mode' if lossless else 'crf'}")
    pixel_format = "pal8" if codec == "gif" else "yuv444p" if lossless else "yuv420p"
    height, width = frames.shape[1:3]
    if pixel_format == "yuv420p" and (height % 2 or width % 2):
        raise InputError(f"{target}: {width}x{height} is odd, which 4:2:0 video cannot hold; crop it or set lossless")
    settings = {**_DEFAULTS[codec], "threads": "1"}
    if crf is not None or lossless:
        settings["crf"] = "0" if lossless else str(crf)
    settings.update(options or {})
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        _encode(
            partial,
            frames,
            fps,
            codec=codec,
            pixel_format=pixel_format,
            settings=settings,
            container_format=_FORMATS.get(suffix, "gif"),
        )
        os.replace(partial, target)
    except (OSError, ValueError) as error:  # PyAV's errors are one or the other
        raise InputError(f"{target}: cannot be written ({getattr(error, 'strerror', None) or error})") from None
    finally:
        partial.unlink(missing_ok=True)


def _encode(
    path: Path,
    frames: np.ndarray,
    fps: float,
    *,
    codec: str,
    pixel_format: str,
    settings: Mapping[str, str],
    container_format: str,
) -> None:
    import av

    rate = Fraction(fps).limit_denominator(1001 * 60)
    if codec == "gif":
        rate = Fraction(100, max(1, round(100 / fps)))
    with av.open(str(path), "w", format=container_format, options={"fflags": "+bitexact"}) as container:
        stream: Any = container.add_stream(codec, rate=rate, options=dict(settings))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pixel_format
        for index, rgb in enumerate(frames):
            frame = _frame(rgb, pixel_format)
            frame.pts = index
            frame.time_base = 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _frame(rgb: np.ndarray, pixel_format: str) -> Any:
    import av

    if pixel_format != "pal8":
        return av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24").reformat(format=pixel_format)
    from PIL import Image

    image = Image.fromarray(np.ascontiguousarray(rgb)).quantize(256, dither=Image.Dither.NONE)
    colours = np.array(image.getpalette("RGB") or [], dtype=np.uint8).reshape(-1, 3)
    palette = np.full((256, 4), 255, dtype=np.uint8)  # ARGB, opaque
    palette[:, 1:] = 0
    palette[: len(colours), 1:] = colours
    indexed: Any = (np.asarray(image), palette)  # PyAV's stub leaves this documented form out
    return av.VideoFrame.from_ndarray(indexed, format="pal8")
