"""A reward model that lives in an environment of its own, used like one in this process."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence

from rewardbench.environments import Recipe, ensure
from rewardbench.errors import PluginError
from rewardbench.registry import RewardChoice
from rewardbench.scoring.batches import clip_json, load_failure, load_request
from rewardbench.scoring.engine import EngineSettings
from rewardbench.scoring.process import WorkerDied, WorkerProcess
from rewardbench.scoring.progress import Silent
from rewardbench_plugin.clip import Clip, Frames, FrameSpec
from rewardbench_plugin.reward import Item, Prepared, RewardModel, Scores
from rewardbench_plugin.transport import Arrays, Message


class IsolatedReward(RewardModel):
    """``prepare`` runs here, ``load`` and ``score`` in a worker process with the plugin's own Python and packages.

    A call that the worker does not survive raises :class:`PluginError`; the next one starts a new worker.
    """

    def __init__(self, choice: RewardChoice, model: RewardModel, recipe: Recipe) -> None:
        self.card = model.card
        self.dimensions = model.dimensions
        self.weights = model.weights
        self.options = model.options
        self._choice = choice
        self._model = model
        self._recipe = recipe
        self._limits = EngineSettings(workers=1)
        self._worker: WorkerProcess | None = None
        self._asked: tuple[str, str | None] = ("auto", None)

    def load(self, device: str, dtype: str | None, weights: Mapping[str, str], options: Mapping[str, str]) -> None:
        """Build the environment where it is missing, and load the model there.

        Raises:
            PluginError: if the environment cannot be built or the worker does not survive.
            ValueError: if the model refuses.
        """
        self._asked = (device, dtype)
        interpreter = ensure(self._recipe, Silent())
        self._worker = WorkerProcess("rewardbench_plugin.worker", log=None, interpreter=interpreter)
        weakref.finalize(self, self._worker.kill)
        reply, _ = self._call(load_request(self._choice, device, dtype), {}, self._limits.load_timeout)
        if not reply["ok"]:
            self.close()
            raise ValueError(load_failure(reply))
        self.device = reply["device"]

    def prepare(self, clip: Clip, frames: Mapping[FrameSpec, Frames]) -> Prepared:
        return self._model.prepare(clip, frames)

    def score(self, batch: Sequence[Item]) -> Scores:
        """Score N items in the worker.

        Raises:
            PluginError: if the worker dies, hangs or raises.
        """
        if self._worker is None:
            self.load(*self._asked, self.weights, self.options)
        request = {"op": "score", "clips": [clip_json(item.clip) for item in batch]}
        arrays = {f"{i}/{name}": array for i, item in enumerate(batch) for name, array in item.data.items()}
        reply, found = self._call(request, arrays, self._limits.score_timeout)
        if not reply["ok"]:
            raise PluginError(f"plugin {self.card.name!r} raised {reply['type']}: {reply['error']}")
        return Scores(found["values"], found["raw"], reply["notes"], reply["errors"])

    def fingerprint(self) -> str:
        return self._model.fingerprint()

    def close(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None

    def _call(self, request: Message, arrays: Arrays, timeout: float) -> tuple[Message, Arrays]:
        assert self._worker is not None, "started before"
        try:
            return self._worker.call(request, arrays, timeout=timeout)
        except (WorkerDied, TimeoutError) as death:
            self._worker.kill()
            self._worker = None
            raise PluginError(f"plugin {self.card.name!r}: its process ended: {death}") from None
