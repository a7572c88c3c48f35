"""Reward models in this process: for notebooks, for trainers, and for whoever needs scores without a run folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rewardbench.errors import InputError, PluginError
from rewardbench.registry import choose_reward
from rewardbench_plugin.clip import Clip, Frames, FrameSpec
from rewardbench_plugin.reward import Item, PairwiseJudge, RewardModel
from rewardbench_plugin.worker import resolve_device


class LoadedReward:
    """A loaded reward model together with the decoding it asks for."""

    def __init__(self, model: RewardModel, device: str) -> None:
        self.model = model
        self.device = device

    @property
    def dimensions(self) -> tuple[str, ...]:
        return self.model.dimensions

    def score(self, clips: Sequence[Clip]) -> np.ndarray:
        """Scores float64 (N, D) of clips on the disk; columns follow :attr:`dimensions`, NaN = abstains.

        Raises:
            ClipError: if a clip cannot be read.
            PluginError: if the model returns something else than N rows of D scores, or names an error.
        """
        from rewardbench.video import content_hash, read_frames

        specs = self.model.card.frame_specs(self.model.dimensions)
        read = []
        for clip in clips:
            marked = replace(clip, metadata={**clip.metadata, "sha256": content_hash(clip.video)}) if specs else clip
            read.append((marked, read_frames(clip.video, specs) if specs else {}))
        return self._score(read)

    def score_frames(
        self, frames: Sequence[np.ndarray], prompts: Sequence[str | None], *, fps: float = 8.0
    ) -> np.ndarray:
        """The same for frames in memory: N arrays uint8 (T, H, W, 3), played at ``fps``.

        Sampling and resizing are those of the model's own frame specs, without a round trip through a video codec.
        """
        specs = self.model.card.frame_specs(self.model.dimensions)
        items = []
        for number, (rgb, prompt) in enumerate(zip(frames, prompts, strict=True)):
            digest = hashlib.sha256(np.ascontiguousarray(rgb).tobytes()).hexdigest()
            clip = Clip(f"memory-{number}", "", prompt, metadata={"sha256": digest})
            items.append((clip, {spec: _sample(rgb, spec, fps) for spec in specs}))
        return self._score(items)

    def _score(self, read: Sequence[tuple[Clip, Mapping[FrameSpec, Frames]]]) -> np.ndarray:
        items = [Item(clip, self.model.prepare(clip, frames)) for clip, frames in read]
        scores = self.model.score(items)
        values = np.asarray(scores.values, dtype=np.float64)
        if values.shape != (len(items), len(self.dimensions)):
            raise PluginError(
                f"plugin {self.model.card.name!r} returned scores of shape {values.shape} for {len(items)} clips and "
                f"{len(self.dimensions)} dimensions"
            )
        for error in scores.errors:
            if error:
                raise PluginError(f"plugin {self.model.card.name!r}: {error}")
        return values

    def close(self) -> None:
        self.model.close()


def _sample(rgb: np.ndarray, spec: FrameSpec, fps: float) -> Frames:
    from rewardbench.video import resize_frames

    if rgb.ndim != 4 or rgb.shape[-1] != 3 or rgb.dtype != np.uint8:
        raise InputError(f"frames must be uint8 (T, H, W, 3); got {rgb.dtype} {rgb.shape}")
    indices = spec.sampling.indices(len(rgb), fps)
    return Frames(
        rgb=resize_frames(rgb[indices], spec),
        indices=indices,
        pts=indices / fps,
        fps=fps,
        total=len(rgb),
        height=rgb.shape[1],
        width=rgb.shape[2],
    )


def load_reward(
    name: str,
    *,
    preset: str | None = None,
    weights: str | os.PathLike[str] | Mapping[str, str] | None = None,
    device: str = "auto",
    dtype: str | None = None,
    dimensions: Sequence[str] | None = None,
    seed: int = 0,
    **options: Any,
) -> LoadedReward:
    """Load a reward model into this process.

    Args:
        name: plugin name, ``NAME`` or ``NAME:PRESET``.
        weights: a path, or part to path.
        device: ``auto``, ``cpu``, ``cuda``…
        dtype: ``float32``, ``float16``, ``bfloat16``, or the model's own (None).
        options: the plugin's own options.

    Raises:
        PluginError, InputError: one sentence saying what is wrong.
    """
    parts = weights if isinstance(weights, Mapping) else {} if weights is None else {"": os.fspath(weights)}
    spec = name if preset is None else f"{name}:{preset}"
    texts = {key: str(value) for key, value in options.items()}
    _, model = choose_reward(spec, weights=parts, options=texts, dimensions=dimensions, seed=seed)
    if isinstance(model, PairwiseJudge):
        raise PluginError(f"plugin {name!r} compares two clips; it cannot score one")
    try:
        resolved = resolve_device(device)
        model.load(resolved, dtype, model.weights, model.options)
    except (ValueError, OSError) as error:
        raise PluginError(f"plugin {name!r} cannot be loaded: {error}") from error
    return LoadedReward(model, resolved)


def as_reward_fn(
    name: str, *, fps: float = 8.0, **choices: Any
) -> Callable[..., tuple[dict[str, np.ndarray], dict[str, Any]]]:
    """A reward function for trainers: ``fn(frames_or_paths, prompts, metadata=None) -> (scores, {})``.

    ``frames_or_paths`` is a list of paths, a list of uint8 arrays (T, H, W, 3), or one array or tensor: uint8
    (N, T, H, W, 3), or float (N, T, 3, H, W) in [0, 1] as diffusers' samplers give it. ``scores`` maps each dimension
    to float64 (N,), and ``avg`` to ``overall`` (or the mean of all dimensions where there is none), as flow_grpo's
    multi-score expects. ``choices`` are those of :func:`load_reward`. The model is loaded at the first call.
    """
    loaded: list[LoadedReward] = []

    def reward(
        frames_or_paths: Any, prompts: Sequence[str], metadata: Any = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        if not loaded:
            loaded.append(load_reward(name, **choices))
        model = loaded[0]
        if isinstance(frames_or_paths, list | tuple) and all(isinstance(p, str | Path) for p in frames_or_paths):
            pairs = enumerate(zip(frames_or_paths, prompts, strict=True))
            values = model.score([Clip(f"clip-{i}", os.fspath(path), prompt) for i, (path, prompt) in pairs])
        else:
            values = model.score_frames(as_uint8_frames(frames_or_paths), list(prompts), fps=fps)
        scores = {dimension: values[:, i] for i, dimension in enumerate(model.dimensions)}
        scores["avg"] = scores["overall"] if "overall" in scores else values.mean(axis=1)
        return scores, {}

    return reward


def as_uint8_frames(frames: Any) -> list[np.ndarray]:
    """N arrays uint8 (T, H, W, 3) from a list of them, a batch of them, or a float batch (N, T, 3, H, W) in [0, 1].

    Raises:
        InputError: for any other shape or dtype.
    """
    if isinstance(frames, list | tuple):
        return [np.asarray(one) for one in frames]
    if hasattr(frames, "detach"):
        frames = frames.detach().float().cpu().numpy() if frames.is_floating_point() else frames.cpu().numpy()
    batch = np.asarray(frames)
    if batch.ndim == 5 and batch.dtype == np.uint8 and batch.shape[-1] == 3:
        return list(batch)
    if batch.ndim == 5 and batch.dtype.kind == "f" and batch.shape[2] == 3:
        scaled = np.rint(np.clip(batch, 0.0, 1.0) * 255.0).astype(np.uint8)
        return list(scaled.transpose(0, 1, 3, 4, 2))
    raise InputError(
        f"frames of shape {batch.shape} and dtype {batch.dtype} are not understood; give uint8 (N, T, H, W, 3) or "
        "float (N, T, 3, H, W) in [0, 1]"
    )
