"""AnimeReward, preset ``mini``: six specialised scorers of package size.

The structure follows AnimeReward (Zhu et al., 2025, arXiv:2504.10044): one scorer per dimension, each with its own
inputs and its own regression head (Eq. 5-10), and the mean of the six as the overall reward (Eq. 11). In the place of
the paper's vision-language models stand measured features of the frames and small recognisers. It is *not* the
released model, and no human rating was used to train it: the ratings it learnt are the known severities of faults in
drawn clips.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from rewardbench_animereward import VERSION
from rewardbench_animereward.captions import STATED, VALUES, understand
from rewardbench_animereward.networks import Weights, classify, part, regress
from rewardbench_animereward.scorers import ACTIVITY, REGRESSED, find, read, regressed_features, vector
from rewardbench_plugin import Clip, Dimension, Frames, FrameSpec, Item, RewardCard, RewardModel, Sampling, Scores, Size
from rewardbench_plugin.reward import Prepared

CONSECUTIVE = FrameSpec("pyav", Sampling(rule="middle", count=24), Size(short_side=128), "pil-box")
"""Neighbouring frames from the middle of the clip, for smoothness."""
SPREAD = FrameSpec("pyav", Sampling(rule="count", count=16), Size(short_side=256), "pil-box")
"""Frames over the whole clip, for the other five dimensions."""
DIMENSIONS = ("smoothness", "motion", "appeal", "text_video", "image_video", "character")
RECOGNISERS = ("place", "head", "body", "full")
WEIGHTS = Path(__file__).with_name("weights") / "mini.safetensors"

CARD = RewardCard(
    name="animereward",
    version=VERSION,
    dimensions=(
        Dimension("smoothness", 0.0, 1.0, description="even motion: no flicker, stutter, jumps, jitter, melting lines"),
        Dimension("motion", 0.0, 1.0, description="how much the person moves, the camera's movement left out"),
        Dimension("appeal", 0.0, 1.0, description="clean pictures: sharp, without noise, artefacts or colour cast"),
        Dimension("text_video", 0.0, 1.0, description="share of the caption's facts that the clip shows"),
        Dimension("image_video", 0.0, 1.0, description="palette, line and layout stay those of the first-frame image"),
        Dimension("character", 0.0, 1.0, description="the person stays the same over the clip"),
        Dimension("overall", 0.0, 1.0, description="mean of the six"),
    ),
    inputs={
        "smoothness": CONSECUTIVE,
        "motion": SPREAD,
        "appeal": SPREAD,
        "text_video": SPREAD,
        "image_video": SPREAD,
        "character": SPREAD,
    },
    summary="AnimeReward's six dimensions at package size, trained on a drawn world with known faults",
    overall_rule="plain mean of the six dimensions (Eq. 11); abstains where any of the six abstains",
    uses_image=True,
    weights_parts=("mini",),
    training_data=(
        "clips drawn by rewardbench.synth only (training seeds, styles, faults and encodings); no human ratings, no "
        "real video; the embedded benchmark anime-probe is drawn by the same program from held-out seeds"
    ),
    code_licence="Apache-2.0",
    weights_licence="Apache-2.0",
    citation="structure: Zhu et al., Aligning Anime Video Generation with Human Feedback, 2025, arXiv:2504.10044",
    parameters=879_686,
    evaluation_rules={"anime-probe": "each dimension answers the label of its name; docs/animereward-mini.md"},
    notes=(
        "mini is not the released AnimeReward model and was not trained on human ratings: it tells known faults apart, "
        "not taste. text_video abstains on captions outside the drawn world's grammar, image_video without a "
        "first-frame image; overall abstains where any of the six does."
    ),
)


class MiniAnimeReward(RewardModel):
    """See the module's text. Inputs: :data:`CONSECUTIVE` and :data:`SPREAD`; ratings in [0, 1]."""

    card = CARD

    def __init__(self) -> None:
        self.preset: str | None = "mini"
        self.weights: Mapping[str, str] = {"mini": str(WEIGHTS)}
        self.options: Mapping[str, str] = {}
        self.dimensions: tuple[str, ...] = CARD.dimension_names
        self._tensors: dict[str, np.ndarray] | None = None
        self._names: dict[str, tuple[str, ...]] = {}
        self._parts: dict[str, Weights] = {}

    def configure(
        self,
        *,
        preset: str | None = None,
        weights: Mapping[str, str] | None = None,
        options: Mapping[str, str] | None = None,
        dimensions: Sequence[str] | None = None,
        seed: int = 0,
    ) -> None:
        super().configure(preset=preset or "mini", weights=weights, options=options, dimensions=dimensions, seed=seed)
        given = dict(self.weights)
        path = given.pop("mini", None) or given.pop("", None) or str(WEIGHTS)
        if given:
            raise ValueError(f"animereward:mini has the weights part 'mini' only, not {', '.join(sorted(given))}")
        self.weights = {"mini": path}

    def load(self, device: str, dtype: str | None, weights: Mapping[str, str], options: Mapping[str, str]) -> None:
        """Read the weights. They are evaluated in numpy, in float32, on the CPU, whatever ``device`` says."""
        self.device = "cpu"
        self._part("place")

    def prepare(self, clip: Clip, frames: Mapping[FrameSpec, Frames]) -> Prepared:
        """Feature vectors of the dimensions asked for, and log-probabilities of the caption's facts."""
        wanted = self._wanted()
        consecutive, spread = frames.get(CONSECUTIVE), frames.get(SPREAD)
        stated = understand(clip.prompt) if "text_video" in wanted else None
        seen = None
        if spread is not None and ("character" in wanted or stated is not None):
            seen = read(find(spread.rgb, self._part("place")), {name: self._part(name) for name in RECOGNISERS})
        image = None
        if spread is not None and "image_video" in wanted and clip.image:
            image = first_frame(clip.image, spread.rgb.shape[1], spread.rgb.shape[2])
        features = regressed_features(
            [d for d in wanted if d in REGRESSED] + (["activity"] if stated is not None else []),
            None if consecutive is None else consecutive.rgb,
            0.0 if consecutive is None else consecutive.fps,
            None if spread is None else spread.rgb,
            0.0 if spread is None else rate(spread),
            image,
            seen,
        )
        out: Prepared = {}
        moves = features.pop("activity", None)
        for dimension, values in features.items():
            self._part(dimension)
            out[dimension] = vector(values, self._names[dimension])
        if stated is not None and seen is not None:
            facts = {k: v.mean(axis=0) for k, v in seen.facts.items()}
            if moves is not None:
                for fact in ACTIVITY:
                    facts[fact] = classify(self._part(fact), vector(moves, self._names[fact]))
            out["facts"] = self._agreement(stated, facts)
        return out

    def score(self, batch: Sequence[Item]) -> Scores:
        """Ratings (N, D) in the order of ``self.dimensions``; every clip is rated by itself."""
        values = np.full((len(batch), len(self.dimensions)), np.nan)
        notes = []
        for row, item in enumerate(batch):
            ratings, note = self._rate(item)
            values[row] = [ratings.get(name, np.nan) for name in self.dimensions]
            notes.append(note)
        return Scores(values=values, notes=notes, errors=[None] * len(batch))

    def _rate(self, item: Item) -> tuple[dict[str, float], str]:
        wanted, ratings, reasons = self._wanted(), {}, []
        for dimension in wanted:
            if dimension in REGRESSED and dimension in item.data:
                ratings[dimension] = regress(self._part(dimension), item.data[dimension])
            elif dimension == "text_video" and "facts" in item.data:
                ratings[dimension] = float(item.data["facts"].mean())
            else:
                reasons.append(f"{dimension} abstains: {_reason(dimension, item.clip)}")
        if "overall" in self.dimensions:
            if len(ratings) == len(DIMENSIONS):
                ratings["overall"] = float(np.mean([ratings[d] for d in DIMENSIONS]))
            else:
                reasons.append("overall abstains: it is the mean of all six dimensions")
        return ratings, "; ".join(reasons)

    def _agreement(self, stated: Mapping[str, str], seen: Mapping[str, np.ndarray]) -> np.ndarray:
        """Probability that each stated fact holds, float32 (facts,): a logistic curve over its log odds."""
        curve = self._part("agree")
        out = []
        for fact in STATED:
            if fact not in stated or fact not in seen:
                continue
            log_p = seen[fact] - np.log(np.exp(seen[fact]).sum())
            index = VALUES[fact].index(stated[fact])
            gap = log_p[index] - np.delete(log_p, index).max()
            slope, offset = curve[fact]
            out.append(1.0 / (1.0 + np.exp(-np.clip(slope * gap + offset, -30, 30))))
        return np.array(out, np.float32)

    def _wanted(self) -> tuple[str, ...]:
        return DIMENSIONS if "overall" in self.dimensions else tuple(d for d in DIMENSIONS if d in self.dimensions)

    def _part(self, name: str) -> Weights:
        """Tensors of one scorer or recogniser; the file is read at the first call in each process."""
        if self._tensors is None:
            self._tensors, self._names = read_weights(self.weights["mini"])
        if name not in self._parts:
            self._parts[name] = part(self._tensors, name)
        return self._parts[name]


def read_weights(path: str) -> tuple[dict[str, np.ndarray], dict[str, tuple[str, ...]]]:
    """(tensors by name, feature names of every regressed dimension) of a weights file.

    Raises:
        ValueError: the file is missing, unreadable, or not weights of ``mini``.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in list(file.keys())}
    except (OSError, SafetensorError) as error:
        raise ValueError(f"weights {path} of animereward:mini cannot be read: {error}") from error
    vectors = (*REGRESSED, *ACTIVITY)
    missing = [d for d in vectors if f"features.{d}" not in metadata]
    if missing:
        raise ValueError(f"weights {path} are not weights of animereward:mini: they lack {', '.join(missing)}")
    return tensors, {d: tuple(json.loads(metadata[f"features.{d}"])) for d in vectors}


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
    reasons: list[str] = []
    if dimension == "text_video":
        reasons.append("the clip has no caption" if not clip.prompt else "the caption is outside its grammar")
    elif dimension == "image_video":
        reasons.append("the clip has no first-frame image" if not clip.image else "no frames were sampled")
    return reasons[0] if reasons else "no frames were sampled"
