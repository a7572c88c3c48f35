"""What a judge is shown of a clip: which frames, which first frame, and the options that say so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rewardbench_judge.chat import Footage
from rewardbench_plugin import Clip, Frames, FrameSpec, Prepared, Sampling, Size
from rewardbench_plugin.options import choice, number, whole

OPTIONS = ("fps", "max_frames", "max_pixels", "first_frame", "max_new_tokens")
FIRST_FRAMES = ("auto", "image", "clip", "none")
SIDE = 28
"""Qwen2-VL's and Qwen2.5-VL's token side in pixels: frames come in whole tokens, so their processors keep them."""


@dataclass(frozen=True)
class Viewing:
    """The options of a judge.

    Attributes:
        spec: frames at ``fps``, at least 4 and at most ``max_frames`` (an even number), at most ``max_pixels`` each.
        first_frame: ``image`` (the clip's conditioning image; a clip without one fails), ``clip`` (the clip's own
            first frame), ``auto`` (the image where there is one, else the clip's own) or ``none``.
        max_new_tokens: length at which an answer is cut.
    """

    spec: FrameSpec
    first_frame: str
    max_new_tokens: int

    @classmethod
    def of(cls, options: Mapping[str, str]) -> Viewing:
        """Read the options.

        Raises:
            ValueError: naming an option whose value cannot be used.
        """
        fps = number(options, "fps", 2.0, 0.01)
        most = whole(options, "max_frames", 32, 1)
        pixels = whole(options, "max_pixels", 448 * 448, SIDE * SIDE)
        assert most is not None
        assert pixels is not None
        least = min(4, most)
        sampling = Sampling("fps", most, fps=fps, min_count=least, multiple=2 if most > 1 else 1, rounding="half-even")
        size = Size(max_pixels=pixels, multiple=SIDE)
        return cls(
            FrameSpec(sampling=sampling, size=size, filter="bicubic-antialias"),
            choice(options, "first_frame", "auto", FIRST_FRAMES),
            whole(options, "max_new_tokens", 256, 1) or 256,
        )

    def prepare(self, clip: Clip, frames: Mapping[FrameSpec, Frames]) -> Prepared:
        """``rgb`` uint8 (T, H, W, 3), ``times`` (T,) seconds and, where one is shown, ``first`` uint8 (H, W, 3).

        ``own`` is 1 where the first frame is the clip's own.

        Raises:
            ValueError: the image is asked for and is not there, or cannot be read.
        """
        found = frames[self.spec]
        data: Prepared = {"rgb": found.rgb, "times": found.pts, "own": np.zeros(1, dtype=np.uint8)}
        if self.first_frame == "none":
            return data
        if self.first_frame != "clip" and clip.image:
            assert self.spec.size is not None
            data["first"] = _read_image(clip.image, self.spec.size)
        elif self.first_frame == "image":
            raise ValueError(f"{clip.clip_id} has no first-frame image, which --option first_frame=image needs")
        else:
            data["first"] = found.rgb[0]
            data["own"][0] = 1
        return data


def named_folder(weights: Mapping[str, str]) -> str:
    """The model's folder.

    Raises:
        ValueError: where none is named.
    """
    if "" not in weights:
        raise ValueError(
            "judge needs a model: add --weights DIR with a chat-tuned video model of transformers, e.g. "
            "Qwen2.5-VL-7B-Instruct; `rewardbench plugins fetch judge` brings that one"
        )
    return weights[""]


def footage(data: Prepared) -> Footage:
    """The prepared clip as the model takes it."""
    return Footage(data["rgb"], data["times"])


def _read_image(path: str, size: Size) -> np.ndarray:
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            image = ImageOps.exif_transpose(opened).convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"first-frame image {path} cannot be read ({' '.join(str(error).split())})") from None
    height, width = size.target(image.height, image.width)
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))
