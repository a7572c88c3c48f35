"""What VisionReward says about itself, for each preset."""

from __future__ import annotations

from dataclasses import replace

from rewardbench_plugin.assets import HubFiles
from rewardbench_plugin.card import Dimension, NativeTieRule, RewardCard
from rewardbench_plugin.clip import FrameSpec, Sampling, Size
from rewardbench_visionreward import VERSION
from rewardbench_visionreward.questions import QUESTIONS, WEIGHTS

REPOSITORY = "THUDM/VisionReward-Video"
MOST_FRAMES = 24
BOUND = 0.2165
"""The 29 weights sum to 6.2772; a mean over 29 answers of -1 or 1 lies within 0.21646."""
MAX_PIXELS, MIN_PIXELS = 448 * 448, 128 * 28 * 28

REQUIRES = (
    "torch==2.1.2",
    "torchvision==0.16.2",
    "transformers==4.42.4",
    "pytorchvideo==0.1.5",
    "xformers==0.0.23.post1",
    "accelerate==0.32.1",
    "einops==0.8.0",
    "decord==0.6.0",
    "sentencepiece==0.2.0",
    "tiktoken==0.7.0",
    "numpy<2",
    "safetensors>=0.4",
    "pillow==10.4.0",
    "av==12.3.0",
)
WHY_ISOLATED = (
    "Runs in an environment of its own: the code that comes with the weights keeps its caches as tuples and calls "
    "methods of transformers 4.42 that later versions removed, and its pytorchvideo 0.1.5 imports a torchvision module "
    "that 0.17 removed, which holds torch at 2.1, numpy below 2 and Python below 3.12."
)


def chat_spec(most: int, max_pixels: int, min_pixels: int, multiple: int) -> FrameSpec:
    """Frames for a Qwen2-VL chat model: one a second, its own resize."""
    size = Size(max_pixels=max_pixels, min_pixels=min_pixels, multiple=multiple)
    return FrameSpec("pyav", Sampling("seconds", count=most), size, "bicubic-antialias")


def released_spec(most: int) -> FrameSpec:
    """Frames for the published checkpoint: one a second by decord; its own code resizes them."""
    return FrameSpec("decord", Sampling("seconds", count=most))


RELEASED = RewardCard(
    name="visionreward",
    version=VERSION,
    summary="29 weighted yes/no questions asked of CogVLM2-Video",
    dimensions=(
        Dimension(
            "overall",
            -BOUND,
            BOUND,
            description="mean over 29 questions of the answer (yes 1, else -1) times its weight",
        ),
    ),
    inputs={"overall": released_spec(MOST_FRAMES)},
    overall_rule="the only score: mean of answer times weight over the 29 published questions",
    needs_prompt=True,
    default_score="overall",
    weights_parts=("templates",),
    environment="isolated",
    requires=REQUIRES,
    python=">=3.9,<3.12",
    native_tie_rule=NativeTieRule(
        {"overall": 0.0},
        "inference-video.py: the same answers give the same score, for which its compare mode names the second clip",
    ),
    training_data="VisionRewardDB-Video: 33k clips with 64 answers each by people. "
    "GenAI-Bench and VideoGen-RewardBench are not named among its sources.",
    code_licence="Apache-2.0",
    weights_licence="that of the repository (CogVLM2 and Llama 3 terms apply to the base model)",
    citation="Xu et al. 2024, VisionReward, arXiv:2412.21059",
    parameters=12_500_000_000,
    memory=30 * 2**30,
    evaluation_rules={
        "GenAI-Bench": "the one score stands for every label (VideoAlign's comparison)",
        "VideoGen-RewardBench": "the one score stands for Overall, VQ, MQ and TA (VideoAlign's comparison)",
    },
    deviations=(
        "VideoAlign describes 64 questions answered 1 or 0; the released files hold 29 questions and the code answers "
        "1 or -1. Both presets follow the released files and code.",
        "The published script encodes the video again for every question; here all questions share its prefix "
        "(--option prefix=separate goes the published way).",
        "The published script generates up to 2048 tokens and reads the first; here only the first is computed.",
        "scoring=soft (P(yes) - P(no)) is not of the publication.",
    ),
    templates=(QUESTIONS, WEIGHTS),
    sources=(HubFiles(REPOSITORY),),
    notes=f"{WHY_ISOLATED} It runs only with --trust-remote-code and a pinned revision (--option revision=COMMIT). "
    "Only an answer that reads exactly 'yes' counts as yes. One score for quality, motion and text alike.",
)

CHAT = replace(
    RELEASED,
    summary="29 weighted yes/no questions asked of a Qwen2-VL chat model",
    inputs={"overall": chat_spec(MOST_FRAMES, MAX_PIXELS, MIN_PIXELS, 28)},
    environment="host",
    requires=(),
    python=None,
    training_data="whatever the named model was trained on",
    weights_licence="that of the named weights",
    parameters=None,
    memory=None,
    deviations=(
        *RELEASED.deviations,
        "Another model than the published one answers; a system message of ours asks it for yes or no in lower case.",
    ),
    sources=(),
    notes="Parameters and memory are those of the named weights. "
    "The published questions and weights with a model of your own of the Qwen2-VL family (Qwen2-VL, Qwen2.5-VL). "
    "The weights were fitted to the published model's answers, so scores are not comparable with its.",
)
