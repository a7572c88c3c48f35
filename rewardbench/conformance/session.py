"""One model in processes of its own, asked batch by batch: the host's own messages, without its store and its queue."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from rewardbench.environments import ensure, recipe_of
from rewardbench.errors import PluginError
from rewardbench.registry import RewardChoice
from rewardbench.scoring.batches import Item, batch_request, clip_json, load_failure, load_request, read_answer
from rewardbench.scoring.plan import Job, Work
from rewardbench.scoring.process import Interpreter, WorkerDied, WorkerProcess
from rewardbench.scoring.progress import Progress
from rewardbench_plugin.clip import Clip
from rewardbench_plugin.transport import Arrays

LOAD_SECONDS = 1800.0

Asked = tuple[Clip, ...]
"""What is scored at once: one clip, or the two clips of a pair in the order shown."""


@dataclass(frozen=True)
class Limits:
    """How a model is run. Times are seconds."""

    device: str = "auto"
    dtype: str | None = None
    decode_timeout: float = 120.0
    score_timeout: float = 600.0


_PLACE = re.compile(r'^  File "(.+)", line \d+, in .+\n    (.*)$', re.MULTILINE)
"""A frame of a traceback: file and source line."""


class Refused(Exception):  # noqa: N818 (an answer too)
    """No answer. ``stage`` is ``configure``, ``prepare``, ``load`` or ``score``; ``kind`` the class of the exception
    (``process`` where the process died or hung, ``shape`` where the answer does not fit)."""

    def __init__(self, stage: str, kind: str, text: str, trace: str = "") -> None:
        super().__init__(text)
        self.stage = stage
        self.kind = kind
        self._trace = trace

    def is_meant_by(self, package: str) -> bool:
        """Whether ``package`` said on purpose why it cannot: by a ``raise ValueError`` of its own.

        A library's ValueError that escapes (shapes that do not fit) looks the same to a user but is no sentence.
        Without a traceback the host itself refused: the clip cannot be decoded.
        """
        if not self._trace:
            return self.kind == "ValueError"
        places = _PLACE.findall(self._trace)
        if self.kind != "ValueError" or not places:
            return False
        file, source = places[-1]
        parts = Path(file).with_suffix("").parts
        return (package in parts or "rewardbench_plugin" in parts) and source.startswith("raise")


@dataclass(frozen=True)
class Answer:
    """Of N clips or pairs: values and raw (N, W) float64, notes and errors, and dtypes where they could be seen."""

    values: np.ndarray
    raw: np.ndarray
    notes: list[str]
    errors: list[str | None]
    types: dict[str, str]


class DecodeProcess:
    """One decode process, which is told anew whenever another choice is to prepare clips."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._worker: WorkerProcess | None = None
        self._told: RewardChoice | None = None

    def ask(self, choice: RewardChoice, clips: Asked, timeout: float) -> tuple[dict[str, Any], Arrays]:
        """Decode and prepare the clips of one question.

        Raises:
            Refused: where the process dies, or the plugin cannot be configured in it.
        """
        request = {"op": "decode", "clips": [clip_json(clip) for clip in clips], "plugins": [0]}
        stage = "configure"
        try:
            worker = self._configured(choice)
            stage = "prepare"
            return worker.call(request, timeout=timeout)
        except (WorkerDied, TimeoutError) as death:
            self.close()
            raise Refused(stage, "process", f"the process ended: {death}") from None

    def _configured(self, choice: RewardChoice) -> WorkerProcess:
        if self._worker is None:
            self._worker = WorkerProcess("rewardbench.conformance.preparer", log=self._log, threads=1)
        if self._told != choice:
            plugin = {"target": choice.target, "configure": choice.configure_arguments()}
            reply, _ = self._worker.call({"op": "configure", "plugins": [plugin]}, timeout=LOAD_SECONDS)
            if not reply["ok"]:
                raise Refused("configure", reply["type"], reply["error"])
            self._told = choice
        return self._worker

    def close(self) -> None:
        if self._worker is not None:
            self._worker.kill()
            self._worker = self._told = None


class Decoder:
    """Prepares clips for one choice as a run does; each clip (or pair) once."""

    def __init__(self, choice: RewardChoice, limits: Limits, process: DecodeProcess) -> None:
        self._choice = choice
        self._limits = limits
        self._process = process
        self._done: dict[Any, Item] = {}

    def item(self, asked: Asked) -> Item:
        """What the model's process is handed.

        Raises:
            Refused: where the clip cannot be read or prepared.
        """
        key = tuple((c.clip_id, c.video, c.prompt, c.image) for c in asked)
        if key not in self._done:
            self._done[key] = self._prepare(asked)
        return self._done[key]

    def _prepare(self, asked: Asked) -> Item:
        reply, arrays = self._process.ask(self._choice, asked, self._limits.decode_timeout)
        if not reply["ok"]:
            raise Refused("prepare", reply["type"], reply["error"])
        failure = reply["failures"].get("0")
        if failure is not None:
            raise Refused("prepare", _kind(failure), failure, reply["traceback"])
        own = {name.removeprefix("0/"): array for name, array in arrays.items()}
        return Item(Work(0, asked, (0,)), own)


def _kind(failure: str) -> str:
    """The exception that stands before the text of a failure; a sentence stands alone."""
    _, colon, rest = failure.partition(": ")
    first = rest.partition(": ")[0]
    return first if colon and first.isidentifier() and first[0].isupper() else "ValueError"


class Model:
    """A loaded model in a process of its own. Use as a context manager."""

    def __init__(self, job: Job, decoder: Decoder, limits: Limits, log: Path, lent: Interpreter | None = None) -> None:
        """Load it; ``lent`` is the interpreter of an environment of its own.

        Raises:
            Refused: where it does not load.
        """
        self._job = job
        self._decoder = decoder
        self._limits = limits
        module = "rewardbench.conformance.inspector" if lent is None else "rewardbench_plugin.worker"
        self._worker = WorkerProcess(module, log=log, interpreter=lent)
        request = load_request(job.choice, limits.device, limits.dtype)
        reply, _ = self._call("load", request, {}, LOAD_SECONDS)
        if not reply["ok"]:
            self.kill()
            raise Refused("load", reply["type"], load_failure(reply))
        self.device = str(reply["device"])

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def ask(self, batch: Sequence[Asked]) -> Answer:
        """Score (or compare) one batch.

        Raises:
            Refused: where it cannot be prepared, raises, ends the process, or has another shape than the batch.
        """
        items = [self._decoder.item(asked) for asked in batch]
        request, arrays = batch_request(items, is_judge=self._job.is_judge)
        reply, found = self._call("score", request, arrays, self._limits.score_timeout)
        if not reply["ok"]:
            raise Refused("score", reply["type"], f"{reply['type']}: {reply['error']}", reply["traceback"])
        try:
            checked = read_answer(self._job, len(batch), reply, found)
        except PluginError as error:
            raise Refused("score", "shape", str(error)) from None
        errors = list(reply.get("errors") or []) or [None] * len(batch)
        return Answer(checked.values, checked.raw, checked.notes, errors, reply.get("types", {}))

    def close(self) -> None:
        """End the process as a run does.

        Raises:
            Refused: where the model's own ``close`` raises.
        """
        reply, _ = self._call("close", {"op": "close"}, {}, self._limits.score_timeout)
        self.kill()
        if not reply["ok"]:
            raise Refused("close", reply["type"], f"{reply['type']}: {reply['error']}")

    def kill(self) -> None:
        self._worker.kill()

    def _call(
        self, stage: str, request: dict[str, Any], arrays: Arrays, timeout: float
    ) -> tuple[dict[str, Any], Arrays]:
        try:
            return self._worker.call(request, arrays, timeout=timeout)
        except (WorkerDied, TimeoutError) as death:
            self._worker.kill()
            raise Refused(stage, "process", f"its process ended: {death}") from None


class Sessions:
    """Everything that runs for one reward model under examination: folders, decoders and processes."""

    def __init__(self, job: Job, limits: Limits, folder: Path, progress: Progress) -> None:
        self.job = job
        self.limits = limits
        self._folder = folder
        self._progress = progress
        self._open: list[Model] = []
        self._decoding = DecodeProcess(folder / "decode.log")

    @cached_property
    def decoder(self) -> Decoder:
        """What prepares clips for the model as it was asked for."""
        return Decoder(self.job.choice, self.limits, self._decoding)

    @cached_property
    def own_environment(self) -> Interpreter | None:
        """The environment the card asks for, built where it is missing; None where it shares the host's."""
        recipe = recipe_of(self.job.model.card, self.job.choice.target)
        return None if recipe is None else ensure(recipe, self._progress)

    def start(self) -> Model:
        """A new process, as a run starts it."""
        return self._kept(Model(self.job, self.decoder, self.limits, self._log(), self.own_environment))

    def start_other(self, job: Job) -> Model:
        """The same for another choice (seed, dimensions)."""
        decoder = Decoder(job.choice, self.limits, self._decoding)
        return self._kept(Model(job, decoder, self.limits, self._log(), self.own_environment))

    def start_alone(self) -> Model:
        """A process that finds a copy of the plugin's package, its interpreter's packages, and nothing else.

        This is how an isolated plugin always runs; another plugin is lent this Python.
        """
        lent = self.own_environment
        if lent is None:
            recipe = recipe_of(replace(self.job.model.card, environment="isolated"), self.job.choice.target)
            assert recipe is not None
            packages = self._folder / "packages"
            for source in recipe.sources:
                ignored = shutil.ignore_patterns("__pycache__")
                if source.is_dir():
                    shutil.copytree(source, packages / source.name, dirs_exist_ok=True, ignore=ignored)
                else:
                    packages.mkdir(exist_ok=True)
                    shutil.copy(source, packages)
            lent = Interpreter(Path(sys.executable), packages)
        return self._kept(Model(self.job, self.decoder, self.limits, self._log(), lent))

    def close(self) -> None:
        """End every process that is left."""
        for model in self._open:
            model.kill()
        self._decoding.close()

    def _kept(self, model: Model) -> Model:
        self._open.append(model)
        return model

    def _log(self) -> Path:
        return self._folder / "model.log"
