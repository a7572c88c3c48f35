"""One table of how papers and files spell the dimensions."""

from __future__ import annotations

_ALIASES = {
    "smoothness": ("visual_smooth", "visual_smoothness"),
    "motion": ("visual_motion", "visual_dynamics"),
    "appeal": ("visual_appeal", "visual_quality"),  # AnimeReward's files say visual_quality where its paper says appeal
    "text_video": ("text-video_consist", "text_video_consistency"),
    "image_video": ("img-video_consist", "image_video_consistency"),
    "character": ("character_consist", "character_consistency"),
    "overall": ("Overall",),
}
_CANONICAL = {spelling: name for name, spellings in _ALIASES.items() for spelling in spellings}


def canonical(name: str) -> str:
    """The canonical spelling of a dimension; a name the table does not know is returned as it is.

    Callers look for the name itself first: VideoScore has a dimension of its own called ``visual_quality``.
    """
    return _CANONICAL.get(name, name)
