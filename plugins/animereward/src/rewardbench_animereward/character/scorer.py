"""Character consistency of one clip: whether its characters are recognised, and as whom, throughout."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from rewardbench_plugin import Clip, Frames, FrameSpec, Sampling

if TYPE_CHECKING:
    from rewardbench_animereward.character.gallery import Gallery
    from rewardbench_animereward.character.recogniser import Recogniser

RECOGNISER = "blip_checkpoints/animate_recoginzer.pth"
"""In the published folder ``IP_checkpoints``; the spelling is the published one."""
DETECTOR = "grouding-dino-base"
TRACKERS = ("sam2", "sam2_checkpoints", "sam2.1-hiera-base-plus")
NO_IMAGE = "character abstains: the clip has no first-frame image to find characters in"
NO_CHARACTER = "character abstains: no character found in the first-frame image"
ALL_LOST = "character abstains: no character found in the frames"
TOO_SHORT = "character abstains: no character is visible in 8 frames"


class Detector(Protocol):
    """Finds characters in one picture."""

    def boxes(self, image: np.ndarray) -> np.ndarray:
        """Corners (N, 4) as x0, y0, x1, y1 in pixels of ``image``, uint8 (H, W, 3)."""


class Tracker(Protocol):
    """Follows characters through a clip."""

    def masks(self, frames: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """uint8 (T, H, W), 0 background, k object k, from boxes (N, 4) in the first of ``frames``."""


def character_inputs() -> FrameSpec:
    """Every frame, at the decoded size."""
    return FrameSpec(sampling=Sampling("all", None))


class CharacterScorer:
    """The ``character`` dimension.

    Args:
        cosine: False is the released code: probability, in (0, 1], of the gallery's identity that fits best, mean over
            the clip's characters. True is the paper's Eq. 10, a mean cosine in [-1, 1] with the stored features of
            that identity.
        detector, tracker: used in place of GroundingDINO and SAM 2, whose weights are then not loaded.
    """

    def __init__(
        self, cosine: bool = False, *, detector: Detector | None = None, tracker: Tracker | None = None
    ) -> None:
        self.cosine = cosine
        self._given = detector, tracker
        self._detector, self._tracker = self._given
        self._recogniser: Recogniser | None = None
        self._gallery: Gallery | None = None
        self._stored: Any = None

    def load(self, weights: Mapping[str, Path], device: str, dtype: Any = None) -> None:
        """Load the models, and embed the gallery once.

        Args:
            weights: ``character``: the folder ``IP_checkpoints`` (or one that holds it); ``gallery``: see
                :func:`~rewardbench_animereward.character.gallery.read_gallery`.
            dtype: ``float32``, ``float16`` or ``bfloat16``. None is the released code's choice: float32, and on a GPU
                float16 autocast while tracking.

        Raises:
            ValueError: where a file is missing or of another model, in one sentence.
        """
        from rewardbench_animereward.character.gallery import read_gallery
        from rewardbench_animereward.character.recogniser import Recogniser
        from rewardbench_plugin.devices import torch_dtype

        for part in ("character", "gallery"):
            if part not in weights:
                raise ValueError(f"the character dimension needs --weights {part}=PATH")
        folder = models_folder(Path(weights["character"]))
        gallery = read_gallery(Path(weights["gallery"]))
        precision = torch_dtype(dtype, device, "float32")
        detector, tracker = self._given
        if detector is None:
            from rewardbench_animereward.character.detection import GroundingDino

            detector = GroundingDino(folder / DETECTOR, device, precision)
        if tracker is None:
            from rewardbench_animereward.character.tracking import Sam2Tracker

            tracker = Sam2Tracker(tracker_path(folder), device, dtype)
        recogniser = Recogniser(folder / RECOGNISER, device, precision)
        self._stored = recogniser.embed_gallery(gallery)
        self._detector, self._tracker, self._recogniser, self._gallery = detector, tracker, recogniser, gallery

    def close(self) -> None:
        """Release the models."""
        self._detector, self._tracker = self._given
        self._recogniser = self._gallery = self._stored = None

    def prepare(self, clip: Clip, frames: Frames) -> dict[str, np.ndarray]:
        """``frames`` uint8 (T, H, W, 3) and ``image`` uint8 (h, w, 3); nothing where the clip has no image.

        Raises:
            ValueError: where the image cannot be read.
        """
        if clip.image is None:
            return {}
        return {"frames": frames.rgb, "image": read_image(Path(clip.image))}

    def score(self, prepared: Mapping[str, np.ndarray]) -> tuple[float, str]:
        """Score and note; NaN and the reason where there is no character to judge.

        Args:
            prepared: what :meth:`prepare` gave. ``masks`` (T, H, W) in place of ``image`` skips detection and tracking;
                ``crops`` uint8 (K, 8, 224, 224, 3) alone skips the cutting too.
        """
        pictures, note = self._pictures(prepared)
        if not len(pictures):
            return math.nan, note
        return self._compare(pictures), ""

    def probabilities(self, pictures: np.ndarray) -> np.ndarray:
        """Probabilities over the gallery's identities (K, I) of K objects' pictures, uint8 (K, 8, 224, 224, 3)."""
        from rewardbench_animereward.character.recogniser import identity_probabilities

        _, gallery = self._loaded()
        probabilities: np.ndarray = identity_probabilities(self._embed(pictures), self._stored, gallery.members).numpy()
        return probabilities

    def _pictures(self, prepared: Mapping[str, np.ndarray]) -> tuple[np.ndarray, str]:
        from rewardbench_animereward.character.crops import object_crops, query_picture

        if "crops" in prepared:
            return prepared["crops"], TOO_SHORT
        if not prepared:
            return np.empty(0), NO_IMAGE
        masks = prepared["masks"] if "masks" in prepared else self._follow(prepared["frames"], prepared["image"])
        if masks is None:
            return np.empty(0), NO_CHARACTER
        crops = object_crops(prepared["frames"], masks)
        pictures = [np.stack([query_picture(crop) for crop in one]) for one in crops]
        return np.array(pictures), TOO_SHORT if masks.any() else ALL_LOST

    def _follow(self, frames: np.ndarray, image: np.ndarray) -> np.ndarray | None:
        """Masks of the characters that stand in the first-frame image, or None where there are none."""
        from rewardbench_animereward.character.detection import cover, largest

        self._loaded()
        assert self._detector is not None
        assert self._tracker is not None
        boxes = largest(self._detector.boxes(cover(image, *frames.shape[1:3])))
        return self._tracker.masks(frames, boxes) if len(boxes) else None

    def _compare(self, pictures: np.ndarray) -> float:
        from rewardbench_animereward.character.recogniser import identity_cosine, identity_probabilities

        _, gallery = self._loaded()
        query = self._embed(pictures)
        probabilities = identity_probabilities(query, self._stored, gallery.members)
        best, identity = probabilities.max(dim=-1)
        if not self.cosine:
            return float(best.double().mean())
        cosines = [
            identity_cosine(one, self._stored, gallery.members[i]) for one, i in zip(query, identity, strict=True)
        ]
        return float(np.mean(cosines))

    def _embed(self, pictures: np.ndarray) -> Any:
        """Embeddings (K, 8, E) of pictures (K, 8, 224, 224, 3)."""
        recogniser, _ = self._loaded()
        flat = recogniser.embed(pictures.reshape(-1, *pictures.shape[2:]))
        return flat.reshape(*pictures.shape[:2], -1)

    def _loaded(self) -> tuple[Recogniser, Gallery]:
        if self._recogniser is None or self._gallery is None:
            raise RuntimeError("the character scorer is used before load()")
        return self._recogniser, self._gallery


def models_folder(path: Path) -> Path:
    """The folder in the layout of ``IP_checkpoints``: ``path`` itself, or ``IP_checkpoints`` in it.

    Raises:
        ValueError: where neither holds the recogniser.
    """
    for folder in (path, path / "IP_checkpoints"):
        if (folder / RECOGNISER).is_file():
            return folder
    raise ValueError(f"the character models {path} lack {RECOGNISER}; name the published folder IP_checkpoints")


def tracker_path(folder: Path) -> Path:
    """The SAM 2 folder, or SAM 2's own checkpoint, among the character models.

    Raises:
        ValueError: where there is neither.
    """
    for name in TRACKERS:
        if (folder / name / "config.json").is_file():
            return folder / name
        files = sorted((folder / name).glob("*.pt"))
        if files:
            return files[0]
    raise ValueError(
        f"the character models {folder} lack SAM 2: put facebook/sam2.1-hiera-base-plus (config.json and "
        f"model.safetensors) into {folder / TRACKERS[0]}, or the published sam2_checkpoints/sam2.1_hiera_base_plus.pt"
    )


def read_image(path: Path) -> np.ndarray:
    """uint8 (H, W, 3), turned the way its metadata say, transparency dropped.

    Raises:
        ValueError: where the file is missing or no image.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except OSError as error:
        raise ValueError(f"the first-frame image {path} cannot be read ({error})") from None
