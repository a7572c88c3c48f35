"""What belongs to a published model and is not shipped: where it is published, and how a local copy is verified.

A plugin names its files in ``RewardCard.templates`` and ``RewardCard.sources``; ``rewardbench plugins fetch NAME``
brings them, and the plugin finds them again with :func:`find_part` and :func:`read_template`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Mapping, Optional, Tuple


@dataclass(frozen=True)
class Template:
    """One text that a model was trained with; a byte more or less changes its scores.

    Attributes:
        name: file name inside a ``templates`` folder, e.g. ``regression.txt``.
        sha256: of the file's bytes (hex).
        url: the published file it comes from, at a pinned commit.
        literal: how to find the text in that file: empty where the file is the text; else a Python expression path
            such as ``REGRESSION_QUERY_PROMPT`` or ``PROMPTS['detailed']``, evaluated on the parsed source (no code
            is run).
    """

    name: str
    sha256: str
    url: str
    literal: str = ""


@dataclass(frozen=True)
class WebFile:
    """One published file outside the hub, such as a list that lies beside a model's code.

    Attributes:
        path: where it goes inside the plugin's folder.
        sha256: of its bytes (hex).
        url: where it is published, at a pinned commit.
        part: the weights part it belongs to (empty: the weights folder itself).
    """

    path: str
    sha256: str
    url: str
    part: str = ""


@dataclass(frozen=True)
class HubFiles:
    """Files of one repository on the Hugging Face hub at one revision.

    Attributes:
        repo: ``owner/name``.
        revision: commit, tag or branch; a branch is not pinned, and ``plugins fetch`` says so and records the commit.
        patterns: glob patterns of the files wanted (all, where empty).
        part: the weights part they make up (empty: the weights folder itself).
        folder: where they go inside the plugin's folder.
        repo_type: ``model`` or ``dataset``.
    """

    repo: str
    revision: str = "main"
    patterns: Tuple[str, ...] = ()
    part: str = ""
    folder: str = ""
    repo_type: str = "model"


def find_part(plugin: str, weights: Mapping[str, str], part: str, inside: str, what: str) -> Path:
    """The path of a weights part: as the user named it (``--weights PART=PATH``), or ``inside`` the weights folder.

    Args:
        plugin: name of the plugin, for the sentence.
        weights: part to path; part ``""`` is the bare ``--weights DIR``.
        inside: where the published layout has it, relative to that folder.
        what: what it is, in words, e.g. ``"its prompt templates"``.

    Raises:
        ValueError: where neither is there.
    """
    named = weights.get(part)
    if named is not None:
        if not Path(named).exists():
            raise ValueError(f"--weights {part}={named} does not exist")
        return Path(named)
    folder = weights.get("")
    if folder is None:
        raise ValueError(
            f"{plugin} needs {what}: add --weights DIR (published layout) or --weights {part}=PATH; "
            f"`rewardbench plugins fetch {plugin}` brings both, or says where they are published"
        )
    found = Path(folder) / inside
    if not found.exists():
        raise ValueError(f"{plugin} needs {what}: {found} is not there; put it there or add --weights {part}=PATH")
    return found


def find_base(name: str, folder: Path, named: Optional[str]) -> Path:
    """The folder of a base model a checkpoint refers to as ``name``.

    ``named`` (``--weights base=PATH``) wins; else ``name`` is looked for in ``folder``, then in its parent, each time
    as it stands and by its last component (``Qwen/Qwen2-VL-2B-Instruct`` as ``Qwen2-VL-2B-Instruct``).

    Raises:
        ValueError: where none is there.
    """
    if named is not None:
        if not Path(named).is_dir():
            raise ValueError(f"--weights base={named} is not a folder")
        return Path(named)
    if Path(name).is_absolute() and Path(name).is_dir():
        return Path(name)
    for parent in (folder, folder.parent):
        for relative in (name, name.rsplit("/", 1)[-1]):
            if (parent / relative).is_dir():
                return parent / relative
    raise ValueError(
        f"the base model {name!r} that {folder} names is neither in it nor in its parent; put it there or add "
        "--weights base=PATH"
    )


def read_template(folder: Path, template: Template) -> str:
    """The verified text of a template; ``folder`` is a ``templates`` folder or holds one.

    Raises:
        ValueError: where it is missing, or its bytes are not the published ones.
    """
    inner = folder / "templates" / template.name
    path = inner if inner.is_file() else folder / template.name
    if not path.is_file():
        raise ValueError(f"the prompt template {inner} is missing; it is published at {template.url}")
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != template.sha256:
        raise ValueError(
            f"{path} is not the published template: its SHA-256 is {digest[:16]}…, expected {template.sha256[:16]}…"
        )
    return data.decode("utf-8")
