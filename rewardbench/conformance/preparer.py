"""A decode process that also says whether ``prepare`` refused a clip on purpose.

``python -m rewardbench.conformance.preparer FD`` answers as ``rewardbench.scoring.decode_worker`` does; an answer with
a failure carries ``traceback``, so that a plugin's own sentence can be told from an error that escaped a library.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Mapping

from rewardbench.scoring.decode_worker import DecodeServer
from rewardbench_plugin import transport
from rewardbench_plugin.clip import Clip, Frames, FrameSpec
from rewardbench_plugin.reward import Prepared, RewardModel
from rewardbench_plugin.worker import Reply, connect, serve


class Preparer(DecodeServer):
    """Handlers that remember where the last ``prepare`` raised."""

    def __init__(self) -> None:
        super().__init__()
        self._raised = ""

    def configure(self, message: transport.Message, arrays: transport.Arrays) -> Reply:
        answer = super().configure(message, arrays)
        for model in self.models:
            self._watch(model)
        return answer

    def _watch(self, model: RewardModel) -> None:
        prepare = model.prepare

        def watched(clip: Clip, frames: Mapping[FrameSpec, Frames]) -> Prepared:
            try:
                return prepare(clip, frames)
            except Exception:
                self._raised = traceback.format_exc()
                raise

        model.prepare = watched  # type: ignore[method-assign]

    def decode(self, message: transport.Message, arrays: transport.Arrays) -> Reply:
        self._raised = ""
        reply, payload = super().decode(message, arrays)
        return {**reply, "traceback": self._raised}, payload


def main() -> None:
    serve(connect(sys.argv[1:]), Preparer().handlers())


if __name__ == "__main__":
    main()
