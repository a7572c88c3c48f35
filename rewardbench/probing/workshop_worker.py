"""The process that makes treated copies of clips: ``python -m rewardbench.probing.workshop_worker FD``.

It holds the frames of one clip at a time. A process of its own, because clips come from strangers: a file that hangs
the decoder or ends the process costs itself only.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rewardbench.errors import ClipError
from rewardbench.probing.variants import REFERENCE_CRF, is_remuxed, remux, treated
from rewardbench_plugin import transport
from rewardbench_plugin.clip import FrameSpec, Sampling, Size
from rewardbench_plugin.worker import Handler, Reply, connect, peak_memory, serve

SMALLEST_SIDE = 16
REFERENCE, FIRST_FRAME, FACTS = "reference.mp4", "first.png", "facts.json"
SAME = ".same"
"""Suffix of the empty file that says that a treatment changes nothing on this clip."""


class Workshop:
    """Handlers around the clip that was opened last."""

    def __init__(self) -> None:
        self.frames = np.zeros((0, 0, 0, 3), np.uint8)
        self.fps = 0.0

    def handlers(self) -> Mapping[str, Handler]:
        return {"open": self.open, "make": self.make, "close": self.close}

    def open(self, message: transport.Message, arrays: transport.Arrays) -> Reply:
        """Decode a clip and write its working copy, first frame and facts into ``folder``, the facts last."""
        folder = Path(message["folder"])
        self.frames, self.fps, shrunk = read_source(message["video"], message["short_side"], message["most_frames"])
        if not (folder / FACTS).is_file():
            from PIL import Image

            from rewardbench.video import write_video

            write_video(folder / REFERENCE, self.frames, self.fps, crf=REFERENCE_CRF)
            first = folder / f".{FIRST_FRAME}.{os.getpid()}.partial"
            Image.fromarray(self.frames[0]).save(first, "PNG")
            os.replace(first, folder / FIRST_FRAME)
            facts = {"frames": len(self.frames), "fps": self.fps, "shrunk": shrunk}
            _write(folder / FACTS, json.dumps(facts))
        return {}, None

    def make(self, message: transport.Message, arrays: transport.Arrays) -> Reply:
        """Write one treated copy to ``target``, or an empty file beside it where nothing changes."""
        from rewardbench.video import write_video

        target, treatment, level = Path(message["target"]), message["treatment"], message["level"]
        if is_remuxed(treatment, level):
            remux(target.parent / REFERENCE, target)
            return {}, None
        made = treated(self.frames, self.fps, treatment, level, message["seed"])
        if made is None:
            _write(target.with_name(target.name + SAME), "")
        else:
            write_video(target, made.frames, made.fps, **made.encoder)
        return {}, None

    def close(self, message: transport.Message, arrays: transport.Arrays) -> Reply:
        return {"peak_memory": peak_memory()}, None


def read_source(path: str, short_side: int, most_frames: int) -> tuple[np.ndarray, float, bool]:
    """(frames uint8 (T, H, W, 3) of even size, frames per second, whether the file is larger or longer).

    Raises:
        ClipError: the clip cannot be read, or is smaller than 16 pixels.
    """
    from rewardbench.video import probe, read_frames

    declared = probe(path)
    smaller = min(declared.height, declared.width) > short_side  # scaled as they are read: they may not fit in memory
    size, resizing = (Size(short_side=short_side), "pil-bicubic") if smaller else (None, "none")
    spec = FrameSpec("pyav", Sampling("head", most_frames), size, resizing)
    found = read_frames(path, [spec], threads=1)[spec]
    rgb, shrunk = found.rgb, smaller or found.total > len(found.rgb)
    if min(found.height, found.width) < SMALLEST_SIDE:
        raise ClipError(f"{path}: {found.width}x{found.height} pixels are too few; a side has to have {SMALLEST_SIDE}")
    fps = found.fps if found.fps > 0 else 8.0
    even = rgb[:, : rgb.shape[1] // 2 * 2, : rgb.shape[2] // 2 * 2]
    return np.ascontiguousarray(even), fps, shrunk


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def read_facts(folder: Path) -> dict[str, Any] | None:
    """What is known of a working copy; None where it is not complete."""
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, dict) and (folder / REFERENCE).is_file() else None


def main() -> None:
    serve(connect(sys.argv[1:]), Workshop().handlers())


if __name__ == "__main__":
    main()
