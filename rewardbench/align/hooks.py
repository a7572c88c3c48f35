"""Which generator families there are. Imports nothing heavy: it is read whenever plugins are listed."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rewardbench.errors import InputError, PluginError
from rewardbench.registry import load_registry
from rewardbench_plugin.hooks import Manifest, hookimpl

PIPELINES = {
    "CogVideoX": "cogvideox",
    "Wan": "wan",
    "LTX": "ltx",
    "HunyuanVideo": "hunyuanvideo",
}
"""How the class names of diffusers' pipelines begin, and whose they are."""


@hookimpl
def rewardbench_generators() -> Iterable[Manifest]:
    """The families of this package."""
    here = "rewardbench.align.families"
    return [
        Manifest("toy", f"{here}.toy:ToyFamily", "built-in image-to-video transformer on the drawn anime world"),
        Manifest("cogvideox", f"{here}.cogvideox:CogVideoXFamily", "CogVideoX 1.0 and 1.5, text- and image-to-video"),
        Manifest("wan", f"{here}.wan:WanFamily", "Wan 2.1, text- and image-to-video"),
        Manifest("ltx", f"{here}.ltx:LTXFamily", "LTX-Video, text- and image-to-video"),
        Manifest("hunyuanvideo", f"{here}.hunyuanvideo:HunyuanVideoFamily", "HunyuanVideo, text- and image-to-video"),
    ]


def _manifests() -> dict[str, Manifest]:
    found: dict[str, Manifest] = {}
    for offered in load_registry().manager.hook.rewardbench_generators():
        for manifest in offered:
            other = found.setdefault(manifest.name, manifest)
            if other.target != manifest.target:
                raise PluginError(
                    f"two packages register the generator family {manifest.name!r}: {other.target} and "
                    f"{manifest.target}; uninstall one of them"
                )
    return found


def family_names() -> tuple[str, ...]:
    """Names of all families."""
    return tuple(sorted(_manifests()))


def family_class(name: str) -> Any:
    """The class of a family.

    Raises:
        InputError: there is none of this name.
        PluginError: its code cannot be imported.
    """
    manifests = _manifests()
    if name not in manifests:
        raise InputError(f"there is no generator family {name!r}; there are {', '.join(sorted(manifests))}")
    return _imported(manifests[name], "generator family")


def _imported(manifest: Manifest, what: str) -> Any:
    module, _, attribute = manifest.target.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise PluginError(f"{what} {manifest.name!r} cannot be loaded: {error}") from error


def latent_reward_class(name: str) -> Any:
    """The class of a registered latent reward (hook ``rewardbench_latent_rewards``).

    Raises:
        InputError: there is none of this name.
        PluginError: its code cannot be imported.
    """
    offers = load_registry().manager.hook.rewardbench_latent_rewards()
    found = {manifest.name: manifest for offered in offers for manifest in offered}
    if name not in found:
        known = f"there are {', '.join(sorted(found))}" if found else "none is registered"
        raise InputError(f"there is no latent reward {name!r} and no file of that name; {known}")
    return _imported(found[name], "latent reward")


def family_of_folder(model: str) -> str:
    """The family of a diffusers pipeline folder, or of a toy's.

    Raises:
        InputError: nothing is there, or no family knows it.
    """
    folder = Path(model)
    if (folder / "codec.safetensors").is_file():
        return "toy"
    index = folder / "model_index.json"
    if not index.is_file():
        names = ", ".join(family_names())
        raise InputError(
            f"{model} is neither a generator family ({names}), nor FAMILY:HUB-ID, nor the folder of a diffusers "
            "pipeline (no model_index.json)"
        )
    try:
        pipeline = str(json.loads(index.read_text(encoding="utf-8"))["_class_name"])
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{index} cannot be read: {error}") from error
    for start, family in PIPELINES.items():
        if pipeline.startswith(start):
            return family
    raise InputError(f"{model} is a {pipeline}; families know {', '.join(PIPELINES)} pipelines")
