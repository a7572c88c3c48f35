"""What LiFT-Critic says about itself."""

from __future__ import annotations

from dataclasses import replace

from rewardbench_lift import VERSION
from rewardbench_lift.answers import PUBLISHED, ScoreMapping
from rewardbench_lift.prompts import TEMPLATES
from rewardbench_plugin.assets import HubFiles
from rewardbench_plugin.card import Dimension, NativeTieRule, RewardCard
from rewardbench_plugin.clip import FrameSpec, Sampling, Size

QUESTIONS = ("semantic", "fidelity", "motion")
ADAPTERS = {"13b-v1.5": "Fudan-FUXI/LiFT-Critic-13b-lora-v1.5", "13b": "Fudan-FUXI/LiFT-Critic-13b-lora"}
BASE = "Efficient-Large-Model/VILA1.5-13b"
SIDE = 384
FRAMES = 8
GPU_MEMORY = 30 * 2**30

_DESCRIPTIONS = {
    "semantic": "agreement with the prompt: subject, number, colour, scene, style",
    "fidelity": "how real people, animals and things look: limbs, hands, faces",
    "motion": "smoothness, coherence and physics of the motion",
}


def frame_spec(count: int, side: int) -> FrameSpec:
    """``count`` frames spread over the clip, squeezed to a square by Pillow's bicubic filter."""
    return FrameSpec(sampling=Sampling("count", count), size=Size(height=side, width=side), filter="pil-bicubic")


def dimensions_of(mapping: ScoreMapping) -> tuple[Dimension, ...]:
    """The four scores in the range of a mapping."""
    low, high = mapping.low, mapping.high
    graded = (Dimension(name, low, high, description=_DESCRIPTIONS[name]) for name in QUESTIONS)
    return (*graded, Dimension("overall", low, high, description="mean of the three"))


CARD = RewardCard(
    name="lift",
    version=VERSION,
    summary="LiFT-Critic (VILA-1.5): three questions answered Good, Normal or Bad",
    dimensions=dimensions_of(PUBLISHED),
    inputs={name: frame_spec(FRAMES, SIDE) for name in QUESTIONS},
    overall_rule="mean of the three scores; mapping=published rounds it to 2 decimals",
    needs_prompt=True,
    default_score="overall",
    weights_parts=("base", "templates"),
    native_tie_rule=NativeTieRule(
        dict.fromkeys((*QUESTIONS, "overall"), 0.0),
        "clips with the same grades tie; VideoAlign's comparison without ties throws a coin for them, whose "
        "expectation C + T/2 is the accuracy without ties at half credit",
    ),
    training_data="LiFT-HRA (10k or 20k clips with grades and reasons by people) and 1k clips of VIDGEN-1M. "
    "GenAI-Bench and VideoGen-RewardBench are not named among its sources.",
    code_licence="no licence file in the published repository; VILA's code is Apache-2.0",
    weights_licence="see the repository's page; the base model is for non-commercial use (CC-BY-NC-4.0, Llama's terms)",
    citation="Wang et al. 2024, LiFT: Leveraging Human Feedback for Text-to-Video Model Alignment, arXiv:2412.04814",
    parameters=13_500_000_000,
    memory=GPU_MEMORY,
    evaluation_rules={
        "GenAI-Bench": "VideoAlign: mapping=levels, the mean of the three for every label; equal clips get a coin, of "
        "which half credit is the expectation",
        "VideoGen-RewardBench": "VideoAlign (with the 40b critic): mapping=levels, VQ from fidelity, MQ from motion, "
        "TA from semantic, Overall from the mean; equal clips get a coin, of which half credit is the expectation",
    },
    deviations=(
        "The published script samples its answers (temperature 0.2); here the likeliest token is taken "
        "(--option temperature=0.2 samples, seeded by --seed and the clip).",
        "The published mapping looks for 'Normal', then 'Bad' anywhere in an answer and takes all else for Good; here "
        "the first word decides, and an answer that does not begin with a grade abstains.",
        "A clip that cannot be read, or has one frame, is scored as eight black pictures by the published script; here "
        "it is an error.",
        "A conversation longer than the model reads loses its end, the question, in the published script; here it is "
        "an error.",
        "The published loader drops trained tensors outside LoRA whose names do not begin with 'model.model.' "
        "without a word; here they are loaded, and a name that fits nothing is an error. The released training "
        "settings leave none.",
        "Frames are decoded by PyAV instead of OpenCV; products of LoRA are merged in float32.",
    ),
    templates=tuple(TEMPLATES.values()),
    sources=(
        HubFiles(ADAPTERS["13b-v1.5"], patterns=("*.json", "adapter_model.*", "non_lora_trainables.bin")),
        HubFiles(BASE, part="base", folder="VILA1.5-13b"),
    ),
    notes="13b only: the 40b critic sees with InternViT and speaks with Yi, which this port does not have. With "
    "mapping=published one Good outweighs two Bad, with mapping=levels it does not: name the mapping with the numbers.",
)


def card_of(preset: str | None) -> RewardCard:
    """The card with the sources of a preset."""
    adapter = replace(CARD.sources[0], repo=ADAPTERS.get(preset or "", CARD.sources[0].repo))
    return replace(CARD, sources=(adapter, CARD.sources[1]))
