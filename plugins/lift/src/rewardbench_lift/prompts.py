"""The conversation around a question, and its token ids with a place for each frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rewardbench_plugin.assets import Template, read_template

IMAGE = "<image>"
IMAGE_ID = -200
"""Stands in token ids where a frame's features go; no tokenizer has it."""
_REPOSITORY = "https://raw.githubusercontent.com/CodeGoat24/LiFT/a0d5e56c0d3b3b4d8b6b09a478ff49a67f16f541/"
_SCRIPT = _REPOSITORY + "LiFT-Critic/test/run_critic_13b.py"
TEMPLATES: Mapping[str, Template] = MappingProxyType(
    {
        "semantic": Template(
            "semantic.txt",
            "8b5b01bde7b1564037ba0687881ce3a443205d364fcc72b021e52855e3d95516",
            _SCRIPT,
            "eval_model.question_list[0]",
        ),
        "fidelity": Template(
            "fidelity.txt",
            "cf75126d773964933982b7bb8078ceb3c5a7f83e463e3058d6d545a2dbb6cd37",
            _SCRIPT,
            "eval_model.question_list[1]",
        ),
        "motion": Template(
            "motion.txt",
            "902a57c80d031015f12726de0187bf16abecdf9892c696b6c69ea4b97496197d",
            _SCRIPT,
            "eval_model.question_list[2]",
        ),
        "system": Template(
            "system.txt",
            "1fa69e2371b762d1882b0bd98d284f312a36c27add732016e12e52586f98a9f5",
            _REPOSITORY + "llava/conversation.py",
            "conv_vicuna_v1['system']",
        ),
    }
)
"""Three questions and the sentence a ``vicuna_v1`` conversation begins with."""


@dataclass(frozen=True)
class Wording:
    """The verified texts: ``system``, and one question for each of the three dimensions."""

    system: str
    questions: Mapping[str, str]

    def conversation(self, dimension: str, caption: str, frames: int) -> str:
        """One question about a clip: a place for each frame, the caption, and the question right behind it."""
        message = f"{IMAGE}\n" * frames + caption + self.questions[dimension]
        return f"{self.system} USER: {message} ASSISTANT:"


def read_wording(folder: Path, templates: Mapping[str, Template] = TEMPLATES) -> Wording:
    """Read and verify all four texts.

    Raises:
        ValueError: where one is missing, or its bytes are not the published ones.
    """
    texts = {name: read_template(folder, template) for name, template in templates.items()}
    system = texts.pop("system")
    return Wording(system, texts)


def token_ids(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a conversation: the pieces between places are tokenised one by one, as LLaVA does it.

    A piece loses its begin-of-sequence token but for the first, so a piece such as a lone newline keeps the blank that
    a SentencePiece tokenizer puts before it.
    """
    ids: list[int] = []
    for number, piece in enumerate(text.split(IMAGE)):
        tokens = list(tokenizer(piece)["input_ids"])
        begins = bool(tokens) and tokens[0] == tokenizer.bos_token_id
        if number:
            ids.append(IMAGE_ID)
            ids += tokens[1:] if begins else tokens
        else:
            ids += tokens
    return ids


def refuse_prompt(tokenizer: Any, prompt: str) -> str | None:
    """Why a prompt cannot be asked about, or None."""
    if not prompt.strip():
        return "it has no prompt, and every question follows it"
    for token in (IMAGE, *sorted(tokenizer.all_special_tokens, key=len, reverse=True)):
        if token and token in prompt:
            return f"its prompt contains {token!r}, a token with a meaning of its own to the model"
    return None


def common_prefix(sequences: Sequence[Sequence[int]]) -> int:
    """How many leading ids all sequences share, at least one id of each being left."""
    shortest = min(len(sequence) for sequence in sequences) - 1
    for position in range(shortest):
        if len({sequence[position] for sequence in sequences}) > 1:
            return position
    return shortest
