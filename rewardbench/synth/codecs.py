"""Codec round trips in memory: frames in, the frames a decoder would show out. No file is opened."""

from __future__ import annotations

import io
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rewardbench.errors import InputError

CODECS = ("jpeg", "webp", "h264", "mpeg4", "vp9")
"""Still-picture codecs through Pillow, video codecs through PyAV."""

ClipArray = NDArray[np.uint8]


def recompress(frames: ClipArray, codec: str, severity: float) -> ClipArray:
    """Encode and decode a clip; the quantiser goes from mild (severity near 0) to the codec's coarsest (1).

    Args:
        frames: uint8 (T, H, W, 3), RGB.
        codec: one of :data:`CODECS`.
        severity: in (0, 1].

    Returns:
        uint8 (T, H, W, 3).

    Raises:
        InputError: the codec is unknown, or this machine's FFmpeg has no encoder for it.
    """
    if codec in ("jpeg", "webp"):
        return np.stack([_still(frame, codec, severity) for frame in frames])
    if codec not in CODECS:
        raise InputError(f"unknown codec {codec!r}: use one of {', '.join(CODECS)}")
    return _video(frames, codec, severity)


def _still(frame: ClipArray, codec: str, severity: float) -> ClipArray:
    from PIL import Image

    quality = round(80 - 75 * severity) if codec == "jpeg" else round(70 - 70 * severity)
    stream = io.BytesIO()
    Image.fromarray(frame).save(stream, codec, quality=quality)
    with Image.open(stream) as image:
        return np.asarray(image.convert("RGB"))


def _options(codec: str, severity: float) -> tuple[str, str, dict[str, str]]:
    """(encoder, decoder, options) of a codec at a severity."""
    if codec == "h264":
        return "libx264", "h264", {"preset": "veryfast", "bf": "0", "qp": str(round(24 + 27 * severity))}
    if codec == "mpeg4":
        quantiser = str(round(2 + 29 * severity))
        return "mpeg4", "mpeg4", {"qmin": quantiser, "qmax": quantiser, "b": "100M"}
    quantiser = str(round(24 + 39 * severity))
    speed = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "auto-alt-ref": "0"}
    return "libvpx-vp9", "vp9", {"qmin": quantiser, "qmax": quantiser, "crf": quantiser, "b": "0", **speed}


def _video(frames: ClipArray, codec: str, severity: float) -> ClipArray:
    encoder, decoder, options = _options(codec, severity)
    return _round_trip(frames, encoder, decoder, options)


def h264_round_trip(frames: ClipArray, crf: int) -> ClipArray:
    """The clip as an H.264 file of this constant rate factor would show it; uint8 (T, H, W, 3)."""
    # with x264's macroblock tree, equal frames of 352 x 256 gave up to 9 different streams in 12 runs; without it, one
    options = {"preset": "veryfast", "crf": str(crf), "x264-params": "mbtree=0"}
    return _round_trip(frames, "libx264", "h264", options)


def _round_trip(frames: ClipArray, encoder_name: str, decoder_name: str, options: dict[str, str]) -> ClipArray:
    import av

    height, width = frames.shape[1:3]
    pad = ((0, 0), (0, height % 2), (0, width % 2), (0, 0))
    even = np.pad(frames, pad, mode="edge")
    try:
        encoder: Any = av.CodecContext.create(encoder_name, "w")
    except (ValueError, av.error.FFmpegError) as error:
        raise InputError(f"FFmpeg has no encoder {encoder_name}: choose another codec") from error
    encoder.width, encoder.height = even.shape[2], even.shape[1]
    encoder.pix_fmt = "yuv420p"
    encoder.time_base = Fraction(1, 16)
    encoder.framerate = Fraction(16, 1)
    encoder.gop_size = 48
    encoder.thread_count = 1  # the bitstream must not depend on the number of cores
    encoder.options = options
    packets = []
    for t, frame in enumerate(even):
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        picture.pts = t
        packets += encoder.encode(picture.reformat(format="yuv420p", dst_colorspace="ITU601"))
    packets += encoder.encode(None)
    decoder: Any = av.CodecContext.create(decoder_name, "r")
    decoder.thread_count = 1
    decoded = [picture for packet in [*packets, None] for picture in decoder.decode(packet)]
    if len(decoded) != len(frames):
        raise InputError(
            f"the {encoder_name} round trip gave {len(decoded)} of {len(frames)} frames: choose another codec"
        )
    out = [picture.to_ndarray(format="rgb24", src_colorspace="ITU601") for picture in decoded]
    return np.stack(out)[:, :height, :width]
