"""Still images (first frames)."""

from __future__ import annotations

import os

import numpy as np

from rewardbench.errors import ClipError
from rewardbench.video.container import check_file


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """Read a png, jpg, webp (or other Pillow) image, the first one where the file holds several.

    The EXIF orientation is applied, transparency is laid on white, 16-bit grey is scaled to 8 bit; embedded colour
    profiles are not applied.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        ClipError: the file is missing, empty, not an image or damaged.
    """
    from PIL import Image, ImageOps

    name = check_file(path)
    try:
        with Image.open(name) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith("I"):
                image = Image.fromarray((np.asarray(image).astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8))
            if image.has_transparency_data:
                image = image.convert("RGBA")
                white = Image.new("RGBA", image.size, (255, 255, 255, 255))
                image = Image.alpha_composite(white, image)
            return np.array(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise ClipError(f"{name}: is not a readable image ({error})") from None
