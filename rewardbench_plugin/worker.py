"""The process that holds a loaded reward model: ``python -m rewardbench_plugin.worker FD [FOLDER]``.

It answers requests on its own connection, one at a time; what the model prints goes to standard error. While it works
on a request a thread sends a heartbeat every second, so that the host can tell a slow model from a stopped process.
Standard library and numpy only, so the same loop runs beside old stacks in an isolated environment.

FOLDER is where relative paths of clips begin. An isolated worker is started in another folder, because a Python before
3.11 would import the modules of the folder it is started in.
"""

from __future__ import annotations

import gc
import importlib
import os
import platform
import socket
import sys
import threading
import time
import traceback
from typing import Any, Callable, Dict, List, Mapping, Optional, Tuple

import numpy as np

from rewardbench_plugin import transport
from rewardbench_plugin.clip import Clip
from rewardbench_plugin.reward import Item, PairwiseJudge, RewardModel

HEARTBEAT_SECONDS = 1.0

Reply = Tuple[Dict[str, Any], Optional[Mapping[str, np.ndarray]]]
Handler = Callable[[transport.Message, transport.Arrays], Reply]


def create(target: str, configure: Mapping[str, Any]) -> RewardModel:
    """The configured model that ``"module:Class"`` names."""
    module, _, attribute = target.partition(":")
    model = getattr(importlib.import_module(module), attribute)()
    if not isinstance(model, RewardModel):
        raise TypeError(f"{target} is not a rewardbench_plugin.RewardModel")
    model.configure(**configure)
    return model


class _Heart(threading.Thread):
    """Tells the host once a second that this process still runs Python, for as long as a request is open."""

    def __init__(self, channel: transport.Channel) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._channel = channel
        self.request: Optional[int] = None

    def run(self) -> None:
        while True:
            time.sleep(HEARTBEAT_SECONDS)
            if self.request is not None:
                try:
                    self._channel.send({"op": "heartbeat", "id": self.request})
                except OSError:
                    return


def serve(channel: transport.Channel, handlers: Mapping[str, Handler]) -> None:
    """Answer requests ``{"op", "id", …}`` until ``close`` or until the host is gone.

    Each reply carries the request's ``id`` and ``ok``; a failing handler's reply carries ``kind`` (``out_of_memory``
    or ``error``), ``error`` (one line) and ``traceback``.
    """
    os.dup2(2, 1)  # stray prints of the model must not be lost in a pipe nobody reads
    python = platform.python_version()
    channel.send({"op": "hello", "protocol": transport.PROTOCOL, "python": python, "numpy": np.__version__})
    heart = _Heart(channel)
    heart.start()
    while True:
        try:
            message, arrays = channel.receive()
        except (EOFError, OSError):
            return
        reply: Dict[str, Any]
        payload: Optional[Mapping[str, np.ndarray]] = None
        heart.request = message.get("id")
        try:
            reply, payload = handlers[message["op"]](message, arrays)
            reply = {**reply, "ok": True}
        except Exception as error:
            reply = describe_error(error)
            del error
            gc.collect()
        del arrays
        heart.request = None
        reply["id"] = message.get("id")
        try:
            channel.send(reply, payload)
        except OSError:
            return
        except (TypeError, ValueError) as error:  # what cannot travel
            channel.send({**describe_error(error), "id": message.get("id")})
        if message["op"] == "close":
            return


def connect(words: List[str]) -> transport.Channel:
    """The channel that the words after the module's name stand for: its descriptor, and the folder to work in."""
    if len(words) > 1:
        os.chdir(words[1])
    os.set_inheritable(int(words[0]), False)  # what the model starts must not hold the connection open
    return transport.Channel(socket.socket(fileno=int(words[0])))


def describe_error(error: BaseException) -> Dict[str, Any]:
    """A failure as data, with running out of memory told apart."""
    text = " ".join(str(error).split()) or "no message"
    exhausted = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    exhausted = exhausted or (isinstance(error, RuntimeError) and "out of memory" in text.lower())
    if exhausted and "torch" in sys.modules:
        torch = sys.modules["torch"]
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return {
        "ok": False,
        "kind": "out_of_memory" if exhausted else "error",
        "type": type(error).__name__,
        "error": text,
        "traceback": "".join(traceback.format_exception(type(error), error, error.__traceback__)),
    }


def resolve_device(device: str) -> str:
    """``auto`` becomes ``cuda`` where a usable GPU is present, else ``cpu``; a device asked for must exist.

    Torch is imported only where an NVIDIA driver is present or a GPU was asked for.

    Raises:
        ValueError: if a GPU was asked for and there is none.
    """
    if device == "cpu":
        return "cpu"
    if device == "auto" and not os.path.exists("/proc/driver/nvidia/version"):
        return "cpu"
    try:
        torch = importlib.import_module("torch")
    except ImportError:
        if device == "auto":
            return "cpu"
        raise ValueError(f"device {device!r} was asked for, but torch is not installed") from None
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = " ".join(str(error).split()).split(". ")[0]
        raise ValueError(f"device {device!r} cannot be used here ({reason}); use --device cpu or auto") from None
    return device


def _items(clips: List[Mapping[str, Any]], arrays: Mapping[str, np.ndarray]) -> List[Item]:
    """Batch items; array ``"3/name"`` belongs to the clip at position 3."""
    data: List[Dict[str, np.ndarray]] = [{} for _ in clips]
    for key, array in arrays.items():
        position, _, name = key.partition("/")
        data[int(position)][name] = array
    return [Item(Clip(**clip), prepared) for clip, prepared in zip(clips, data)]  # noqa: B905 (Python 3.9)


class ModelServer:
    """Handlers around one reward model."""

    def __init__(self) -> None:
        self.model: Optional[RewardModel] = None

    def handlers(self) -> Dict[str, Handler]:
        return {"load": self.load, "score": self.score, "compare": self.compare, "close": self.close}

    def load(self, message: transport.Message, arrays: transport.Arrays) -> Reply:
        model = create(message["target"], message["configure"])
        device = resolve_device(message["device"])
        model.load(device, message["dtype"], model.weights, model.options)
        self.model = model
        packages = {
            name: str(getattr(sys.modules[name], "__version__", "?"))
            for name in ("torch", "transformers", "open_clip", "numpy")
            if name in sys.modules
        }
        return {"device": model.device or device, "packages": packages, "message": model.load_message}, None

    def score(self, message: transport.Message, arrays: transport.Arrays) -> Reply:
        assert self.model is not None
        scores = self.model.score(_items(message["clips"], arrays))
        values = np.asarray(scores.values, dtype=np.float64)
        raw = values if scores.raw is None else np.asarray(scores.raw, dtype=np.float64)
        reply = {"notes": list(scores.notes), "errors": list(scores.errors)}
        return reply, {"values": values, "raw": raw}

    def compare(self, message: transport.Message, arrays: transport.Arrays) -> Reply:
        assert isinstance(self.model, PairwiseJudge)
        items = _items(message["clips"], arrays)
        judged = self.model.compare(list(zip(items[0::2], items[1::2])))  # noqa: B905
        reply = {"text": list(judged.text), "errors": list(judged.errors)}
        return reply, {"p": np.asarray(judged.p, dtype=np.float64)}

    def close(self, message: transport.Message, arrays: transport.Arrays) -> Reply:
        if self.model is not None:
            self.model.close()
        return {"peak_memory": peak_memory()}, None


def peak_memory() -> Dict[str, int]:
    """Peak resident and, where CUDA was used, peak allocated GPU memory of this process in bytes."""
    peak: Dict[str, int] = {}
    resident = _peak_resident()
    if resident is not None:
        peak["resident"] = resident
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        peak["cuda"] = int(torch.cuda.max_memory_allocated())
    return peak


def _peak_resident() -> Optional[int]:
    """Peak resident bytes. Linux: VmHWM, because ru_maxrss starts at the size of the parent that forked us."""
    try:
        with open("/proc/self/status", encoding="ascii") as stream:
            return next(int(line.split()[1]) * 1024 for line in stream if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main() -> None:
    serve(connect(sys.argv[1:]), ModelServer().handlers())


if __name__ == "__main__":
    main()
