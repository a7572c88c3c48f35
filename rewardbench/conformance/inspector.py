"""A model's process that also says what types ``score`` and ``compare`` returned, before they travel.

``python -m rewardbench.conformance.inspector FD`` answers as ``rewardbench_plugin.worker`` does; each answer carries
``types``: by field, the dtype of the array it is.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from rewardbench_plugin import transport
from rewardbench_plugin.reward import PairwiseJudge
from rewardbench_plugin.worker import ModelServer, Reply, connect, serve


class Inspector(ModelServer):
    """Handlers that remember the types of the last answer."""

    def __init__(self) -> None:
        super().__init__()
        self._types: dict[str, str] = {}

    def load(self, message: transport.Message, arrays: transport.Arrays) -> Reply:
        reply, payload = super().load(message, arrays)
        name = "compare" if isinstance(self.model, PairwiseJudge) else "score"
        answer = getattr(self.model, name)

        def watched(batch: Any) -> Any:
            found = answer(batch)
            fields = {field: getattr(found, field, None) for field in ("values", "raw", "p")}
            self._types = {field: _type(value) for field, value in fields.items() if value is not None}
            return found

        setattr(self.model, name, watched)
        return reply, payload

    def score(self, message: transport.Message, arrays: transport.Arrays) -> Reply:
        reply, payload = super().score(message, arrays)
        return {**reply, "types": self._types}, payload

    def compare(self, message: transport.Message, arrays: transport.Arrays) -> Reply:
        reply, payload = super().compare(message, arrays)
        return {**reply, "types": self._types}, payload


def _type(value: Any) -> str:
    """The dtype numpy gives it; a tensor keeps its own name for it (``torch.bfloat16``)."""
    dtype = getattr(value, "dtype", None)
    return str(np.asarray(value).dtype if dtype is None else dtype)


def main() -> None:
    serve(connect(sys.argv[1:]), Inspector().handlers())


if __name__ == "__main__":
    main()
