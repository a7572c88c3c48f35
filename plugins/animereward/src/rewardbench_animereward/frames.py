"""The frames AnimeReward looks at: 24 of at most the first 144, squashed to 224 x 224 or as they were decoded."""

from __future__ import annotations

from typing import Any

import numpy as np

from rewardbench_plugin import FrameSpec, Sampling, Size

SIDE = 224
SAMPLING = Sampling(rule="stride", count=24, max_frames=144)
"""Steps of n / 24 from frame 0 over the first n <= 144 frames; every frame where there are at most 24."""
SQUASHED = FrameSpec("pyav", SAMPLING, Size(height=SIDE, width=SIDE), "pil-bicubic")
"""For motion, text-video and image-video: 224 x 224, the aspect ratio is not kept and nothing is cropped."""
DECODED = FrameSpec("pyav", SAMPLING)
"""For the two Idefics2 regressors, which resize by their own rule; the options sampling and max_frames change it."""
REGRESSOR_SAMPLERS = {
    "anime": SAMPLING,
    "example": Sampling(rule="stride", count=24),
    "benchmark": Sampling(rule="count-repeat", count=24),
}
"""The released sampling and VideoScore's two, which do not stop at frame 144; ``benchmark`` repeats frames of a clip
that has too few."""
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


def standardised(
    rgb: np.ndarray, device: str, mean: tuple[float, ...] = CLIP_MEAN, std: tuple[float, ...] = CLIP_STD
) -> Any:
    """float32 (N, 3, H, W) of uint8 (N, H, W, 3): scaled to [0, 1], minus mean, over standard deviation."""
    import torch

    pixels = torch.from_numpy(np.array(rgb))  # a copy: what arrives may be read-only
    pixels = pixels.to(device).permute(0, 3, 1, 2).float() / 255
    shift = torch.tensor(mean, device=device)[:, None, None]
    return (pixels - shift) / torch.tensor(std, device=device)[:, None, None]


def key_image(path: str) -> np.ndarray:
    """uint8 (1, 224, 224, 3) of the first-frame image, squashed as the frames are.

    Raises:
        ValueError: the file cannot be read as a picture.
    """
    from PIL import Image

    try:
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise ValueError(f"first-frame image {path} cannot be read ({' '.join(str(error).split())})") from None
    return np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC))[None]
