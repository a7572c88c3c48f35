"""The process that opens video files: ``python -m rewardbench.scoring.decode_worker FD``.

It decodes a clip once for every plugin of the run and lets each plugin's ``prepare`` turn the frames into arrays.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from rewardbench.errors import ClipError
from rewardbench_plugin import transport
from rewardbench_plugin.clip import Clip, FrameSpec
from rewardbench_plugin.reward import RewardModel
from rewardbench_plugin.worker import Handler, Reply, create, peak_memory, serve


class DecodeServer:
    """Handlers around the configured (never loaded) plugins of a run."""

    def __init__(self) -> None:
        self.models: list[RewardModel] = []

    def handlers(self) -> Mapping[str, Handler]:
        return {"configure": self.configure, "decode": self.decode, "frames": self.frames, "close": self.close}

    def configure(self, message: transport.Message, arrays: transport.Arrays) -> Reply:
        self.models = [create(plugin["target"], plugin["configure"]) for plugin in message["plugins"]]
        return {}, None

    def decode(self, message: transport.Message, arrays: transport.Arrays) -> Reply:
        """Arrays are named ``plugin/clip/name`` (positions); ``failures`` maps a plugin's position to a sentence."""
        prepared: dict[str, np.ndarray] = {}
        failures: dict[str, str] = {}
        wanted: list[int] = message["plugins"]
        for position, fields in enumerate(message["clips"]):
            clip = Clip(**fields)
            specs = dict.fromkeys(spec for p in wanted for spec in self._specs(p))
            frames = _read(clip, list(specs))
            for plugin in wanted:
                if str(plugin) in failures:
                    continue
                try:
                    own = {spec: frames[spec] for spec in self._specs(plugin)}
                    for name, array in self.models[plugin].prepare(clip, own).items():
                        prepared[f"{plugin}/{position}/{name}"] = np.asarray(array)
                except Exception as error:
                    failures[str(plugin)] = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return {"failures": failures}, prepared

    def frames(self, message: transport.Message, arrays: transport.Arrays) -> Reply:
        """Frames of one clip for one spec, for no plugin."""
        from rewardbench.video import read_frames

        spec = FrameSpec.from_json(message["spec"])
        return {}, {"rgb": read_frames(message["video"], [spec])[spec].rgb}

    def _specs(self, plugin: int) -> tuple[FrameSpec, ...]:
        model = self.models[plugin]
        return model.card.frame_specs(model.dimensions)

    def close(self, message: transport.Message, arrays: transport.Arrays) -> Reply:
        return {"peak_memory": peak_memory()}, None


def _read(clip: Clip, specs: list[FrameSpec]) -> Any:
    if not specs:
        return {}
    from pathlib import Path

    from rewardbench.video import read_frames

    if "://" in clip.video:
        raise ClipError(f"{clip.video} is not on this machine; download it first")
    return read_frames(Path(clip.video), specs, threads=1)


def main() -> None:
    serve(Connection(int(sys.argv[1])), DecodeServer().handlers())


if __name__ == "__main__":
    main()
