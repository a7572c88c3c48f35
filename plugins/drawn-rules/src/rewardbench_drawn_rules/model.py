"""Four rules on the pixels of a clip, its caption and its first-frame image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from rewardbench_drawn_rules import VERSION
from rewardbench_drawn_rules.motion import Flow, match
from rewardbench_drawn_rules.rules import flicker, flow_amplitude, luma, outfit_colour, sharpness, stated_colour
from rewardbench_plugin import Clip, Dimension, Frames, FrameSpec, Item, RewardCard, RewardModel, Sampling, Scores, Size
from rewardbench_plugin.reward import Prepared

FRAMES = FrameSpec("pyav", Sampling("count", 16), Size(short_side=64), "pil-box")
"""The toy world's own length and size, which leaves its clips as they are."""

CARD = RewardCard(
    name="drawn-rules",
    version=VERSION,
    summary="pixel rules for clips of the drawn world, without learnt weights",
    dimensions=(
        Dimension(
            "outfit_colour",
            0.0,
            1.0,
            description="the outfit keeps the stated colour: mean over frames of min(1, r, 2/r), r its area relative "
            "to the first-frame image's",
        ),
        Dimension(
            "flicker",
            0.0,
            1.0,
            description="1 is none: exp(-A/4), A the grey levels by which brightness alternates beyond what motion "
            "explains",
        ),
        Dimension(
            "flow_amplitude",
            0.0,
            1.0,
            description="how much the person moves: 1 - exp(-x/0.2), x the mean speed in shorter frame sides per "
            "second, the camera's movement left out",
        ),
        Dimension(
            "sharpness",
            0.0,
            1.0,
            description="mean over frames of min(1, V/V0), V the variance of the Laplacian, V0 that of the first-frame "
            "image",
        ),
    ),
    inputs=dict.fromkeys(("outfit_colour", "flicker", "flow_amplitude", "sharpness"), FRAMES),
    overall_rule="none: the four watch different things, and a mean would let one of them hide another's fall",
    uses_image=True,
    training_data="none; the rules' constants were set on clips that rewardbench.synth draws from training seeds",
    code_licence="Apache-2.0",
    weights_licence="none",
    citation="none: the rules stand in the plugin's README",
    parameters=0,
    evaluation_rules={"anime-probe": "no label has these names: --map motion=flow_amplitude and so on answers some"},
    notes=(
        "Made for the drawn world at 64 pixels and about 8 frames a second, as a judge that no optimisation has seen; "
        "on other clips flow_amplitude expects the person in the middle, and displacements above 6 pixels a sampled "
        "frame are not found. flow_amplitude says how much moves, not whether it should: lines that melt move. flicker "
        "of faultless clips falls a little with motion (from 1 to about .93). Noise is not blur: it can lift sharpness "
        "up to 1, and lowers flicker. A camera that zooms out makes the outfit smaller, and lowers "
        "outfit_colour, so compare clips of one prompt. outfit_colour abstains where the caption states no outfit "
        "colour or the first-frame image does not show it; it and sharpness abstain without a first-frame image."
    ),
)


class DrawnRules(RewardModel):
    """See :mod:`rewardbench_drawn_rules.rules`. All of it is computed from the sampled frames, on the CPU."""

    card = CARD

    def load(self, device: str, dtype: str | None, weights: Mapping[str, str], options: Mapping[str, str]) -> None:
        """There is nothing to load; numpy computes on the CPU, whatever ``device`` says."""
        self.device = "cpu"

    def prepare(self, clip: Clip, frames: Mapping[FrameSpec, Frames]) -> Prepared:
        """The value of each rule that applies, float64 ()."""
        (sampled,) = frames.values()
        rgb, y = sampled.rgb, luma(sampled.rgb)
        out: Prepared = {}
        if {"outfit_colour", "sharpness"} & set(self.dimensions) and clip.image:
            image = first_frame(clip.image, rgb.shape[1], rgb.shape[2])
            colour = stated_colour(clip.prompt)
            if "outfit_colour" in self.dimensions and colour is not None:
                out["outfit_colour"] = np.array(outfit_colour(rgb, image, colour))
            if "sharpness" in self.dimensions:
                out["sharpness"] = np.array(sharpness(y, luma(image)))
        if {"flicker", "flow_amplitude"} & set(self.dimensions):
            flow = match(y) if len(y) > 1 else Flow(y[:0], y[:0], y[:0] > 0)
            out["flicker"] = np.array(flicker(y, flow))
            out["flow_amplitude"] = np.array(flow_amplitude(flow, rate(sampled)))
        return out

    def score(self, batch: Sequence[Item]) -> Scores:
        """Values (N, D) in the order of ``self.dimensions``; every clip is judged by itself."""
        values = np.array([[item.data.get(name, np.nan) for name in self.dimensions] for item in batch], np.float64)
        notes = []
        for item, row in zip(batch, values, strict=True):
            silent = [name for name, value in zip(self.dimensions, row, strict=True) if np.isnan(value)]
            notes.append("; ".join(f"{name} abstains: {_reason(name, item.clip)}" for name in silent))
        return Scores(values.reshape(len(batch), len(self.dimensions)), notes=notes, errors=[None] * len(batch))


def rate(frames: Frames) -> float:
    """Sampled frames per second."""
    span = float(frames.pts[-1] - frames.pts[0]) if len(frames.pts) > 1 else 0.0
    return (len(frames.pts) - 1) / span if span > 0 else frames.fps


def first_frame(path: str, height: int, width: int) -> np.ndarray:
    """uint8 (height, width, 3) of the first-frame image; where its aspect ratio is another, its middle is cut out.

    Raises:
        ValueError: the file cannot be read as a picture.
    """
    try:
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
    except (OSError, SyntaxError) as error:
        raise ValueError(f"first-frame image {path} cannot be read: {error}") from error
    w, h = picture.size
    keep_w, keep_h = min(w, round(h * width / height)), min(h, round(w * height / width))
    left, top = (w - keep_w) / 2, (h - keep_h) / 2
    box = (left, top, left + keep_w, top + keep_h)
    return np.asarray(picture.resize((width, height), Image.Resampling.BOX, box=box))


def _reason(dimension: str, clip: Clip) -> str:
    if dimension in ("flicker", "flow_amplitude"):
        return f"the clip has fewer than {'three' if dimension == 'flicker' else 'two'} frames"
    if not clip.image:
        return "the clip has no first-frame image"
    if dimension == "sharpness":
        return "the first-frame image has no detail"
    colour = stated_colour(clip.prompt)
    return "the caption states no outfit colour" if colour is None else f"the image shows no {colour} outfit"
