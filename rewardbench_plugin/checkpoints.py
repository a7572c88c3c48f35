"""Reading weights: no pickled code, no missing key passed over, no unexpected key dropped."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Collection, Dict, List, Mapping

MOST_NAMED = 6
_REASON = re.compile(
    r"(?:WeightsUnpickler error: |(?=Trying to load ))(.+?)(?: was not an allowed | Please | Check the documentation|$)"
)
"""What torch objects to, within the advice around it."""


def read_tensors(path: Path) -> Dict[str, Any]:
    """Tensors by name, on the CPU, of a ``.safetensors`` file, a ``.pth|.pt|.bin|.ckpt`` file or a folder of
    ``model*.safetensors`` (with its index where it is sharded).

    A torch file may nest its state dict under ``state_dict`` or ``model``; only tensors and plain containers are
    unpickled (``weights_only``).

    Raises:
        ValueError: a missing, half-downloaded or unsafe file, in one sentence.
    """
    if path.is_dir():
        return _read_folder(path)
    if not path.is_file():
        raise ValueError(f"weights file {path} does not exist")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    return _read_torch(path)


def _read_folder(folder: Path) -> Dict[str, Any]:
    index = folder / "model.safetensors.index.json"
    single = folder / "model.safetensors"
    if index.is_file():
        try:
            shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, AttributeError) as error:
            raise ValueError(f"{index} is not an index of shards ({error})") from None
        missing = [shard for shard in shards if not (folder / shard).is_file()]
        if missing:
            raise ValueError(f"{folder} is incomplete: {_listed(missing)} of {len(shards)} shards not there")
        state: Dict[str, Any] = {}
        for shard in shards:
            state.update(_read_safetensors(folder / shard))
        return state
    if single.is_file():
        return _read_safetensors(single)
    raise ValueError(f"{folder} has neither model.safetensors nor model.safetensors.index.json")


def _read_safetensors(path: Path) -> Dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state: Dict[str, Any] = load_file(str(path))
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read, it may be half downloaded ({_one_line(error)})") from None
    return state


def _read_torch(path: Path) -> Dict[str, Any]:
    import torch

    with open(path, "rb") as stream:
        zipped = stream.read(2) == b"PK"
    try:
        loaded = torch.load(str(path), map_location="cpu", weights_only=True, mmap=zipped)
    except Exception as error:  # unpickling raises whatever the file makes it raise
        raise ValueError(
            f"{path} cannot be read as plain tensors: it is half downloaded, or holds objects other than tensors, "
            f"which are never unpickled ({_refusal(error)})"
        ) from None
    for key in ("state_dict", "model"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping) or not all(isinstance(v, torch.Tensor) for v in loaded.values()):
        raise ValueError(f"{path} holds no state dict of tensors")
    return dict(loaded)


def load_strict(
    module: Any, state: Mapping[str, Any], source: Any, *, allow_missing: Collection[str] = (), name: str = ""
) -> None:
    """Load ``state`` into a torch module: every name must be there with its shape, and no other.

    Args:
        source: where the state came from, for the sentence.
        allow_missing: names that follow from others (tied weights, buffers made anew) and may be absent.
        name: what the module is, for the sentence (its class, where empty).

    Raises:
        ValueError: listing what is missing, unexpected or of another shape.
    """
    own = module.state_dict()
    missing = [key for key in own if key not in state and key not in allow_missing]
    unexpected = [key for key in state if key not in own]
    shapes = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    problems = []
    for title, names in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes)):
        if names:
            problems.append(f"{len(names)} {title}: {_listed(names)}")
    if problems:
        raise ValueError(f"{source} is not a checkpoint of {name or type(module).__name__}: {'; '.join(problems)}")
    module.load_state_dict(state, strict=not allow_missing)


def _listed(names: List[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _refusal(error: BaseException) -> str:
    """Why torch does not read a file, without its advice to unpickle the file after all."""
    said = " ".join(str(error).split())
    if "weights_only" not in said:
        return _one_line(error)
    found = _REASON.search(said)
    return found[1].rstrip(".")[:200] if found else "torch's reader of plain tensors refuses it"


def _one_line(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200]
