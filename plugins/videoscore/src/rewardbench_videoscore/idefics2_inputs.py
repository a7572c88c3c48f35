"""What an Idefics2 classifier reads: resized frames and token ids, made from the files saved beside its weights.

Pillow and `tokenizers` only, no torch: this runs in decode processes. Frames are resized by Pillow, as the models were
trained; the tensor resize that newer image processors pick by default moves up to 3 % of the pixels by 1 or 2 grey
levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rewardbench_videoscore.saved import SavedTokenizer, grey_levels, read_json, require_length

IMAGE = "<image>"
AROUND = "<fake_token_around_image>"
LATENTS = 64
LONGEST, SHORTEST = 980, 378


@dataclass(frozen=True)
class ImageRules:
    """``preprocessor_config.json``: how a frame becomes numbers.

    Attributes:
        resize: False where frames keep their size.
        longest, shortest: pixels; the long side is brought down to ``longest``, then both sides up to ``shortest``.
        exact: (height, width) instead of those two, or None.
        resample: Pillow's number of the filter (2 is bilinear).
        scale: factor on 0..255.
        mean, std: per channel, after scaling.
    """

    resize: bool = True
    longest: int = LONGEST
    shortest: int = SHORTEST
    exact: tuple[int, int] | None = None
    resample: int = 2
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)

    @classmethod
    def read(cls, path: Path) -> ImageRules:
        """The rules of a saved file; what it leaves out has the defaults of the image processor that wrote it.

        Raises:
            ValueError: where it asks for splitting frames into quarters, which this host does not do.
        """
        data = read_json(path)
        if data.get("do_image_splitting", True):
            raise ValueError(
                f"{path} does not say do_image_splitting false; frames are scored whole here, as the models were "
                "trained: set it to false if that is true of this one"
            )
        if not (data.get("do_rescale", True) and data.get("do_normalize", True)):
            raise ValueError(f"{path} switches off do_rescale or do_normalize, which is not supported")
        size = data.get("size") or {"longest_edge": LONGEST, "shortest_edge": SHORTEST}
        edges = "longest_edge" in size and "shortest_edge" in size
        if not edges and not ("height" in size and "width" in size):
            raise ValueError(f"{path} has a size of neither longest_edge and shortest_edge nor height and width")
        return cls(
            resize=data.get("do_resize", True),
            longest=int(size["longest_edge"]) if edges else 0,
            shortest=int(size["shortest_edge"]) if edges else 0,
            exact=None if edges else (int(size["height"]), int(size["width"])),
            resample=int(data.get("resample", 2)),
            scale=float(data.get("rescale_factor", 1 / 255)),
            mean=tuple(data.get("image_mean") or cls.mean),
            std=tuple(data.get("image_std") or cls.std),
        )

    def target(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) after resizing. A frame whose short side falls below ``shortest`` loses its aspect ratio."""
        if not self.resize:
            return height, width
        if self.exact is not None:
            return self.exact
        ratio = width / height
        if width >= height and width > self.longest:
            width, height = self.longest, int(self.longest / ratio)
        elif height > width and height > self.longest:
            width, height = int(self.longest * ratio), self.longest
        return max(height, self.shortest), max(width, self.shortest)

    def resized(self, rgb: np.ndarray) -> np.ndarray:
        """uint8 (T, h, w, 3) of frames uint8 (T, H, W, 3)."""
        from PIL import Image

        height, width = self.target(*rgb.shape[1:3])
        if (height, width) == rgb.shape[1:3]:
            return np.ascontiguousarray(rgb)
        filter = Image.Resampling(self.resample)
        return np.stack([np.asarray(Image.fromarray(frame).resize((width, height), filter)) for frame in rgb])

    def table(self) -> np.ndarray:
        """float32 (3, 256): see :func:`grey_levels`."""
        return grey_levels(self.scale, self.mean, self.std)


class PromptTokens:
    """Text and frame placeholders to token ids.

    Args:
        folder: of the checkpoint.
        latents: image tokens per frame.
        image_id: token id the network replaces by a frame's latents.

    Raises:
        ValueError: where the tokenizer is missing or does not know the image tokens.
    """

    def __init__(self, folder: Path, latents: int, image_id: int) -> None:
        self.tokenizer = SavedTokenizer(folder)
        self.tokenizer.require(IMAGE, image_id)
        self.tokenizer.require(AROUND)
        self._frame = AROUND + IMAGE * latents + AROUND

    def encode(self, text: str, frames: int) -> np.ndarray:
        """int64 (L,): ``text``, then ``"<image> "`` once per frame, each placeholder expanded.

        Raises:
            ValueError: where ``text`` contains a special token.
        """
        self.tokenizer.refuse_special(text)
        expanded = (text + f"{IMAGE} " * frames).replace(IMAGE, self._frame)
        expanded = expanded.replace(AROUND + AROUND, AROUND)  # frames that touch share the token between them
        return self.tokenizer.encode(expanded)


class Idefics2Inputs:
    """Frames and text to the arrays :meth:`rewardbench_videoscore.idefics2.Idefics2Regressor.logits` takes.

    Args:
        folder: of the checkpoint, as ``save_pretrained`` of model and processor writes it.

    Raises:
        ValueError: one sentence naming the file that is missing or says something unusable.
    """

    def __init__(self, folder: Path) -> None:
        config = read_json(folder / "config.json")
        if config.get("model_type") != "idefics2":
            raise ValueError(f"{folder} holds a model of type {config.get('model_type')!r}, not idefics2")
        latents = int((config.get("perceiver_config") or {}).get("resampler_n_latents", LATENTS))
        saved = folder / "processor_config.json"
        said = int(read_json(saved).get("image_seq_len", LATENTS)) if saved.is_file() else latents
        if said != latents:
            raise ValueError(f"{saved} gives a frame {said} tokens, but config.json's resampler makes {latents}")
        self.images = ImageRules.read(folder / "preprocessor_config.json")
        self.tokens = PromptTokens(folder, latents, int(config.get("image_token_id", 32_001)))
        text = config.get("text_config")
        self._positions = int((text or {}).get("max_position_embeddings", 131_072 if text else 32_768))

    def prepare(self, rgb: np.ndarray, text: str) -> dict[str, np.ndarray]:
        """What the network reads of frames uint8 (T, H, W, 3) and a filled template.

        Returns:
            ``input_ids`` int64 (L,) and ``frames`` uint8 (T, h, w, 3).

        Raises:
            ValueError: where the text contains a special token or is longer than the model's positions.
        """
        ids = self.tokens.encode(text, len(rgb))
        require_length(ids, len(rgb), self._positions)
        return {"input_ids": ids, "frames": self.images.resized(rgb)}
