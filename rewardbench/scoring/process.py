"""Worker processes with deadlines: a child that dies, hangs or talks nonsense never takes the run down."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from multiprocessing import Pipe
from pathlib import Path
from typing import IO, Any

import numpy as np

from rewardbench_plugin import transport


class WorkerDied(Exception):  # noqa: N818 (what happened, not what broke)
    """The worker is gone, or sent something that is no message; ``killed`` tells a SIGKILL (often: out of memory)."""

    def __init__(self, reason: str, *, killed: bool = False) -> None:
        super().__init__(reason)
        self.killed = killed


class WorkerProcess:
    """One child process that answers one request at a time on its own connection.

    ``module`` is run as ``python -m module FD`` by ``python`` (default: this interpreter, with this ``sys.path``).
    What the child prints goes to ``log``.
    """

    def __init__(self, module: str, *, log: Path | None, threads: int | None = None, python: str | None = None) -> None:
        host, child = Pipe(duplex=True)
        environment = dict(os.environ)
        if python is None:
            environment["PYTHONPATH"] = os.pathsep.join(p or os.getcwd() for p in sys.path)
            environment["PYTHONSAFEPATH"] = "1"  # a module in the user's folder must not shadow ours
        if threads is not None:
            for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
                environment[name] = str(threads)
        self._log = log
        stream: IO[bytes] | int = subprocess.DEVNULL if log is None else open(log, "ab")  # noqa: SIM115 (closed below)
        self._log_start = 0 if log is None else log.stat().st_size
        try:
            self._process = subprocess.Popen(
                [python or sys.executable, "-m", module, str(child.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                env=environment,
                pass_fds=(child.fileno(),),
                start_new_session=True,  # Ctrl-C reaches the host alone, which ends its workers in order
            )
        finally:
            child.close()
            if not isinstance(stream, int):
                stream.close()
        self.connection = host
        self.hello: transport.Message | None = None
        self.request: int | None = None
        self.deadline = float("inf")
        self._next = 0

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
            transport.send(self.connection, {**message, "id": self._next}, arrays)
        except (BrokenPipeError, ConnectionError, OSError):
            raise self._death() from None
        self.request = self._next
        self.deadline = time.monotonic() + timeout

    def receive(self) -> tuple[transport.Message, transport.Arrays] | None:
        """The answer to the open request, or None for a greeting. Call when the connection is readable.

        Raises:
            WorkerDied: if the worker is gone or its answer is not a message of this request.
        """
        try:
            message, arrays = transport.receive(self.connection)
        except (EOFError, ConnectionError, OSError):
            raise self._death() from None
        except (ValueError, KeyError, TypeError) as error:
            raise WorkerDied(f"it sent something that is not a message ({error})") from None
        if message.get("op") == "hello":
            if message.get("protocol") != transport.PROTOCOL:
                raise WorkerDied(f"it speaks protocol {message.get('protocol')}, this host {transport.PROTOCOL}")
            self.hello = message
            return None
        if message.get("id") != self.request:
            raise WorkerDied(f"it answered request {message.get('id')} where {self.request} was asked")
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
            left = self.deadline - time.monotonic()
            if left <= 0 or not self.connection.poll(left):
                raise TimeoutError(f"no answer within {timeout:g} s")
            answer = self.receive()
            if answer is not None:
                return answer

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
        """End the worker and whatever it started, at once."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self.connection.close()

    def close(self, timeout: float = 10.0) -> transport.Message:
        """Ask the worker to end and return its last message (``peak_memory``); kill it if it does not."""
        message: transport.Message = {}
        try:
            if self.request is None:
                message, _ = self.call({"op": "close"}, timeout=timeout)
                self._process.wait(timeout=timeout)
        except (WorkerDied, TimeoutError, subprocess.TimeoutExpired, json.JSONDecodeError):
            pass
        self.kill()
        return message
