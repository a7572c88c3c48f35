"""Frames of single clips for the contact sheet, as small JPEG strips; the page must not depend on the clips staying."""

from __future__ import annotations

import base64
import hashlib
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rewardbench.errors import ClipError
from rewardbench.report import notation
from rewardbench_plugin.clip import FrameSpec, Sampling, Size

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from rewardbench.scoring.decoder import Decoder

N_FRAMES = 4
SPEC = FrameSpec(sampling=Sampling("count", N_FRAMES), size=Size(short_side=112), filter="pil-bilinear")
WIDEST = 1000
QUALITY = 70
FOLDER = "frames"


@dataclass(frozen=True)
class Strip:
    """Frames of one clip beside each other, or the reason why there are none.

    ``uri`` is a JPEG data URI, ``width`` and ``height`` its pixels, ``n_frames`` how many frames stand in it.
    """

    uri: str = ""
    width: int = 0
    height: int = 0
    n_frames: int = 0
    missing: str = ""


def strip(video: str, sha256: str | None, folder: Path, decoder: Decoder) -> Strip:
    """The strip of one clip, kept in ``folder``/frames so that a rebuilt page decodes nothing again.

    Args:
        video: path of the clip; it is untrusted, so whatever is wrong with it becomes ``missing``.
        sha256: hash of the clip's content where known, else path, size and time of change name the strip.
        folder: the run folder.
        decoder: reads the clip where no strip of it is kept yet.
    """
    path = Path(video)
    try:
        state = path.stat() if sha256 is None else None
    except (OSError, ValueError):
        return Strip(missing="the clip's file is not there")
    named = sha256 if state is None else f"{path}\0{state.st_size}\0{state.st_mtime_ns}"
    name = hashlib.sha256(f"{named}\0{SPEC.key()}\0{QUALITY}".encode("utf-8", "replace")).hexdigest()[:24]
    kept = folder / FOLDER / f"{name}.jpg"
    if kept.is_file():
        found = _embed(kept.read_bytes())
        if found is not None:
            return found
    if sha256 is not None and not os.path.isfile(path):  # unlike Path.is_file, never raises
        return Strip(missing="the clip's file is not there any more")
    try:
        rgb = decoder.read(path, SPEC)
    except ClipError as error:
        return Strip(missing=notation.plain(error, 200))
    encoded = _encode(rgb)
    kept.parent.mkdir(exist_ok=True)
    partial = kept.with_suffix(".partial")
    partial.write_bytes(encoded)
    partial.replace(kept)
    found = _embed(encoded)
    assert found is not None
    return found


def _encode(rgb: NDArray[np.uint8]) -> bytes:
    """(T, H, W, 3) uint8 as one JPEG, frames side by side with a gap; the number of frames stands in its comment."""
    from PIL import Image

    count, height, width, _ = rgb.shape
    gap = 4
    sheet = Image.new("RGB", (count * width + (count - 1) * gap, height), (128, 128, 128))
    for position, frame in enumerate(rgb):
        sheet.paste(Image.fromarray(frame), (position * (width + gap), 0))
    sheet.thumbnail((WIDEST, 4 * SPEC.size.short_side if SPEC.size and SPEC.size.short_side else WIDEST))
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=QUALITY, optimize=True, comment=f"frames={count}")
    return buffer.getvalue()


def _embed(encoded: bytes) -> Strip | None:
    """The strip of a kept JPEG; None where the file is not one of ours."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(encoded), formats=("JPEG",)) as image:
            comment = image.info.get("comment", b"")
            width, height = image.size
            image.verify()
    except (UnidentifiedImageError, OSError, SyntaxError):
        return None
    if not (isinstance(comment, bytes) and comment.startswith(b"frames=") and comment[7:].isdigit()):
        return None
    uri = "data:image/jpeg;base64," + base64.b64encode(encoded).decode("ascii")
    return Strip(uri, width, height, int(comment[7:]))
