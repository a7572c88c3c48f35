"""What each of the six scorers looks at: from sampled frames to one feature vector per dimension."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np
from PIL import Image

from rewardbench_animereward.consistency import Signature, character_features, image_features, palette, split
from rewardbench_animereward.images import halve, luma, opponent
from rewardbench_animereward.networks import Weights, log_softmax, recognise
from rewardbench_animereward.people import BODY, HEAD, Person, crop
from rewardbench_animereward.picture import picture_features
from rewardbench_animereward.temporal import activity_features, flow_of, steadied, temporal_features

REGRESSED = ("smoothness", "motion", "appeal", "image_video", "character")
"""Dimensions rated by an MLP on features; ``text_video`` is rated from the recognised facts."""
ACTIVITY = {"action": 9, "camera": 5}
"""Facts that only the movement shows, and how many values each has: recognised from the ``activity`` features."""
IDENTITY = ("person", "hair_style", "hair_colour", "eye_colour", "accessory", "outfit", "outfit_colour")
Features = dict[str, float]


def regressed_features(
    wanted: Collection[str],
    consecutive: np.ndarray | None,
    fps: float,
    spread: np.ndarray | None,
    spread_fps: float,
    image: np.ndarray | None,
    seen: Seen | None,
) -> dict[str, Features]:
    """Named features for each wanted dimension that can be rated.

    Args:
        wanted: names out of :data:`REGRESSED`, and ``activity``, which text-video needs.
        consecutive: uint8 (T, H, W, 3) of neighbouring frames, short side 128 (smoothness).
        fps: frame rate of the clip.
        spread: uint8 (T, H, W, 3) of frames over the whole clip, short side 256 (all but smoothness).
        spread_fps: their frames per second.
        image: uint8 (H, W, 3), the first-frame image at the size of ``spread``, or None.
        seen: what the recognisers saw in ``spread`` (character, activity), or None.
    """
    out: dict[str, Features] = {}
    if "smoothness" in wanted and consecutive is not None:
        steady, gain = steadied(consecutive)
        out["smoothness"] = temporal_features(steady, gain, flow_of(steady), fps)
    if spread is None:
        return out
    if {"motion", "activity"} & set(wanted):
        steady, gain = steadied(_half(spread))
        flow = flow_of(steady)
        if "motion" in wanted:
            out["motion"] = {**temporal_features(steady, gain, flow, spread_fps), **pause_features(spread)}
        if "activity" in wanted and seen is not None:
            out["activity"] = activity_features(flow, seen.people, spread_fps)
    if "appeal" in wanted:
        out["appeal"] = picture_features(spread[picks(len(spread), 4)])
    clip = None
    if {"image_video", "character"} & set(wanted):
        clip = Signature(_half(spread[picks(len(spread), 8)]))
    if "image_video" in wanted and image is not None and clip is not None:
        out["image_video"] = image_features(Signature(_half(image[None])), clip)
    if "character" in wanted and clip is not None and seen is not None:
        out["character"] = {**character_features(clip), **identity_features(seen)}
    return out


def picks(total: int, count: int) -> np.ndarray:
    """Positions of ``count`` frames (all, if fewer) spread over ``total``, first and last included."""
    return np.unique(np.rint(np.linspace(0, total - 1, min(count, total))).astype(int))


def pause_features(spread: np.ndarray) -> Features:
    """Share of the clip in which nothing moves, and how much moves elsewhere."""
    y = halve(halve(halve(luma(spread))))
    if len(y) < 2:
        y = np.concatenate([y, y])
    step = np.abs(np.diff(y, axis=0)).mean(axis=(1, 2))
    top = float(np.percentile(step, 80)) + 1e-3
    last = np.flatnonzero(step > 0.15 * top)
    return {
        "pause_share": float((step < 0.15 * top).mean()),
        "pause_after": 1.0 - (float(last[-1]) + 1) / len(step) if len(last) else 1.0,
        "pause_mean": float(np.log(step.mean() + 0.01)),
        "pause_top": float(np.log(top + 0.01)),
        "pause_least": float(np.log(step.min() + 0.01)),
        "pause_range": float(np.log(np.abs(y - y[:1]).max(axis=0).mean() + 0.1)),
        "pause_area": float((np.ptp(y, axis=0) > 12).mean()),
    }


class Seen:
    """What the recognisers saw: log-probabilities of every fact per frame, small pictures of head and body, and where
    the person was (fractions of the short side, from the frame's middle)."""

    def __init__(self, facts: Mapping[str, np.ndarray], head: np.ndarray, body: np.ndarray, people: list[Person]):
        self.facts = facts
        self.head = head
        self.body = body
        self.people = people


class Crops(NamedTuple):
    """What is shown to the recognisers: N small frames (32 x 32), heads and bodies (64 x 64), uint8, and the people."""

    small: np.ndarray
    head: np.ndarray
    body: np.ndarray
    people: list[Person]


def find(spread: np.ndarray, place: Weights, count: int = 8) -> Crops:
    """Look for the person in ``count`` frames of (T, H, W, 3); of a wide or tall frame, in its middle square."""
    frames = spread[picks(len(spread), count)]
    h, w = frames.shape[1:3]
    side = min(h, w)
    top, left = (h - side) // 2, (w - side) // 2
    frames = frames[:, top : top + side, left : left + side]
    small = np.stack([np.asarray(Image.fromarray(f).resize((32, 32), Image.Resampling.BOX)) for f in frames])
    places = np.clip(recognise(place, small)["person"], 0.02, 1.0)
    people = [Person(float(x), float(y), float(u)) for x, y, u in places]
    pixels = [Person(*(value * side for value in p)) for p in people]
    head = np.stack([crop(f, p, HEAD, 64) for f, p in zip(frames, pixels, strict=False)])
    body = np.stack([crop(f, p, BODY, 64) for f, p in zip(frames, pixels, strict=False)])
    return Crops(small, head, body, [Person(p.x - 0.5, p.y - 0.5, p.unit) for p in people])


def read(crops: Crops, weights: Mapping[str, Weights]) -> Seen:
    """Recognise the facts in the crops."""
    outputs = {**recognise(weights["body"], crops.body), **recognise(weights["head"], crops.head)}
    facts = {k: log_softmax(v) for k, v in outputs.items() if k != "hidden"}
    facts["background"] = log_softmax(recognise(weights["full"], crops.small)["background"])
    return Seen(facts, crops.head, crops.body, crops.people)


def identity_features(seen: Seen) -> Features:
    """Change of who is seen: of the recognised facts and of the palettes of head and body."""
    out: Features = {}
    for fact in IDENTITY:
        p = np.exp(seen.facts[fact])
        step, within, _ = split(p)
        out[f"{fact}_step"], out[f"{fact}_excess"] = step, step - within
        out[f"{fact}_end"] = 0.5 * float(np.abs(p[:2].mean(axis=0) - p[-2:].mean(axis=0)).sum())
    for name, pictures in (("head", seen.head), ("body", seen.body)):
        inner = opponent(pictures[:, 8:-8:2, 16:-16:2])
        values = np.stack([palette(x, None) for x in inner])
        step, within, _ = split(values)
        out[f"{name}_step"], out[f"{name}_within"] = float(np.log(step + 0.02)), float(np.log(within + 0.02))
        out[f"{name}_gain"] = out[f"{name}_step"] - out[f"{name}_within"]
        out[f"{name}_end"] = 0.5 * float(np.abs(values[:2].mean(axis=0) - values[-2:].mean(axis=0)).sum())
        mean = inner.mean(axis=(1, 2)) / 64
        for c, channel in enumerate("ybr"):
            early, late = mean[: max(1, len(mean) // 3), c].mean(), mean[-max(1, len(mean) // 3) :, c].mean()
            out[f"{name}_{channel}"] = abs(float(late - early))
    return out


def _half(rgb: np.ndarray) -> np.ndarray:
    x = np.asarray(rgb, np.float32)
    return np.moveaxis(halve(np.moveaxis(x, -1, 1)), 1, -1)


def vector(features: Features, names: tuple[str, ...]) -> np.ndarray:
    """float32 (len(names),) of the named features."""
    return np.array([features[name] for name in names], np.float32)
