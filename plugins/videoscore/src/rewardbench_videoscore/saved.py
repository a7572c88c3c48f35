"""Files that lie beside a checkpoint: JSON settings, the tokenizer as it was saved, and the table of grey levels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ValueError: where it is missing or no JSON object.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(
            f"{path.parent} is not a checkpoint folder, or half downloaded: it has no {path.name}"
        ) from None
    except (ValueError, OSError) as error:
        raise ValueError(f"{path} cannot be read, it may be half downloaded ({error})") from None
    if not isinstance(data, dict):
        raise ValueError(f"{path} holds no JSON object")
    return data


def require_transformers() -> None:
    """Raise ValueError where the installed `transformers` is older than the one these hosts are written for."""
    from importlib.metadata import version

    installed = version("transformers")
    if int(installed.split(".")[0]) < 5:
        raise ValueError(
            f"this model needs transformers 5 or newer, {installed} is installed: pip install -U transformers"
        )


class SavedTokenizer:
    """``tokenizer.json`` exactly as saved, through the library that wrote it.

    The tokenizer classes of `transformers` 5 rebuild some tokenizers from their vocabulary. For Llama's, the blank
    between two image tokens then becomes one piece instead of two, and every later token moves.

    Raises:
        ValueError: where the file is missing or unreadable.
    """

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        self.path = folder / "tokenizer.json"
        if not self.path.is_file():
            raise ValueError(f"{folder} is not a checkpoint folder, or half downloaded: it has no tokenizer.json")
        try:
            self._tokenizer = Tokenizer.from_file(str(self.path))
        except Exception as error:  # the Rust side raises a bare Exception
            raise ValueError(f"{self.path} cannot be read, it may be half downloaded ({error})") from None
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        added = self._tokenizer.get_added_tokens_decoder().values()
        self.special: tuple[str, ...] = tuple(token.content for token in added if token.special)

    def require(self, token: str, number: int | None = None) -> int:
        """The id of a token.

        Raises:
            ValueError: where it is unknown, or not ``number``.
        """
        found: int | None = self._tokenizer.token_to_id(token)
        if found is None or number not in (None, found):
            wanted = "" if number is None else f" as {number}, which config.json says"
            raise ValueError(f"{self.path} does not have the token {token}{wanted}")
        return found

    def refuse_special(self, text: str) -> None:
        """Raise ValueError where a text from outside contains a special token, which would pass for structure."""
        for token in self.special:
            if token in text:
                raise ValueError(f"the prompt contains {token!r}, a special token of this model; take it out")

    def encode(self, text: str) -> np.ndarray:
        """Token ids, int64 (L,), with whatever the file's own post-processor adds."""
        return np.array(self._tokenizer.encode(text).ids, dtype=np.int64)


def grey_levels(scale: float, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """float32 (3, 256): the input value of grey level v in channel c, ``(v * scale - mean) / std``, rounded to float32
    where the published image processors round."""
    scaled = (np.arange(256, dtype=np.uint8) * scale).astype(np.float32)
    means, stds = (np.array(values, dtype=np.float32)[:, None] for values in (mean, std))
    return (scaled[None, :] - means) / stds


def require_length(ids: np.ndarray, frames: int, positions: int) -> None:
    """Raise ValueError where there are more tokens than the model has positions."""
    if len(ids) > positions:
        raise ValueError(
            f"the prompt is too long: with {frames} frames it makes {len(ids)} tokens, and this model has {positions} "
            "positions"
        )
