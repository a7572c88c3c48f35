"""The checklist: 29 published questions with their weights, and how their answers become a score."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rewardbench_plugin.assets import Template, read_template

COUNT = 29
PLACE = "[[prompt]]"
_PUBLISHED = (
    "https://raw.githubusercontent.com/THUDM/VisionReward/511960d61a777b2008cd486a85a090ba96792a32/VisionReward_Video/"
)
QUESTIONS = Template(
    name="questions.txt",
    sha256="79de7f5e135a7957144826056a83be63fd6ddcbc61ba6460e09a0b09da580ee3",
    url=_PUBLISHED + "VisionReward_video_qa_select.txt",
)
WEIGHTS = Template(
    name="weight.json",
    sha256="0c6367f244ae64fa881e93f0033f2a4362176893ed2f946223ec64a57e3c9204",
    url=_PUBLISHED + "weight.json",
)


@dataclass(frozen=True)
class Checklist:
    """``questions`` as the published script reads them, and ``weights`` float64 (Q,), all positive."""

    questions: tuple[str, ...]
    weights: np.ndarray

    def ask(self, prompt: str) -> list[str]:
        """The Q questions about a clip generated from ``prompt``. Every one but the last ends in its newline."""
        return [question.replace(PLACE, prompt) for question in self.questions]

    def score(self, answers: Sequence[float]) -> float:
        """Mean over questions of answer times weight, for answers in [-1, 1] (yes is 1)."""
        return float(np.mean(np.asarray(answers, dtype=np.float64) * self.weights))


def read_checklist(folder: Path) -> Checklist:
    """The verified questions and weights of a ``templates`` folder.

    ``weight.json`` may lie in that folder or beside it.

    Raises:
        ValueError: where a file is missing, or its bytes are not the published ones.
    """
    text = read_template(folder, QUESTIONS)
    inside = any((place / WEIGHTS.name).is_file() for place in (folder, folder / "templates"))
    weights = json.loads(read_template(folder if inside else folder.parent, WEIGHTS))
    lines = tuple(io.StringIO(text).readlines())
    if len(lines) != COUNT or len(weights) != COUNT:
        raise ValueError(f"{folder} has {len(lines)} questions and {len(weights)} weights instead of {COUNT} of each")
    return Checklist(lines, np.array(weights, dtype=np.float64))
