"""AnimeReward, preset ``paper``: Eq. 5 to 11 of arXiv:2504.10044 where the released code does something else.

The paper leaves open how key frames are found and how many there are, which SigLIP and which head are meant and how
the head's output is scaled. What is taken here is named in the card's deviations.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from rewardbench_animereward.aesthetic import KeyFrameAppeal
from rewardbench_animereward.identity import CharacterDimension
from rewardbench_animereward.motion import MotionScorer
from rewardbench_animereward.rating import Scorer
from rewardbench_animereward.released import CARD as RELEASED
from rewardbench_animereward.released import ReleasedAnimeReward
from rewardbench_plugin import Dimension
from rewardbench_plugin.options import number, whole

DEFAULT_KEY_FRAMES, DEFAULT_SCALE = 8, 10.0
CARD = replace(
    RELEASED,
    dimensions=tuple(
        {
            "motion": Dimension("motion", -1.0, 1.0, description="cosine of the clip with the sentence on movement"),
            "appeal": Dimension("appeal", description="aesthetic head on key frames, nominally 0..1, not clamped"),
            "character": Dimension("character", -1.0, 1.0, description="mean cosine with the stored character"),
        }.get(dimension.name, dimension)
        for dimension in RELEASED.dimensions
    ),
    summary="AnimeReward as its paper states it: key frames and SigLIP for appeal, cosines for motion and character",
    weights_parts=(
        "smoothness",
        "motion",
        "text_video",
        "image_video",
        "character",
        "gallery",
        "bert",
        "base",
        "siglip",
        "aesthetic",
        "templates",
    ),
    parameters=None,
    memory=21_000_000_000,
    deviations=(
        "Smoothness (Eq. 5) is said to be a fine-tuned vision encoder of a vision-language model with a regression "
        "head; no such weights are published, so the released regressor on the whole language model is used.",
        "Motion (Eq. 6) is the cosine with T_m; the paper lists two motion prompts, T_m is taken to be the one on "
        "large movement. The paper words the other 'remains stationary', the released code 'remain stationary'; it "
        "plays no part here. The cosine is not rescaled: it lies in [-1, 1].",
        "Appeal (Eq. 7) leaves the key frame method and K open: the 24 sampled frames are cut at the K - 1 largest "
        "changes and the middle frame of each stretch is taken, K = 8 (option key_frames).",
        "Appeal (Eq. 7) leaves SigLIP and the head open: the user names both (weights siglip, aesthetic). The pooled "
        "feature is L2-normalised, the head is a chain of linear layers, its outputs are averaged over key frames and "
        "divided by 10 (option appeal_scale), because aesthetic heads rate from 1 to 10.",
        "Text-video and image-video (Eq. 8, 9) are the released regressors, which agree with the paper's form.",
        "Character (Eq. 10) leaves open which stored features are meant: those of all gallery pictures of the name "
        "that is recognised; cosines are averaged over them, over 8 pictures of each character, and over characters.",
        "Overall (Eq. 11) is the plain mean as printed, although motion and character are cosines here and the others "
        "lie in 0..1.",
        "Sampling of frames is not in the paper; it is the released code's, 24 of at most the first 144 frames.",
        "Checkpoints: missing, unexpected or misshapen keys are errors.",
    ),
    notes=(
        "No weights of the paper's appeal head are published, so no number of the paper can be reproduced with this "
        "preset. Parameters are those of the released parts plus a SigLIP model of your own. " + RELEASED.notes
    ),
)


class PaperAnimeReward(ReleasedAnimeReward):
    """See the module's text and the card.

    Further options: ``key_frames`` (1..24, default 8) and ``appeal_scale`` (above 0, default 10).
    """

    option_names: ClassVar[tuple[str, ...]] = (*ReleasedAnimeReward.option_names, "key_frames", "appeal_scale")
    card = CARD
    parts: ClassVar[Mapping[str, tuple[str, ...]]] = {**ReleasedAnimeReward.parts, "appeal": ("siglip", "aesthetic")}

    def read_options(self, options: Mapping[str, str]) -> None:
        super().read_options(options)
        self.key_frames = whole(options, "key_frames", DEFAULT_KEY_FRAMES, 1, 24) or DEFAULT_KEY_FRAMES
        self.scale = number(options, "appeal_scale", DEFAULT_SCALE, 1e-6)

    def make(self, dimension: str, paths: Mapping[str, Path]) -> Scorer:
        if dimension == "motion":
            return MotionScorer(paths["motion"], paths["templates"], cosine=True)
        if dimension == "appeal":
            return KeyFrameAppeal(paths["siglip"], paths["aesthetic"], self.key_frames, self.scale)
        if dimension == "character":
            return CharacterDimension(paths, cosine=True)
        return super().make(dimension, paths)
