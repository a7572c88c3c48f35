"""Checks of a generator family and of a latent reward."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rewardbench.conformance.checks import CheckList, Fault, NotChecked
from rewardbench.conformance.registered import Registered
from rewardbench.errors import InputError

if TYPE_CHECKING:
    from rewardbench.align.families.base import VideoFamily

FAMILY = CheckList()
LATENT_REWARD = CheckList()
CLOSE = 1e-3
"""Allowed between a row alone and in a batch, relative to the largest value: float32 on the CPU."""


@dataclass
class GeneratorSubject:
    """``source`` is what ``--weights PATH`` named, or empty: the family's built-in weights, where it has some."""

    registered: Registered
    source: str
    options: Mapping[str, str]
    loaded: VideoFamily | None = None

    @property
    def family(self) -> VideoFamily:
        assert self.loaded is not None, "it was loaded"
        return self.loaded

    def inputs(self, n: int) -> tuple[Any, Any]:
        """Noisy latents and condition of ``n`` clips, the same at every call."""
        import torch

        family, random = self.family, torch.Generator().manual_seed(0)
        x = torch.randn(n, *family.latent_shape, generator=random)
        shape = (n, family.clip.height, family.clip.width, 3)
        images = torch.rand(shape, generator=random) * 2 - 1 if family.needs_image else None
        prompts = ["a girl walks", "a boy jumps"][:n]
        return x, family.encode_condition(prompts, images, torch.Generator().manual_seed(1))


@FAMILY.add("generator-class", "The target is a VideoFamily whose every abstract method is written.")
def _class(subject: GeneratorSubject) -> str:
    from rewardbench.align.families.base import VideoFamily

    target = subject.registered.manifest.target
    advice = "subclass rewardbench.align.families.base.VideoFamily; its docstrings say what each method gives"
    found = _target(target, advice)
    if not isinstance(found, type) or not issubclass(found, VideoFamily):
        raise Fault(f"{target} is not a VideoFamily", advice)
    left = sorted(found.__abstractmethods__)
    if left:
        raise Fault(f"{', '.join(left)} is not written", advice)
    stated = [name for name in ("name", "adapter_targets") if not getattr(found, name, None)]
    if stated:
        raise Fault(f"{' and '.join(stated)} is not stated", advice)
    return f"{target} is one"


@FAMILY.add("generator-loads", "load opens a checkpoint, or refuses with one sentence.", needs=["generator-class"])
def _loads(subject: GeneratorSubject) -> str:
    import torch

    advice = "raise InputError with one sentence where there is no such checkpoint"
    family = _target(subject.registered.manifest.target, advice)
    try:
        subject.loaded = family.load(
            subject.source, device="cpu", dtype=torch.float32, clip=None, options=dict(subject.options)
        )
    except InputError as error:
        raise NotChecked(f"not at hand: {error} (--weights PATH names a checkpoint)") from None
    except Exception as error:
        raise Fault(f"{type(error).__name__}: {error}", advice) from None
    return f"{subject.family.clip}"


@FAMILY.add(
    "generator-latents",
    "Clips become float32 latents of latent_shape, and latents clips in [-1, 1].",
    needs=["generator-loads"],
)
def _latents(subject: GeneratorSubject) -> str:
    import torch

    family, size = subject.family, subject.family.clip
    pixels = torch.linspace(-1, 1, size.width).expand(1, size.frames, size.height, size.width)
    pixels = pixels.unsqueeze(-1).repeat(1, 1, 1, 1, 3)
    with torch.no_grad():
        latents = family.encode_video(pixels)
        clip = family.decode_latents(latents)
    advice = "see encode_video and decode_latents of VideoFamily"
    declared = (1, *family.latent_shape)
    if tuple(latents.shape) != declared or latents.dtype != torch.float32:
        raise Fault(f"latents {tuple(latents.shape)} {latents.dtype}, declared {declared} float32", advice)
    if clip.shape != pixels.shape or clip.dtype != torch.float32:
        raise Fault(f"decoded {tuple(clip.shape)} {clip.dtype} from a clip {tuple(pixels.shape)} float32", advice)
    low, high = float(clip.min()), float(clip.max())
    if not (low >= -1.0 and high <= 1.0):
        raise Fault(f"decoded pixels from {low:.3g} to {high:.3g}", advice)
    return f"latents {tuple(latents.shape)}"


@FAMILY.add(
    "generator-predict",
    "predict gives a finite velocity in the layout of the latents, the same when asked again and for a row alone.",
    needs=["generator-loads"],
)
def _predict(subject: GeneratorSubject) -> str:
    import torch

    family = subject.family
    x, condition = subject.inputs(2)
    time = family.schedule.at(torch.tensor([0.3, 0.7]))
    alone = family.schedule.at(torch.tensor([0.3]))
    with torch.no_grad():
        first = family.predict(family.transformer, x, time, condition)
        again = family.predict(family.transformer, x, time, condition)
        row = family.predict(family.transformer, x[:1], alone, {k: v[:1] for k, v in condition.items()})
    advice = "predict (B, …) in the layout of latents; each row by itself, with dropout off"
    if first.shape != x.shape:
        raise Fault(f"velocity {tuple(first.shape)} for latents {tuple(x.shape)}", advice)
    if not bool(torch.isfinite(first).all()):
        raise Fault("the velocity has NaN or infinities", advice)
    unit = max(1e-6, float(first.abs().max()))
    for what, other in (("asked again", again), ("a row alone", row)):
        off = float((first[: len(other)] - other).abs().max()) / unit
        if off > CLOSE:
            raise Fault(f"{what} the velocity is off by {off:.2g} of its largest value", advice)
    mask = family.loss_mask(condition)
    if mask is not None:
        try:
            torch.broadcast_shapes(mask.shape, x.shape)
        except RuntimeError:
            raise Fault(f"loss_mask {tuple(mask.shape)} does not broadcast to {tuple(x.shape)}", advice) from None
    return f"velocity {tuple(first.shape)}"


@FAMILY.add(
    "generator-identity",
    "Loaded twice it has one fingerprint and one network digest (SHA-256), and describes itself in plain data.",
    needs=["generator-loads"],
)
def _identity(subject: GeneratorSubject) -> str:
    import torch

    advice = "hash weights, scaling and size by content; describe() gives what JSON can hold"
    first = subject.family
    again = type(first).load(
        subject.source, device="cpu", dtype=torch.float32, clip=None, options=dict(subject.options)
    )
    for name in ("fingerprint", "network_digest"):
        here, there = getattr(first, name)(), getattr(again, name)()
        if not re.fullmatch(r"[0-9a-f]{64}", str(here)):
            raise Fault(f"{name} is {here!r}", advice)
        if here != there:
            raise Fault(f"{name} is {here[:16]} once and {there[:16]} the next time", advice)
    try:
        json.dumps(first.describe(), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise Fault(f"describe: {error}", advice) from None
    return f"network {first.network_digest()[:16]}"


@LATENT_REWARD.add(
    "latent-reward-class",
    "The target can be made without arguments, has a RewardCard and reward(latents, t, text).",
)
def _latent_reward(subject: Registered) -> str:
    from rewardbench_plugin.card import RewardCard

    advice = "see rewardbench_plugin.LatentReward"
    found = _target(subject.manifest.target, advice)
    try:
        made = found()
    except Exception as error:
        raise Fault(f"{subject.manifest.target}() raised {type(error).__name__}: {error}", advice) from None
    if not isinstance(getattr(made, "card", None), RewardCard):
        raise Fault("it has no RewardCard as its card", advice)
    if not callable(getattr(made, "reward", None)):
        raise Fault("it has no method reward", advice)
    return f"dimensions {', '.join(made.card.dimension_names)}"


def _target(target: str, advice: str) -> Any:
    module, _, attribute = target.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except Exception as error:
        raise Fault(f"{target} cannot be imported: {type(error).__name__}: {error}", advice) from None
