"""AnimeReward, preset ``released``: the published weights, scored as the published script scores them.

Reference: bilibili/Index-anisora ``reward/`` at commit 171fe63 (Apache-2.0), read for what it computes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from rewardbench_animereward import VERSION
from rewardbench_animereward.assembly import AssembledReward
from rewardbench_animereward.character import character_inputs
from rewardbench_animereward.frames import DECODED, SQUASHED
from rewardbench_animereward.identity import CharacterDimension
from rewardbench_animereward.motion import MotionScorer
from rewardbench_animereward.published import AFTER_FETCH, FILES, SOURCES, TEMPLATES
from rewardbench_animereward.rating import Scorer
from rewardbench_animereward.regressors import ImageVideoScorer, TextVideoScorer
from rewardbench_animereward.vlm import VlmScorer
from rewardbench_plugin import Dimension, RewardCard

TRAINED_ON = (
    "30,000 anime clips (5,000 of films, 25,000 by Hailuo, Vidu, Open-Sora, Open-Sora-Plan and CogVideoX), each rated "
    "1 to 5 by six people. The authors' validation clips share no prompt or first frame with them; their 500 test "
    "images are collected in the same way, and the paper does not say whether any overlap. No benchmark shipped here "
    "is known to overlap"
)
CARD = RewardCard(
    name="animereward",
    version=VERSION,
    dimensions=(
        Dimension("smoothness", description="smooth and undistorted motion, nominally 0..1, not clamped"),
        Dimension("motion", 0.0, 1.0, description="how much the protagonist moves: probability of large movement"),
        Dimension("appeal", description="quality of the pictures, nominally 0..1, not clamped"),
        Dimension("text_video", 0.0, 1.0, description="the clip shows what the prompt says (its first 30 tokens)"),
        Dimension("image_video", 0.0, 1.0, description="the clip keeps to its first-frame image"),
        Dimension("character", 0.0, 1.0, description="the protagonists are recognised, as one known character each"),
        Dimension("overall", description="plain mean of the six"),
    ),
    inputs={
        "smoothness": DECODED,
        "motion": SQUASHED,
        "appeal": DECODED,
        "text_video": SQUASHED,
        "image_video": SQUASHED,
        "character": character_inputs(),
    },
    summary="AnimeReward as released: two Idefics2 regressors, ActionCLIP, two BLIP regressors, character recognition",
    overall_rule="plain mean of the six dimensions (Eq. 11); abstains where any of the six abstains",
    uses_image=True,
    default_score="overall",
    weights_parts=(
        "smoothness",
        "motion",
        "appeal",
        "text_video",
        "image_video",
        "character",
        "gallery",
        "bert",
        "base",
        "templates",
    ),
    training_data=TRAINED_ON,
    code_licence="Apache-2.0",
    weights_licence="Apache-2.0 (Index-anisora); those of GroundingDINO, SAM 2 and BERT are their own",
    citation="Zhu et al., Aligning Anime Video Generation with Human Feedback, 2025, arXiv:2504.10044",
    parameters=17_900_000_000,
    memory=37_000_000_000,
    evaluation_rules={
        "AnimeReward's own tests": "each dimension by its own score, x 100; AR is their plain mean (Eq. 11)",
        "other benchmarks": "no rule is published; the score named as the label answers it, else overall",
    },
    deviations=(
        "Smoothness (Eq. 5): the paper speaks of a fine-tuned vision encoder with a regression head, the code runs "
        "the whole 8B language model with one; this preset follows the code.",
        "Motion (Eq. 6): the paper takes the cosine with the motion prompt, the code the softmax over two prompts of "
        "100 x cosine; this preset follows the code.",
        "Appeal (Eq. 7): the paper extracts key frames and puts an aesthetic head on SigLIP, the code has neither and "
        "runs a second Idefics2 regressor; this preset follows the code.",
        "Both Idefics2 regressors read one query, which asks for picture quality; this preset follows the code.",
        "Character (Eq. 10): the paper takes the mean cosine with the stored features of the character, the code the "
        "confidence of the best match in a closed gallery, features not normalised; this preset follows the code.",
        "Overall (Eq. 11): the released script does not compute it; it is computed here as the paper states it.",
        "Checkpoints: the released code drops keys of another shape and prints missing ones; here both are errors.",
        "Frames: the released code trusts the container's frame count; here the frames that decode are counted.",
    ),
    templates=TEMPLATES,
    sources=SOURCES,
    files=FILES,
    after_fetch=AFTER_FETCH,
    notes=(
        "Image-to-video only: image_video abstains without a first-frame image, smoothness, appeal and text_video "
        "without a prompt, and overall with any of them. Frames after the 144th are never seen. Rounding to 3 "
        "decimals of a hundred-point scale makes real ties; raw holds the unrounded output."
    ),
)


class ReleasedAnimeReward(AssembledReward):
    """See the module's text and the card."""

    card = CARD
    parts: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "smoothness": ("smoothness", "templates"),
        "motion": ("motion", "templates"),
        "appeal": ("appeal", "templates"),
        "text_video": ("text_video", "bert"),
        "image_video": ("image_video",),
        "character": ("character", "gallery"),
    }

    def make(self, dimension: str, paths: Mapping[str, Path]) -> Scorer:
        if dimension == "motion":
            return MotionScorer(paths["motion"], paths["templates"])
        if dimension == "text_video":
            return TextVideoScorer(paths["text_video"], paths["bert"])
        if dimension == "image_video":
            return ImageVideoScorer(paths["image_video"])
        if dimension == "character":
            return CharacterDimension(paths, cosine=False)
        return VlmScorer(dimension, paths[dimension], paths["templates"], self.digits, self.regressor_frames)
