"""The decode processes of a run: started as they are needed, each busy with one clip (or pair) at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from rewardbench.errors import PluginError
from rewardbench.scoring.batches import clip_json
from rewardbench.scoring.plan import Job, Work
from rewardbench.scoring.process import WorkerDied, WorkerProcess
from rewardbench_plugin.transport import Message


class DecodePool:
    """At most ``size`` processes. Times are seconds; ``log`` names the file that takes what a new process prints."""

    def __init__(
        self,
        jobs: Sequence[Job],
        size: int,
        log: Callable[[], Path | None],
        *,
        start_timeout: float,
        timeout: float,
        silence: float,
    ) -> None:
        self._plugins = [{"target": j.choice.target, "configure": j.choice.configure_arguments()} for j in jobs]
        self._size = size
        self._log = log
        self._start_timeout = start_timeout
        self._timeout = timeout
        self._silence = silence
        self._work: dict[WorkerProcess, Work | None] = {}
        self._starting: set[WorkerProcess] = set()

    @property
    def is_busy(self) -> bool:
        """Whether any clip is being decoded."""
        return any(self._work.values())

    @property
    def waited_for(self) -> Iterable[WorkerProcess]:
        """Processes that owe an answer."""
        return [worker for worker in self._work if worker.request is not None]

    def idle(self) -> WorkerProcess | None:
        """A process that can take a clip."""
        return next((w for w, work in self._work.items() if work is None and w not in self._starting), None)

    def grow(self) -> bool:
        """Start one more process; False where there are enough.

        Raises:
            PluginError: if it cannot start.
        """
        if len(self._work) >= self._size:
            return False
        worker = WorkerProcess("rewardbench.scoring.decode_worker", log=self._log(), threads=1, silence=self._silence)
        self._work[worker] = None
        self._starting.add(worker)
        try:
            worker.send({"op": "configure", "plugins": self._plugins}, timeout=self._start_timeout)
        except WorkerDied as death:
            raise PluginError(f"the decoding process could not start: {death}") from None
        return True

    def ask(self, worker: WorkerProcess, work: Work) -> None:
        """Have a clip decoded, and prepared by the plugins of ``work``.

        Raises:
            WorkerDied: if the process is gone.
        """
        self._work[worker] = work
        clips = [clip_json(clip) for clip in work.clips]
        worker.send({"op": "decode", "clips": clips, "plugins": list(work.jobs)}, timeout=self._timeout)

    def answered(self, worker: WorkerProcess, reply: Message) -> Work | None:
        """The work that ``reply`` belongs to; None where it only says that the process is ready.

        Raises:
            PluginError: if a plugin cannot be configured there.
        """
        if worker in self._starting:
            self._starting.discard(worker)
            if not reply["ok"]:
                raise PluginError(f"a plugin cannot be set up for decoding: {reply['type']}: {reply['error']}")
            return None
        work = self._work[worker]
        assert work is not None, "a process that answers was asked"
        self._work[worker] = None
        return work

    def lost(self, worker: WorkerProcess, sentence: str) -> Work:
        """Give up a process that died or hung, and return its work.

        Raises:
            PluginError: if it had none yet: another one would not start either.
        """
        if worker in self._starting:
            raise PluginError(f"the decoding process could not start: {sentence}")
        work = self._work.pop(worker)
        worker.kill()
        assert work is not None, "an idle process is not waited for"
        return work

    def kill(self) -> None:
        for worker in self._work:
            worker.kill()

    def close(self) -> int:
        """End all processes and return the largest peak of resident memory, bytes."""
        peaks = [worker.close().get("peak_memory", {}).get("resident", 0) for worker in self._work]
        self._work.clear()
        return max(peaks, default=0)
