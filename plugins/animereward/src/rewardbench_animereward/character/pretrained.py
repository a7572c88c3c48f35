"""Loading a model folder of `transformers` with every tensor accounted for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MOST_NAMED = 6


def load_folder(model: Any, folder: Path, what: str, device: str, dtype: Any) -> Any:
    """The model of a folder, for inference; nothing is fetched and no remote code is run.

    Args:
        model: a class of `transformers` with ``from_pretrained``.
        what: its name, for the sentence.

    Raises:
        ValueError: where the folder is not there or incomplete, or tensors are missing, left over or of another shape.
    """
    if not (folder / "config.json").is_file():
        raise ValueError(f"{what} is missing: {folder} holds no config.json; put the published model folder there")
    kind = _kind(folder / "config.json")
    if not model.config_class.model_type.startswith(kind):  # SAM 2's folders call themselves sam2 or sam2_video
        raise ValueError(f"{folder} holds a model of type {kind}, not {what}")
    try:
        loaded, report = model.from_pretrained(
            folder, local_files_only=True, output_loading_info=True, ignore_mismatched_sizes=True
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ValueError(f"{folder} cannot be loaded as {what} ({' '.join(str(error).split())[:200]})") from None
    problems = []
    for title in ("missing", "unexpected", "mismatched"):
        names = sorted(str(n[0] if isinstance(n, tuple) else n) for n in report.get(f"{title}_keys", ()))
        if names:
            more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
            problems.append(f"{len(names)} {title}: {', '.join(names[:MOST_NAMED])}{more}")
    if problems:
        raise ValueError(f"{folder} is not a {what} checkpoint of its own configuration: {'; '.join(problems)}")
    return loaded.to(device=device, dtype=dtype).eval().requires_grad_(False)


def _kind(file: Path) -> str:
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["model_type"])
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{file} is no configuration of transformers: it names no model_type") from None
