"""What an Idefics2 classifier reads: resized frames and token ids, made from the files saved beside its weights.

Pillow and `tokenizers` only, no torch: this runs in decode processes. Two things are load-bearing and were measured on
checkpoints with known outputs. Frames are resized by Pillow; the tensor resize that newer image processors pick by
default moves up to 3 % of the pixels by 1 or 2 grey levels. ``tokenizer.json`` is used as it was saved; a tokenizer
class that rebuilds it joins the blank between two images differently, which shifts every later position.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

IMAGE = "<image>"
AROUND = "<fake_token_around_image>"
LATENTS = 64
LONGEST, SHORTEST = 980, 378


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ValueError: where it is missing or no JSON object.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(
            f"{path.parent} is not an Idefics2 checkpoint, or half downloaded: {path.name} is missing"
        ) from None
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} cannot be read ({error})") from None
    if not isinstance(data, dict):
        raise ValueError(f"{path} holds no JSON object")
    return data


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
        """float32 (3, 256): what the grey level v of channel c becomes, rounded where the image processor rounds."""
        scaled = (np.arange(256, dtype=np.uint8) * self.scale).astype(np.float32)
        mean = np.array(self.mean, dtype=np.float32)[:, None]
        std = np.array(self.std, dtype=np.float32)[:, None]
        return (scaled[None, :] - mean) / std


class PromptTokens:
    """``tokenizer.json`` as saved, and the placeholder each frame takes in the text.

    Args:
        folder: of the checkpoint.
        latents: image tokens per frame.
        image_id: token id the network replaces by a frame's latents.

    Raises:
        ValueError: where the file is missing or does not know the image tokens.
    """

    def __init__(self, folder: Path, latents: int, image_id: int) -> None:
        from tokenizers import Tokenizer

        path = folder / "tokenizer.json"
        if not path.is_file():
            raise ValueError(f"{folder} is not an Idefics2 checkpoint, or half downloaded: tokenizer.json is missing")
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the Rust side raises a bare Exception
            raise ValueError(f"{path} cannot be read ({error})") from None
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        if self._tokenizer.token_to_id(IMAGE) != image_id or self._tokenizer.token_to_id(AROUND) is None:
            raise ValueError(f"{path} does not have {IMAGE} as token {image_id} and {AROUND}, as config.json asks")
        self._special = [
            token.content for token in self._tokenizer.get_added_tokens_decoder().values() if token.special
        ]
        self._frame = AROUND + IMAGE * latents + AROUND

    def encode(self, text: str, frames: int) -> np.ndarray:
        """int64 (L,): ``text``, then ``"<image> "`` once per frame, each placeholder expanded.

        Raises:
            ValueError: where ``text`` contains a special token, which would pass for structure.
        """
        for token in self._special:
            if token in text:
                raise ValueError(f"the prompt contains {token!r}, a special token of this model; take it out")
        expanded = (text + f"{IMAGE} " * frames).replace(IMAGE, self._frame)
        expanded = expanded.replace(AROUND + AROUND, AROUND)  # frames that touch share the token between them
        return np.array(self._tokenizer.encode(expanded).ids, dtype=np.int64)


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
        latents = int(_section(config, "perceiver_config").get("resampler_n_latents", LATENTS))
        saved = folder / "processor_config.json"
        said = int(read_json(saved).get("image_seq_len", LATENTS)) if saved.is_file() else latents
        if said != latents:
            raise ValueError(f"{saved} gives a frame {said} tokens, but config.json's resampler makes {latents}")
        self.images = ImageRules.read(folder / "preprocessor_config.json")
        self.tokens = PromptTokens(folder, latents, int(config.get("image_token_id", 32_001)))
        self._longest = int(_section(config, "text_config").get("max_position_embeddings", 32_768))

    def prepare(self, rgb: np.ndarray, text: str) -> dict[str, np.ndarray]:
        """``input_ids`` int64 (L,) and ``frames`` uint8 (T, h, w, 3) of frames uint8 (T, H, W, 3) and a filled template.

        Raises:
            ValueError: where the text contains a special token or is longer than the model's positions.
        """
        ids = self.tokens.encode(text, len(rgb))
        if len(ids) > self._longest:
            raise ValueError(
                f"the prompt is too long: it makes {len(ids)} tokens with {len(rgb)} frames, and this model has "
                f"{self._longest} positions"
            )
        return {"input_ids": ids, "frames": self.images.resized(rgb)}


def _section(config: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    section = config.get(name)
    return section if isinstance(section, Mapping) else {}
