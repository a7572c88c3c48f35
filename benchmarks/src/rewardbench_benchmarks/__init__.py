"""The benchmarks and prompt suites that people cite: a card and a loader each. Listing them reads no file."""

from __future__ import annotations

from collections.abc import Iterable

from rewardbench_plugin import BenchmarkManifest, hookimpl

_PAIRS = (
    (
        "animereward-validation",
        "AnimeReward's validation set: ratings of anime clips in six dimensions (by agreement)",
        (),
    ),
    ("fetv", "FETV: 619 prompts, 4 generators, 3 raters; alignment, static and temporal quality", ("majority",)),
    ("genai-bench-video", "GenAI-Bench video: 1,889 pairs with four-way votes", ()),
    ("genai-bench-video-v1", "GenAI-Bench video v1: 1,069 four-way votes and the verdicts of 18 judges", ()),
    ("mj-bench-video", "MJ-Bench-Video test: 1,085 pairs, five aspects and overall", ()),
    ("tvge", "TVGE of T2VScore: 2,543 clips of 5 generators, alignment and quality", ()),
    (
        "video-bench",
        "Video-Bench: 4 raters, 7 generators, 9 dimensions",
        (
            "action",
            "aesthetic_quality",
            "color",
            "imaging_quality",
            "motion_effects",
            "object_class",
            "scene",
            "temporal_consistency",
            "video_text_consistency",
        ),
    ),
    ("videofeedback-test", "VideoFeedback's test split: 680 rated clips in five dimensions", ()),
    ("videogen-rewardbench", "VideoGen-RewardBench: 26.5k pairs of 12 generators; VQ, MQ, TA, Overall", ()),
)
_PROMPTS = (
    ("anime-prompts", "prompt suite: the 120 anime image-and-text prompts of Step-Video-TI2V-Eval (zh)"),
    ("realaction", "prompt suite: 18 first frames with prompts of human action, and clips of 6 systems (RealDPO)"),
    ("ta-hard", "prompt suite: TA-Hard, 72 prompts that are hard to follow (en, zh)"),
    ("vbench", "prompt suite: VBench, 946 entries of 16 dimensions"),
    ("vbench-i2v", "prompt suite: VBench-I2V, 1,118 entries with 355 images"),
    ("videogen-eval", "prompt suite: VideoGen-Eval as VideoAlign uses it, 400 prompts (en, short, zh)"),
)
NOBODY = "nobody"
"""Who decided the labels of a prompt suite, which has none."""


def _target(name: str) -> str:
    return f"rewardbench_benchmarks.{name.replace('-', '_')}.loader:load"


@hookimpl
def rewardbench_benchmarks() -> Iterable[BenchmarkManifest]:
    """Every benchmark and prompt suite of the catalogue."""
    found = []
    for name, summary, variants in _PAIRS:
        targets = {variant: _target(name) for variant in ("", *variants)} if variants else {}
        found.append(BenchmarkManifest(name, _target(name), summary, version="1", variants=targets))
    found += [BenchmarkManifest(name, _target(name), text, version="1", labels_by=NOBODY) for name, text in _PROMPTS]
    return found
