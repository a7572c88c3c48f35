"""One table of how papers and files spell the dimensions."""

from __future__ import annotations

from collections.abc import Collection

_ALIASES = {
    # AnimeReward. Its files say visual_quality where its paper says appeal.
    "smoothness": ("visual_smooth", "visual_smoothness"),
    "motion": ("visual_motion", "visual_dynamics"),
    "appeal": ("visual_appeal", "visual_quality"),
    "text_video": ("text-video_consist", "text_video_consistency"),
    "image_video": ("img-video_consist", "image_video_consistency"),
    "character": ("character_consist", "character_consistency"),
    # VideoScore, in the order of its five outputs.
    "visual_quality": ("visual quality",),
    "temporal_consistency": ("temporal consistency",),
    "dynamic_degree": ("dynamic degree",),
    "text_alignment": ("text-to-video alignment",),
    "factual_consistency": ("factual consistency",),
    # VideoReward. Its files have the canonical VQ, MQ, TA; the VideoAlign paper writes them out.
    "VQ": ("Visual Quality", "visual quality"),
    "MQ": ("Motion Quality", "motion quality"),
    "TA": ("Text Alignment", "text alignment"),
    "overall": ("Overall",),
}
_MEANINGS: dict[str, list[str]] = {}
for _name, _spellings in _ALIASES.items():
    for _spelling in _spellings:
        _MEANINGS.setdefault(_spelling, []).append(_name)


def canonical(name: str, known: Collection[str] = ()) -> str:
    """The canonical spelling of a dimension; a name the table does not know is returned as it is.

    ``known`` holds the dimensions at hand: one that is called ``name`` is meant before any other (VideoScore's
    ``visual_quality`` is what AnimeReward's files call appeal), and a spelling that two models share ("visual quality")
    means the one that is there. Without ``known`` it means the first in the table.
    """
    if name in known:
        return name
    meanings = _MEANINGS.get(name, [name])
    return next((meaning for meaning in meanings if meaning in known), meanings[0])
