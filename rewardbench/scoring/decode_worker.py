"""The process that opens video files: ``python -m rewardbench.scoring.decode_worker FD``.

It decodes a clip once for every plugin of the run and lets each plugin's ``prepare`` turn the frames into arrays.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

import numpy as np

from rewardbench.errors import ClipError
from rewardbench_plugin import transport
from rewardbench_plugin.clip import Clip, Frames, FrameSpec
from rewardbench_plugin.reward import RewardModel
from rewardbench_plugin.worker import Handler, Reply, connect, create, peak_memory, serve


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
        """Arrays are named ``plugin/clip/name`` (positions); ``failures`` maps a plugin's position to a sentence.

        What one plugin's reader or ``prepare`` cannot do costs that plugin only.
        """
        prepared: dict[str, np.ndarray] = {}
        failures: dict[str, str] = {}
        wanted: list[int] = message["plugins"]
        for position, fields in enumerate(message["clips"]):
            clip = Clip(**fields)
            frames, unread = _read(clip, {spec for plugin in wanted for spec in self._specs(plugin)})
            for plugin in wanted:
                specs = self._specs(plugin)
                refused = [unread[spec.reader] for spec in specs if spec.reader in unread]
                if refused:
                    failures.setdefault(str(plugin), refused[0])
                if str(plugin) in failures:
                    continue
                try:
                    own = self.models[plugin].prepare(clip, {spec: frames[spec] for spec in specs})
                    arrays_of = {f"{plugin}/{position}/{name}": np.asarray(array) for name, array in own.items()}
                    transport.check_arrays(arrays_of)
                except Exception as error:
                    name = self.models[plugin].card.name
                    failures[str(plugin)] = f"plugin {name!r} could not prepare {clip.video}: {_reason(error)}"
                else:
                    prepared |= arrays_of
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


def _read(clip: Clip, specs: set[FrameSpec]) -> tuple[dict[FrameSpec, Frames], dict[str, str]]:
    """Frames of every spec, decoded once per reader, and a sentence for each reader that cannot read the clip."""
    from rewardbench.video import read_frames

    frames: dict[FrameSpec, Frames] = {}
    unread: dict[str, str] = {}
    for reader in sorted({spec.reader for spec in specs}):
        try:
            frames |= read_frames(clip.video, [spec for spec in specs if spec.reader == reader], threads=1)
        except ClipError as error:
            unread[reader] = str(error)
        except Exception as error:
            unread[reader] = f"{clip.video}: {_reason(error)}"
    return frames, unread


def _reason(error: Exception) -> str:
    """One line. The text of a ValueError is a sentence for the user; any other error is named too."""
    text = " ".join(str(error).split())
    return text if type(error) is ValueError and text else f"{type(error).__name__}: {text}"


def main() -> None:
    serve(connect(sys.argv[1:]), DecodeServer().handlers())


if __name__ == "__main__":
    main()
