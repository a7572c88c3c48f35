"""The header of a LoRA's file: rank and alpha of its adapter, what its base predicts, and one order for all of it.

A safetensors file is the length of a JSON header (8 bytes, little endian), the header, and the tensors' bytes. The
library writes the header's metadata in an order that changes from process to process; equal adapters would have files
of different digests.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rewardbench.errors import InputError

_CONFIG = "lora_adapter_metadata"
"""diffusers' name for the adapter's configuration, JSON text."""
_OURS = "rewardbench"
_ALIGNMENT = 8


def rank_and_alpha(path: Path) -> tuple[int, float]:
    """Of the adapter in a file: as its configuration says, else the rank its tensors have, which alpha is then too (so
    diffusers and peft read it).

    Raises:
        InputError: it is no LoRA that can be read.
    """
    header = _read(path)
    config = _json(header.get("__metadata__", {}).get(_CONFIG))
    found = [config.get(name, config.get(f"transformer.{name}")) for name in ("r", "lora_alpha")]
    ranks = Counter(entry["shape"][0] for name, entry in header.items() if ".lora_A." in name and entry.get("shape"))
    if not ranks:
        raise InputError(f"{path} holds no LoRA")
    rank = int(ranks.most_common(1)[0][0]) if found[0] is None else int(found[0])
    return rank, float(rank if found[1] is None else found[1])


def prediction_of(path: Path) -> str | None:
    """What the network that it was trained on predicts; None where another program wrote the file.

    Raises:
        InputError: it cannot be read.
    """
    found = _json(_read(path).get("__metadata__", {}).get(_OURS)).get("prediction")
    return None if found is None else str(found)


def settle_header(path: Path, prediction: str | None = None) -> None:
    """Write the file's header in one order, whole or not at all; the tensors' bytes stay as they are.

    Args:
        path: a safetensors file.
        prediction: noted in the metadata, for :func:`prediction_of`.
    """
    header = _read(path)
    metadata: dict[str, str] = dict(header.pop("__metadata__", {}))
    if _CONFIG in metadata:
        metadata[_CONFIG] = json.dumps(_json(metadata[_CONFIG]), sort_keys=True)
    if prediction is not None:
        metadata[_OURS] = json.dumps({"prediction": prediction})
    tensors = sorted(header.items(), key=lambda item: (item[1]["data_offsets"], item[0]))
    ordered = {"__metadata__": dict(sorted(metadata.items())), **dict(tensors)}
    text = json.dumps(ordered, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    partial = path.with_name(f".{path.name}.partial")
    with open(path, "rb") as old, open(partial, "wb") as new:
        (length,) = struct.unpack("<Q", old.read(8))
        old.seek(8 + length)
        new.write(struct.pack("<Q", len(text)) + text)
        shutil.copyfileobj(old, new)
    os.replace(partial, path)


def _read(path: Path) -> dict[str, Any]:
    try:
        with open(path, "rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > path.stat().st_size:
                raise ValueError("its header is longer than the file")
            header = json.loads(stream.read(length))
    except (OSError, ValueError, struct.error) as error:
        raise InputError(f"{path} cannot be read as safetensors: {error}") from error
    if not isinstance(header, dict):
        raise InputError(f"{path} cannot be read as safetensors: its header is no object")
    return header


def _json(text: str | None) -> Mapping[str, Any]:
    """An object of JSON text; empty where there is none."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
