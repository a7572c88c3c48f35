"""Sound third-party packages of every kind, as text; tests break them on purpose."""

from __future__ import annotations

HOOKS = '''
"""Registers; imports nothing heavy."""
from rewardbench_plugin import RewardManifest, hookimpl

VERSION = "1.0"


@hookimpl
def rewardbench_rewards():
    return [RewardManifest(name="__NAME__", version=VERSION, target="__MODULE__.model:Model", summary="a test")]
'''

MODEL = '''
import numpy as np
from rewardbench_plugin import (
    PATH, Dimension, FrameSpec, RewardCard, RewardModel, Sampling, Scores, Size)
from rewardbench_plugin.reward import fingerprint
from __MODULE__ import VERSION

FRAMES = FrameSpec(sampling=Sampling("count", 8))


class Model(RewardModel):
    """Brightness and contrast of the frames in their own size."""

    card = RewardCard(
        name="__NAME__",
        version=VERSION,
        summary="brightness and contrast",
        dimensions=(
            Dimension("brightness", 0.0, 1.0, description="mean"),
            Dimension("contrast", 0.0, 1.0, description="spread"),
        ),
        inputs={"brightness": FRAMES, "contrast": FRAMES},
        default_score="brightness",
        training_data="none",
        code_licence="MIT",
        citation="none: a test",
        parameters=0,
    )

    def load(self, device, dtype, weights, options):
        self.device = "cpu"

    def prepare(self, clip, frames):
        pixels = frames[FRAMES].rgb / 255
        return {"brightness": np.array(pixels.mean()), "contrast": np.array(pixels.std())}

    def score(self, batch):
        values = np.array([[float(item.data[name]) for name in self.dimensions] for item in batch])
        notes = ["" for _ in batch]
        errors = [None for _ in batch]
        return Scores(values, notes=notes, errors=errors)

    def close(self):
        pass
'''

PATH_MODEL = '''
import av
import numpy as np
from rewardbench_plugin import PATH, Dimension, RewardCard, RewardModel, Scores
from __MODULE__ import VERSION


class Model(RewardModel):
    """Opens the file itself: brightness of the first frame."""

    card = RewardCard(
        name="__NAME__",
        version=VERSION,
        summary="brightness",
        dimensions=(Dimension("brightness", 0.0, 1.0, description="mean"),),
        inputs={"brightness": PATH},
        training_data="none",
        code_licence="MIT",
        citation="none: a test",
    )

    def read(self, path):
        with av.open(path) as container:
            return next(container.decode(video=0)).to_ndarray(format="rgb24").mean() / 255

    def score(self, batch):
        values, errors = np.full((len(batch), 1), np.nan), [None for _ in batch]
        for i, item in enumerate(batch):
            try:
                values[i] = self.read(item.clip.video)
            except av.FFmpegError as error:
                errors[i] = f"unreadable: {error}"
        return Scores(values, errors=errors)
'''

JUDGE = '''
import numpy as np
from rewardbench_plugin import Dimension, FrameSpec, Judgements, PairwiseJudge, RewardCard, Sampling
from __MODULE__ import VERSION

FRAMES = FrameSpec(sampling=Sampling("count", 8))


class Model(PairwiseJudge):
    """Which clip is brighter."""

    card = RewardCard(
        name="__NAME__",
        version=VERSION,
        summary="the brighter clip",
        dimensions=(Dimension("verdict", -1.0, 1.0, description="of two clips"),),
        inputs={"verdict": FRAMES},
        training_data="none",
        code_licence="MIT",
        citation="none: a test",
    )

    def prepare(self, clip, frames):
        return {"mean": np.array(frames[FRAMES].rgb.mean() / 255)}

    def compare(self, batch):
        gaps = np.array([float(a.data["mean"] - b.data["mean"]) for a, b in batch])
        p = np.exp(20 * np.stack([gaps, 0 * gaps, -gaps], axis=1))
        p = p / p.sum(axis=1, keepdims=True)
        return Judgements(p, text=["" for _ in batch])
'''

BENCHMARK_HOOKS = """
from rewardbench_plugin import BenchmarkManifest, hookimpl


@hookimpl
def rewardbench_benchmarks():
    return [BenchmarkManifest(name="__NAME__", target="__MODULE__.pairs:load", summary="ten pairs", version="1",
                              labels_by="construction")]
"""

BENCHMARK = """
from pathlib import Path

ROWS = [(f"p{i}", "ABAABBABtieA"[i] if i < 8 else ("tie" if i == 8 else "A")) for i in range(10)]


def load(name, variant=None, data_dir=None, progress=None):
    folder = Path(__file__).parent / "data"
    folder.mkdir(exist_ok=True)
    for clip in ("a.mp4", "b.mp4"):
        (folder / clip).write_bytes(b"clip")
    table = folder / "pairs.csv"
    lines = ["pair_id,prompt,video_a,video_b,label_motion"]
    lines += [f"{pair},prompt {pair},a.mp4,b.mp4,{label}" for pair, label in ROWS]
    table.write_text("\\n".join(lines) + "\\n")
    return table
"""

REPORTER_HOOKS = """
from rewardbench_plugin import Manifest, hookimpl


@hookimpl
def rewardbench_reporters():
    return [Manifest("__NAME__", "__MODULE__.view:render", "one line a metric")]
"""

REPORTER = """
import time


def render(result, folder):
    lines = []
    for m in result.metrics:
        value = m.accuracy_without_ties.value
        lines.append(f"{m.label} {m.score} " + ("none" if value is None else f"{value:.3f}"))
    (folder / "view.txt").write_text("\\n".join(lines) + "\\n")
"""

ENGINE_HOOKS = """
from rewardbench_plugin import Manifest, hookimpl


@hookimpl
def rewardbench_engines():
    return [Manifest("__NAME__", "__MODULE__.engine:Engine", "one clip after the other")]
"""

ENGINE = '''
from rewardbench.scoring.local import LocalEngine


class Watched:
    """Stands between the local engine and the sink."""

    def __init__(self, sink):
        self.sink = sink

    def scored(self, job, batch, values, raw, notes):
        self.sink.scored(job, batch, values, raw, notes)

    def failed(self, job, work, error):
        self.sink.failed(job, work, error)


class Engine(LocalEngine):
    def __init__(self, jobs, settings, progress, sink, interpreters=None):
        super().__init__(jobs, settings, progress, Watched(sink), interpreters)

    def run(self, work):
        return super().run(work)
'''

GENERATOR_HOOKS = """
from rewardbench_plugin import Manifest, hookimpl


@hookimpl
def rewardbench_generators():
    return [Manifest("__NAME__", "__MODULE__.family:Family", "the toy under another name")]
"""

GENERATOR = """
import torch
from rewardbench.align.families.toy import ToyFamily


class Family(ToyFamily):
    name = "__NAME__"

    @classmethod
    def load(cls, source, *, device, dtype, clip, options):
        return super().load(source, device=device, dtype=dtype, clip=clip, options=options)

    def encode_video(self, pixels):
        return super().encode_video(pixels)

    def decode_latents(self, latents):
        return super().decode_latents(latents)

    def predict(self, transformer, x_t, time, condition):
        return super().predict(transformer, x_t, time, condition)

    def describe(self):
        return super().describe()

    def fingerprint(self):
        return super().fingerprint()
"""

LATENT_HOOKS = """
from rewardbench_plugin import Manifest, hookimpl


@hookimpl
def rewardbench_latent_rewards():
    return [Manifest("__NAME__", "__MODULE__.latent:Reward", "the mean")]
"""

LATENT = """
from rewardbench_plugin import Dimension, LatentReward, RewardCard


class Reward(LatentReward):
    card = RewardCard(name="__NAME__", version="1", dimensions=(Dimension("mean", description="of the latents"),))

    def reward(self, latents, t, text):
        return latents.flatten(1).mean(1, keepdim=True)
"""

KINDS = {
    "reward": {"__init__": HOOKS, "model": MODEL},
    "path": {"__init__": HOOKS, "model": PATH_MODEL},
    "judge": {"__init__": HOOKS, "model": JUDGE},
    "benchmark": {"__init__": BENCHMARK_HOOKS, "pairs": BENCHMARK},
    "reporter": {"__init__": REPORTER_HOOKS, "view": REPORTER},
    "engine": {"__init__": ENGINE_HOOKS, "engine": ENGINE},
    "generator": {"__init__": GENERATOR_HOOKS, "family": GENERATOR},
    "latent": {"__init__": LATENT_HOOKS, "latent": LATENT},
}
