"""What VideoScore says about itself, for each preset."""

from __future__ import annotations

from dataclasses import replace

from rewardbench_plugin.assets import HubFiles, Template
from rewardbench_plugin.card import Dimension, NativeTieRule, RewardCard
from rewardbench_plugin.clip import FrameSpec, Sampling, Size
from rewardbench_videoscore import VERSION

ASPECTS = ("visual_quality", "temporal_consistency", "dynamic_degree", "text_alignment", "factual_consistency")
"""The model's outputs, in its order."""

TEMPLATE = Template(
    name="regression.txt",
    sha256="49b386d9ea3003760c983cc258cf4211faf858d58191f95fcfacdf68a8fed2c0",
    url="https://raw.githubusercontent.com/TIGER-AI-Lab/VideoScore/8e449734bbeb4aba327b82f2269e7247633a7abc/"
    "examples/run_videoscore.py",
    literal="REGRESSION_QUERY_PROMPT",
)

CHECKPOINT = ("*.json", "*.safetensors", "tokenizer.model", "*.jinja")
REPOSITORIES = {
    "v1": "TIGER-Lab/VideoScore",
    "v1.1": "TIGER-Lab/VideoScore-v1.1",
    "anno-only": "TIGER-Lab/VideoScore-anno-only",
    "qwen2-vl": "TIGER-Lab/VideoScore-Qwen2-VL",
}
FRAMES = {"v1": 16, "v1.1": 48, "anno-only": 16}
SAMPLING = {"v1": "example", "v1.1": "example", "anno-only": "benchmark"}
SAMPLERS = {
    "example": Sampling("stride"),
    "benchmark": Sampling("count-repeat"),
    "anime": Sampling("stride", max_frames=144),
}
"""The samplers that Idefics2 regressors are run with; ``anime`` is AnimeReward's. The count of frames is to be set."""
COUNTS = {"benchmark": 16, "anime": 24}
"""How many frames a sampler takes where the preset's own count (:data:`FRAMES`) is not meant."""

VIDEO_MIN_PIXELS, VIDEO_MAX_PIXELS = 128 * 28 * 28, 768 * 28 * 28
QWEN2_FRAMES = FrameSpec(sampling=Sampling("fps", 768, fps=8.0, min_count=4, multiple=2, rounding="half-even"))

_DESCRIPTIONS = (
    "clearness, resolution, brightness and colour",
    "objects and people stay the same, and motion is smooth",
    "how much changes; a still clip scores low",
    "how well the clip matches its prompt",
    "agreement with common sense and physics",
)
_DIMENSIONS = (
    *(Dimension(name, description=what) for name, what in zip(ASPECTS, _DESCRIPTIONS)),  # noqa: B905 (Python 3.10)
    Dimension("overall", description="mean of the five, after rounding"),
)
_RULE = (
    "mean of the five scores; a human tie counts as right where the means differ by less than 0.5, any other pair "
    "where the difference has the right sign (one difference can satisfy both, so the figure is no three-way accuracy)"
)

IDEFICS2 = RewardCard(
    name="videoscore",
    version=VERSION,
    summary="five regressions of 1..4 by an 8B vision-language model, and their mean",
    dimensions=_DIMENSIONS,
    inputs={name: FrameSpec(sampling=Sampling("stride", 16)) for name in ASPECTS},
    overall_rule="mean of the five scores as reported (rounded, where they are)",
    needs_prompt=True,
    default_score="overall",
    weights_parts=("templates",),
    native_tie_rule=NativeTieRule(
        {"overall": 0.5},
        "VideoScore's GenAI-Bench and VBench scripts: |mean A - mean B| < 0.5 agrees with a human tie (never "
        "calibrated; the scripts exclude a difference of exactly 0.5, this rule includes it)",
    ),
    training_data="VideoFeedback: 37.6K clips of 11 generators rated 1..4 by people, and real videos added; "
    "VideoFeedback-test is held out of the same set, so a result there is in-distribution; overlap of prompts or "
    "generators with GenAI-Bench and VBench was not checked",
    code_licence="MIT (VideoScore), Apache-2.0 (Mantis); none of their code is included",
    weights_licence="as stated on the model's page; not shipped",
    citation="He et al. 2024, VideoScore: Building Automatic Metrics to Simulate Fine-grained Human Feedback for Video "
    "Generation (EMNLP 2024, arXiv:2406.15252)",
    parameters=8_271_704_309,
    memory=20 * 2**30,
    evaluation_rules={
        "VideoFeedback-test": "Spearman correlation per dimension, times 100, benchmark sampler with 16 frames",
        "GenAI-Bench": f"preset anno-only, benchmark sampler with 16 frames; {_RULE}",
        "VBench": f"preset anno-only, benchmark sampler with 16 frames; {_RULE}",
        "EvalCrafter": "preset anno-only, Spearman correlation, benchmark sampler with 16 frames",
        "VideoGen-RewardBench": "VideoAlign's evaluation: the mean of five answers every label (one number for VQ, MQ "
        "and TA), calibrated ties",
    },
    deviations=(
        "The example scripts use 16 frames (v1) or 48 (v1.1) at truncated steps from frame 0, which never reach the "
        "last frame; the benchmark script uses 16 for every model, from the first frame to the last, and repeats "
        "frames of shorter clips. Presets v1 and v1.1 follow the examples, anno-only the benchmark; --option sampling "
        "and num_frames choose.",
        "The number of frames is the number that decodes; the example trusts the container's header.",
        "Scores are rounded to 3 digits as in the scripts (--option round_digits=none keeps them whole); raw values "
        "are kept either way.",
        "A prompt that contains one of the model's special tokens is refused; the scripts would count <image> in it as "
        "a frame.",
    ),
    templates=(TEMPLATE,),
    notes="Trained on clips of 2024's generators at sequences of up to 4,096 tokens. The scale is 1..4, but nothing "
    "clamps it. A side under 378 pixels is stretched to 378 without keeping the aspect ratio, as the image processor "
    "does.",
)

QWEN2_VL = replace(
    IDEFICS2,
    summary="five regressions of 1..4 by Qwen2-VL, and their mean",
    inputs=dict.fromkeys(ASPECTS, QWEN2_FRAMES),
    parameters=7_746_396_165,
    memory=24 * 2**30,
    evaluation_rules={
        "any benchmark": "none is published for this variant; overall is the mean of the five as elsewhere"
    },
    deviations=(
        "Positions are 1-D (0, 1, 2, … on all three axes), as in the class it was trained with; the 3-D positions of "
        "Qwen2-VL give other scores.",
        "Frames follow the example: 8 per second (qwen-vl-utils 0.0.8: at least 4, rounded half to even to a multiple "
        "of 2), clip before text; training put the text first and read stored frames.",
        "Frames are resized twice where the saved image processor's budget is smaller than qwen-vl-utils', as the "
        "example does: bicubic with antialiasing on tensors, then Pillow's bicubic.",
        *IDEFICS2.deviations[2:],
    ),
    notes="Scores at the token before the first pad token, or at one label token per score where config.json says "
    "score_type special_token (then templates/answer.txt beside the checkpoint holds the answer that carries those "
    "tokens). No weights or reference outputs of this variant were at hand: its head, positions and resizing are held "
    "by closed forms only.",
)


def idefics2_card(preset: str, sampling: str, count: int) -> RewardCard:
    """The card of an Idefics2 preset with the frames that are sampled."""
    spec = FrameSpec(sampling=replace(SAMPLERS[sampling], count=count))
    seen = IDEFICS2.training_data
    if preset == "anno-only":
        seen = seen.replace("and real videos added", "without the real videos that the other presets add")
    return replace(IDEFICS2, inputs=dict.fromkeys(ASPECTS, spec), sources=_sources(preset), training_data=seen)


def qwen2_vl_card(fps: float) -> RewardCard:
    """The card of preset ``qwen2-vl`` at a frame rate."""
    spec = replace(QWEN2_FRAMES, sampling=replace(QWEN2_FRAMES.sampling, fps=fps))
    return replace(QWEN2_VL, inputs=dict.fromkeys(ASPECTS, spec), sources=_sources("qwen2-vl"))


def video_size(frames: int, low: int, high: int) -> Size:
    """qwen-vl-utils' pixel budget of one of ``frames`` frames: all together at most 24,576 tokens' worth."""
    share = 24_576 * 28 * 28 / frames * 2
    budget = min(high, max(min(VIDEO_MAX_PIXELS, share), int(low * 1.05)))
    return Size(max_pixels=int(budget), min_pixels=low, multiple=28)


def _sources(preset: str) -> tuple[HubFiles, ...]:
    return (HubFiles(REPOSITORIES[preset], patterns=CHECKPOINT),)
