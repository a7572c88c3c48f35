"""Worker processes with deadlines: a child that dies, hangs or talks nonsense never takes the run down."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import IO, Any

import numpy as np

from rewardbench_plugin import transport

SILENCE_SECONDS = 120.0
"""A busy worker sends a heartbeat every second. One that is not heard for so long is stopped, not slow: only a single
call that keeps Python's lock all the time (a stuck driver, a swapped-out process) silences it."""


class WorkerDied(Exception):  # noqa: N818 (what happened, not what broke)
    """The worker is gone, or sent something that is no message; ``killed`` tells a SIGKILL (often: out of memory)."""

    def __init__(self, reason: str, *, killed: bool = False) -> None:
        super().__init__(reason)
        self.killed = killed


@dataclass(frozen=True)
class Interpreter:
    """Another Python to run a worker with, and the folder of the packages it is lent."""

    python: Path
    packages: Path


class WorkerProcess:
    """One child process that answers one request at a time on its own connection.

    ``module`` is run as ``python -m module FD`` by this interpreter with this ``sys.path``, or by ``interpreter`` with
    nothing of this process's path. What the child prints goes to ``log``.

    Two limits guard a request. ``deadline`` is for the answer, and heartbeats do not move it: a model that computes
    for ever is ended there. ``silence`` is for any sign of life, and ends a stopped process long before.
    """

    def __init__(
        self,
        module: str,
        *,
        log: Path | None,
        threads: int | None = None,
        interpreter: Interpreter | None = None,
        silence: float = SILENCE_SECONDS,
    ) -> None:
        host, child = socket.socketpair()
        environment = _host_variables() if interpreter is None else _isolated_variables(interpreter)
        words = [sys.executable, "-m", module, str(child.fileno())]
        if interpreter is not None:
            words = [str(interpreter.python), "-m", module, str(child.fileno()), os.getcwd()]
        if threads is not None:
            for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
                environment[name] = str(threads)
        self._log = log
        stream: IO[bytes] | int = subprocess.DEVNULL if log is None else open(log, "ab")  # noqa: SIM115 (closed below)
        self._log_start = 0 if log is None else log.stat().st_size
        try:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                env=environment,
                # Python before 3.11 knows no PYTHONSAFEPATH: it imports from the folder it is started in.
                cwd=None if interpreter is None else interpreter.packages,
                pass_fds=(child.fileno(),),
                start_new_session=True,  # Ctrl-C reaches the host alone, which ends its workers in order
            )
        finally:
            child.close()
            if not isinstance(stream, int):
                stream.close()
        self.channel = transport.Channel(host)
        self.silence = silence
        self.hello: transport.Message | None = None
        self.request: int | None = None
        self.deadline = float("inf")
        self._timeout = float("inf")
        self._started = self._heard = time.monotonic()
        self._next = 0
        self._killed = False

    def fileno(self) -> int:
        """For ``multiprocessing.connection.wait``."""
        return self.channel.fileno()

    def send(
        self, message: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None, *, timeout: float
    ) -> None:
        """Send one request; the answer must come within ``timeout`` seconds.

        Raises:
            WorkerDied: if the worker is gone.
        """
        assert self.request is None, "a worker answers one request at a time"
        self._next += 1
        try:
            self.channel.send({**message, "id": self._next}, arrays, timeout=min(timeout, self.silence))
        except TimeoutError:
            raise WorkerDied("it does not take its requests any more") from None
        except OSError:
            raise self._death() from None
        self.request = self._next
        self._started = self._heard = time.monotonic()
        self._timeout = timeout
        self.deadline = self._started + timeout

    @property
    def due(self) -> float:
        """When (``time.monotonic()``) this worker has to be looked after: at its deadline, or after its silence."""
        # Heartbeats begin after the greeting; before it an interpreter starts, which a loaded machine may slow down.
        silence = self.silence if self.hello is not None else max(self.silence, SILENCE_SECONDS)
        return min(self.deadline, self._heard + silence)

    def overdue(self, option: str | None = None) -> str | None:
        """Why the open request has to be given up now, or None; ``option`` is what sets its deadline."""
        now = time.monotonic()
        if self.request is None or now < self.due:
            return None
        if now >= self.deadline:
            return f"no answer within {self._timeout:g} s" + (f" ({option})" if option else "")
        return f"no sign of life for {self.silence:g} s"

    @property
    def busy_seconds(self) -> float:
        """How long the open request has been open."""
        return time.monotonic() - self._started

    def receive(self) -> tuple[transport.Message, transport.Arrays] | None:
        """The answer to the open request, or None while it is not complete. Never waits.

        Raises:
            WorkerDied: if the worker is gone or its answer is not a message of this request.
        """
        while True:
            try:
                received = self.channel.receive_ready()
            except (EOFError, OSError):
                raise self._death() from None
            except ValueError as error:
                raise WorkerDied(f"it sent garbage: {error}") from None
            self._heard = time.monotonic()
            if received is None:
                return None
            message, arrays = received
            if message.get("op") == "heartbeat":
                continue
            if message.get("op") == "hello":
                if message.get("protocol") != transport.PROTOCOL:
                    raise WorkerDied(f"it speaks protocol {message.get('protocol')}, this host {transport.PROTOCOL}")
                self.hello = message
                continue
            if self.request is None or message.get("id") != self.request:
                raise WorkerDied(f"it answered request {message.get('id')} where {self.request} was asked")
            if not isinstance(message.get("ok"), bool):
                raise WorkerDied("it sent garbage: an answer that is neither success nor failure")
            self.request = None
            self.deadline = float("inf")
            return message, arrays

    def call(
        self, message: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None, *, timeout: float
    ) -> tuple[transport.Message, transport.Arrays]:
        """Send and wait.

        Raises:
            WorkerDied: if the worker is gone.
            TimeoutError: if no answer came in time; the worker is then useless and should be killed.
        """
        self.send(message, arrays, timeout=timeout)
        while True:
            if wait([self.fileno()], timeout=max(0.0, self.due - time.monotonic())):
                answer = self.receive()
                if answer is not None:
                    return answer
            late = self.overdue()
            if late is not None:
                raise TimeoutError(late)

    def _death(self) -> WorkerDied:
        try:
            code = self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            return WorkerDied("it closed its connection")
        if code < 0:
            return WorkerDied(f"it was ended by {signal.Signals(-code).name}", killed=-code == signal.SIGKILL)
        last = self.last_words()
        return WorkerDied(f"it ended with status {code}" + (f" ({last})" if last else ""))

    def last_words(self) -> str:
        """The last non-empty line this worker printed."""
        if self._log is None:
            return ""
        with contextlib.suppress(OSError), open(self._log, "rb") as stream:
            stream.seek(self._log_start)
            lines = [line.strip() for line in stream.read()[-4096:].decode(errors="replace").splitlines()]
            return next((line for line in reversed(lines) if line), "")
        return ""

    def kill(self) -> None:
        """End the worker and whatever it started, at once. Calling it again does nothing."""
        if self._killed:
            return
        self._killed = True
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self.channel.close()

    def close(self, timeout: float = 10.0) -> transport.Message:
        """Ask the worker to end and return its last message (``peak_memory``); kill it if it does not."""
        message: transport.Message = {}
        try:
            if self.request is None:
                message, _ = self.call({"op": "close"}, timeout=timeout)
                self._process.wait(timeout=timeout)
        except (WorkerDied, TimeoutError, subprocess.TimeoutExpired):
            pass
        self.kill()
        return message


def _host_variables() -> dict[str, str]:
    """Environment variables of a worker that shares this interpreter and its path."""
    path = os.pathsep.join(p or os.getcwd() for p in sys.path)
    return {**os.environ, "PYTHONPATH": path, "PYTHONSAFEPATH": "1"}  # the user's folder must not shadow our modules


def _isolated_variables(interpreter: Interpreter) -> dict[str, str]:
    """Environment variables of a worker with an interpreter of its own: nothing of this process's Python."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV", "CONDA_"))
    }
    binaries = interpreter.python.parent
    return {
        **kept,
        "PATH": os.pathsep.join([str(binaries), kept.get("PATH", os.defpath)]),
        "VIRTUAL_ENV": str(binaries.parent),
        "PYTHONPATH": str(interpreter.packages),
        "PYTHONNOUSERSITE": "1",
        "PYTHONSAFEPATH": "1",
    }
