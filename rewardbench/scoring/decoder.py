"""Frames of single clips from a process that can be killed, for whoever looks at clips outside a scoring run."""

from __future__ import annotations

import os
from types import TracebackType

import numpy as np

from rewardbench.errors import ClipError
from rewardbench.scoring.process import WorkerDied, WorkerProcess
from rewardbench_plugin.clip import FrameSpec


class Decoder:
    """A decode process, started at the first call and again after it died. Use as a context manager."""

    def __init__(self, timeout: float = 60.0) -> None:
        self._timeout = timeout
        self._worker: WorkerProcess | None = None

    def __enter__(self) -> Decoder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._worker is not None:
            self._worker.kill()
            self._worker = None

    def read(self, path: str | os.PathLike[str], spec: FrameSpec) -> np.ndarray:
        """Sampled, resized frames uint8 (T, H, W, 3).

        Raises:
            ClipError: if the clip cannot be read, or not within the time limit.
        """
        if self._worker is None:
            self._worker = WorkerProcess("rewardbench.scoring.decode_worker", log=None)
        request = {"op": "frames", "video": os.fspath(path), "spec": spec.to_json()}
        try:
            reply, arrays = self._worker.call(request, timeout=self._timeout)
        except (WorkerDied, TimeoutError) as error:
            self._worker.kill()
            self._worker = None
            raise ClipError(f"{os.fspath(path)}: decoding it failed ({error})") from None
        if not reply["ok"]:
            raise ClipError(str(reply["error"]))
        return arrays["rgb"]
