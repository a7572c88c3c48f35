"""Draw clips of the training side with known levels and keep the features of each."""

from __future__ import annotations

import argparse
import pickle
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from attributes import VALUES
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from recognisers import OUTPUTS, SIZE
from rewardbench_animereward.mini import CONSECUTIVE, RECOGNISERS, SPREAD
from rewardbench_animereward.scorers import REGRESSED, Crops, find, read, regressed_features

from rewardbench.synth.codecs import h264_round_trip
from rewardbench.synth.degradations import DEGRADATIONS, degrade
from rewardbench.synth.recipes import SEED_TIES, Recipe, render
from rewardbench.synth.scene import MOVING_ACTIONS, Scene
from rewardbench.synth.splits import HELD_OUT_DEGRADATIONS, TRAIN_ENCODINGS, TRAIN_SEEDS, TRAIN_STYLES
from rewardbench.synth.world import draw_clip

Clip = NDArray[np.uint8]

TREATMENTS: dict[str, float] = {
    "flicker": 1.0,
    "stutter": 1.6,
    "jitter": 1.0,
    "warp": 1.0,
    "blur": 1.0,
    "noise": 1.0,
    "colour_cast": 1.3,
    "amplitude": 1.3,
    "freeze": 1.0,
    "wrong_facts": 2.0,
    "restyle": 1.6,
    "identity_change": 2.0,
    # private to training: losses of detail that no codec makes, kin to what codecs do
    "mosaic": 0.8,
    "smear": 0.8,
    "posterise": 0.6,
    "flatten": 0.8,
    "chroma_smear": 0.5,
}
"""Treatments and how often each is drawn."""
PRIVATE = ("mosaic", "smear", "posterise", "flatten", "chroma_smear")
ALL_DIMENSIONS = tuple(name for name in TREATMENTS if name not in ("flatten", "chroma_smear"))
APPEAL_ONLY = ("blur", "noise", "colour_cast", *PRIVATE, "wrong_facts", "amplitude")
"""Treatments of the further scenes that are drawn for appeal alone (``--appeal-only``)."""
assert not set(HELD_OUT_DEGRADATIONS) & set(TREATMENTS)


@dataclass(frozen=True)
class Sample:
    """Features and known levels of one clip.

    Attributes:
        base: number of the scene; clips of one scene form pairs.
        treatment, severity, seed: of the recipe.
        levels: dimensions whose level is known.
        features: dimension -> feature name -> value.
        crops: what the recognisers are shown; what they see is worked out when the heads are trained, so that they
            may be trained at the same time. None where only appeal is asked about.
        scene: what was drawn.
        encoding: constant rate factor of the round trip, or -1.
        varied: its scene was made unlike a drawing before anything was done to it (see :func:`vary`): pairs are known,
            absolute levels are not.
    """

    base: int
    treatment: str
    severity: float
    seed: int
    levels: dict[str, float]
    features: dict[str, dict[str, float]]
    crops: Crops | None
    scene: Scene
    encoding: int
    varied: bool = False


def private_fault(clip: Clip, name: str, severity: float, seed: int) -> Clip:
    """Loss of detail that no codec makes: block means, median smearing, few colours, flattened weak detail, smeared
    colour."""
    rng = np.random.default_rng([seed, 6])
    side = min(clip.shape[1:3])
    pictures = [Image.fromarray(frame) for frame in clip]
    if name == "mosaic":
        size = max(2, round(int(rng.choice((3, 4, 6, 8, 12, 16))) * side / 256))
        amount = severity * (0.9 if size <= 6 else 0.6)
        out = []
        for picture in pictures:
            coarse = picture.resize((picture.width // size, picture.height // size), Image.Resampling.BOX)
            blocks = coarse.resize(picture.size, Image.Resampling.NEAREST)
            out.append(np.asarray(Image.blend(picture, blocks, amount)))
        return np.stack(out)
    if name == "smear":
        window = 3 if severity < 0.5 else 5
        amount = severity / 0.5 if severity < 0.5 else severity
        smeared = [p.filter(ImageFilter.MedianFilter(window)) for p in pictures]
        return np.stack([np.asarray(Image.blend(p, q, amount)) for p, q in zip(pictures, smeared, strict=True)])
    if name == "flatten":
        return np.stack(
            [_flatten(frame, severity, rng.integers(0, 8, 2), int(rng.choice((4, 8, 8, 16)))) for frame in clip]
        )
    if name == "chroma_smear":
        out = []
        for picture in pictures:
            y, b, r = picture.convert("YCbCr").split()
            radius = 0.02 * severity * side
            smeared = [c.filter(ImageFilter.BoxBlur(radius)) for c in (b, r)]
            out.append(np.asarray(Image.merge("YCbCr", (y, *smeared)).convert("RGB")))
        return np.stack(out)
    step = 1 + 40 * severity
    levels = np.clip(np.rint(np.arange(256) / step) * step, 0, 255)
    return np.asarray(np.rint((1 - 0.7 * severity) * clip + 0.7 * severity * levels[clip]), np.uint8)


def _flatten(frame: Clip, severity: float, offset: NDArray[np.int64], size: int) -> Clip:
    """Blocks whose detail is weak become their mean; what counts as weak grows with the severity."""
    top, left = int(offset[0]) % size, int(offset[1]) % size
    height, width = (frame.shape[0] - top) // size * size, (frame.shape[1] - left) // size * size
    part = frame[top : top + height, left : left + width].astype(np.float32)
    blocks = part.reshape(height // size, size, width // size, size, 3)
    mean = blocks.mean(axis=(1, 3), keepdims=True)
    strength = np.abs(blocks - mean).mean(axis=(1, 3, 4), keepdims=True)
    limit = 1.0 + 14.0 * severity**1.5
    weight = np.clip((limit - strength) / (0.5 * limit), 0.0, 1.0)
    out = frame.copy()
    flat = blocks + weight * (mean - blocks)
    out[top : top + height, left : left + width] = np.rint(flat.reshape(height, width, 3))
    return out


@lru_cache(maxsize=1)
def clean(scene: Scene, frames: int, height: int, width: int, fps: float) -> Clip:
    return draw_clip(scene, frames=frames, height=height, width=width, fps=fps)


def draw(recipe: Recipe, shape: dict[str, Any]) -> Clip:
    """The clip of a recipe; what only changes pixels reuses the clean clip."""
    if recipe.treatment in PRIVATE:
        return private_fault(clean(recipe.base, **shape), recipe.treatment, recipe.severity, recipe.seed)
    if recipe.treatment == "none":
        return clean(recipe.base, **shape)
    if recipe.treatment in DEGRADATIONS and recipe.treatment != "identity_change":
        return degrade(clean(recipe.base, **shape), recipe.treatment, recipe.severity, recipe.seed)
    return render(recipe, **shape)


def levels(recipe: Recipe, shape: dict[str, Any]) -> dict[str, float]:
    if recipe.treatment in PRIVATE:
        known = Recipe(recipe.base, "compression", recipe.severity).levels(frames=shape["frames"], fps=shape["fps"])
        return known  # the same dimensions stay known: detail is lost, nothing else
    return recipe.levels(frames=shape["frames"], fps=shape["fps"])


def vary(clip: Clip, seed: int) -> Clip:
    """The clip as another medium might show it: texture, grain, light, softness, other tones and colours.

    Two clips of one seed are changed in the same way, so that their order stays known. What is drawn is flat and clean;
    footage is not, and the heads must not take its texture for a fault.
    """
    rng = np.random.default_rng([seed, 8])
    total, height, width = clip.shape[:3]

    def field(slope: float) -> NDArray[np.float32]:
        """A random field of 1 / f ** slope amplitudes, deviation 1."""
        fy, fx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None]
        spectrum = (
            np.fft.rfft2(rng.standard_normal((height, width)))
            / np.maximum(np.hypot(fy, fx), 1 / max(height, width)) ** slope
        )
        values = np.fft.irfft2(spectrum, (height, width))
        return np.asarray((values - values.mean()) / values.std(), np.float32)

    x = clip.astype(np.float32)
    if rng.random() < 0.5:  # soft before the texture is laid on
        radius = rng.uniform(0.3, 1.5)
        pictures = [Image.fromarray(f).filter(ImageFilter.GaussianBlur(radius)) for f in clip]
        x = np.stack([np.asarray(p) for p in pictures]).astype(np.float32)
    if rng.random() < 0.5:
        x = x * (1 + rng.uniform(0.1, 0.4) * field(2.0))[None, :, :, None]
    if rng.random() < 0.75:
        shade = rng.uniform(2, 22) * field(rng.uniform(0.6, 1.6))
        tint = 1 + 0.4 * rng.standard_normal(3)
        x = x + shade[None, :, :, None] * tint.astype(np.float32)
    luma = (x @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
    x = luma + (x - luma) * rng.uniform(0.3, 1.2)
    x = 255 * np.clip(x / 255, 0, 1) ** rng.uniform(0.6, 1.8) * rng.uniform(0.6, 1.0) + rng.uniform(0, 30)
    x = x * rng.uniform(0.85, 1.1, 3)
    if rng.random() < 0.5:
        x = x + rng.uniform(0.5, 6) * rng.standard_normal((total, height, width, 1))
    out = np.asarray(np.clip(np.rint(x), 0, 255), np.uint8)
    if rng.random() < 0.5:  # the softness of a picture that was enlarged
        small = (round(width * rng.uniform(0.5, 0.95)), round(height * rng.uniform(0.5, 0.95)))
        pictures = [Image.fromarray(f).resize(small, Image.Resampling.BICUBIC).resize((width, height)) for f in out]
        out = np.stack([np.asarray(p) for p in pictures])
    return out


def appeal_samples(base: int, treatments: int) -> list[Sample]:
    """Clips of four frames for appeal alone; most scenes are varied."""
    rng = np.random.default_rng([base, 9])
    scene = Scene.sample(rng, styles=TRAIN_STYLES, seeds=TRAIN_SEEDS)
    height, width = ((256, 256), (256, 256), (256, 352), (256, 456), (320, 320))[int(rng.integers(5))]
    shape = {"frames": 4, "height": height, "width": width, "fps": 2.0}
    crf = TRAIN_ENCODINGS[int(rng.integers(len(TRAIN_ENCODINGS)))].crf if rng.random() < 0.85 else -1
    varied, seed = bool(rng.random() < 0.85), int(rng.integers(2**31))
    out = []
    for recipe in recipes(scene, rng, treatments, APPEAL_ONLY):
        known = levels(recipe, shape)
        if "appeal" not in known:
            continue
        pixels = recipe.treatment in PRIVATE or recipe.treatment in DEGRADATIONS
        clip = clean(scene, **shape) if pixels else draw(recipe, shape)
        if varied:
            clip = vary(clip, seed)
        if recipe.treatment in PRIVATE:
            clip = private_fault(clip, recipe.treatment, recipe.severity, recipe.seed)
        elif pixels:
            clip = degrade(clip, recipe.treatment, recipe.severity, recipe.seed)
        if crf >= 0:
            clip = h264_round_trip(clip, crf)
        spread = sampled(clip, 2.0, clip[0])[1]
        features = regressed_features(("appeal",), None, 2.0, spread, 2.0, None, None)
        known = {"appeal": known["appeal"]}
        out.append(
            Sample(base, recipe.treatment, recipe.severity, recipe.seed, known, features, None, scene, crf, varied)
        )
    return out


def recipes(scene: Scene, rng: np.random.Generator, treatments: int, names: tuple[str, ...]) -> list[Recipe]:
    """The clean clip, a replay, and two severities of each of some treatments."""
    out = [Recipe(scene), Recipe(scene, "replay")]
    weights = np.array([TREATMENTS[name] for name in names])
    chosen = rng.choice(names, treatments, replace=False, p=weights / weights.sum())
    for name in chosen.tolist():
        seed = int(rng.integers(2**31))
        low, high = np.sort(rng.uniform(0.05, 1.0, 2))
        if name == "wrong_facts":
            low, high = rng.integers(1, 5) / 8, rng.integers(5, 9) / 8
        out += [Recipe(scene, name, float(low), seed), Recipe(scene, name, float(high), seed)]
        if name in SEED_TIES and rng.random() < 0.3:
            out[-1] = replace(out[-2], seed=seed + 1)
    return out


def sampled(clip: Clip, fps: float, image: Clip) -> tuple[Clip, Clip, Clip]:
    """The frames the plugin would get of this clip: consecutive, spread, and the first-frame image."""
    out = []
    for spec in (CONSECUTIVE, SPREAD):
        frames = clip[spec.sampling.indices(len(clip), fps)]
        assert spec.size is not None
        height, width = spec.size.target(*clip.shape[1:3])
        if (height, width) != frames.shape[1:3]:
            pictures = [Image.fromarray(f).resize((width, height), Image.Resampling.BOX) for f in frames]
            frames = np.stack([np.asarray(p) for p in pictures])
        out.append(frames)
    height, width = out[1].shape[1:3]
    return out[0], out[1], np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BOX))


def spread_rate(total: int, fps: float) -> float:
    """Sampled frames per second of :data:`SPREAD`, as ``mini.rate`` finds it from a file's times."""
    indices = SPREAD.sampling.indices(total, fps)
    return float((len(indices) - 1) / (indices[-1] - indices[0]) * fps) if len(indices) > 1 else fps


def measured(clip: Clip, fps: float, image: Clip, weights: dict[str, Any]) -> tuple[dict[str, dict[str, float]], Crops]:
    """(features of every regressed dimension and of the activity, crops) of decoded frames."""
    consecutive, spread, image = sampled(clip, fps, image)
    crops = find(spread, weights["place"])
    rate = spread_rate(len(clip), fps)
    wanted = (*REGRESSED, "activity")
    return regressed_features(wanted, consecutive, fps, spread, rate, image, read(crops, weights)), crops


def samples(base: int, weights: dict[str, Any], treatments: int) -> list[Sample]:
    rng = np.random.default_rng([base, 2])
    actions = MOVING_ACTIONS if rng.random() < 0.75 else ("stand", "nod", "shake", "talk")
    scene = Scene.sample(rng, styles=TRAIN_STYLES, seeds=TRAIN_SEEDS, actions=actions)
    height, width = ((256, 256), (256, 256), (256, 256), (192, 256), (256, 352), (320, 320))[int(rng.integers(6))]
    fps = float(rng.choice((8, 12, 12, 12, 16)))
    shape = {"frames": int(rng.choice((16, 24, 24, 24, 33))), "height": height, "width": width, "fps": fps}
    crf = TRAIN_ENCODINGS[int(rng.integers(len(TRAIN_ENCODINGS)))].crf if rng.random() < 0.85 else -1
    image = clean(scene, **shape)[0]
    out = []
    for recipe in recipes(scene, rng, treatments, ALL_DIMENSIONS):
        clip = draw(recipe, shape)
        if crf >= 0:
            clip = h264_round_trip(clip, crf)
        known = levels(recipe, shape)
        features, crops = measured(clip, fps, image, weights)
        drawn = recipe.scene() if recipe.treatment not in PRIVATE else scene
        out.append(Sample(base, recipe.treatment, recipe.severity, recipe.seed, known, features, crops, drawn, crf))
    return out


def read_recognisers(folder: Path) -> dict[str, dict[str, NDArray[np.float32]]]:
    """Tensors of each recogniser. One that is not there yet sees nothing (its outputs are 0), but ``place`` must be."""
    out = {}
    for name in RECOGNISERS:
        path = folder / f"recogniser-{name}.npz"
        if path.exists():
            out[name] = dict(np.load(path))
        else:
            sizes = {fact: len(values) for fact, values in VALUES.items()}
            out[name] = {
                "hidden.weight": np.zeros((1, 3 * SIZE[name] ** 2), np.float32),
                "hidden.bias": np.zeros(1, np.float32),
            }
            for fact in OUTPUTS[name]:
                out[name][f"head.{fact}.weight"] = np.zeros((sizes[fact], 1), np.float32)
                out[name][f"head.{fact}.bias"] = np.zeros(sizes[fact], np.float32)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the shards; finished shards are kept")
    parser.add_argument("--recognisers", type=Path, required=True)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--shards", type=int, default=10)
    parser.add_argument("--step", type=int, default=1, help="distance of shard numbers, for several processes")
    parser.add_argument("--scenes", type=int, default=5, help="scenes per shard")
    parser.add_argument("--appeal-only", action="store_true", help="further scenes for appeal alone; shards from 2000")
    parser.add_argument("--treatments", type=int, default=5, help="treatments per scene, two severities each")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    weights = read_recognisers(options.recognisers)
    first = options.first + (2000 if options.appeal_only else 0)
    last = first + options.shards * options.step
    for shard in range(first, last, options.step):
        path = options.out / f"clips-{shard:04d}.pickle"
        if path.exists():
            continue
        scenes = range(shard * options.scenes, (shard + 1) * options.scenes)
        part = path.with_suffix(".part")
        if options.appeal_only:
            found = [s for i in scenes for s in appeal_samples(i, options.treatments)]
        else:
            found = [s for i in scenes for s in samples(i, weights, options.treatments)]
        part.write_bytes(pickle.dumps(found))
        part.rename(path)
        print(f"{path.name} done", flush=True)


if __name__ == "__main__":
    import clips  # under its own name, so that what is pickled can be read by heads.py

    clips.main()
