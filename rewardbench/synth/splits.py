"""What training may see and what is held out for `anime-probe`: the one place where that line is drawn.

The reward model `mini` is trained on the train side only; `anime-probe` uses held-out seeds everywhere, and
`anime-probe:full` also the held-out drawing styles, degradation types and encodings. The held-out degradation types
are physically akin to trained ones, because a scorer that saw stutter can be asked about dropped frames, while one
that never saw a fault of colour cannot be asked about colour:

* ``frame_drop`` (uneven jumps in time) is akin to ``stutter`` (uneven holds in time);
* ``compression`` (lost detail, blocks and ringing) is akin to ``blur`` (lost detail) and ``noise`` (false detail);
* ``style_drift`` (the look drifts away from the first frame, in pixels) is akin to ``restyle`` (the same, drawn by
  the world: a cross-fade into another drawing style).

So each dimension keeps several trained types: smoothness has flicker, stutter, jitter and warp; appeal has blur, noise
and colour cast; image-video has restyle and wrong facts (another scene than the image's).
"""

from __future__ import annotations

from dataclasses import dataclass

TRAIN_STYLES: tuple[str, ...] = ("classic", "soft", "bold", "pastel", "retro", "watercolour", "flat")
HELD_OUT_STYLES: tuple[str, ...] = ("ink", "neon", "storybook")

TRAIN_DEGRADATIONS: tuple[str, ...] = (
    "flicker",
    "stutter",
    "jitter",
    "warp",
    "blur",
    "noise",
    "colour_cast",
    "freeze",
    "identity_change",
    # made by the drawn world itself, not by rewardbench.synth.degradations:
    "amplitude",
    "restyle",
    "wrong_facts",  # caption mismatch and image mismatch: the clip shows other facts than its prompt and image
)
HELD_OUT_DEGRADATIONS: tuple[str, ...] = ("frame_drop", "compression", "style_drift")

SEED_BITS = 32
TRAIN_SEEDS = range(0, 2**31)
"""Scene seeds for training and for choosing hyper-parameters."""
PROBE_SEEDS = range(2**31, 2**31 + 2**30)
"""Scene seeds of the default ``anime-probe``."""
PROBE_FULL_SEEDS = range(2**31 + 2**30, 2**32)
"""Scene seeds of ``anime-probe:full``."""


@dataclass(frozen=True)
class Encoding:
    """How a drawn clip is written to a file: codec name as FFmpeg spells it, and its constant rate factor."""

    codec: str
    crf: int


TRAIN_ENCODINGS: tuple[Encoding, ...] = (Encoding("libx264", 20), Encoding("libx264", 24), Encoding("libx264", 28))
"""Encodings that training may put its clips through (it may also use unencoded frames)."""
HELD_OUT_ENCODINGS: tuple[Encoding, ...] = (Encoding("libx264", 16), Encoding("libx264", 18), Encoding("libx264", 22))
"""Encodings of the probe's files; all clips of one base scene share one."""
