"""Spellings of papers and files, and which model's dimension they mean."""

from __future__ import annotations

import pytest

from rewardbench.aliases import canonical

ANIME = ("smoothness", "motion", "appeal", "text_video", "image_video", "character", "overall")
VIDEO_REWARD = ("VQ", "MQ", "TA", "overall")
VIDEO_SCORE = (
    "visual_quality",
    "temporal_consistency",
    "dynamic_degree",
    "text_alignment",
    "factual_consistency",
    "overall",
)


@pytest.mark.parametrize(
    ("known", "spellings"),
    [
        (ANIME, ["visual_smooth", "visual_motion", "visual_quality", "text-video_consist", "img-video_consist"]),
        (VIDEO_REWARD, ["Visual Quality", "Motion Quality", "Text Alignment", "Overall"]),
        (VIDEO_REWARD, ["visual quality", "motion quality", "text alignment"]),
        (
            VIDEO_SCORE,
            [
                "visual quality",
                "temporal consistency",
                "dynamic degree",
                "text-to-video alignment",
                "factual consistency",
            ],
        ),
    ],
)
def test_spellings_mean_the_models_dimensions_in_their_order(known: tuple[str, ...], spellings: list[str]) -> None:
    meant = [canonical(spelling, known) for spelling in spellings]
    expected = [name for name in known if name != "overall"][: len(spellings)]
    assert meant == expected + ["overall"] * (len(spellings) - len(expected))


@pytest.mark.parametrize("known", [ANIME, VIDEO_REWARD, VIDEO_SCORE])
def test_an_own_name_always_means_itself(known: tuple[str, ...]) -> None:
    assert [canonical(name, known) for name in known] == list(known)


def test_unknown_names_and_names_without_a_model() -> None:
    assert canonical("sharpness", ANIME) == canonical("sharpness") == "sharpness"
    assert canonical("visual_quality") == "appeal"
    assert canonical("visual quality") == "visual_quality"
