"""The text a clip is judged by: a published template, filled."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rewardbench_plugin.assets import read_template
from rewardbench_videoreward.card import ASPECTS, TEMPLATES

NAMES = {"VQ": "visual quality", "MQ": "motion quality", "TA": "text-to-video alignment"}
"""How the templates that name a dimension call it."""
EVERYTHING = "the overall performance of the video"


@dataclass(frozen=True)
class PromptTemplate:
    """A template and what it says of the dimensions.

    Attributes:
        text: with ``{text_prompt}`` and, in some, ``{dimension_name}`` and ``{dimension_description}``; None: the
            prompt stands alone.
        dimension_name, dimension_description: what these are filled with.
        literal: only ``{text_prompt}`` is a place, other braces are text.
    """

    text: str | None
    dimension_name: str = ""
    dimension_description: str = ""
    literal: bool = False

    def fill(self, prompt: str) -> str:
        """The text for a clip's prompt, which may itself contain braces."""
        if self.text is None:
            return prompt
        if self.literal:
            return self.text.replace("{text_prompt}", prompt)
        return self.text.format(
            text_prompt=prompt,
            dimension_name=self.dimension_name,
            dimension_description=self.dimension_description,
        )


def read_prompt_template(name: str, eval_dim: Sequence[str], folder: Path | None) -> PromptTemplate:
    """A published template, verified by its SHA-256.

    Args:
        name: as in ``prompt_template_type``; ``none`` needs no file.
        eval_dim: the dimensions it names: one, or several as a whole.
        folder: where the template files are.

    Raises:
        ValueError: a file is missing or is not the published one.
    """
    if name == "none" or folder is None:
        return PromptTemplate(None)
    text = read_template(folder, TEMPLATES[name])
    if "{dimension_description}" not in text:
        return PromptTemplate(text)
    if len(eval_dim) == 1:
        return PromptTemplate(text, NAMES[eval_dim[0]], read_template(folder, ASPECTS[eval_dim[0]]))
    together = ", ".join(NAMES[d] for d in eval_dim)
    return PromptTemplate(text, f"overall performance({together})", EVERYTHING)


def read_own_template(name: str, sha256: str, folder: Path) -> PromptTemplate:
    """A template that came with a checkpoint, which states its SHA-256 itself.

    Raises:
        ValueError: it is missing or was changed.
    """
    inner = folder / "templates" / f"{name}.txt"
    path = inner if inner.is_file() else folder / f"{name}.txt"
    if not path.is_file():
        raise ValueError(f"the prompt template {inner} that the checkpoint was trained with is missing")
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        raise ValueError(f"{path} is not the template that the checkpoint was trained with: its SHA-256 differs")
    return PromptTemplate(data.decode("utf-8"), literal=True)
