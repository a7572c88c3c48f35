"""The local engine: decode processes ahead of one model process per plugin, all with deadlines.

One loop in the host feeds idle workers and collects answers. A clip that cannot be decoded, a batch that raises, a
process that dies or hangs costs the clips at fault only: a failing batch is split until the guilty clip stands alone.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from multiprocessing.connection import wait
from pathlib import Path

from rewardbench.errors import PluginError
from rewardbench.scoring.batches import Item, batch_request, load_failure, load_request, read_answer
from rewardbench.scoring.decode_pool import DecodePool
from rewardbench.scoring.engine import EngineSettings, Session, Sink
from rewardbench.scoring.plan import Job, Work
from rewardbench.scoring.process import Interpreter, WorkerDied, WorkerProcess
from rewardbench.scoring.progress import Progress
from rewardbench_plugin.transport import Arrays, Message

HOPELESS = 3
"""After so many clips in a row on which the process died or hung, a plugin is not asked again in this run."""
HOPELESS_DECODES = 10
"""The same for its frames: more patience, because here a damaged clip is the likelier cause."""
LOADING_SECONDS = 30.0
"""How often a model that is still loading is reported."""


class _ModelSlot:
    """One plugin's queue, its process and what is being scored."""

    def __init__(self, position: int, job: Job, batch_size: int) -> None:
        self.position = position
        self.job = job
        self.batch_size = batch_size
        self.ready: deque[Item] = deque()
        self.retries: deque[list[Item]] = deque()
        self.current: list[Item] = []
        self.worker: WorkerProcess | None = None
        self.loaded = False
        self.reported = 0.0
        self.losses = 0
        self.decode_losses = 0
        self.given_up: str | None = None
        self.session = Session(batch_size=batch_size)

    @property
    def waiting(self) -> int:
        return len(self.ready) + sum(len(batch) for batch in self.retries) + len(self.current)


class LocalEngine:
    """Runs work on this machine. Use as a context manager: leaving it ends every process it started.

    ``interpreters`` has, by position, the jobs whose model lives in an environment of its own.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        settings: EngineSettings,
        progress: Progress,
        sink: Sink,
        interpreters: Mapping[int, Interpreter] | None = None,
    ) -> None:
        self.settings = settings
        self.interpreters = interpreters or {}
        self.progress = progress
        self.sink = sink
        self.jobs = jobs
        self.slots = [_ModelSlot(i, job, settings.batch_size or _default_batch(job)) for i, job in enumerate(jobs)]
        self.decodes = any(job.reads_clips for job in jobs)
        self.decoders = DecodePool(
            jobs,
            settings.workers,
            lambda: self._log("decode"),
            start_timeout=settings.load_timeout,
            timeout=settings.decode_timeout,
            silence=settings.silence,
        )
        self.again: deque[Work] = deque()
        self.decode_peak = 0
        self._n_logs = 0

    def __enter__(self) -> LocalEngine:
        return self

    def __exit__(self, *exc: object) -> None:
        for slot in self.slots:
            if slot.worker is not None:
                slot.worker.kill()
        self.decoders.kill()

    def run(self, work: Iterable[Work]) -> list[Session]:
        """Do all of ``work`` and return one session per job.

        Raises:
            PluginError: if a plugin cannot be loaded or breaks its contract; what was scored before is in the sink.
        """
        started = time.monotonic()
        todo = iter(work)
        exhausted = False
        while True:
            if not exhausted or self.again:
                exhausted = self._feed_decoders(todo)
            drained = exhausted and not self.again and not self.decoders.is_busy
            self._feed_models(drained)
            if drained and not any(slot.waiting for slot in self.slots):
                break
            self._collect()
        for slot in self.slots:
            slot.session.seconds = time.monotonic() - started
            slot.session.batch_size = slot.batch_size
            if slot.worker is not None:
                slot.session.peak_memory = slot.worker.close().get("peak_memory", {})
                slot.worker = None
        self.decode_peak = self.decoders.close()
        return [slot.session for slot in self.slots]

    # -- decoding ----------------------------------------------------------------------------------------------------

    def _room(self) -> bool:
        """Whether more frames may be decoded: no plugin is more than two batches behind, so memory stays flat."""
        return all(slot.waiting < 2 * slot.batch_size + self.settings.workers for slot in self.slots)

    def _feed_decoders(self, todo: Iterator[Work]) -> bool:
        """Give idle decoders work; True when there is no more."""
        while self._room():
            idle = self.decoders.idle()
            if self.decodes and idle is None:
                if not self.decoders.grow():
                    return False
                continue
            work = self.again.popleft() if self.again else next(todo, None)
            if work is None:
                return True
            if all(self.slots[position].given_up is not None for position in work.jobs):
                for position in work.jobs:
                    self._fail(position, work, self.slots[position].given_up or "")
                continue
            for position in work.jobs:
                if self.slots[position].worker is None and self.slots[position].given_up is None:
                    self._start_model(self.slots[position])
            if idle is None:
                for position in work.jobs:
                    self._enqueue(position, Item(work, {}))
                continue
            try:
                self.decoders.ask(idle, work)
            except WorkerDied as death:
                self._decoder_lost(idle, f"its process ended: {death}")
        return False

    def _decoder_answer(self, decoder: WorkerProcess, reply: Message, arrays: Arrays) -> None:
        work = self.decoders.answered(decoder, reply)
        if work is None:
            return
        if not reply["ok"]:
            self._fail_work(work, f"{work.clips[0].video}: {reply['type']}: {reply['error']}")
            return
        for position in work.jobs:
            self.slots[position].decode_losses = 0
            failure = reply["failures"].get(str(position))
            if failure is not None:
                self._fail(position, work, failure)
                continue
            prefix = f"{position}/"
            own = {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}
            self._enqueue(position, Item(work, own))

    def _decoder_lost(self, decoder: WorkerProcess, sentence: str) -> None:
        """The process died or hung: retry each plugin alone, or give the clip up."""
        work = self.decoders.lost(decoder, sentence)
        if len(work.jobs) > 1:
            self.again.extend(replace(work, jobs=(position,)) for position in work.jobs)
            return
        slot = self.slots[work.jobs[0]]
        stage = f"{work.clips[0].video} could not be decoded and prepared for plugin {slot.job.label!r}"
        self._fail(slot.position, work, f"{stage}: {sentence}")
        slot.decode_losses += 1
        if slot.decode_losses >= HOPELESS_DECODES:
            slot.given_up = f"not tried: {HOPELESS_DECODES} clips in a row ended the decoding process ({sentence})"
            self._fail_queued(slot)

    # -- scoring -----------------------------------------------------------------------------------------------------

    def _enqueue(self, position: int, item: Item) -> None:
        slot = self.slots[position]
        if slot.given_up is not None:
            self._fail(position, item.work, slot.given_up)
        else:
            slot.ready.append(item)

    def _feed_models(self, drained: bool) -> None:
        for slot in self.slots:
            if slot.current or slot.given_up is not None or not (slot.ready or slot.retries):
                continue
            if slot.worker is None:
                self._start_model(slot)
            assert slot.worker is not None
            if not slot.loaded or slot.worker.request is not None:
                continue
            if slot.retries:
                batch = slot.retries.popleft()
            elif len(slot.ready) >= slot.batch_size or drained or not self._room():
                batch = [slot.ready.popleft() for _ in range(min(slot.batch_size, len(slot.ready)))]
            else:
                continue
            self._send_batch(slot, batch)

    def _start_model(self, slot: _ModelSlot) -> None:
        job = slot.job
        slot.loaded = False
        slot.reported = time.monotonic()
        try:
            slot.worker = WorkerProcess(
                "rewardbench_plugin.worker",
                log=self._log(job.label.replace(":", "-")),
                interpreter=self.interpreters.get(slot.position),
                silence=self.settings.silence,
            )
            request = load_request(job.choice, self.settings.device, self.settings.dtype)
            slot.worker.send(request, timeout=self.settings.load_timeout)
        except (WorkerDied, OSError) as death:
            raise PluginError(f"plugin {job.label!r}: its process could not start: {death}") from None

    def _send_batch(self, slot: _ModelSlot, batch: list[Item]) -> None:
        assert slot.worker is not None
        slot.current = batch
        request, arrays = batch_request(batch, is_judge=slot.job.is_judge)
        try:
            slot.worker.send(request, arrays, timeout=self.settings.score_timeout)
        except WorkerDied as death:
            self._model_lost(slot, f"its process ended: {death}")

    def _model_answer(self, slot: _ModelSlot, reply: Message, arrays: Arrays) -> None:
        if not slot.loaded:
            if not reply["ok"]:
                raise PluginError(f"plugin {slot.job.label!r} cannot be loaded: {load_failure(reply)}")
            assert slot.worker is not None, "its answer was just read"
            slot.loaded = True
            slot.session.device = reply["device"]
            slot.session.python = (slot.worker.hello or {}).get("python")
            slot.session.packages = reply["packages"]
            if reply.get("message"):
                self.progress.message(f"{slot.job.label}: {reply['message']}")
            return
        batch, slot.current = slot.current, []
        if reply["ok"]:
            slot.losses = 0
            self._accept(slot, batch, reply, arrays)
        elif reply["kind"] == "out_of_memory" and len(batch) > 1:
            slot.batch_size = max(1, len(batch) // 2)
            self.progress.message(f"{slot.job.label}: out of memory, batch size is now {slot.batch_size}")
            slot.ready.extendleft(reversed(batch))
        elif len(batch) > 1:
            self._split(slot, batch)
        else:
            self._fail(
                slot.position, batch[0].work, f"plugin {slot.job.label!r} raised {reply['type']}: {reply['error']}"
            )

    def _split(self, slot: _ModelSlot, batch: list[Item]) -> None:
        middle = len(batch) // 2
        slot.retries.extendleft([batch[middle:], batch[:middle]])

    def _model_lost(self, slot: _ModelSlot, sentence: str, *, killed: bool = False) -> None:
        """The process died or hung on the current batch: split it, or give the clip up."""
        assert slot.worker is not None
        slot.worker.kill()
        slot.worker = None
        batch, slot.current = slot.current, []
        if not slot.loaded:
            raise PluginError(f"plugin {slot.job.label!r} cannot be loaded: {sentence}")
        slot.loaded = False
        if len(batch) > 1:
            if killed:  # most often the system ran out of memory
                slot.batch_size = max(1, len(batch) // 2)
            self._split(slot, batch)
            return
        self._fail(slot.position, batch[0].work, f"plugin {slot.job.label!r}: {sentence}")
        slot.losses += 1
        if slot.losses >= HOPELESS:
            slot.given_up = f"not tried: plugin {slot.job.label!r} failed on {HOPELESS} clips in a row ({sentence})"
            self._fail_queued(slot)

    def _fail_queued(self, slot: _ModelSlot) -> None:
        for item in [*slot.ready, *(item for retry in slot.retries for item in retry)]:
            self._fail(slot.position, item.work, slot.given_up or "")
        slot.ready.clear()
        slot.retries.clear()

    def _accept(self, slot: _ModelSlot, batch: list[Item], reply: Message, arrays: Arrays) -> None:
        """Check a batch against the plugin's own card and hand it to the sink."""
        answer = read_answer(slot.job, len(batch), reply, arrays)
        good = [i for i, fault in enumerate(answer.faults) if fault is None]
        if good:
            works, notes = [batch[i].work for i in good], [answer.notes[i] for i in good]
            self.sink.scored(slot.position, works, answer.values[good], answer.raw[good], notes)
            slot.session.n_scored += len(good)
            self.progress.advance(len(good))
        for item, fault in zip(batch, answer.faults, strict=True):
            if fault is not None:
                self._fail(slot.position, item.work, f"plugin {slot.job.label!r}: {fault}")

    # -- failures and waiting ----------------------------------------------------------------------------------------

    def _fail(self, position: int, work: Work, error: str) -> None:
        self.sink.failed(position, work, error)
        self.progress.advance(1)

    def _fail_work(self, work: Work, error: str) -> None:
        for position in work.jobs:
            self._fail(position, work, error)

    def _collect(self) -> None:
        """Wait for an answer or a deadline and handle all that came."""
        scoring = {s.worker: s for s in self.slots if s.worker is not None and s.worker.request is not None}
        workers = [*self.decoders.waited_for, *scoring]
        if not workers:
            return
        due = min(worker.due for worker in workers) - time.monotonic()
        ready = wait([worker.fileno() for worker in workers], timeout=max(0.0, min(due, 3600.0)))
        for worker in workers:
            try:
                answer = worker.receive() if worker.fileno() in ready else None
            except WorkerDied as death:
                self._lost(worker, f"its process ended: {death}", scoring, killed=death.killed)
                continue
            if answer is not None and worker in scoring:
                self._model_answer(scoring[worker], *answer)
            elif answer is not None:
                self._decoder_answer(worker, *answer)
            else:
                late = worker.overdue(_limit(worker, scoring))
                if late is not None:
                    self._lost(worker, late, scoring)
        self._report_loading(scoring.values())

    def _report_loading(self, slots: Iterable[_ModelSlot]) -> None:
        """Say that a model is still loading, so that minutes of silence are no riddle."""
        now = time.monotonic()
        for slot in slots:
            if slot.worker is not None and not slot.loaded and now - slot.reported >= LOADING_SECONDS:
                slot.reported = now
                self.progress.message(f"{slot.job.label}: loading the model, {slot.worker.busy_seconds:.0f} s so far")

    def _lost(
        self,
        worker: WorkerProcess,
        sentence: str,
        scoring: dict[WorkerProcess, _ModelSlot],
        *,
        killed: bool = False,
    ) -> None:
        if worker in scoring:
            self._model_lost(scoring[worker], sentence, killed=killed)
        else:
            self._decoder_lost(worker, sentence)

    def _log(self, name: str) -> Path | None:
        """A log of its own for every process, so that its last words are its own."""
        self._n_logs += 1
        folder = self.settings.log_folder
        return None if folder is None else folder / f"{name}-{self._n_logs}.log"


def _default_batch(job: Job) -> int:
    return 8 if job.reads_clips else 256


def _limit(worker: WorkerProcess, scoring: Mapping[WorkerProcess, _ModelSlot]) -> str | None:
    """The option that sets the deadline of what this worker is doing, None where there is none (loading)."""
    if worker not in scoring:
        return "--decode-timeout"
    return "--score-timeout" if scoring[worker].loaded else None
