"""A pipeline's folder as diffusers writes it: found, read part by part, and adapters and networks written for it.

What is here knows of no family. A part is loaded with the class that ``model_index.json`` names for it, as the pipeline
itself would, so that nothing is loaded twice and the pipeline object, which moves and casts its parts, is not needed.
"""

from __future__ import annotations

import enum
import hashlib
import importlib
import inspect
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from rewardbench.align.families.base import ClipShape, VideoFamily
from rewardbench.errors import InputError
from rewardbench_plugin.digests import hash_path

LIBRARIES = ("diffusers", "transformers")
"""Where parts come from. A ``model_index.json`` that names code of its own is not followed."""


def locate(source: str, family: str) -> Path:
    """The folder at ``source``, or the downloaded copy of a hub id (``owner/name``).

    Raises:
        InputError: neither.
    """
    if not source:
        raise InputError(f"the {family} family has no built-in weights: name a pipeline's folder or a hub id")
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    if folder.is_absolute() or source.startswith((".", "~")) or source.count("/") != 1:
        raise InputError(f"{source} is not a folder, and a hub id has the form owner/name")
    from diffusers import DiffusionPipeline

    try:
        return Path(DiffusionPipeline.download(source))
    except (OSError, ValueError) as error:
        raise InputError(f"{source} is not a folder and could not be fetched from the hub: {_line(error)}") from error


def read_index(folder: Path, allowed_classes: Collection[str], parts: Iterable[str]) -> dict[str, Any]:
    """``model_index.json`` of a pipeline of one of these classes whose parts are all there.

    Args:
        allowed_classes: names of pipeline classes, ``_class_name`` of the file.
        parts: folders that are needed.

    Raises:
        InputError: no pipeline, another family's, or an incomplete one.
    """
    path = folder / "model_index.json"
    index = _read_json(path, f"{folder} is not a pipeline that diffusers wrote")
    name = index.get("_class_name")
    if name not in allowed_classes:
        raise InputError(f"{folder} holds a {name}, where one of {', '.join(sorted(allowed_classes))} is needed")
    for part in parts:
        if not isinstance(index.get(part), list) or index[part][1] is None or not (folder / part).is_dir():
            raise InputError(f"{folder} lacks {part}/, which a {name} needs")
    return index


def has_part(index: Mapping[str, Any], name: str) -> bool:
    """Whether the pipeline has this part; absent ones are ``[null, null]`` in the file, or not named."""
    return isinstance(index.get(name), list) and index[name][1] is not None


def part_class(index: Mapping[str, Any], name: str) -> Any:
    """The class that ``model_index.json`` names for a part.

    Raises:
        InputError: it is not one of diffusers' or transformers', or this version of them lacks it.
    """
    library, class_name = index[name]
    if library not in LIBRARIES:
        raise InputError(f"{name} of this pipeline is a {library}.{class_name}, and only {LIBRARIES} are loaded from")
    cls = getattr(importlib.import_module(library), class_name, None)
    if cls is None:
        raise InputError(f"{name} of this pipeline is a {class_name}, which the installed {library} does not have")
    return cls


def read_config(folder: Path, name: str, cls: Any = None) -> dict[str, Any]:
    """Configuration of a part, as written: the scheduler's too, whose object would not keep its table as it is.

    Args:
        cls: class whose defaults stand for what the file does not say: files are as old as their checkpoints.

    Raises:
        InputError: there is none.
    """
    filename = "scheduler_config.json" if name == "scheduler" else "config.json"
    written = _read_json(folder / name / filename, f"{name} of {folder} cannot be read")
    if cls is None:
        return written
    arguments = inspect.signature(cls.__init__).parameters.values()
    return {a.name: a.default for a in arguments if a.default is not a.empty} | written


def load_part(folder: Path, name: str, cls: Any, dtype: torch.dtype, device: str) -> Any:
    """A network of the pipeline, in evaluation mode and frozen (``requires_grad`` False).

    It is loaded *with* its dtype and never cast afterwards: parts that a class keeps in float32 stay there.

    Raises:
        InputError: the weights cannot be read.
    """
    try:
        part = cls.from_pretrained(folder / name, dtype=dtype)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise InputError(f"{name} of {folder} cannot be loaded: {_line(error)}") from error
    if part.dtype != dtype:
        # older versions know torch_dtype only, and pass over what they do not know
        raise InputError(
            f"{name} was loaded as {part.dtype} and not as {dtype}: diffusers and transformers are too old"
        )
    return part.to(device).eval().requires_grad_(False)


def load_plain(folder: Path, name: str, cls: Any) -> Any:
    """A part without weights: tokenizer, image processor.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return cls.from_pretrained(folder / name)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{name} of {folder} cannot be loaded: {_line(error)}") from error


def active_adapter(transformer: nn.Module) -> str:
    """Name of the adapter that computes; the first where several do.

    Raises:
        ValueError: the network has none.
    """
    if not getattr(transformer, "peft_config", None):
        raise ValueError("the network has no LoRA adapter to save")
    names: Any = transformer.active_adapters()  # type: ignore[operator]
    return str(names if isinstance(names, str) else names[0])


def save_lora(pipeline_class: Any, transformer: nn.Module, folder: Path) -> Path:
    """Write the active adapter through the pipeline's own ``save_lora_weights``; ``folder`` is what it loads again.

    The adapter's configuration goes along as metadata. Without it a loader takes alpha for the rank, and an adapter
    whose alpha is another would come back with another strength.

    Raises:
        ValueError: the network has no adapter.
    """
    weights, config = lora_contents(transformer)
    pipeline_class.save_lora_weights(folder, transformer_lora_layers=weights, transformer_lora_adapter_metadata=config)
    return folder


def lora_contents(transformer: nn.Module) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Weights of the active adapter in peft's names, and its configuration as JSON holds it.

    Raises:
        ValueError: the network has no adapter.
    """
    from peft import get_peft_model_state_dict

    name = active_adapter(transformer)
    config = transformer.peft_config[name].to_dict()  # type: ignore[index, union-attr]
    weights = get_peft_model_state_dict(transformer, adapter_name=name)
    return (
        {key: value.detach().contiguous() for key, value in weights.items()},
        {key: _plain(value) for key, value in config.items()},
    )


def save_network(transformer: nn.Module, folder: Path) -> Path:
    """Write the whole network as ``from_pretrained(folder)`` reads it.

    Raises:
        ValueError: it has an adapter, whose layers such a folder cannot hold.
    """
    if getattr(transformer, "peft_config", None):
        raise ValueError("a network with a LoRA adapter is saved as an adapter, or after the adapter was merged")
    transformer.save_pretrained(folder)  # type: ignore[operator]
    return folder


def read_switch(options: Mapping[str, str], name: str, default: bool) -> bool:
    """An option that is ``on`` or ``off``.

    Raises:
        InputError: it is neither.
    """
    value = options.get(name, "on" if default else "off")
    if value not in ("on", "off"):
        raise InputError(f"option {name} is on or off, not {value!r}")
    return value == "on"


def refuse_unknown(options: Mapping[str, str], known: Sequence[str], family: str) -> None:
    """
    Raises:
        InputError: an option that the family does not have.
    """
    for name in sorted(set(options) - set(known)):
        raise InputError(f"the {family} family has no option {name}; there are {', '.join(known) or 'none'}")


def check_clip(
    clip: ClipShape, *, family: str, frames_multiple: int, height_multiple: int, width_multiple: int
) -> ClipShape:
    """The clip again if VAE and patches divide it: ``frames_multiple``·n + 1 frames, and sides that are multiples.

    Raises:
        InputError: they do not.
    """
    if clip.frames < 1 or (clip.frames - 1) % frames_multiple:
        raise InputError(f"{family} makes clips of {frames_multiple}n + 1 frames, not of {clip.frames}")
    for side, size, multiple in (("high", clip.height, height_multiple), ("wide", clip.width, width_multiple)):
        if size < 1 or size % multiple:
            raise InputError(f"{family} makes clips a multiple of {multiple} pixels {side}, not {size}")
    return clip


def check_pixels(pixels: torch.Tensor, clip: ClipShape) -> None:
    """
    Raises:
        InputError: clips (B, T, H, W, 3) of another size than the generator's.
    """
    size, wanted = tuple(pixels.shape[1:]), (clip.frames, clip.height, clip.width, 3)
    if size != wanted:
        raise InputError(f"clips have frames x height x width x colours {size}, where the generator's are {wanted}")


def check_images(images: torch.Tensor, n: int, clip: ClipShape) -> None:
    """
    Raises:
        InputError: not n images (n, H, W, 3) of the generator's size.
    """
    size, wanted = tuple(images.shape), (n, clip.height, clip.width, 3)
    if size != wanted:
        raise InputError(f"first-frame images have the shape {size}, where the generator needs {wanted}")


def hash_parts(folder: Path, names: Iterable[str], facts: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of these folders' contents and of plain facts."""
    said = {"parts": {name: hash_path(str(folder / name)) for name in names}, "facts": dict(facts)}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


class FolderFamily(VideoFamily):
    """A family out of such a folder: encoders that are loaded when they are first asked, and again after a release.

    A run that trains from a cache thus never holds a text encoder of 10 GB.
    """

    adapter_targets: ClassVar[tuple[str, ...]] = ("to_q", "to_k", "to_v", "to_out.0")

    def __init__(self, folder: Path, index: Mapping[str, Any], *, device: str, dtype: torch.dtype) -> None:
        self.transformer = load_part(folder, "transformer", part_class(index, "transformer"), dtype, device)
        self.config: Any = self.transformer.config
        self._folder, self._index, self._device, self._dtype = folder, index, device, dtype
        self._encoders: dict[str, Any] = {}

    def _encoder(self, name: str, dtype: torch.dtype) -> Any:
        """A frozen network of the folder beside the transformer."""
        if name not in self._encoders:
            self._encoders[name] = load_part(self._folder, name, part_class(self._index, name), dtype, self._device)
        return self._encoders[name]

    def _plain_part(self, name: str) -> Any:
        """A tokenizer or image processor of the folder."""
        if name not in self._encoders:
            self._encoders[name] = load_plain(self._folder, name, part_class(self._index, name))
        return self._encoders[name]

    @property
    def _network_dtype(self) -> torch.dtype:
        """What the network takes now: a full fine-tuning casts it to float32 after it was loaded."""
        dtype: torch.dtype = self.transformer.dtype
        return dtype

    def release_encoders(self) -> None:
        self._encoders.clear()

    def network_digest(self) -> str:
        return hash_path(str(self._folder / "transformer"))

    def save_adapter(self, folder: Path) -> Path:
        return save_lora(part_class({"it": ("diffusers", self._index["_class_name"])}, "it"), self.transformer, folder)

    def save_full(self, folder: Path) -> Path:
        return save_network(self.transformer, folder)


def _plain(value: Any) -> Any:
    """As JSON holds it; sets in a fixed order, so that the same adapter gives the same file."""
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    return value.value if isinstance(value, enum.Enum) else value


def _read_json(path: Path, complaint: str) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{complaint}: {path.name}: {_line(error)}") from error
    except ValueError as error:
        raise InputError(f"{complaint}: {path.name} is not JSON ({_line(error)})") from error
    if not isinstance(value, dict):
        raise InputError(f"{complaint}: {path.name} is not an object")
    return value


def _line(error: BaseException) -> str:
    """Its first line: the libraries' messages run on for paragraphs."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
