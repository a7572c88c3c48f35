"""What VideoReward says about itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from rewardbench_plugin import (
    Dimension,
    FrameSpec,
    HubFiles,
    NativeTieRule,
    RewardCard,
    Sampling,
    Size,
    Template,
)
from rewardbench_videoreward import VERSION

DIMENSIONS = ("VQ", "MQ", "TA")
DESCRIPTIONS = {
    "VQ": "visual quality: what single frames look like",
    "MQ": "motion quality: stability and naturalness over time",
    "TA": "text alignment: what the clip shows against its prompt",
}
FPS = 2.0
MAX_PIXELS = 448 * 448
MIN_PIXELS = 128 * 28 * 28
"""Frames below this many pixels are enlarged, as in VideoAlign's code (unless ``min_pixels`` says otherwise)."""
GENAI_MAX_PIXELS = 256 * 256
THETA = 5.0
"""Tie parameter of the BTT objective the released model was trained with."""
RELEASED_STD = {"VQ": 2.2476, "MQ": 1.3811, "TA": 2.5121}
"""Of the released ``inference_config``, by which scores are divided; known from third parties' copies of the file."""

_SOURCE = (
    "https://raw.githubusercontent.com/KwaiVGI/VideoAlign/219ab9db64c045e5181a2202d11f686439351292/prompt_template.py"
)
TEMPLATES: Mapping[str, Template] = {
    "detailed_special": Template(
        "detailed_special.txt",
        "fdb6309bac618dd0c8b1b589d3a0970a974f7856eecbb355a190b2dce54af700",
        _SOURCE,
        "DETAILED_PROMPT_WITH_SPECIAL_TOKEN",
    ),
    "detailed": Template(
        "detailed.txt",
        "146adc781613460cfea4101d4986197dbddba11765bb72da4626175ad1a0c353",
        _SOURCE,
        "DETAILED_PROMPT",
    ),
    "video_score": Template(
        "video_score.txt",
        "907ad0204f181dae687e7adaabd315d30704c754156b67e6f3c7ca84bc28fe1f",
        _SOURCE,
        "VIDEOSCORE_QUERY_PROMPT",
    ),
    "simple": Template(
        "simple.txt",
        "05a70330d7300a9a90257a94a3fe5fc7d80c7796cd745249f57a22b8775fb02f",
        _SOURCE,
        "SIMPLE_PROMPT",
    ),
}
"""By the name ``prompt_template_type`` has in ``model_config.json``. The released model reads ``detailed_special``."""
ASPECTS: Mapping[str, Template] = {
    "VQ": Template(
        "aspect_VQ.txt",
        "e3af74698480fd680413c057c2c2c47d93d39269ecc1aca23baa2ca9eda6226d",
        _SOURCE,
        "DIMENSION_DESCRIPTIONS['VQ'][1]",
    ),
    "MQ": Template(
        "aspect_MQ.txt",
        "606857e1d704c494da6680f6eac495601520a11df5794141b84f8733151a76c5",
        _SOURCE,
        "DIMENSION_DESCRIPTIONS['MQ'][1]",
    ),
    "TA": Template(
        "aspect_TA.txt",
        "792f91975898922f92b512b02ddf8ee24606213066a195cc8b1785148c1c3f83",
        _SOURCE,
        "DIMENSION_DESCRIPTIONS['TA'][1]",
    ),
}
"""What ``simple`` and ``video_score`` insert where a model was trained on one dimension alone."""


def fps_spec(fps: float, size: Size) -> FrameSpec:
    """Qwen2-VL's sampling at ``fps``: an even number of frames from 4 to 768, never more than the clip has."""
    sampling = Sampling("fps", count=768, fps=fps, min_count=4, multiple=2, rounding="half-even")
    return FrameSpec("pyav", sampling, size, "bicubic-antialias")


def tie_rule(loss: str, divisors: Mapping[str, float]) -> NativeTieRule | None:
    """Where the model's own probabilities make a tie the likeliest answer; None for models not trained with ties.

    Under Bradley-Terry with ties (Rao and Kupper 1967) that is |r_A - r_B| < ln((θ² - 2) / θ) on raw rewards, and the
    same divided by the standard deviation on normalised ones.
    """
    if loss != "btt":
        return None
    width = math.log((THETA**2 - 2) / THETA)
    return NativeTieRule(
        {name: width / divisor for name, divisor in divisors.items()},
        "Liu et al. 2025, arXiv:2501.13918, BTT objective with θ = 5: a tie is likeliest below ln((θ²-2)/θ) on raw "
        "rewards; the authors' own evaluation calibrates a threshold instead",
    )


def scored(names: Sequence[str]) -> tuple[Dimension, ...]:
    """Dimensions of a model that rates ``names``, and their sum."""
    rated = tuple(Dimension(n, description=DESCRIPTIONS.get(n, f"trained dimension {n}")) for n in names)
    return (*rated, Dimension("overall", description="sum of the others"))


_SPEC = fps_spec(FPS, Size(max_pixels=MAX_PIXELS, min_pixels=MIN_PIXELS, multiple=28))

CARD = RewardCard(
    name="videoreward",
    version=VERSION,
    summary="VideoReward (VideoAlign): visual quality, motion quality, text alignment, by Qwen2-VL",
    dimensions=scored(DIMENSIONS),
    inputs=dict.fromkeys(DIMENSIONS, _SPEC),
    overall_rule="sum of VQ, MQ and TA, after normalisation where that is on (the paper's mean has the same order)",
    needs_prompt=True,
    default_score="overall",
    weights_parts=("base", "templates"),
    requires=("transformers>=5",),
    native_tie_rule=tie_rule("btt", RELEASED_STD),
    training_data=(
        "182k triplets (prompt, two clips of 12 generators), labelled by people for the paper. VideoGen-RewardBench "
        "was labelled by the same team under the same guide, on clips of generators like those trained on: it is "
        "in-domain. GenAI-Bench, from older generators, is not"
    ),
    code_licence="Apache-2.0 (this implementation; VideoAlign's code is MIT)",
    weights_licence="as stated at huggingface.co/KwaiVGI/VideoReward; base model Qwen2-VL-2B-Instruct Apache-2.0",
    citation="Liu et al., Improving Video Generation with Human Feedback, 2025, arXiv:2501.13918",
    parameters=2_208_566_272,
    memory=8 * 2**30,
    evaluation_rules={
        "videogen-rewardbench": (
            "preset released (2 frames a second, 448x448 pixels): every label by the score of its own name, Overall "
            "by the sum; accuracy with ties at a threshold fitted to the benchmark, and without ties"
        ),
        "genai-bench": (
            "preset genai-bench: the one label by TA alone, 2 frames a second, 256x256 pixels; the authors' min_pixels "
            "is not published (see deviations)"
        ),
    },
    deviations=(
        "Position ids: the published code was trained and run under a transformers version that gives Qwen2-VL plain "
        "positions 0, 1, 2 … on all three rope axes; so do both presets. True 3-D positions give other scores.",
        "Half precision: the published code casts the rotary frequencies to bfloat16 with everything else, in training "
        "and in scoring; so do both presets where dtype is bfloat16 or float16 (transformers 5 by itself keeps them).",
        "Small frames: the code enlarges frames below min_pixels = 100352 even where max_pixels is lower; preset "
        "released follows it. The paper's 256x256 on GenAI-Bench is impossible that way (a 256x256 clip becomes "
        "336x336); preset genai-bench sets min_pixels = 0, --option min_pixels=100352 gives the code's rule.",
        "Overall: the paper averages, the code adds up; both presets add up.",
        "A checkpoint_step that does not exist: the code takes the newest instead, this plugin refuses.",
        "Special tokens inside a prompt: the code reads them as such, which breaks its pooling; this plugin refuses "
        "such a clip.",
        "Odd numbers of frames (num_frames above the length of a clip with an odd number of frames): the code fails, "
        "this plugin refuses the clip. multi_pts on clips of less than seven frames at 8 frames a second: the code "
        "reads other windows than it names, this plugin refuses the clip.",
        "LoRA: the code applies it beside the frozen weights, this plugin folds it into them in float32; in float32 "
        "the scores agree to 1e-5.",
        "Attention: the code asks for flash attention 2; this plugin uses torch's own.",
    ),
    templates=(*TEMPLATES.values(), *ASPECTS.values()),
    sources=(
        HubFiles("KwaiVGI/VideoReward"),
        HubFiles(
            "Qwen/Qwen2-VL-2B-Instruct",
            patterns=(
                "config.json",
                "preprocessor_config.json",
                "chat_template*",
                "tokenizer*",
                "vocab.json",
                "merges.txt",
            ),
            part="base",
            folder="Qwen2-VL-2B-Instruct",
        ),
    ),
    notes=(
        "Scores are unbounded. VQ and MQ are read before the prompt appears in the text, so they cannot depend on it; "
        "a clip without a prompt is scored where only they are asked for. Only an adapter checkpoint needs the weights "
        "of the base model; the released one needs its small files."
    ),
)
