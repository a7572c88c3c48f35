"""Reward models in this process: for notebooks, for trainers, and for whoever needs scores without a run folder."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from rewardbench.environments import recipe_of
from rewardbench.errors import InputError, PluginError
from rewardbench.registry import choose_reward
from rewardbench_plugin.clip import PATH, Clip, Frames, FrameSpec
from rewardbench_plugin.reward import Item, PairwiseJudge, RewardModel
from rewardbench_plugin.worker import resolve_device

CLIPS_AT_ONCE = 8
FLOAT_SLACK = 0.01
"""How far float frames may leave [0, 1]: half-precision samplers overshoot, frames in [-1, 1] are a mistake."""


class LoadedReward:
    """A loaded reward model together with the decoding it asks for. At most ``batch_size`` clips are held at once."""

    def __init__(self, model: RewardModel, device: str, batch_size: int = CLIPS_AT_ONCE) -> None:
        if batch_size < 1:
            raise InputError(f"batch_size={batch_size} is below 1")
        self.model = model
        self.device = device
        self.batch_size = batch_size

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

        def read(clip: Clip) -> tuple[Clip, Mapping[FrameSpec, Frames]]:
            marked = replace(clip, metadata={**clip.metadata, "sha256": content_hash(clip.video)}) if specs else clip
            return marked, read_frames(clip.video, specs) if specs else {}

        return self._score(read(clip) for clip in clips)

    def score_frames(
        self,
        frames: Sequence[np.ndarray],
        prompts: Sequence[str | None],
        *,
        fps: float = 8.0,
        images: Sequence[str | None] | None = None,
    ) -> np.ndarray:
        """The same for frames in memory: N arrays uint8 (T, H, W, 3), played at ``fps``.

        Sampling and resizing are those of the model's own frame specs, without a round trip through a video codec.
        ``images`` holds N paths of first-frame images (or None) for models that look at them.
        """
        if PATH in self.model.card.inputs_of(self.dimensions):
            raise InputError(f"plugin {self.model.card.name!r} opens video files itself; give it paths, not frames")
        specs = self.model.card.frame_specs(self.model.dimensions)

        def sample(
            number: int, rgb: np.ndarray, prompt: str | None, image: str | None
        ) -> tuple[Clip, Mapping[FrameSpec, Frames]]:
            digest = hashlib.sha256(np.ascontiguousarray(rgb).tobytes()).hexdigest()
            clip = Clip(f"memory-{number}", "", prompt, image, {"sha256": digest})
            return clip, {spec: _sample(rgb, spec, fps) for spec in specs}

        rows = zip(range(len(frames)), frames, prompts, images or [None] * len(frames), strict=True)
        return self._score(sample(*row) for row in rows)

    def _score(self, read: Iterable[tuple[Clip, Mapping[FrameSpec, Frames]]]) -> np.ndarray:
        """Scores (N, D), made ``batch_size`` clips at a time as ``read`` gives them."""
        remaining = iter(read)
        parts = []
        while batch := [self._prepared(*one) for one in islice(remaining, self.batch_size)]:
            parts.append(self._score_batch(batch))
        return np.concatenate(parts) if parts else np.empty((0, len(self.dimensions)))

    def _prepared(self, clip: Clip, frames: Mapping[FrameSpec, Frames]) -> Item:
        card = self.model.card
        if card.needs_prompt and not clip.prompt:
            raise InputError(f"{clip.clip_id} has no prompt, which plugin {card.name!r} needs")
        if card.needs_image and not clip.image:
            raise InputError(f"{clip.clip_id} has no first-frame image, which plugin {card.name!r} needs")
        return Item(clip, self.model.prepare(clip, frames))

    def _score_batch(self, items: Sequence[Item]) -> np.ndarray:
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
    batch_size: int = CLIPS_AT_ONCE,
    **options: Any,
) -> LoadedReward:
    """Load a reward model into this process; one that needs another environment, into a process of its own.

    Args:
        name: plugin name, ``NAME`` or ``NAME:PRESET``.
        weights: a path, or part to path.
        device: ``auto``, ``cpu``, ``cuda``…
        dtype: ``float32``, ``float16``, ``bfloat16``, or the model's own (None).
        batch_size: clips that are prepared and scored together at most.
        options: the plugin's own options; None leaves one out, except ``round_digits=None``, which is ``none``.

    Raises:
        PluginError, InputError: one sentence saying what is wrong.
    """
    parts = weights if isinstance(weights, Mapping) else {} if weights is None else {"": os.fspath(weights)}
    spec = name if preset is None else f"{name}:{preset}"
    texts = {name: text for name, value in options.items() if (text := option_text(name, value)) is not None}
    choice, model = choose_reward(spec, weights=parts, options=texts, dimensions=dimensions, seed=seed)
    if isinstance(model, PairwiseJudge):
        raise PluginError(f"plugin {name!r} compares two clips; it cannot score one")
    recipe = recipe_of(model.card, choice.target)
    if recipe is not None:
        from rewardbench.scoring.isolated import IsolatedReward

        model = IsolatedReward(choice, model, recipe)
    try:
        # An isolated model finds its device with its own torch.
        resolved = device if recipe is not None else resolve_device(device)
        model.load(resolved, dtype, model.weights, model.options)
    except (ValueError, OSError) as error:
        raise PluginError(f"plugin {name!r} cannot be loaded: {error}") from error
    return LoadedReward(model, model.device or resolved, batch_size)


def option_text(name: str, value: Any) -> str | None:
    """A Python value as ``--option`` has it; None is "not given", and for ``round_digits`` it is ``none``."""
    if value is None:
        return "none" if name == "round_digits" else None
    return str(value).lower() if isinstance(value, bool) else str(value)


def as_reward_fn(
    name: str, *, fps: float = 8.0, **choices: Any
) -> Callable[..., tuple[dict[str, np.ndarray], dict[str, Any]]]:
    """A reward function for trainers, called and answering as flow_grpo's ``multi_score`` does.

    ``fn(frames_or_paths, prompts, metadata=None, only_strict=True) -> (scores, {})``:

    * ``frames_or_paths``: N paths, or N clips in any form :func:`as_uint8_frames` takes; they play at ``fps``.
    * ``prompts``: N texts.
    * ``metadata``: N mappings; ``image`` is the path of the clip's first-frame image. Other keys are not looked at.
    * ``only_strict``: flow_grpo's trainer passes it; it changes nothing.
    * ``scores`` maps each dimension to float64 (N,), NaN where the model abstains, and ``avg`` to ``overall`` (or the
      mean of all dimensions where there is none).

    ``choices`` are those of :func:`load_reward`, among them ``batch_size``. The model is loaded at the first call.
    """
    loaded: list[LoadedReward] = []

    def reward(
        frames_or_paths: Any,
        prompts: Sequence[str],
        metadata: Sequence[Mapping[str, Any]] | None = None,
        only_strict: bool = True,
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        if not loaded:
            loaded.append(load_reward(name, **choices))
        model = loaded[0]
        paths = isinstance(frames_or_paths, list | tuple) and all(isinstance(p, str | Path) for p in frames_or_paths)
        clips = frames_or_paths if paths else as_uint8_frames(frames_or_paths)
        images = [None] * len(clips) if metadata is None else [_image_of(one) for one in metadata]
        for what, given in (("prompts", prompts), ("metadata", images)):
            if len(given) != len(clips):
                raise InputError(f"{len(clips)} clips came with {len(given)} {what}")
        if paths:
            rows = enumerate(zip(clips, prompts, images, strict=True))
            values = model.score([Clip(f"clip-{i}", os.fspath(path), p, image) for i, (path, p, image) in rows])
        else:
            values = model.score_frames(clips, list(prompts), fps=fps, images=images)
        scores = {dimension: values[:, i] for i, dimension in enumerate(model.dimensions)}
        scores["avg"] = scores["overall"] if "overall" in scores else values.mean(axis=1)
        return scores, {}

    return reward


def _image_of(metadata: Mapping[str, Any] | None) -> str | None:
    image = metadata.get("image") if isinstance(metadata, Mapping) else None
    return None if image is None else os.fspath(image)


def as_uint8_frames(clips: Any) -> list[np.ndarray]:
    """N arrays uint8 (T, H, W, 3) from a batch (array or tensor with N first), or a list of N clips.

    A clip is a list of PIL images, or an array or tensor: uint8 (T, H, W, 3) or (T, 3, H, W) with values 0..255, or
    float (T, 3, H, W) or (T, H, W, 3) with values in [0, 1]. Tensors are scaled where they are, so a quarter of the
    bytes leaves the GPU.

    Raises:
        InputError: for any other shape, dtype or range.
    """
    if not isinstance(clips, list | tuple) and getattr(clips, "ndim", 0) != 5:
        shape, dtype = getattr(clips, "shape", None), getattr(clips, "dtype", type(clips).__name__)
        raise InputError(
            f"frames of shape {shape} and dtype {dtype} are not understood; give uint8 (N, T, H, W, 3), "
            "float (N, T, 3, H, W) in [0, 1], or a list of N clips"
        )
    return [_uint8_clip(clip) for clip in clips]


def _uint8_clip(clip: Any) -> np.ndarray:
    if isinstance(clip, list | tuple):
        clip = np.stack([np.asarray(frame) for frame in clip])
    tensor = hasattr(clip, "detach")
    frames: Any = clip.detach() if tensor else np.asarray(clip)
    floating = frames.is_floating_point() if tensor else frames.dtype.kind == "f"
    shape = tuple(frames.shape)
    places = [
        place for place in ((1, 3) if floating else (3, 1)) if len(shape) == 4 and shape[place] == 3 and all(shape)
    ]
    if not places or not (floating or str(frames.dtype).endswith("uint8")):
        raise InputError(
            f"a clip of shape {shape} and dtype {frames.dtype} is not understood; give uint8 (T, H, W, 3) or float "
            "(T, 3, H, W) in [0, 1]"
        )
    if floating:
        low, high = float(frames.min()), float(frames.max())
        if not (low >= -FLOAT_SLACK and high <= 1 + FLOAT_SLACK):
            raise InputError(f"float frames must lie in [0, 1]; these lie in [{low:g}, {high:g}]")
        frames = (frames.float() * 255).round().clamp(0, 255).byte() if tensor else frames
    pixels: np.ndarray = frames.cpu().numpy() if tensor else frames
    if pixels.dtype.kind == "f":
        pixels = np.clip(np.rint(pixels * 255.0), 0, 255).astype(np.uint8)
    return pixels if places[0] == 3 else pixels.transpose(0, 2, 3, 1)
