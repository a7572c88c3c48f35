"""The files of a VideoReward checkpoint in its published layout.

::

    DIR/model_config.json
    DIR/checkpoint-<step>/model.pth                          everything, with LoRA beside its layers or without LoRA
    DIR/checkpoint-<step>/adapter_model.safetensors          or: LoRA only …
    DIR/checkpoint-<step>/non_lora_state_dict.pth            … and what else was trained
    DIR/checkpoint-<step>/tokenizer/
    DIR/templates/<name>.txt
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONFIG = "model_config.json"
FULL = "model.pth"
ADAPTER = "adapter_model.safetensors"
REST = "non_lora_state_dict.pth"


@dataclass(frozen=True)
class Checkpoint:
    """One step of a training run; ``full`` where everything is in ``model.pth``."""

    root: Path
    path: Path
    full: bool

    @property
    def tokenizer(self) -> Path | None:
        """The stored tokenizer, where one was stored."""
        folder = self.path / "tokenizer"
        return folder if folder.is_dir() else None


def read_config(root: Path) -> dict[str, Any]:
    """``model_config.json``.

    Raises:
        ValueError: it is missing, unreadable, or another model's.
    """
    if not root.is_dir():
        raise ValueError(f"--weights {root} is not a folder: name the one that holds {CONFIG} and checkpoint-*")
    path = root / CONFIG
    if not path.is_file():
        raise ValueError(f"--weights {root} is not a VideoReward folder: it holds no {CONFIG}")
    data = read_json(path)
    missing = [s for s in ("data_config", "model_config", "peft_lora_config") if not isinstance(data.get(s), dict)]
    if missing:
        raise ValueError(f"{path} is not VideoReward's: it has no section {', '.join(missing)}")
    return data


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        ValueError: the file holds none.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read ({' '.join(str(error).split())[:150]}); fetch it again") from None
    if not isinstance(data, dict):
        raise ValueError(f"{path} holds no JSON object")
    return data


def find_checkpoint(root: Path, step: int | None) -> Checkpoint:
    """The checkpoint of ``step``, or of the largest step (as a number: 10 comes after 9).

    Raises:
        ValueError: it is not there, or lacks its weights.
    """
    steps: dict[int, Path] = {}
    for path in root.glob("checkpoint-*"):
        number = path.name.rpartition("-")[2]
        if number.isascii() and number.isdecimal() and path.is_dir():
            steps[int(number)] = path
    if not steps:
        raise ValueError(f"--weights {root} holds no folder checkpoint-<step>")
    if step is not None and step not in steps:
        there = ", ".join(str(s) for s in sorted(steps))
        raise ValueError(f"--option checkpoint_step={step}: {root} has no checkpoint of this step, only of {there}")
    path = steps[max(steps) if step is None else step]
    if (path / FULL).is_file():
        return Checkpoint(root, path, full=True)
    lacking = [name for name in (ADAPTER, REST) if not (path / name).is_file()]
    if len(lacking) == 2:
        raise ValueError(f"{path} is incomplete: it holds neither {FULL} nor {ADAPTER} with {REST}")
    if lacking:
        raise ValueError(f"{path} is incomplete: {lacking[0]} is missing")
    return Checkpoint(root, path, full=False)
