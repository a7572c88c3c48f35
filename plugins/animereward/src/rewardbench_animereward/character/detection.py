"""Where the characters are in the first-frame image: GroundingDINO asked for one word."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from rewardbench_animereward.character.pretrained import load_folder

QUESTION = "character."
THRESHOLD = 0.5
"""Of the box's score; the released code sets the threshold for words alike, which here only names the boxes."""
MOST = 5
"""Characters followed in one clip."""


class GroundingDino:
    """Boxes of characters by a GroundingDINO folder of `transformers`.

    Raises:
        ValueError: where the folder is missing, or its tensors are not exactly those of its configuration.
    """

    def __init__(self, folder: Path, device: str, dtype: Any) -> None:
        from transformers import (
            AutoTokenizer,
            GroundingDinoForObjectDetection,
            GroundingDinoImageProcessor,
            GroundingDinoProcessor,
        )

        self._model = load_folder(GroundingDinoForObjectDetection, folder, "GroundingDINO", device, dtype)
        try:
            pictures = GroundingDinoImageProcessor.from_pretrained(folder, local_files_only=True)
            words = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise ValueError(
                f"{folder} lacks GroundingDINO's processor ({' '.join(str(error).split())[:200]})"
            ) from None
        self._processor = GroundingDinoProcessor(pictures, words)
        self._device, self._dtype = device, dtype

    def boxes(self, image: np.ndarray) -> np.ndarray:
        """float32 (N, 4): x0, y0, x1, y1 in pixels of ``image`` (uint8, (H, W, 3)), in the order of the queries."""
        import torch
        from PIL import Image

        inputs = self._processor(images=Image.fromarray(image), text=QUESTION, return_tensors="pt").to(self._device)
        inputs["pixel_values"] = inputs["pixel_values"].to(self._dtype)
        with torch.inference_mode():
            outputs = self._model(**inputs)
        return select(outputs.logits[0].float(), outputs.pred_boxes[0].float(), *image.shape[:2])


def select(logits: Any, boxes: Any, height: int, width: int) -> np.ndarray:
    """Corners in pixels, float32 (N, 4), of the boxes whose best word scores above the threshold.

    Args:
        logits: (Q, L), one for each query and token; tokens that are not there hold minus infinity.
        boxes: (Q, 4) as centre x, centre y, width, height, in fractions of the picture.
    """
    kept = boxes[logits.sigmoid().amax(dim=-1) > THRESHOLD]
    centre, extent = kept[:, :2], kept[:, 2:]
    corners = np.concatenate([(centre - extent / 2).cpu().numpy(), (centre + extent / 2).cpu().numpy()], axis=1)
    scaled: np.ndarray = (corners * np.array([width, height, width, height])).astype(np.float32)
    return scaled


def largest(boxes: np.ndarray) -> np.ndarray:
    """The :data:`MOST` largest of (N, 4) boxes by area, largest first; where there are no more, all as they stand."""
    if len(boxes) <= MOST:
        return boxes
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return boxes[np.argsort(-area, kind="stable")[:MOST]]


def cover(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """The middle of ``image`` (uint8, (h, w, 3)), resized so that it just covers ``height`` x ``width``.

    The resize is torchvision's bicubic on integers (antialiased).
    """
    import torch
    from torchvision.transforms.functional import InterpolationMode, resize

    h, w = image.shape[:2]
    size = [height, int(w * height / h)] if w / h > width / height else [int(h * width / w), width]
    pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    resized = resize(pixels, size, interpolation=InterpolationMode.BICUBIC, antialias=True)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    middle: np.ndarray = resized[:, top : top + height, left : left + width].permute(1, 2, 0).numpy()
    return np.ascontiguousarray(middle)
